import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import {
  APPEND_BYTES_MAX,
  APPEND_EVENTS_MAX,
  type EventStore,
  type NewEvent,
  type RecordedEvent,
} from '../../src/ports/event-store.js';
import {
  eventsOf,
  headOf,
  idsOf,
  newEvents,
  newStream,
  one,
  within,
} from '../support/stored-events.js';
import { following, reading, readingAll } from './event-store-reading.contract.js';

/** A store under test, and what is to be done when the suite is over. */
export interface OpenedEventStore {
  readonly store: EventStore;
  readonly dispose?: () => Promise<void>;
}

export interface EventStoreTraits {
  /** Whether an id that the log holds is refused at every other place. False: at some it is stored again. */
  readonly idsAreUnique?: boolean;
}

/** A store may have to start a thread or a server first, on a machine that does other things too. */
const OPEN_MS_MAX = 60_000;
const conflict = expect.objectContaining({ code: 'REVISION_CONFLICT' });

/**
 * What every log must do. The log may be shared with others while the suite runs: names are used once,
 * and what is read from the whole log begins after its head and is filtered by name.
 */
export function eventStoreContract(
  name: string,
  open: () => Promise<OpenedEventStore>,
  traits: EventStoreTraits = {},
): void {
  describe(`the log in ${name}`, () => {
    let opened: OpenedEventStore;
    beforeAll(async () => {
      opened = await open();
    }, OPEN_MS_MAX);
    afterAll(async () => {
      await opened.store.close();
      await opened.dispose?.();
    }, OPEN_MS_MAX);
    const store = (): EventStore => opened.store;

    describe('when it appends', () => appending(store));
    describe('when an append is repeated', () => repeating(store, traits));
    describe('when a stream is read', () => reading(store));
    describe('when all of it is read', () => readingAll(store));
    describe('when it is followed', () => following(store));
    describe('when it is closed', () => closing(open));
  });
}

