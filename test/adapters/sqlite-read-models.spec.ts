import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TableSql, type Sql } from '../../src/adapters/sql/statements.js';
import { sqliteDialect } from '../../src/adapters/sqlite/dialect.js';
import { openDatabase } from '../../src/adapters/sqlite/driver.js';
import { openSqliteReadModels } from '../../src/adapters/sqlite/read-models.js';
import type { Condition, Table } from '../../src/ports/read-models.js';
import { deployments, type DeploymentRow } from '../../src/projections/deployments.js';
import { transitions, type TransitionRow } from '../../src/projections/transitions.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { ownershipContract } from '../contracts/ownership.contract.js';
import { parkedStreamsContract } from '../contracts/parked-streams.contract.js';
import { readModelsContract, type ReadModelsUnderTest } from '../contracts/read-models.contract.js';
import { settled } from '../support/fake-clock.js';

const inSqlite = async (): Promise<ReadModelsUnderTest> => {
  const folder = await mkdtemp(join(tmpdir(), 'shipslog-'));
  const file = join(folder, 'read-models.db');
  return {
    readModels: openSqliteReadModels(file),
    beside: async () => openSqliteReadModels(file),
    dispose: () => rm(folder, { recursive: true }),
  };
};
readModelsContract('SQLite', inSqlite);
ownershipContract('SQLite', inSqlite);
parkedStreamsContract('SQLite', inSqlite);

