import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteAuditJournal } from '../../src/adapters/sqlite/audit-journal.js';
import { openDatabase } from '../../src/adapters/sqlite/driver.js';
import { listen } from '../../src/ports/signals.js';
import { auditJournalContract, refusal } from '../contracts/audit-journal.contract.js';
import { FakeClock } from '../support/fake-clock.js';

auditJournalContract('SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'shipslog-'));
  return {
    journal: openSqliteAuditJournal(join(folder, 'audit.db'), new FakeClock()),
    dispose: () => rm(folder, { recursive: true }),
  };
});

describe('audit journal in a file', () => {
  const clock = new FakeClock();
  let folder: string;
  let path: string;
  const troubles: string[] = [];
  let stopListening: () => void;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'shipslog-'));
    path = join(folder, 'audit.db');
    troubles.length = 0;
    stopListening = listen('trouble', ({ error }) => troubles.push(String(error)));
  });
  afterEach(async () => {
    stopListening();
    await rm(folder, { recursive: true });
  });

  /** Another connection that holds the file's write lock until it is told to let go. */
  const lockFile = (): (() => void) => {
    const kind = { name: 'audit journal', applicationId: 0x5348_4c41, userVersion: 1, schema: '' };
    const other = openDatabase(path, { kind });
    other.exec('begin immediate');
    return () => {
      other.exec('rollback');
      other.close();
    };
  };

  test('entries reach the file a moment later, and are there after a restart', async () => {
    const journal = openSqliteAuditJournal(path, clock);
    journal.record(refusal(0));
    await clock.advance(50);
    journal.record(refusal(1));
    await journal.close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const reopened = openSqliteAuditJournal(path, clock);
    expect(await reopened.list()).toEqual([refusal(1), refusal(0)]);
    await reopened.close();
  });

  test('a file that cannot be written is trouble, not an error; entries wait and are written later', async () => {
    const journal = openSqliteAuditJournal(path, clock);
    const unlock = lockFile();
    journal.record(refusal(0));
    await clock.advance(50);
    expect(troubles).toHaveLength(1);
    unlock();
    await clock.advance(1000);
    expect(await journal.list()).toEqual([refusal(0)]);
    expect(troubles).toHaveLength(1);
    await journal.close();
  });

  test('entries beyond the room are counted, and the loss is told', async () => {
    const journal = openSqliteAuditJournal(path, clock);
    for (let n = 0; n < 1002; n++) journal.record(refusal(n));
    await clock.advance(50);
    expect(troubles).toEqual(['Error: 2 refusals found no room and were not recorded']);
    expect(await journal.list({ limit: 1 })).toEqual([refusal(999)]);
    await journal.close();
  });

  test('a file that is empty or not ours is refused and stays as it is', () => {
    for (const content of ['', 'some text that is no database'.repeat(50)]) {
      writeFileSync(path, content);
      expect(() => openSqliteAuditJournal(path, clock)).toThrow(
        expect.objectContaining({ code: 'STORE_FOREIGN' }),
      );
      expect(statSync(path).size).toBe(content.length);
      expect(existsSync(`${path}-wal`)).toBe(false);
    }
  });
});