function appending(store: () => EventStore): void {
  test('the answer is the place of the last event', async () => {
    const stream = newStream();
    const first = await store().append(stream, 'no_stream', newEvents(3));
    expect(first.revision).toBe(2n);
    const second = await store().append(stream, 2n, newEvents(1));
    expect(second.revision).toBe(3n);
    expect(second.position > first.position).toBe(true);
    const places = (await eventsOf(store().read(stream))).map(({ position }) => position);
    expect(places[2]).toBe(first.position);
    expect(places[3]).toBe(second.position);
  });

  test('the head of the log is the last event', async () => {
    const { position } = await store().append(newStream(), 'no_stream', newEvents(2));
    expect(((await store().head()) ?? -1n) >= position).toBe(true);
  });

  test.each([
    ['no stream', 'no_stream'],
    ['an older revision', 0n],
    ['a revision that it has not reached', 2n],
    ['a revision far away', 2n ** 62n],
  ] as const)('a stream that exists refuses the expectation of %s', async (_, expected) => {
    const stream = newStream();
    const events = newEvents(2);
    await store().append(stream, 'no_stream', events);
    await expect(store().append(stream, expected, newEvents(1))).rejects.toEqual(conflict);
    expect(idsOf(await eventsOf(store().read(stream)))).toEqual(idsOf(events));
  });

  test('a stream that does not exist refuses every revision', async () => {
    const stream = newStream();
    await expect(store().append(stream, 0n, newEvents(1))).rejects.toEqual(conflict);
    expect(await eventsOf(store().read(stream))).toEqual([]);
  });

  test('of two appends at one revision one lands, whole', async () => {
    const stream = newStream();
    await store().append(stream, 'no_stream', newEvents(1));
    const rivals = Array.from({ length: 8 }, () => newEvents(3));
    const answers = await Promise.allSettled(
      rivals.map((events) => store().append(stream, 0n, events)),
    );
    const won = answers.findIndex(({ status }) => status === 'fulfilled');
    expect(answers.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const answer of answers) {
      if (answer.status === 'rejected') expect(answer.reason).toEqual(conflict);
    }
    const kept = await eventsOf(store().read(stream, { from: 1n }));
    expect(idsOf(kept)).toEqual(idsOf(rivals[won] ?? []));
  });

  test('conflicts do not hurt the appends that come with them', async () => {
    const taken = newStream();
    await store().append(taken, 'no_stream', newEvents(1));
    const answers = await Promise.allSettled(
      Array.from({ length: 64 }, (_, index) =>
        store().append(index % 4 === 0 ? taken : newStream(), 'no_stream', newEvents(2)),
      ),
    );
    expect(answers.filter(({ status }) => status === 'rejected')).toHaveLength(16);
  });

  test('a single writer may send appends before those they build on are acknowledged', async () => {
    if (!store().exclusive) return;
    const stream = newStream();
    const all = newEvents(64);
    const answers = await Promise.all(
      all.map((event, index) =>
        store().append(stream, index === 0 ? 'no_stream' : BigInt(index - 1), [event]),
      ),
    );
    expect(answers.map(({ revision }) => Number(revision))).toEqual([...all.keys()]);
    expect(idsOf(await eventsOf(store().read(stream)))).toEqual(idsOf(all));
  });

  test('the text of an event is kept to the byte', async () => {
    const stream = newStream();
    const texts = [
      '{"a": 1.0, "b":\t1e3,\n"a":2}',
      '"\\u0000 \\ud800 \\/ 😀 \u{10ffff} é é \u2028 \ufeff"',
      '{}',
      '12345678901234567890.10',
      JSON.stringify('x'.repeat(70_000)),
    ];
    const events = texts.map((data) => ({ ...one(newEvents(1)), data, metadata: data }));
    await store().append(stream, 'no_stream', events);
    const kept = await eventsOf(store().read(stream));
    expect(kept.map(({ data }) => data)).toEqual(texts);
    expect(kept.map(({ metadata }) => metadata)).toEqual(texts);
    expect(kept.map(({ id, type }) => ({ id, type }))).toEqual(
      events.map(({ id, type }) => ({ id, type })),
    );
  });

  test('one mebibyte in one append is stored, a byte more is refused', async () => {
    const stream = newStream();
    const metadata = '"é"';
    const data = JSON.stringify('y'.repeat(APPEND_BYTES_MAX - 4 - 2));
    await store().append(stream, 'no_stream', newEvents(1, { data, metadata }));
    const more = newEvents(1, { data: data.replace('y', 'é'), metadata });
    await expect(store().append(stream, 0n, more)).rejects.toMatchObject({
      code: 'EVENT_TOO_LARGE',
    });
    const kept = await eventsOf(store().read(stream));
    expect(kept.map((event) => event.data.length)).toEqual([data.length]);
  });

  test('a hundred events are one append, all or none', async () => {
    const stream = newStream();
    const events = newEvents(APPEND_EVENTS_MAX);
    await store().append(stream, 'no_stream', events);
    await expect(store().append(stream, 'no_stream', newEvents(100))).rejects.toEqual(conflict);
    const kept = await eventsOf(store().read(stream));
    expect(kept.map(({ revision }) => Number(revision))).toEqual([...events.keys()]);
  });

  test.each([
    ['without an event', () => []],
    ['with too many events', () => newEvents(APPEND_EVENTS_MAX + 1)],
    ['with an id that is no UUID', () => newEvents(1, { id: 'x' })],
    ['with one id twice', () => newEvents(2, { id: randomUUID() })],
  ])('an append %s is a defect of the caller', async (_, events) => {
    const stream = newStream();
    await expect(store().append(stream, 'no_stream', events())).rejects.toBeInstanceOf(RangeError);
    expect(await eventsOf(store().read(stream))).toEqual([]);
  });

  test('it says that it is well', () => {
    expect(store().health()).toMatchObject({ reachable: true, problem: null });
  });
}

