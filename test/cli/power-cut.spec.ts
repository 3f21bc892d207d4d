import { mkdir, readFile, readdir, realpath, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, beforeEach, describe, expect } from '@jest/globals';
import { openSqliteEventStore } from '../../src/adapters/sqlite/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { SpooledEnd } from '../../src/cli/spool.js';
import { shipslog } from '../support/command-line.js';
import { Story } from '../support/events.js';
import { NOTHING, PowerCutDisk } from '../support/power-cut-disk.js';
import { cleanUp, programs, temporaryFolder } from '../support/service.js';
import { trace, tracing } from '../support/traced.js';

/** Programs are compiled when they start, and the machine may be busy. */
const MS_MAX = 60_000;

const traced = tracing();

describe('what a command has told to be written, after a power cut', () => {
  let folder: string;
  beforeEach(async () => {
    folder = await realpath(await temporaryFolder());
  });
  afterEach(cleanUp);

  /** Runs a program of ours; the folder that is left when the power is cut at its end. */
  const leftBy = async (
    args: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<string> => {
    const disk = new PowerCutDisk(folder);
    const { ending, said, steps } = await trace([process.execPath, ...args], {
      folder,
      environment,
    });
    expect({ ending, said }).toMatchObject({ ending: 0 });
    for (const step of steps) disk.take(step);
    const left = await temporaryFolder();
    disk.leave(left, NOTHING);
    return left;
  };

  traced(
    'is the end of an attempt that is kept for the service',
    async () => {
      const end: SpooledEnd = {
        ...{ url: 'http://127.0.0.1:1', actor: 'ci', key: 'k1', deploymentId: 'web' },
        ...{ attemptId: 'a1', body: { outcome: 'succeeded' } },
      };
      const module = pathToFileURL(join(await programs(), 'dist/cli/spool.js')).href;
      const program = `const { Spool } = await import(${JSON.stringify(module)});
        await new Spool(${JSON.stringify(join(folder, 'state/spool'))}).keep(${JSON.stringify(end)})`;
      const spool = join(await leftBy(['--input-type=module', '--eval', program]), 'state/spool');
      const names = await readdir(spool);
      const kept = names.map(async (name) => readFile(join(spool, name), 'utf8'));
      expect((await Promise.all(kept)).map((text) => JSON.parse(text) as unknown)).toEqual([end]);
    },
    MS_MAX,
  );

  traced(
    'is an export, and all of an import',
    async () => {
      const main = join(await programs(), 'dist/cli/main.js');
      const logIn = (place: string) => {
        return { SHIPSLOG_EVENT_STORE: `sqlite:${join(place, 'log/events.db')}`, LANG: 'C.UTF-8' };
      };
      const story = new Story('web').created().opened('a1').started().ended('succeeded');
      const file = join(await temporaryFolder(), 'log/events.db');
      const store = await openSqliteEventStore({ file, clock: systemClock });
      await store.append(story.stream, 'no_stream', story.events);
      await store.close();

      const environment = { ...logIn(join(file, '../..')) };
      const { out: lines } = await shipslog(['export'], { environment });
      expect(lines.split('\n')).toHaveLength(story.events.length + 1);
      await mkdir(join(folder, 'copies'));
      const left = await leftBy([main, 'export', '-o', join(folder, 'copies/c')], environment);
      expect(await readFile(join(left, 'copies/c'), 'utf8')).toBe(lines);

      await writeFile(join(folder, 'lines'), lines);
      const after = await leftBy([main, 'import', join(folder, 'lines')], logIn(folder));
      expect((await shipslog(['export'], { environment: logIn(after) })).out).toBe(lines);
    },
    MS_MAX,
  );
});
