import { beforeAll, expect, test } from '@jest/globals';
import {
  APPEND_EVENTS_MAX,
  type EventStore,
  type NewEvent,
  type Position,
  type RecordedEvent,
  type StreamRange,
} from '../../src/ports/event-store.js';
import {
  eventsOf,
  firstOf,
  headOf,
  idsOf,
  isGrowing,
  newEvents,
  newStream,
  newStreams,
  within,
} from '../support/stored-events.js';

/** What every log must do when a stream is read. */
export function reading(store: () => EventStore): void {
  const LENGTH = 1_234;
  const stream = newStream();
  const events = newEvents(LENGTH);
  beforeAll(async () => {
    for (let first = 0; first < LENGTH; first += APPEND_EVENTS_MAX) {
      const part = events.slice(first, first + APPEND_EVENTS_MAX);
      await store().append(stream, first === 0 ? 'no_stream' : BigInt(first - 1), part);
    }
  });

  test('a stream that does not exist has no page', async () => {
    expect(await eventsOf(store().read(newStream()))).toEqual([]);
  });

  test('all events come in order, with their places', async () => {
    const read = await eventsOf(store().read(stream));
    expect(idsOf(read)).toEqual(idsOf(events));
    expect(read.map(({ revision }) => Number(revision))).toEqual([...events.keys()]);
    expect(read.every((event) => event.stream === stream)).toBe(true);
    expect(isGrowing(read)).toBe(true);
  });

  const last = LENGTH - 1;
  test.each<[string, StreamRange, number[]]>([
    ['forward from a revision', { from: 1_230n }, [1_230, 1_231, 1_232, 1_233]],
    ['forward up to a revision', { to: 2n }, [0, 1, 2]],
    ['forward, so many', { limit: 2 }, [0, 1]],
    ['forward, a range', { from: 498n, to: 501n }, [498, 499, 500, 501]],
    ['forward, so many of a range', { from: 5n, to: 900n, limit: 3 }, [5, 6, 7]],
    ['forward, one event', { from: 7n, to: 7n }, [7]],
    ['forward beyond the end', { from: BigInt(LENGTH) }, []],
    ['forward, an empty range', { from: 7n, to: 6n }, []],
    ['backward, so many', { direction: 'backward', limit: 2 }, [last, last - 1]],
    ['backward from a revision', { direction: 'backward', from: 2n }, [2, 1, 0]],
    ['backward, a range', { direction: 'backward', from: 501n, to: 499n }, [501, 500, 499]],
    ['backward from beyond the end', { direction: 'backward', from: 9_999n, limit: 1 }, [last]],
  ])('%s', async (_, range, revisions) => {
    const read = await eventsOf(store().read(stream, range));
    expect(read.map(({ revision }) => Number(revision))).toEqual(revisions);
  });

  test('backward, all events come in reverse order', async () => {
    const read = await eventsOf(store().read(stream, { direction: 'backward' }));
    expect(idsOf(read.reverse())).toEqual(idsOf(events));
  });

  test('a reader that leaves early harms nobody', async () => {
    for (let round = 0; round < 20; round++) {
      expect((await firstOf(store().read(stream)))?.length).toBeGreaterThan(0);
    }
    expect(await eventsOf(store().read(stream, { limit: 700 }))).toHaveLength(700);
  });

  test('readers at the same time do not disturb each other', async () => {
    const all = await Promise.all(
      Array.from({ length: 4 }, (_, from) =>
        eventsOf(store().read(stream, { from: BigInt(from) })),
      ),
    );
    expect(all.map((read) => read.length)).toEqual([LENGTH, LENGTH - 1, LENGTH - 2, LENGTH - 3]);
  });
}

/** What every log must do when all of it is read. */
export function readingAll(store: () => EventStore): void {
  test('events of all streams come in the order in which they were appended', async () => {
    const after = await headOf(store());
    const streams = newStreams(3);
    const appended: NewEvent[] = [];
    for (const [round, expected] of [[0, 'no_stream'] as const, [1, 1n] as const]) {
      for (const stream of streams) {
        const events = newEvents(2, { type: `round_${round}` });
        await store().append(stream, expected, events);
        appended.push(...events);
      }
    }
    const read = within(streams, await eventsOf(store().readAll({ after })));
    expect(idsOf(read)).toEqual(idsOf(appended));
    expect(isGrowing(read)).toBe(true);
    const middle = read[5]?.position ?? after;
    const rest = within(streams, await eventsOf(store().readAll({ after: middle })));
    expect(idsOf(rest)).toEqual(idsOf(appended.slice(6)));
  });

  test('no more come than were asked for', async () => {
    const after = await headOf(store());
    await store().append(newStream(), 'no_stream', newEvents(20));
    const read = await eventsOf(store().readAll({ after, limit: 7 }));
    expect(read).toHaveLength(7);
    expect(read[0]?.position).toBeDefined();
    expect(isGrowing(read)).toBe(true);
  });

  test('a log of several pages comes whole', async () => {
    const after = await headOf(store());
    const streams = newStreams(13);
    const appended = await Promise.all(
      streams.map(async (stream) => {
        const events = newEvents(100);
        await store().append(stream, 'no_stream', events);
        return events;
      }),
    );
    const read = within(streams, await eventsOf(store().readAll({ after })));
    expect(new Set(idsOf(read))).toEqual(new Set(idsOf(appended.flat())));
    expect(read).toHaveLength(1_300);
    expect(isGrowing(read)).toBe(true);
  });

  test('it ends where the log ended when the reading began', async () => {
    const after = await headOf(store());
    const stream = newStream();
    await store().append(stream, 'no_stream', newEvents(2));
    const pages = store().readAll({ after });
    await store().append(stream, 1n, newEvents(2));
    expect(within([stream], await eventsOf(pages))).toHaveLength(2);
  });

  test('after the end there is nothing', async () => {
    const { position } = await store().append(newStream(), 'no_stream', newEvents(1));
    const read = await eventsOf(store().readAll({ after: position }));
    expect(read.filter((event) => event.position <= position)).toEqual([]);
  });
}