function repeating(store: () => EventStore, { idsAreUnique = true }: EventStoreTraits): void {
  /** A stream of three appends with 1, 2 and 3 events. */
  async function filled(): Promise<{ stream: string; events: NewEvent[] }> {
    const stream = newStream();
    const events = newEvents(6);
    await store().append(stream, 'no_stream', events.slice(0, 1));
    await store().append(stream, 0n, events.slice(1, 3));
    await store().append(stream, 2n, events.slice(3));
    return { stream, events };
  }

  test('it answers what the first one answered', async () => {
    const stream = newStream();
    const [first, second] = [newEvents(2), newEvents(1)];
    const answers = [
      await store().append(stream, 'no_stream', first),
      await store().append(stream, 1n, second),
    ];
    await store().append(stream, 2n, newEvents(5));
    expect(await store().append(stream, 'no_stream', first)).toEqual(answers[0]);
    expect(await store().append(stream, 1n, second)).toEqual(answers[1]);
    expect(await eventsOf(store().read(stream))).toHaveLength(8);
  });

  test('the content is not compared, the first one stands', async () => {
    const stream = newStream();
    const events = newEvents(1);
    await store().append(stream, 'no_stream', events);
    const others = events.map((event) => ({ ...event, data: '"other"' }));
    expect((await store().append(stream, 'no_stream', others)).revision).toBe(0n);
    expect((await eventsOf(store().read(stream))).map(({ data }) => data)).toEqual([
      one(events).data,
    ]);
  });

  test('the beginning of an append is a repeat', async () => {
    const { stream, events } = await filled();
    expect((await store().append(stream, 2n, events.slice(3, 5))).revision).toBe(4n);
    expect(await eventsOf(store().read(stream))).toHaveLength(6);
  });

  test('several appends in one are a repeat', async () => {
    const { stream, events } = await filled();
    expect((await store().append(stream, 'no_stream', events)).revision).toBe(5n);
    expect((await store().append(stream, 0n, events.slice(1, 5))).revision).toBe(4n);
    expect(await eventsOf(store().read(stream))).toHaveLength(6);
  });

  test.each<[string, bigint | 'no_stream', (events: NewEvent[]) => NewEvent[]]>([
    ['old events with a new one after them', 2n, (old) => [...old.slice(3), ...newEvents(1)]],
    ['a new event before old ones', 2n, (old) => [...newEvents(1), ...old.slice(3)]],
    ['old events in another order', 0n, (old) => old.slice(1, 3).reverse()],
    ['old events at an earlier revision', 'no_stream', (old) => old.slice(1, 3)],
    ['old events at a later revision', 2n, (old) => old.slice(1, 3)],
  ])('%s are refused', async (_, expected, choose) => {
    const { stream, events } = await filled();
    await expect(store().append(stream, expected, choose(events))).rejects.toEqual(conflict);
    expect(idsOf(await eventsOf(store().read(stream)))).toEqual(idsOf(events));
  });

  if (!idsAreUnique) return;

  test('old events at the end of the stream are refused', async () => {
    const { stream, events } = await filled();
    await expect(store().append(stream, 5n, events.slice(3))).rejects.toEqual(conflict);
    const mixed = [...newEvents(1), ...events.slice(5)];
    await expect(store().append(stream, 5n, mixed)).rejects.toEqual(conflict);
    expect(await eventsOf(store().read(stream))).toHaveLength(6);
  });

  test('old events in another stream are refused', async () => {
    const { events } = await filled();
    const stream = newStream();
    await expect(store().append(stream, 'no_stream', events)).rejects.toEqual(conflict);
    expect(await eventsOf(store().read(stream))).toEqual([]);
  });

  test('repeats that come together with the first one all get its answer', async () => {
    const stream = newStream();
    const events = newEvents(2);
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => store().append(stream, 'no_stream', events)),
    );
    expect(answers.every((answer) => answer.position === answers[0]?.position)).toBe(true);
    expect(await eventsOf(store().read(stream))).toHaveLength(2);
  });
}

function closing(open: () => Promise<OpenedEventStore>): void {
  async function finishing(): Promise<void> {
    const { store, dispose } = await open();
    const stream = newStream();
    const after = await headOf(store);
    const following = (async () => {
      const seen: RecordedEvent[] = [];
      for await (const { events } of store.subscribe({ after })) seen.push(...events);
      return within([stream], seen);
    })();
    const underWay = store.append(stream, 'no_stream', newEvents(1));
    await Promise.all([store.close(), store.close()]);
    expect((await underWay).revision).toBe(0n);
    await expect(store.append(stream, 0n, newEvents(1))).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
    });
    expect((await following).length).toBeLessThanOrEqual(1);
    expect(store.health().reachable).toBe(false);
    await store.close();
    await dispose?.();
  }
  test('appends under way are finished, later ones refused, followers end', finishing, OPEN_MS_MAX);
}
