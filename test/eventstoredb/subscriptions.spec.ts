import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openEventStoreDB } from '../../src/adapters/eventstoredb/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { Delivery, EventStore, NewEvent, RecordedEvent } from '../../src/ports/event-store.js';
import { TestServer } from '../support/eventstoredb/server.js';
import type { SubscriptionFault } from '../support/eventstoredb/switchboard.js';
import { idsOf, isGrowing, newEvents, newStream } from '../support/stored-events.js';

/* What a reader that follows the log meets, and what it never meets. */

const SILENCE_MS = 150;

let server: TestServer;
let store: EventStore;

beforeEach(async () => {
  server = await TestServer.start();
  store = await open(server);
});
afterEach(async () => {
  await store.close();
  await server.stop();
});

describe('a subscription that is dropped', () => {
  it.each<[string, SubscriptionFault]>([
    ['fails', { fault: 'unavailable' }],
    ['is reset without a reason', { fault: 'internal' }],
    ['loses its connection', { fault: 'reset' }],
    ['ends as if all were well', { fault: 'ok_end' }],
    ['falls silent', { fault: 'silence' }],
  ])('goes on after the last event that came, when it %s', async (_, fault) => {
    const [stream, events] = [newStream(), newEvents(9)];
    await store.append(stream, 'no_stream', events);
    play(fault, { every: 4, times: 2 });
    const received = await take(store, 9);
    expect(idsOf(received)).toEqual(idsOf(events));
    expect(isGrowing(received)).toBe(true);
    expect(store.health().details['subscriptionsResumed']).toBe(2);
  });

  it('never goes on from a checkpoint, which may lie beyond events', async () => {
    const events = newEvents(6);
    await store.append(newStream(), 'no_stream', events);
    play({ fault: 'checkpoint_past' }, { times: 3 });
    play({ fault: 'ok_end' }, { times: 1 });
    expect(idsOf(await take(store, 6))).toEqual(idsOf(events));
  });

  it('waits for a server that is away', async () => {
    const { port } = server;
    const events = newEvents(2);
    const received = take(store, 2);
    await server.stop();
    await sleep(300);
    server = await TestServer.start({ port });
    await append(events);
    expect(idsOf(await received)).toEqual(idsOf(events));
  });

  it('is refused when the log has lost what it had read', async () => {
    const { port } = server;
    await store.append(newStream(), 'no_stream', newEvents(3));
    const following = store.subscribe()[Symbol.asyncIterator]();
    await takeFrom(following, 3);
    await server.stop();
    server = await TestServer.start({ port });
    await expect(nextWithEvents(following)).rejects.toMatchObject({
      code: 'POSITION_INVALID',
      message: expect.stringMatching(/lost its tail/),
    });
  });
});

describe('a feed that is not as it should be', () => {
  it('is handed over without what came twice', async () => {
    const events = newEvents(5);
    await store.append(newStream(), 'no_stream', events);
    play({ fault: 'duplicate' });
    expect(idsOf(await take(store, 5))).toEqual(idsOf(events));
  });

  it('is put in order when two events came the wrong way round, and nobody has seen them yet', async () => {
    const events = newEvents(60);
    const first = await store.append(newStream(), 'no_stream', events.slice(0, 1));
    const following = store.subscribe()[Symbol.asyncIterator]();
    await takeFrom(following, 1);
    play({ fault: 'reorder' }, { every: 2 });
    await store.append(newStream(), 'no_stream', events.slice(1));
    await untilSteady(() => server.eventsSent);
    const received = await takeFrom(following, 59);
    expect(idsOf(received)).toEqual(idsOf(events.slice(1)));
    expect(received.every(({ position }) => position > first.position)).toBe(true);
    await following.return?.();
  });

  it('is given up, loudly, when an event comes after later ones were handed over', async () => {
    const following = store.subscribe()[Symbol.asyncIterator]();
    await following.next();
    play({ fault: 'late', delayMs: 50 }, { times: 1 });
    await append(newEvents());
    await append(newEvents());
    await expect(takeFrom(following, 2)).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/came after later ones/),
    });
  });

  it('tells the end once, however often it is told', async () => {
    const following = store.subscribe()[Symbol.asyncIterator]();
    expect(await following.next()).toEqual({
      done: false,
      value: { events: [], caughtUp: true },
    });
    play({ fault: 'caught_up_again' });
    for (let n = 0; n < 5; n += 1) {
      await append(newEvents());
      const { value } = (await following.next()) as { readonly value: Delivery };
      expect(value.events).toHaveLength(1);
    }
    await following.return?.();
  });
});

