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
 * Each fault several times while writers work and a reader follows: nothing that was acknowledged is
 * lost, nothing is there twice, every command is answered in its time, and soon after all is well again.
 * EVENTSTOREDB_FAULTS=100 plays each fault so many times.
 */

const TIMES = Number(process.env['EVENTSTOREDB_FAULTS'] ?? 3);
const WRITERS = 12;
const TIMEOUT_MS = 250;
const DEADLINE_MS = 3_000;
const GRACE_MS = 250;
const RECOVERY_MAX_MS = 2_000;
const TEST_MS_MAX = 20_000 + TIMES * 1_500;

const append = (play: Extract<Plan, { on: 'append' }>['play']): Plan => ({ on: 'append', play });
const read = (play: Extract<Plan, { on: 'read' }>['play']): Plan => ({ on: 'read', play });
const subscription = (play: Extract<Plan, { on: 'subscription' }>['play']): Plan => ({
  on: 'subscription',
  play,
});

const FAULTS: readonly (readonly [name: string, plan: Plan])[] = [
  ['an append is neither written nor answered', append({ fault: 'silence' })],
  ['an append is written, then the stream fails', append({ fault: 'commit_then_unavailable' })],
  ['an append is written, and told to have timed out', append({ fault: 'commit_then_deadline' })],
  [
    'an append is told to have timed out, and written later',
    append({ fault: 'reject_then_commit', delayMs: 40 }),
  ],
  ['an append times out, unwritten', append({ fault: 'deadline' })],
  ['an append is answered too late', append({ fault: 'late_reply', delayMs: TIMEOUT_MS + 100 })],
  ['the stream ends as if all were well', append({ fault: 'ok_end', commit: true })],
  ['the stream ends as if all were well, before', append({ fault: 'ok_end', commit: false })],
  ['the connection is reset after a write', append({ fault: 'reset', commit: true })],
  ['the connection is reset before a write', append({ fault: 'reset', commit: false })],
  ['the stream is reset after a write', append({ fault: 'internal', commit: true })],
  ['the stream is reset before a write', append({ fault: 'internal', commit: false })],
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
  ['the end is told again and again', subscription({ fault: 'caught_up_again' })],
  ['a subscription is slow', subscription({ fault: 'slow', delayMs: 50 })],
];

let server: TestServer;
let store: EventStore;

beforeAll(async () => {
  server = await TestServer.start({ dropMs: 400 });
  store = await openEventStoreDB({
    url: server.url,
    clock: systemClock,
    appendTimeoutMs: TIMEOUT_MS,
    readTimeoutMs: TIMEOUT_MS,
    silenceMs: TIMEOUT_MS,
  });
});
afterAll(async () => {
  await store.close();
  await server.stop();
});

describe(`${String(TIMES)} times under load`, () => {
  it.each(FAULTS)(
    '%s: nothing is lost or doubled',
    async (_name, plan) => {
      const follower = new Collector(store, (await store.head()) ?? 0n);
      const load = new Load({ store, writers: WRITERS, deadlineMs: DEADLINE_MS });
      await load.more(WRITERS);
      const playedBefore = playedOf(plan);
      for (let n = 1; n <= TIMES; n += 1) {
        server.switchboard.plan({ ...plan, times: 1, every: 3 });
        await load.more(WRITERS);
        while (playedOf(plan) < playedBefore + n) await sleep(2);
      }
      server.switchboard.clear();
      const clearedAtMs = performance.now();
      await load.everyWriter();
      expect(performance.now() - clearedAtMs).toBeLessThan(RECOVERY_MAX_MS);
      await load.stop();
      const { lost, doubled, events } = await load.compare(store);
      expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });
      expect(load.slowestMs).toBeLessThan(DEADLINE_MS + GRACE_MS);
      expect(load.answers.get('defect')).toBeUndefined();
      const followed = await follower.until(load.streamPrefix, events);
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

  constructor(store: EventStore, after: bigint) {
    this.#following = this.#follow(store, after);
  }

  async until(prefix: string, count: number): Promise<readonly RecordedEvent[]> {
    const ours = (): RecordedEvent[] =>
      this.#events.filter(({ stream }) => stream.startsWith(prefix));
    while (ours().length < count) await sleep(5);
    this.#abort.abort();
    await this.#following;
    return ours();
  }

  async #follow(store: EventStore, after: bigint): Promise<void> {
    const { signal } = this.#abort;
    for await (const { events } of store.subscribe({ after, signal })) this.#events.push(...events);
  }
}
