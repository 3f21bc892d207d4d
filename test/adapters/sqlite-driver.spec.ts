import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { asFault, openDatabase, pragma, resultOf } from '../../src/adapters/sqlite/driver.js';
import type { DatabaseOptions, FileKind } from '../../src/adapters/sqlite/driver.js';
import { asAnybody } from '../support/anybody.js';

const kind: FileKind = {
  name: 'test store',
  applicationId: 0x54_45_53_54,
  userVersion: 2,
  schema: 'CREATE TABLE t (a INTEGER PRIMARY KEY)',
};

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shipslog-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function touch(path: string, options?: Partial<DatabaseOptions>): void {
  openDatabase(path, { kind, ...options }).close();
}

describe('a SQLite file', () => {
  it('is created with its folder, for its owner alone', () => {
    const path = join(folder, 'new', 'deep', 'x.db');
    touch(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'new')).mode & 0o777).toBe(0o700);
  });

  it('is created below a folder that may not be read', async () => {
    const path = join(folder, 'new', 'x.db');
    chmodSync(folder, 0o333);
    await asAnybody(() => touch(path));
    chmodSync(folder, 0o700);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('may have any name that a file can have', () => {
    const name = 'a?b#c %41&immutable=0.db';
    touch(join(folder, name));
    touch(join(folder, name));
    const files = readdirSync(folder).map((file) => file.replace(/-(wal|shm)$/, ''));
    expect(new Set(files)).toEqual(new Set([name]));
  });

  it('is written through to the disk on each commit unless less was asked for', () => {
    const path = join(folder, 'x.db');
    for (const [synchronous, level] of [[undefined, 2] as const, ['normal', 1] as const]) {
      const database = openDatabase(path, { kind, ...(synchronous && { synchronous }) });
      expect(pragma(database, 'PRAGMA synchronous')).toBe(level);
      expect(pragma(database, 'PRAGMA journal_mode')).toBe('wal');
      database.close();
    }
  });

  it('bears its name only when it is whole', () => {
    const path = join(folder, 'x.db');
    expect(() => touch(path, { kind: { ...kind, schema: 'create table t (' } })).toThrow();
    expect(readdirSync(folder)).toEqual([]);
  });

  it('is accepted when it is empty', () => {
    const path = join(folder, 'x.db');
    writeFileSync(path, '', { mode: 0o644 });
    touch(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it.each([
    ['a text', 'No database at all. '.repeat(500)],
    ['a short text', 'x'],
  ])('is refused untouched when it is %s', (_, content) => {
    const path = join(folder, 'x.db');
    writeFileSync(path, content);
    expect(() => touch(path)).toThrow(expect.objectContaining({ code: 'STORE_FOREIGN' }));
    expect(readdirSync(folder)).toEqual(['x.db']);
    expect(readFileSync(path, 'utf8')).toBe(content);
  });

  it.each([
    ['of another program', { ...kind, applicationId: 1 }],
    ['of a newer version', { ...kind, userVersion: 3 }],
  ])('is refused untouched when it is %s', (_, other) => {
    const path = join(folder, 'x.db');
    touch(path, { kind: other });
    const before = readFileSync(path);
    const files = readdirSync(folder);
    expect(() => touch(path)).toThrow(expect.objectContaining({ code: 'STORE_FOREIGN' }));
    expect(readdirSync(folder)).toEqual(files);
    expect(readFileSync(path)).toEqual(before);
  });

  it('is refused when nobody may write to it', () => {
    const path = join(folder, 'x.db');
    touch(path);
    chmodSync(path, 0o444);
    expect(() => touch(path)).toThrow(expect.objectContaining({ code: 'STORE_UNAVAILABLE' }));
  });

  it('is never created by a reader', () => {
    const path = join(folder, 'x.db');
    expect(() => touch(path, { readOnly: true })).toThrow(
      expect.objectContaining({ code: 'STORE_UNAVAILABLE' }),
    );
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('an error of SQLite', () => {
  it.each([
    [13, 'write', 'STORE_FULL'],
    [8, 'write', 'STORE_UNAVAILABLE'],
    [10 + 4 * 256, 'write', 'OUTCOME_UNKNOWN'],
    [10 + 1 * 256, 'read', 'STORE_UNAVAILABLE'],
    [11, 'read', 'STORE_CORRUPT'],
    [26, 'open', 'STORE_FOREIGN'],
  ] as const)('with result %d in a %s is the fault %s', (errcode, doing, code) => {
    const error = Object.assign(new Error('x'), { errcode });
    expect(asFault(error, 'x.db', doing)).toMatchObject({ code, cause: error });
  });

  it('is known by its text where the driver gives no code', () => {
    const error = Object.assign(new Error('disk I/O error'), { code: 'ERR_SQLITE_ERROR' });
    expect(asFault(error, 'x.db', 'write')).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(asFault(new Error('disk I/O error'), 'x.db', 'write')).not.toHaveProperty('code');
  });

  it('is no fault when a rule of the schema was broken', () => {
    const database = openDatabase(join(folder, 'x.db'), { kind });
    database.exec('INSERT INTO t VALUES (1)');
    let thrown: unknown;
    try {
      database.exec('INSERT INTO t VALUES (1)');
    } catch (error) {
      thrown = error;
    }
    expect(resultOf(thrown)).toBe(1555);
    expect(asFault(thrown, 'x.db', 'write')).toBe(thrown);
    database.close();
  });
});
