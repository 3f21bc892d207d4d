import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase, pragma } from '../../src/adapters/sqlite/driver.js';
import { EVENT_LOG, NO_REVISION, type AppendRequest } from '../../src/adapters/sqlite/event-log.js';
import { HeadFile } from '../../src/adapters/sqlite/head-file.js';
import { LogWriter, type LogWriterOptions } from '../../src/adapters/sqlite/log-writer.js';
import { idsOf, newEvents } from '../support/stored-events.js';

const FRAME_BYTES = 24 + 4096;
const WAL_HEADER_BYTES = 32;
const corrupt = (text: string): unknown =>
  expect.objectContaining({ code: 'STORE_CORRUPT', message: expect.stringContaining(text) });

let folder = '';
let path = '';
const opened: LogWriter[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shipslog-'));
  path = join(folder, 'events.db');
});
afterEach(() => {
  for (const writer of opened.splice(0)) writer.close();
  rmSync(folder, { recursive: true });
});

function open(options: Partial<LogWriterOptions> = {}): LogWriter {
  const writer = LogWriter.open({
    path,
    synchronous: 'full',
    acceptLoss: false,
    pagesMax: null,
    ...options,
  });
  opened.push(writer);
  return writer;
}

function close(writer: LogWriter): void {
  opened.splice(opened.indexOf(writer), 1);
  writer.close();
}

/** Appends so many events to one stream, each in a commit of its own. */
function fill(writer: LogWriter, stream: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => {
    const events = newEvents(1);
    writer.append([{ stream, expected: index - 1, events }]);
    writer.settle();
    return events[0]?.id ?? '';
  });
}

/** What a crash at this moment leaves behind, in another folder. */
function crashed(name: string): string {
  const copy = join(folder, `${name}.db`);
  for (const suffix of ['', '-wal', '-journal', '-head']) {
    if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
  }
  return copy;
}

function storedIds(file: string): string[] {
  const database = openDatabase(file, { kind: EVENT_LOG, readOnly: true });
  const rows = database.prepare('SELECT hex(event_id) AS id FROM events ORDER BY position').all();
  database.close();
  return (rows as { id: string }[]).map(({ id }) =>
    id.toLowerCase().replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
  );
}

describe('the writer of the log', () => {
  it('waits for the disk on each commit', () => {
    expect(open().synchronous).toBe('full');
  });

  it('keeps its files for their owner alone', () => {
    open();
    const modes = readdirSync(folder).map((file) => statSync(join(folder, file)).mode & 0o777);
    expect(modes.length).toBeGreaterThan(2);
    expect(new Set(modes)).toEqual(new Set([0o600]));
  });

  it('writes a group in one commit, each append checked on its own', () => {
    const writer = open();
    fill(writer, 'taken', 1);
    const [a, b, c] = [newEvents(2), newEvents(1), newEvents(1)];
    const group: AppendRequest[] = [
      { stream: 'a', expected: NO_REVISION, events: a },
      { stream: 'taken', expected: NO_REVISION, events: b },
      { stream: 'a', expected: 1, events: c },
      { stream: 'a', expected: NO_REVISION, events: a },
      { stream: 'd', expected: NO_REVISION, events: [...newEvents(1), ...c] },
    ];
    expect(writer.append(group)).toEqual([
      { revision: 1, position: 3 },
      { revision: 0, position: 0 },
      { revision: 2, position: 4 },
      { revision: 1, position: 3 },
      { revision: NO_REVISION, position: 0 },
    ]);
    expect(storedIds(path).slice(1)).toEqual(idsOf([...a, ...c]));
  });

  it('answers a repeat after a restart as it answered first', () => {
    const request = { stream: 'a', expected: NO_REVISION, events: newEvents(3) };
    const first = open();
    const [outcome] = first.append([request]);
    close(first);
    expect(open().append([request])).toEqual([outcome]);
  });

  it('counts positions without gaps, over conflicts and restarts', () => {
    const first = open();
    fill(first, 'a', 3);
    first.append([{ stream: 'a', expected: 0, events: newEvents(5) }]);
    close(first);
    const [next] = open().append([{ stream: 'b', expected: NO_REVISION, events: newEvents(1) }]);
    expect(next?.position).toBe(4);
  });

  it('copies the write-ahead log into the file now and then, so that it stays small', () => {
    const writer = open({ synchronous: 'off' });
    const data = JSON.stringify('x'.repeat(100_000));
    for (let index = 0; index < 400; index++) {
      writer.append([{ stream: 'a', expected: index - 1, events: newEvents(1, { data }) }]);
      writer.settle();
    }
    expect(statSync(`${path}-wal`).size).toBeLessThan(24 * 1024 * 1024);
    expect(statSync(path).size).toBeGreaterThan(24 * 1024 * 1024);
  });

  it('leaves everything in one file when it is closed', () => {
    const writer = open();
    const ids = fill(writer, 'a', 3);
    close(writer);
    expect(statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0).toBe(0);
    expect(storedIds(path)).toEqual(ids);
  });

  it('says when there is no room, writes nothing, and finds room again', () => {
    const writer = open({ pagesMax: 60 });
    const data = JSON.stringify('x'.repeat(20_000));
    let count = 0;
    const append = (): void => {
      writer.append([
        { stream: 's', expected: count - 1, events: newEvents(1, { data }) },
        { stream: 't', expected: count - 1, events: newEvents(1, { data }) },
      ]);
      count += 1;
    };
    expect(() => {
      for (;;) append();
    }).toThrow(expect.objectContaining({ code: 'STORE_FULL' }));
    expect(storedIds(path)).toHaveLength(2 * count);
    expect(writer.hasRoom()).toBe(false);
    const other = openDatabase(path, { kind: EVENT_LOG });
    other.exec('DELETE FROM events WHERE position <= 4');
    other.close();
    expect(writer.hasRoom()).toBe(true);
    append();
  });

  it('refuses to begin anew beside the write-ahead log of a file that is gone', () => {
    fill(open(), 'a', 2);
    const copy = crashed('copy');
    rmSync(copy);
    rmSync(`${copy}-head`);
    expect(() => open({ path: copy })).toThrow(corrupt('-wal'));
    expect(existsSync(copy)).toBe(false);
  });

  it('takes back what a crash cut off while the file was in no WAL mode', () => {
    const writer = open();
    const ids = fill(writer, 'a', 3);
    close(writer);
    // A connection that was closed may hold its file until its statements are collected.
    copyFileSync(path, join(folder, 'other.db'));
    path = join(folder, 'other.db');
    const shell = openDatabase(path, { kind: EVENT_LOG, cacheKiB: 1 });
    shell.exec('PRAGMA journal_mode = DELETE; BEGIN IMMEDIATE; DELETE FROM events');
    // More than the cache holds, so that a part is on the disk before the commit.
    shell.exec('INSERT INTO room VALUES (zeroblob(1000000)), (zeroblob(1000000))');
    const copy = crashed('copy');
    shell.exec('ROLLBACK');
    shell.close();
    expect(statSync(`${copy}-journal`).size).toBeGreaterThan(4096);
    open({ path: copy });
    expect(storedIds(copy)).toEqual(ids);
    writeFileSync(join(folder, 'gone.db-journal'), 'of another file');
    expect(() => open({ path: join(folder, 'gone.db') })).toThrow(corrupt('-journal'));
  });
});

