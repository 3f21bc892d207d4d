import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openEventStoreDB } from '../../src/adapters/eventstoredb/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { EventStore, RecordedEvent } from '../../src/ports/event-store.js';
import { Load } from '../support/eventstoredb/load.js';
import { TestServer } from '../support/eventstoredb/server.js';
import type { Plan } from '../support/eventstoredb/switchboard.js';
import { isGrowing } from '../support/stored-events.js';

/*
 * Each fault several times while writers work and a reader follows. Every command is answered in its
 * time, soon after a fault all writers go on, and at the end nothing that was acknowledged is missing,
 * nothing is there twice, and the reader has seen all of it once and in order.
 *
 * The long form: EVENTSTOREDB_FAULTS=100 plays each fault so many times, the two that matter most ten
 * times as often.
 */

const TIMES = Number(process.env['EVENTSTOREDB_FAULTS'] ?? 2);
const IS_LONG = TIMES >= 100;
const WRITERS = 8;
const TIMEOUT_MS = 250;
const DEADLINE_MS = 3_000;
const GRACE_MS = 250;
const RECOVERY_MS_MAX = 2_000;
const TEST_MS_MAX = 30_000 + TIMES * 15_000;

const append = (play: Extract<Plan, { on: 'append' }>['play']): Plan => ({ on: 'append', play });
const read = (play: Extract<Plan, { on: 'read' }>['play']): Plan => ({ on: 'read', play });
const subscription = (play: Extract<Plan, { on: 'subscription' }>['play']): Plan => ({
  on: 'subscription',
  play,
});

const FAULTS: readonly (readonly [name: string, plan: Plan, times?: number])[] = [
  [
    'an append is written, then the stream fails',
    append({ fault: 'commit_then_unavailable' }),
    IS_LONG ? 10 * TIMES : TIMES,
  ],
  [
    'an append is told to have timed out, and written later',
    append({ fault: 'reject_then_commit', delayMs: 40 }),
    IS_LONG ? 10 * TIMES : TIMES,
  ],
  ['an append is neither written nor answered', append({ fault: 'silence' })],
  ['an append is written, and told to have timed out', append({ fault: 'commit_then_deadline' })],
  ['an append times out, unwritten', append({ fault: 'deadline' })],
  ['an append is answered too late', append({ fault: 'late_reply', delayMs: TIMEOUT_MS + 100 })],
  ['the stream ends as if all were well, after a write', append({ fault: 'ok_end', commit: true })],
  ['the stream ends as if all were well', append({ fault: 'ok_end', commit: false })],
  ['the connection is reset after a write', append({ fault: 'reset', commit: true })],
  ['the connection is reset', append({ fault: 'reset', commit: false })],
  ['the stream is reset after a write', append({ fault: 'internal', commit: true })],
  ['the stream is reset', append({ fault: 'internal', commit: false })],
  ['the server is not ready', append({ fault: 'not_ready' })],
  ['a read is not answered', read({ fault: 'silence' })],
  ['a read fails', read({ fault: 'unavailable' })],
  ['a read comes too early', read({ fault: 'not_ready' })],
  ['the connection is reset during a read', read({ fault: 'reset' })],
  ['a subscription falls silent', subscription({ fault: 'silence' })],
  ['a subscription fails', subscription({ fault: 'unavailable' })],
  ['a subscription is reset', subscription({ fault: 'internal' })],
  ['the connection of a subscription is reset', subscription({ fault: 'reset' })],
  ['a subscription ends as if all were well', subscription({ fault: 'ok_end' })],
  ['a subscription repeats an event', subscription({ fault: 'duplicate' })],
  ['a checkpoint lies beyond events', subscription({ fault: 'checkpoint_past' })],
  ['the end is told again', subscription({ fault: 'caught_up_again' })],
  ['a subscription is slow', subscription({ fault: 'slow', delayMs: 30 })],
];

let server: TestServer;
let store: EventStore;
let load: Load;
let follower: Collector;

beforeAll(async () => {
  server = await TestServer.start({ dropMs: 400 });
  store = await openEventStoreDB({
    url: server.url,
    clock: systemClock,
    appendTimeoutMs: TIMEOUT_MS,
    readTimeoutMs: TIMEOUT_MS,
    silenceMs: TIMEOUT_MS,
  });
  follower = new Collector(store);
  load = new Load({ store, writers: WRITERS, deadlineMs: DEADLINE_MS });
  await load.everyWriter();
});
afterAll(async () => {
  load.abandon();
  await store.close();
  await server.stop();
});

describe('under load', () => {
  it.each(FAULTS)(
    '%s: all go on soon',
    async (_name, plan, times = TIMES) => {
      const playedBefore = playedOf(plan);
      for (let n = 1; n <= times; n += 1) {
        server.switchboard.plan({ ...plan, times: 1, every: 3 });
        while (playedOf(plan) < playedBefore + n) await sleep(1);
        await load.more(2);
      }
      const clearedAtMs = performance.now();
      await load.everyWriter();
      expect(performance.now() - clearedAtMs).toBeLessThan(RECOVERY_MS_MAX);
      expect(load.slowestMs).toBeLessThan(DEADLINE_MS + GRACE_MS);
    },
    TEST_MS_MAX,
  );

  it(
    'a server that freezes and thaws: all go on soon',
    async () => {
      for (let n = 0; n < TIMES; n += 1) {
        server.freeze();
        await sleep(2 * TIMEOUT_MS);
        server.thaw();
        const thawedAtMs = performance.now();
        await load.everyWriter();
        expect(performance.now() - thawedAtMs).toBeLessThan(RECOVERY_MS_MAX);
      }
    },
    TEST_MS_MAX,
  );

  it(
    'in the end nothing is lost or doubled, and who followed has seen all of it in order',
    async () => {
      await load.stop();
      const { lost, doubled, events } = await load.compare(store);
      expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });
      expect(load.answers.get('defect')).toBeUndefined();
      const followed = await follower.until(events);
      expect(followed).toHaveLength(events);
      expect(isGrowing(followed)).toBe(true);
    },
    TEST_MS_MAX,
  );
});

function playedOf({ play: { fault } }: Plan): number {
  return server.switchboard.played.get(fault) ?? 0;
}

/** A reader that follows the log and keeps what it gets. */
class Collector {
  readonly #events: RecordedEvent[] = [];
  readonly #abort = new AbortController();
  readonly #following: Promise<void>;

  constructor(from: EventStore) {
    this.#following = this.#follow(from);
  }

  async until(count: number): Promise<readonly RecordedEvent[]> {
    while (this.#events.length < count) await sleep(5);
    this.#abort.abort();
    await this.#following;
    return this.#events;
  }

  async #follow(from: EventStore): Promise<void> {
    const { signal } = this.#abort;
    for await (const { events } of from.subscribe({ signal })) this.#events.push(...events);
  }
}
