import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openDatabase, type Database } from '../../src/adapters/sqlite/driver.js';
import { EVENT_LOG } from '../../src/adapters/sqlite/event-log.js';
import {
  openSqliteEventStore,
  type SqliteEventStoreOptions,
} from '../../src/adapters/sqlite/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { EventStore } from '../../src/ports/event-store.js';
import { isFault } from '../../src/ports/faults.js';
import { listen } from '../../src/ports/signals.js';
import { eventStoreContract } from '../contracts/event-store.contract.js';
import { FakeClock } from '../support/fake-clock.js';
import { eventsOf, newEvents, newStream, newStreams } from '../support/stored-events.js';

eventStoreContract('SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'shipslog-'));
  return {
    store: await openSqliteEventStore({ file: join(folder, 'events.db'), clock: systemClock }),
    dispose: () => rm(folder, { recursive: true }),
  };
});

/** Each opening starts a thread, on a machine that does other things too. */
const LONG_MS = 60_000;

let folder = '';
let file = '';
const opened: EventStore[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shipslog-'));
  file = join(folder, 'events.db');
});
afterEach(async () => {
  for (const store of opened.splice(0)) await store.close();
  await rm(folder, { recursive: true });
}, LONG_MS);

async function open(options: Partial<SqliteEventStoreOptions> = {}): Promise<EventStore> {
  const store = await openSqliteEventStore({ file, clock: systemClock, ...options });
  opened.push(store);
  return store;
}

const append = (store: EventStore, length = 100): Promise<unknown> =>
  store.append(
    newStream(),
    'no_stream',
    newEvents(1, { data: JSON.stringify('x'.repeat(length)) }),
  );

describe('appends that come together', () => {
  async function shareCommits(): Promise<void> {
    const store = await open();
    expect(store.health().details).toMatchObject({ synchronous: 'full', groups: 0 });
    await Promise.all(newStreams(64).map(() => append(store)));
    expect(store.health().details).toMatchObject({ groups: 1, head: '64' });
    for (let round = 0; round < 10; round++) {
      await Promise.all(newStreams(64).map(() => append(store)));
    }
    expect(store.health().details['groups']).toBeLessThanOrEqual(22);
  }
  it('share one commit', shareCommits, LONG_MS);
});

describe('a log whose disk does not answer', () => {
  /** Somebody else's write transaction holds the writer up for two seconds at most. */
  function holdUp(): Database {
    const other = openDatabase(file, { kind: EVENT_LOG });
    other.exec('BEGIN IMMEDIATE');
    return other;
  }

  async function boundQueue(): Promise<void> {
    const clock = new FakeClock();
    const store = await open({ clock });
    const other = holdUp();
    const first = append(store);
    while (store.health().details['waiting'] !== 0) await new Promise(setImmediate);
    const waiting = newStreams(1_000).map(() => append(store));
    await expect(append(store)).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: '1000 appends wait already; nothing was written',
    });
    await clock.advance(1_999);
    expect(store.health().details['waiting']).toBe(1_000);
    expect(store.health().problem).toBeNull();
    await clock.advance(1);
    const settled = await Promise.allSettled(waiting);
    expect(settled.filter(({ status }) => status === 'fulfilled')).toEqual([]);
    expect(store.health().problem).toBe('the disk has not answered for 2000 ms');
    other.exec('ROLLBACK');
    other.close();
    await first;
    expect(store.health()).toMatchObject({ reachable: true, problem: null });
    expect(await eventsOf(store.readAll())).toHaveLength(1);
  }
  it('lets a thousand appends wait for two seconds, and no more', boundQueue, LONG_MS);

  async function refuse(): Promise<void> {
    const store = await open();
    const other = holdUp();
    await expect(append(store)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    other.exec('ROLLBACK');
    other.close();
    await append(store);
    expect(await eventsOf(store.readAll())).toHaveLength(1);
  }
  it('writes nothing of what it refuses, and goes on', refuse, LONG_MS);
});

describe('a log that may not grow', () => {
  async function fill(): Promise<void> {
    const clock = new FakeClock();
    const store = await open({ clock, unsafePagesMax: 100 });
    const troubles: unknown[] = [];
    const stop = listen('trouble', ({ error }) => troubles.push(error));
    let stored = 0;
    const full = await (async () => {
      for (;;) {
        try {
          await append(store, 20_000);
          stored += 1;
        } catch (error) {
          return error;
        }
      }
    })();
    expect(full).toMatchObject({ code: 'STORE_FULL' });
    expect(troubles.map((error) => isFault(error, 'STORE_FULL'))).toEqual([true]);
    expect(store.health()).toMatchObject({
      reachable: true,
      problem: expect.stringMatching(/full/),
    });
    await expect(append(store)).rejects.toMatchObject({ code: 'STORE_FULL' });
    expect(await eventsOf(store.readAll())).toHaveLength(stored);
    const other = openDatabase(file, { kind: EVENT_LOG });
    other.exec('DELETE FROM events WHERE position < 5');
    other.close();
    await clock.advance(1_000);
    while (store.health().problem !== null) await new Promise(setImmediate);
    await append(store);
    stop();
  }
  it('refuses appends, can be read, and takes appends again when there is room', fill, LONG_MS);
});

describe('a file that is not a log', () => {
  it.each([
    ['holds something else', 'No database at all. '.repeat(500), 'STORE_FOREIGN'],
    ['is empty', '', 'STORE_FOREIGN'],
  ])('is refused when it %s, and nothing is touched', async (_, content, code) => {
    writeFileSync(file, content);
    await expect(open()).rejects.toMatchObject({
      code,
      message: expect.stringMatching(/^[^\n]+$/),
    });
    expect(readdirSync(folder)).toEqual(['events.db']);
    expect(readFileSync(file, 'utf8')).toBe(content);
  });

  it('is refused when a newer version wrote it, and nothing is touched', async () => {
    openDatabase(file, { kind: { ...EVENT_LOG, userVersion: 2 } }).close();
    const before = [readdirSync(folder), readFileSync(file)];
    await expect(open()).rejects.toMatchObject({ code: 'STORE_FOREIGN' });
    expect([readdirSync(folder), readFileSync(file)]).toEqual(before);
  });

  it('is refused when nobody may write to it, and nothing is touched', async () => {
    openDatabase(file, { kind: EVENT_LOG }).close();
    chmodSync(file, 0o444);
    const before = [readdirSync(folder), readFileSync(file)];
    await expect(open()).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringContaining('read-only'),
    });
    expect([readdirSync(folder), readFileSync(file)]).toEqual(before);
  });
});

describe('a log that lost its end', () => {
  async function accept(): Promise<void> {
    const before = await open();
    for (let count = 0; count < 3; count++) await append(before);
    await before.close();
    const other = openDatabase(file, { kind: EVENT_LOG });
    other.exec('DELETE FROM events WHERE position = 3');
    other.close();
    const missing = 'positions 3 to 3 were acknowledged and are missing';
    await expect(open()).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringContaining(missing),
    });
    const troubles: unknown[] = [];
    const stop = listen('trouble', ({ error }) => troubles.push(error));
    const store = await open({ acceptLoss: true });
    stop();
    expect(troubles).toMatchObject([{ message: expect.stringContaining(missing) }]);
    expect(store.health().details).toMatchObject({ loss: missing, head: '2' });
    expect((await store.append(newStream(), 'no_stream', newEvents(1))).position).toBe(4n);
  }
  it('is opened only by who accepts the loss, and says what is lost', accept, LONG_MS);
});
