import { setTimeout as sleep } from 'node:timers/promises';
import { EventStoreDBClient, jsonEvent } from '@eventstore/db-client';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { openEventStoreDB } from '../../src/adapters/eventstoredb/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { EventStore } from '../../src/ports/event-store.js';
import { TestServer } from '../support/eventstoredb/server.js';
import type { AppendFault } from '../support/eventstoredb/switchboard.js';
import {
  eventsOf,
  firstOf,
  idsOf,
  newEvents,
  newStream,
  within,
} from '../support/stored-events.js';

/* What the port makes of each guarantee of the server, and of each way in which it fails. */

const TIMEOUT_MS = 300;
const unknown = expect.objectContaining({ code: 'OUTCOME_UNKNOWN' });
const conflict = expect.objectContaining({ code: 'REVISION_CONFLICT' });
const unavailable = expect.objectContaining({ code: 'STORE_UNAVAILABLE' });
const deleted = expect.objectContaining({ code: 'STREAM_DELETED' });

let server: TestServer;
let store: EventStore;
let client: EventStoreDBClient;

beforeAll(async () => {
  server = await TestServer.start({ dropMs: 50 });
  client = EventStoreDBClient.connectionString(server.url);
});
beforeEach(async () => {
  store = await open(server.url);
});
afterEach(() => store.close());
afterAll(async () => {
  await client.dispose();
  await server.stop();
});

describe('services that share a server', () => {
  it('are set apart by the prefix of their streams: neither sees what the other one writes', async () => {
    const staging = await open(`${server.url}&streamPrefix=staging-`);
    try {
      const stream = newStream();
      const [ours, theirs] = [newEvents(2), newEvents()];
      await store.append(stream, 'no_stream', ours);
      const { position } = await staging.append(stream, 'no_stream', theirs);
      await store.append(stream, 1n, newEvents());
      expect(idsOf(await eventsOf(staging.read(stream)))).toEqual(idsOf(theirs));
      const inLog = await eventsOf(staging.readAll());
      expect(inLog.map((each) => [each.stream, each.id])).toEqual([[stream, theirs[0]?.id]]);
      expect(await staging.head()).toBe(position);
      const delivery = await firstOf(staging.subscribe());
      expect(delivery?.events).toEqual(inLog);
      expect(within([stream], await eventsOf(store.readAll()))).toHaveLength(3);
    } finally {
      await staging.close();
    }
  });
});

describe('an append whose answer was lost', () => {
  it.each<[string, AppendFault]>([
    ['it was written, and the stream failed', { fault: 'commit_then_unavailable' }],
    ['it was written, and said to have timed out', { fault: 'commit_then_deadline' }],
    ['it was written, and the stream ended well', { fault: 'ok_end', commit: true }],
    ['it was written, and the stream was reset', { fault: 'internal', commit: true }],
    ['it was written, and the connection was reset', { fault: 'reset', commit: true }],
    ['it was not written, and said to have timed out', { fault: 'deadline' }],
    ['it was not written, and the stream was reset', { fault: 'internal', commit: false }],
    ['it was not written, and the connection was reset', { fault: 'reset', commit: false }],
    ['it was neither written nor answered', { fault: 'silence' }],
    ['it is written later', { fault: 'reject_then_commit', delayMs: 60 }],
  ])('has an unknown outcome, and its repeat the right one: %s', async (_, fault) => {
    play(fault);
    const [stream, events] = [newStream(), newEvents(2)];
    await expect(store.append(stream, 'no_stream', events)).rejects.toEqual(unknown);
    const repeated = await repeat(() => store.append(stream, 'no_stream', events));
    const kept = await eventsOf(store.read(stream));
    expect(idsOf(kept)).toEqual(idsOf(events));
    expect(repeated).toEqual({ revision: 1n, position: kept[1]?.position });
  });

  it('is not in the stream at first, and then it is', async () => {
    play({ fault: 'reject_then_commit', delayMs: 80 });
    const [stream, events] = [newStream(), newEvents()];
    await expect(store.append(stream, 'no_stream', events)).rejects.toEqual(unknown);
    expect(await eventsOf(store.read(stream))).toEqual([]);
    await sleep(120);
    expect(idsOf(await eventsOf(store.read(stream)))).toEqual(idsOf(events));
  });

  it('was never written when another event holds its revision', async () => {
    play({ fault: 'reject_then_commit', delayMs: 80 });
    const [stream, events, others] = [newStream(), newEvents(), newEvents()];
    await expect(store.append(stream, 'no_stream', events)).rejects.toEqual(unknown);
    await store.append(stream, 'no_stream', others);
    await expect(store.append(stream, 'no_stream', events)).rejects.toEqual(conflict);
    await sleep(120);
    expect(idsOf(await eventsOf(store.read(stream)))).toEqual(idsOf(others));
  });

  it('counts in health', async () => {
    play({ fault: 'deadline' });
    await store.append(newStream(), 'no_stream', newEvents()).catch(() => {});
    expect(store.health().details['unknownOutcomes']).toBe(1);
  });

  it('leaves the others on the same stream alone when only its answer was late', async () => {
    await store.append(newStream(), 'no_stream', newEvents());
    play({ fault: 'silence' });
    const dropped = store.append(newStream(), 'no_stream', newEvents());
    const outcome = expect(dropped).rejects.toEqual(unknown);
    const beside: Promise<unknown>[] = [];
    for (let n = 0; n < 20; n += 1) {
      beside.push(store.append(newStream(), 'no_stream', newEvents()));
      await sleep(TIMEOUT_MS / 15);
    }
    await Promise.all([outcome, ...beside]);
    expect(store.health().details['reconnects']).toBe(0);
  });
});