describe('a quiet log', () => {
  it('is no reason to begin again', async () => {
    await store.append(newStream(), 'no_stream', newEvents());
    const following = store.subscribe()[Symbol.asyncIterator]();
    await following.next();
    const next = following.next();
    await sleep(4 * SILENCE_MS);
    expect(store.health().details['subscriptionsResumed']).toBe(0);
    await append(newEvents());
    expect((await next).done).toBe(false);
    await following.return?.();
  });
});

describe('a reader', () => {
  it('that is slow makes the server wait, and nobody holds the log for it', async () => {
    const data = JSON.stringify('x'.repeat(1_000));
    for (let n = 0; n < 20; n += 1) {
      await store.append(newStream(), 'no_stream', newEvents(100, { data }));
    }
    const following = store.subscribe()[Symbol.asyncIterator]();
    const first = await following.next();
    await untilSteady(() => server.eventsSent);
    expect(server.eventsSent).toBeLessThan(1_600);
    const { events } = first.value as Delivery;
    const rest = await takeFrom(following, 2_000 - events.length);
    expect(isGrowing([...events, ...rest])).toBe(true);
    await following.return?.();
  });

  it('shows in health how far it is behind', async () => {
    await store.append(newStream(), 'no_stream', newEvents(3));
    const following = store.subscribe()[Symbol.asyncIterator]();
    await takeFrom(following, 3);
    expect(store.health().details).toMatchObject({ subscriptions: 1, subscriptionLag: 0 });
    await append(newEvents(5));
    expect(Number(store.health().details['subscriptionLag'])).toBeGreaterThan(0);
    await following.return?.();
    expect(store.health().details).toMatchObject({ subscriptions: 0, subscriptionLag: null });
  });

  it('that leaves, or is aborted, leaves nothing open at the server', async () => {
    await store.append(newStream(), 'no_stream', newEvents());
    await take(store, 1);
    const abort = new AbortController();
    const ended = (async () => {
      for await (const { caughtUp } of store.subscribe({ signal: abort.signal })) {
        if (caughtUp) abort.abort();
      }
    })();
    await ended;
    while (server.openReads > 0) await sleep(5);
  });
});

function open({ url }: TestServer): Promise<EventStore> {
  return openEventStoreDB({
    url,
    clock: systemClock,
    readTimeoutMs: 300,
    connectTimeoutMs: 300,
    silenceMs: SILENCE_MS,
  });
}

function play(fault: SubscriptionFault, how: { every?: number; times?: number } = {}): void {
  server.switchboard.plan({ on: 'subscription', play: fault, ...how });
}

/** Appends to a new stream, in spite of a server that has only just come back. */
async function append(events: readonly NewEvent[]): Promise<void> {
  const stream = newStream();
  while (true) {
    const answer = await store.append(stream, 'no_stream', events).catch(() => null);
    if (answer !== null) return;
    await sleep(10);
  }
}

async function take(from: EventStore, count: number): Promise<RecordedEvent[]> {
  const following = from.subscribe()[Symbol.asyncIterator]();
  const received = await takeFrom(following, count);
  await following.return?.();
  return received;
}

async function takeFrom(following: AsyncIterator<Delivery>, count: number) {
  const received: RecordedEvent[] = [];
  while (received.length < count) received.push(...(await nextWithEvents(following)).events);
  return received;
}

async function nextWithEvents(following: AsyncIterator<Delivery>): Promise<Delivery> {
  while (true) {
    const next = await following.next();
    if (next.done === true) throw new Error('it ended');
    if (next.value.events.length > 0) return next.value;
  }
}

async function untilSteady(read: () => number): Promise<void> {
  for (let before = -1; before !== read();) {
    before = read();
    await sleep(100);
  }
}