describe('the end of the log, kept beside it', () => {
  it('is that of the last acknowledged event, even after a crash', () => {
    const writer = open();
    const ids = fill(writer, 'a', 5);
    const copy = crashed('copy');
    expect(HeadFile.read(`${copy}-head`)).toMatchObject({ position: 5 });
    const again = open({ path: copy });
    expect(again).toMatchObject({ position: 5, loss: null, endWasKnown: true });
    expect(storedIds(copy)).toEqual(ids);
  });

  it('may lag behind the log', () => {
    const writer = open();
    fill(writer, 'a', 3);
    copyFileSync(`${path}-head`, join(folder, 'old-head'));
    writer.append([{ stream: 'b', expected: NO_REVISION, events: newEvents(3) }]);
    const copy = crashed('copy');
    copyFileSync(join(folder, 'old-head'), `${copy}-head`);
    expect(open({ path: copy })).toMatchObject({ position: 6, loss: null });
    expect(HeadFile.read(`${copy}-head`)).toMatchObject({ position: 6 });
  });

  it('survives a torn write of one of its slots', () => {
    fill(open(), 'a', 2);
    const bytes = readFileSync(`${path}-head`);
    for (const offset of [3, 4096 + 3]) {
      const torn = Buffer.from(bytes);
      torn.fill(0xff, offset, offset + 20);
      writeFileSync(join(folder, 'torn'), torn);
      expect(HeadFile.read(join(folder, 'torn'))).toMatchObject({ position: expect.any(Number) });
    }
  });

  it('finds every shortened write-ahead log that opens without a word', () => {
    const ids = fill(open(), 'a', 12);
    const whole = statSync(`${path}-wal`).size;
    let found = 0;
    for (let size = 0; size < whole; size += 7 * FRAME_BYTES + 1_000) {
      const copy = crashed(`cut-${size}`);
      truncateSync(`${copy}-wal`, size);
      expect(() => open({ path: copy })).toThrow(
        corrupt('to 12 were acknowledged and are missing'),
      );
      found += 1;
    }
    expect(found).toBeGreaterThan(5);
    expect(storedIds(path)).toEqual(ids);
  });

  it('is found again when a crash cut the copying of the write-ahead log off', () => {
    const ids = fill(open(), 'a', 40);
    const other = openDatabase(path, { kind: EVENT_LOG });
    other.exec('PRAGMA wal_checkpoint(PASSIVE)');
    const copy = crashed('copy');
    other.close();
    truncateSync(copy, 2 * 4096);
    expect(open({ path: copy })).toMatchObject({ position: 40, loss: null });
    expect(storedIds(copy)).toEqual(ids);
  });

  it('touches nothing of a log that it refuses', () => {
    fill(open(), 'a', 12);
    const copy = crashed('copy');
    truncateSync(`${copy}-wal`, 9 * FRAME_BYTES + 1_000);
    const before = [readFileSync(copy), readFileSync(`${copy}-wal`), readFileSync(`${copy}-head`)];
    expect(() => open({ path: copy })).toThrow(corrupt('are missing'));
    const after = [readFileSync(copy), readFileSync(`${copy}-wal`), readFileSync(`${copy}-head`)];
    expect(after).toEqual(before);
  });

  it('finds every flipped bit that costs an acknowledged event', () => {
    const ids = fill(open(), 'a', 12);
    const wal = readFileSync(`${path}-wal`);
    let refused = 0;
    for (let offset = 5; offset < wal.length; offset += 3 * FRAME_BYTES + 777) {
      const copy = crashed(`flip-${offset}`);
      const flipped = Buffer.from(wal);
      flipped.writeUInt8((flipped[offset] ?? 0) ^ 4, offset);
      writeFileSync(`${copy}-wal`, flipped);
      try {
        close(open({ path: copy }));
        expect(storedIds(copy)).toEqual(ids);
      } catch (error) {
        expect(error).toEqual(corrupt('are missing'));
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(5);
    expect(wal.length).toBeGreaterThan(WAL_HEADER_BYTES + 12 * FRAME_BYTES);
  });

  it('finds an older copy that was put in the place of the log', () => {
    const first = open();
    fill(first, 'a', 3);
    close(first);
    copyFileSync(path, join(folder, 'backup'));
    const second = open();
    fill(second, 'b', 2);
    close(second);
    copyFileSync(join(folder, 'backup'), path);
    expect(() => open()).toThrow(corrupt('positions 4 to 5 were acknowledged and are missing'));
  });

  it('finds another log of the same length', () => {
    const other = open({ path: join(folder, 'other.db') });
    fill(other, 'a', 3);
    close(other);
    const writer = open();
    fill(writer, 'a', 3);
    close(writer);
    copyFileSync(join(folder, 'other.db'), path);
    expect(() => open()).toThrow(corrupt('position 3 holds another event'));
  });

  it('finds that the log is gone, and does not begin a new one', () => {
    const writer = open();
    fill(writer, 'a', 3);
    close(writer);
    for (const file of readdirSync(folder)) if (!file.endsWith('-head')) rmSync(join(folder, file));
    expect(() => open()).toThrow(corrupt('positions 1 to 3 were acknowledged and are missing'));
    expect(readdirSync(folder)).toEqual(['events.db-head']);
  });

  it('refuses when nobody can tell where the log ended', () => {
    const writer = open();
    fill(writer, 'a', 3);
    close(writer);
    writeFileSync(`${path}-head`, 'spoilt');
    expect(() => open()).toThrow(corrupt('head file is damaged'));
  });

  it('takes a log that was restored without it as it is, and says so', () => {
    const writer = open();
    fill(writer, 'a', 3);
    close(writer);
    rmSync(`${path}-head`);
    expect(open()).toMatchObject({ position: 3, endWasKnown: false });
  });
});

describe('a loss that is accepted', () => {
  it('is named and recorded once, and its positions are never used again', () => {
    fill(open(), 'a', 6);
    const copy = crashed('copy');
    const { size } = statSync(`${copy}-wal`);
    truncateSync(`${copy}-wal`, size - FRAME_BYTES);
    const survivor = open({ path: copy, acceptLoss: true });
    expect(survivor.loss).toEqual({
      first: 6,
      last: 6,
      detail: 'positions 6 to 6 were acknowledged and are missing',
    });
    expect(survivor.append([{ stream: 'a', expected: 4, events: newEvents(1) }])).toEqual([
      { revision: 5, position: 7 },
    ]);
    close(survivor);
    const again = open({ path: copy });
    expect(again).toMatchObject({ position: 7, loss: null });
    const database = openDatabase(copy, { kind: EVENT_LOG, readOnly: true });
    expect(pragma(database, 'SELECT count(*) FROM losses WHERE first = 6 AND last = 6')).toBe(1);
    database.close();
  });

  it('may be the whole log', () => {
    const writer = open();
    fill(writer, 'a', 3);
    close(writer);
    for (const file of readdirSync(folder)) if (!file.endsWith('-head')) rmSync(join(folder, file));
    const anew = open({ acceptLoss: true });
    expect(anew.loss).toMatchObject({ first: 1, last: 3 });
    expect(
      anew.append([{ stream: 'a', expected: NO_REVISION, events: newEvents(1) }]),
    ).toMatchObject([{ position: 4 }]);
  });
});