/** What every log must do when it is followed. */
export function following(store: () => EventStore): void {
  /** Follows until so many events of these streams have come. */
  async function follow(
    streams: readonly string[],
    { after, count }: { readonly after: Position; readonly count: number },
  ): Promise<RecordedEvent[]> {
    const seen: RecordedEvent[] = [];
    for await (const { events } of store().subscribe({ after })) {
      seen.push(...within(streams, events));
      if (seen.length >= count) break;
    }
    return seen;
  }

  test('what is there comes first, then what is appended', async () => {
    const after = await headOf(store());
    const stream = newStream();
    const [old, later] = [newEvents(2), newEvents(2)];
    await store().append(stream, 'no_stream', old);
    const seen: RecordedEvent[] = [];
    for await (const { events, caughtUp } of store().subscribe({ after })) {
      seen.push(...within([stream], events));
      if (caughtUp && seen.length === 2) await store().append(stream, 1n, later);
      if (seen.length === 4) break;
    }
    expect(idsOf(seen)).toEqual(idsOf([...old, ...later]));
    expect(isGrowing(seen)).toBe(true);
  });

  test('a follower at the end is told so, and woken by an append', async () => {
    const after = await headOf(store());
    const stream = newStream();
    const following = store().subscribe({ after })[Symbol.asyncIterator]();
    const first = await following.next();
    expect(first).toEqual({ done: false, value: { events: [], caughtUp: true } });
    const next = following.next();
    await store().append(stream, 'no_stream', newEvents(1));
    expect(await next).toMatchObject({ done: false, value: { events: [{ stream }] } });
    await following.return?.();
  });

  test('from any event it goes on with the next one', async () => {
    const after = await headOf(store());
    const stream = newStream();
    const events = newEvents(6);
    await store().append(stream, 'no_stream', events.slice(0, 3));
    await store().append(stream, 2n, events.slice(3));
    const all = await follow([stream], { after, count: 6 });
    for (const [index, { position }] of all.slice(0, -1).entries()) {
      const rest = await follow([stream], { after: position, count: 5 - index });
      expect(idsOf(rest)).toEqual(idsOf(events.slice(index + 1)));
    }
  });

  test('from the start of the log it begins with the first event', async () => {
    await store().append(newStream(), 'no_stream', newEvents(1));
    const [first] = await eventsOf(store().readAll({ limit: 1 }));
    expect((await firstOf(store().subscribe()))?.events[0]).toEqual(first);
  });

  test('a position beyond the end is refused', async () => {
    const beyond = (await headOf(store())) + 10n ** 9n;
    const following = store().subscribe({ after: beyond })[Symbol.asyncIterator]();
    await expect(following.next()).rejects.toMatchObject({ code: 'POSITION_INVALID' });
  });

  test('an abort ends it while it waits', async () => {
    const abort = new AbortController();
    const after = await headOf(store());
    const ended = (async () => {
      for await (const { caughtUp } of store().subscribe({ after, signal: abort.signal })) {
        if (caughtUp) setImmediate(() => abort.abort());
      }
      return 'ended';
    })();
    expect(await ended).toBe('ended');
  });

  test('an abort before the beginning lets nothing through', async () => {
    const signal = AbortSignal.abort();
    expect(await firstOf(store().subscribe({ signal }))).toBeUndefined();
  });

  test('32 writers at once: followers miss nothing and get nothing twice', async () => {
    const [writers, appends] = [32, 12];
    const after = await headOf(store());
    const streams = newStreams(writers);
    const followers = [1, 2].map(() => follow(streams, { after, count: writers * appends * 2 }));
    const written = await Promise.all(
      streams.map(async (stream) => {
        const events: NewEvent[] = [];
        for (let round = 0; round < appends; round++) {
          const added = newEvents(2);
          const expected = round === 0 ? 'no_stream' : BigInt(events.length - 1);
          await store().append(stream, expected, added);
          events.push(...added);
        }
        return events;
      }),
    );
    for (const seen of await Promise.all(followers)) {
      expect(isGrowing(seen)).toBe(true);
      for (const [index, stream] of streams.entries()) {
        expect(idsOf(within([stream], seen))).toEqual(idsOf(written[index] ?? []));
      }
    }
  });
}