describe('an append that was surely not written', () => {
  it('is refused as unavailable while the server is not ready', async () => {
    play({ fault: 'not_ready' });
    const stream = newStream();
    await expect(store.append(stream, 'no_stream', newEvents())).rejects.toEqual(unavailable);
    expect((await store.append(stream, 'no_stream', newEvents())).revision).toBe(0n);
  });

  it('is refused as unavailable at once while the server is gone, and goes through when it is back', async () => {
    const other = await TestServer.start();
    const there = await open(other.url);
    await other.stop();
    // The first one may have been under way on a connection that was not known to be dead.
    await there.append(newStream(), 'no_stream', newEvents()).catch(() => {});
    const startedAtMs = performance.now();
    await expect(there.append(newStream(), 'no_stream', newEvents())).rejects.toEqual(unavailable);
    expect(performance.now() - startedAtMs).toBeLessThan(TIMEOUT_MS);
    const again = await TestServer.start({ port: other.port });
    await repeat(() => there.append(newStream(), 'no_stream', newEvents()));
    await there.close();
    await again.stop();
  });

  it('is refused as unavailable when too many wait already', async () => {
    play({ fault: 'silence' }, 1_000);
    const waiting = Array.from({ length: 1_000 }, () =>
      store.append(newStream(), 'no_stream', newEvents()),
    );
    const outcomes = Promise.allSettled(waiting);
    await expect(store.append(newStream(), 'no_stream', newEvents())).rejects.toEqual(unavailable);
    // The silence is lifted when it has met them all: an append still on its way would be answered.
    expect((await outcomes).every(({ status }) => status === 'rejected')).toBe(true);
    server.switchboard.clear();
  });
});

describe('a stream that was deleted', () => {
  it('is told as deleted, not as missing, and not begun again', async () => {
    const stream = newStream();
    await store.append(stream, 'no_stream', newEvents(2));
    await client.deleteStream(stream);
    await expect(eventsOf(store.read(stream))).rejects.toEqual(deleted);
    await expect(store.append(stream, 'no_stream', newEvents())).rejects.toEqual(deleted);
  });

  it('is told as deleted when it has a tombstone', async () => {
    const stream = newStream();
    await store.append(stream, 'no_stream', newEvents(2));
    await client.tombstoneStream(stream);
    await expect(eventsOf(store.read(stream))).rejects.toEqual(deleted);
    await expect(store.append(stream, 1n, newEvents())).rejects.toEqual(deleted);
  });
});

describe('what other programs see and do', () => {
  it('events are marked as JSON, with our bytes', async () => {
    const stream = newStream();
    const [event] = newEvents(1, { data: '{"b": 1, "a": [2]}', metadata: '{"m":"ä"}' });
    await store.append(stream, 'no_stream', [event!]);
    for await (const { event: read } of client.readStream(stream)) {
      expect(read).toMatchObject({
        isJson: true,
        data: { b: 1, a: [2] },
        metadata: { m: 'ä' },
        id: event!.id,
      });
    }
    expect(server.log.visible(stream)?.[0]?.data.toString()).toBe(event!.data);
  });

  it('streams of others in the same log are passed over', async () => {
    const before = (await store.head()) ?? 0n;
    const ours = await store.append(newStream(), 'no_stream', newEvents());
    const foreign = Array.from({ length: 40 }, () => jsonEvent({ type: 'x', data: {} }));
    await client.appendToStream(`other-${newStream()}`, foreign);
    expect(await store.head()).toBe(ours.position);
    const all = await eventsOf(store.readAll({ after: before }));
    expect(all.map(({ position }) => position)).toEqual([ours.position]);
    const next = await store.append(newStream(), 'no_stream', newEvents());
    expect(await store.head()).toBe(next.position);
  });

  it('a repeat of events that a truncation hides still answers a position', async () => {
    const [stream, events] = [newStream(), newEvents()];
    await store.append(stream, 'no_stream', events);
    const second = await store.append(stream, 0n, newEvents());
    await client.setStreamMetadata(stream, { truncateBefore: 1 });
    const repeated = await store.append(stream, 'no_stream', events);
    expect(repeated.revision).toBe(0n);
    expect(repeated.position).toBeGreaterThanOrEqual(second.position);
    server.switchboard.plan({ on: 'read', play: { fault: 'silence' }, times: 1 });
    await expect(store.append(stream, 'no_stream', events)).rejects.toEqual(unknown);
  });

  it('a log that has become shorter is looked at anew', async () => {
    const other = await TestServer.start();
    const { port } = other;
    const there = await open(other.url);
    await there.append(newStream(), 'no_stream', newEvents(5));
    expect(await there.head()).not.toBeNull();
    await other.stop();
    const empty = await TestServer.start({ port });
    expect(await repeat(() => there.head())).toBeNull();
    await there.close();
    await empty.stop();
  });
});

