import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Spool } from '../../src/cli/spool.js';
import { asAnybody } from '../support/anybody.js';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shipslog-'));
});
afterEach(() => {
  chmodSync(folder, 0o700);
  rmSync(folder, { recursive: true });
});

test('an end is kept below a folder that may not be read', async () => {
  chmodSync(folder, 0o333);
  const spool = new Spool(join(folder, 'shipslog', 'spool'));
  const end = {
    ...{ url: 'http://127.0.0.1:1', actor: 'ci', key: 'k', deploymentId: 'web', attemptId: 'a' },
    body: { outcome: 'succeeded' },
  } as const;
  await asAnybody(() => spool.keep(end));
  expect(await spool.list()).toEqual([end]);
});