describe('read models in a SQLite file', () => {
  type Note = { readonly id: string; readonly text: string };
  const notes: Table<Note> = {
    name: 'notes',
    version: 1,
    columns: { id: { type: 'text' }, text: { type: 'text' } },
    key: ['id'],
    indexes: [],
  };
  const change = { table: notes, generation: 'live', from: null, to: 1n } as const;
  let folder: string;
  let path: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'shipslog-'));
    path = join(folder, 'read-models.db');
  });
  afterEach(() => rm(folder, { recursive: true }));

  test('folder and file are made when missing, for the owner alone', async () => {
    path = join(folder, 'new', 'folder', 'read-models.db');
    const readModels = openSqliteReadModels(path);
    await readModels.close();
    expect(statSync(join(folder, 'new')).mode & 0o777).toBe(0o700);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test('rows, checkpoints and parked streams are there after a restart', async () => {
    const parked = {
      table: 'notes',
      generation: 'live',
      stream: 'deployment-a',
      revision: 2n ** 60n + 1n,
      position: 2n ** 60n + 3n,
      problem: 'odd',
      parkedAt: '2026-01-01T00:00:00.000Z',
      decided: null,
    } as const;
    const before = openSqliteReadModels(path);
    await before.open([notes]);
    await before.commit([{ ...change, rows: [{ id: 'a', text: 'x' }], to: 2n ** 60n + 1n }]);
    await before.park(parked);
    await before.close();
    const after = openSqliteReadModels(path);
    await after.open([notes]);
    expect(await after.load(notes, 'live', [['a']])).toEqual([{ id: 'a', text: 'x' }]);
    expect(await after.checkpoints()).toMatchObject([{ position: 2n ** 60n + 1n }]);
    expect(await after.parked()).toEqual([parked]);
    await after.close();
  });

  test('two connections see the same state, and only one commits from it', async () => {
    const [one, two] = [openSqliteReadModels(path), openSqliteReadModels(path)];
    await one.open([notes]);
    await two.open([notes]);
    await one.commit([{ ...change, rows: [{ id: 'a', text: 'one' }] }]);
    const late = two.commit([{ ...change, rows: [{ id: 'a', text: 'two' }] }]);
    await expect(late).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
    expect(await two.load(notes, 'live', [['a']])).toEqual([{ id: 'a', text: 'one' }]);
    await one.close();
    await two.close();
  });

  test('a row that does not fit its table is refused, with everything of its commit', async () => {
    const readModels = openSqliteReadModels(path);
    await readModels.open([notes]);
    const rows = [
      { id: 'a', text: 'fits' },
      { id: 'b', text: null },
    ];
    await expect(readModels.commit([{ ...change, rows }])).rejects.toThrow('NOT NULL');
    expect(await readModels.checkpoints()).toMatchObject([{ position: null }]);
    expect(await readModels.load(notes, 'live', [['a']])).toEqual([null]);
    await readModels.close();
  });

  test('a query that the stored version cannot answer is told to come back', async () => {
    const readModels = openSqliteReadModels(path);
    await readModels.open([notes]);
    const newer: Table<Note & { readonly tag: string }> = {
      ...notes,
      version: 2,
      columns: { ...notes.columns, tag: { type: 'text' } },
    };
    await readModels.open([newer]);
    const orderBy = { column: 'id', direction: 'ascending' } as const;
    const find = readModels.find(newer, { orderBy, limit: 1 });
    await expect(find).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', retryable: true });
    await readModels.close();
  });

  test.each([
    ['an unknown table name', { name: 'Notes"; drop table x; --' }],
    ['a name kept for bookkeeping', { name: 'shipslog_notes' }],
    ['a name kept for the next generation', { name: 'notes_next' }],
    ['a column that is no word', { columns: { ...notes.columns, 'a b': { type: 'text' } } }],
    ['a key that is no column', { key: ['missing'] }],
  ] as [string, Partial<Table>][])('a definition with %s is a defect', async (_, members) => {
    const readModels = openSqliteReadModels(path);
    await expect(readModels.open([{ ...(notes as Table), ...members }])).rejects.toThrow();
    expect(await readModels.checkpoints()).toEqual([]);
    await readModels.close();
  });

  test('an old table is out of the way at once, and emptied in turns, also after a restart', async () => {
    const rows = Array.from({ length: 1050 }, (_, n) => ({ id: `n${String(n)}`, text: 'x' }));
    const kind = { name: 'any', applicationId: 0x5348_4c52, userVersion: 1, schema: '' };
    const before = openSqliteReadModels(path);
    await before.open([notes]);
    await before.commit([{ ...change, rows }]);
    await before.startNext(notes);
    await before.commit([{ ...change, generation: 'next', rows: [{ id: 'new', text: 'y' }] }]);
    await before.promoteNext(notes, 1n);
    expect(await before.load(notes, 'live', [['n1'], ['new']])).toEqual([
      null,
      { id: 'new', text: 'y' },
    ]);
    await before.close();
    const shell = openDatabase(path, { kind, synchronous: 'off', busyTimeoutMs: 1000 });
    const left = (): unknown[] =>
      shell.prepare("select name from sqlite_master where name like 'shipslog_old_%'").all();
    expect(left()).toHaveLength(1);
    const after = openSqliteReadModels(path);
    await after.open([notes]);
    const claim = () => after.claim({ owner: 'test', ttlMs: 60_000 });
    await claim();
    // Where another process writes just then, it waits for the next renewal.
    shell.exec('begin immediate');
    await settled();
    shell.exec('rollback');
    await claim();
    while (left().length > 0) await settled();
    expect(await after.load(notes, 'live', [['new']])).toEqual([{ id: 'new', text: 'y' }]);
    await after.close();
    shell.close();
  });

  test('lists come from an index in its order, and counts from an index alone', async () => {
    const readModels = openSqliteReadModels(path);
    await readModels.open(PROJECTIONS);
    await readModels.close();
    const kind = { name: 'any', applicationId: 0x5348_4c52, userVersion: 1, schema: '' };
    const database = openDatabase(path, { kind, readOnly: true });
    const planOf = ({ text, values }: Sql): string => {
      const rows = database.prepare(`explain query plan ${text}`).all(...(values as string[]));
      return (rows as { detail: string }[]).map(({ detail }) => detail).join('; ');
    };
    const sql = new TableSql<DeploymentRow>(deployments, sqliteDialect);
    const orderBy = { column: 'position', direction: 'descending' } as const;
    const shown = { column: 'archived', is: false } as const;
    const conditions: Condition<DeploymentRow>[][] = [
      [],
      [shown],
      [shown, { column: 'state', is: 'ready' }],
      [{ column: 'state', is: 'ready' }],
      [shown, { column: 'environment', is: 'production' }],
      [shown, { column: 'labels', member: 'team', equals: 'payments' }],
      [shown, { column: 'position', below: 7n }],
      [
        { column: 'attemptState', is: 'running' },
        { column: 'position', above: 7n },
      ],
    ];
    for (const where of conditions) {
      const plan = planOf(sql.find({ where, orderBy, limit: 51 }));
      expect(plan).toContain('USING INDEX');
      expect(plan).not.toContain('TEMP B-TREE');
    }
    const rare = [
      shown,
      { column: 'labels', member: 'team', equals: 'payments' },
      { column: 'searchText', contains: 'nobody' },
    ] as const;
    const looked = planOf(sql.find({ where: rare, orderBy, limit: 51 }));
    expect(looked).toContain('USING COVERING INDEX deployments_build1_index1');
    expect(looked).not.toContain('TEMP B-TREE');
    expect(planOf(sql.countBy('state', { where: [shown] }))).toContain('USING COVERING INDEX');
    const past = new TableSql<TransitionRow>(transitions, sqliteDialect);
    const notAfter = '2026-01-01T00:00:00.000Z';
    const among: Condition<TransitionRow>[] = [
      { column: 'occurredAt', notAfter },
      { column: 'recordedAt', notAfter },
    ];
    const latest = { per: 'deploymentId', by: 'position', among } as const;
    const then = planOf(past.find({ latest, orderBy, limit: 51 }));
    expect(then).toContain('SCAN transitions USING COVERING INDEX');
    expect(then).not.toContain('TEMP B-TREE');
    database.close();
  });

  describe('files that are not ours', () => {
    const refusedUntouched = (): void => {
      const before = readFileSync(path);
      expect(() => openSqliteReadModels(path)).toThrow(
        expect.objectContaining({ code: 'STORE_FOREIGN' }),
      );
      expect(readFileSync(path)).toEqual(before);
      expect(readdirSync(folder)).toEqual(['read-models.db']);
    };
    const make = (applicationId: number, userVersion: number): void => {
      const kind = { name: 'other', applicationId, userVersion, schema: 'create table t (x)' };
      const database = openDatabase(path, { kind });
      database.exec('pragma journal_mode = delete');
      database.close();
    };

    test('an empty file is refused', () => {
      writeFileSync(path, '');
      refusedUntouched();
    });
    test('a file of something else is refused', () => {
      writeFileSync(path, 'not a database at all. '.repeat(100));
      refusedUntouched();
    });
    test('a database of another program is refused', () => {
      make(77, 1);
      refusedUntouched();
    });
    test('a file of a newer version is refused', () => {
      make(0x5348_4c52, 2);
      refusedUntouched();
    });
    test('a file that was lost is made anew', async () => {
      const before = openSqliteReadModels(path);
      await before.open([notes]);
      await before.close();
      for (const suffix of ['', '-wal', '-shm']) await rm(path + suffix, { force: true });
      const after = openSqliteReadModels(path);
      expect(await after.checkpoints()).toEqual([]);
      await after.close();
      expect(existsSync(path)).toBe(true);
    });
  });
});