describe('reads', () => {
  it('are asked of the leader: a node that follows sends them there, and appends stay where they are', async () => {
    const follower = await TestServer.start({ isLeader: false });
    follower.leader = { host: '127.0.0.1', port: server.port };
    const there = await open(follower.url);
    const stream = newStream();
    const { position } = await store.append(stream, 'no_stream', newEvents());
    expect(await there.head()).toBe(position);
    expect(await eventsOf(there.read(stream))).toHaveLength(1);
    await there.close();
    await follower.stop();
  });

  it('fail as unavailable when the server is silent, and succeed when it speaks', async () => {
    server.switchboard.plan({ on: 'read', play: { fault: 'silence' }, times: 1 });
    const stream = newStream();
    const startedAtMs = performance.now();
    await expect(eventsOf(store.read(stream))).rejects.toEqual(unavailable);
    expect(performance.now() - startedAtMs).toBeLessThan(2 * TIMEOUT_MS + 200);
    expect(await eventsOf(store.read(stream))).toEqual([]);
  });

  it('that find the connection dead are tried on a new one', async () => {
    const stream = newStream();
    await store.append(stream, 'no_stream', newEvents());
    server.resetConnections();
    expect(await eventsOf(store.read(stream))).toHaveLength(1);
  });

  it('refuse a position that is none', async () => {
    const invalid = expect.objectContaining({ code: 'POSITION_INVALID' });
    const { position } = await store.append(newStream(), 'no_stream', newEvents(3));
    const beside = position - 1n;
    await expect(eventsOf(store.readAll({ after: -1n }))).rejects.toEqual(invalid);
    await expect(eventsOf(store.readAll({ after: beside }))).rejects.toEqual(invalid);
    await expect(store.subscribe({ after: beside })[Symbol.asyncIterator]().next()).rejects.toEqual(
      invalid,
    );
  });
});

describe('health', () => {
  it('tells that nobody leads, although the server says of itself that it is live', async () => {
    const other = await TestServer.start();
    other.members = [{ host: '127.0.0.1', port: other.port, state: 'follower', isAlive: true }];
    const there = await open(other.url);
    await there.append(newStream(), 'no_stream', newEvents());
    expect((await fetch(other.healthUrl)).status).toBe(204);
    expect(there.health()).toMatchObject({
      reachable: true,
      problem: expect.stringMatching(/no node .* leads/),
      details: { leaderKnown: false },
    });
    await there.close();
    await other.stop();
  });

  it('tells what it saw', async () => {
    await store.append(newStream(), 'no_stream', newEvents());
    expect(store.health()).toEqual({
      reachable: true,
      problem: null,
      details: {
        kind: 'eventstoredb',
        server: `esdb://127.0.0.1:${String(server.port)}`,
        leaderKnown: true,
        lastAppendAt: expect.stringMatching(/^20\d\d-/),
        appendsInFlight: 0,
        unknownOutcomes: 0,
        reconnects: 0,
        subscriptions: 0,
        subscriptionsResumed: 0,
        subscriptionLag: null,
      },
    });
  });
});

function open(url: string): Promise<EventStore> {
  return openEventStoreDB({
    url,
    clock: systemClock,
    appendTimeoutMs: TIMEOUT_MS,
    readTimeoutMs: TIMEOUT_MS,
  });
}

function play(fault: AppendFault, times = 1): void {
  server.switchboard.plan({ on: 'append', play: fault, times });
}

/** Does it again while its outcome is unknown or the server is away, one at a time, as the command path does. */
async function repeat<T>(work: () => Promise<T>): Promise<T> {
  const giveUpAtMs = performance.now() + 5_000;
  while (true) {
    try {
      return await work();
    } catch (error) {
      if (performance.now() > giveUpAtMs) throw error;
      const { code } = error as { readonly code?: string };
      if (code !== 'OUTCOME_UNKNOWN' && code !== 'STORE_UNAVAILABLE') throw error;
      await sleep(10);
    }
  }
}
