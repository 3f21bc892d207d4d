import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import {
  BACKWARDS,
  END,
  EventStoreDBClient,
  jsonEvent,
  MaxAppendSizeExceededError,
  START,
  StreamDeletedError,
  streamNameFilter,
  StreamNotFoundError,
  WrongExpectedVersionError,
  type AllStreamRecordedEvent,
  type AllStreamSubscription,
  type AppendExpectedRevision,
  type AppendResult,
  type JSONEventData,
  type Position,
  type RecordedEvent,
} from '@eventstore/db-client';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { reachServer, type Reached } from '../support/eventstoredb/reach.js';

/*
 * What EventStoreDB guarantees, line by line, through its own client. The test server must keep these
 * rules, and so must a real server: EVENTSTOREDB_URL=esdb://… runs the same lines against one. Names
 * are new in each run, so that a server can be shared.
 */

const RUN = randomUUID().slice(0, 8);
let reached: Reached;
let client: EventStoreDBClient;
let streams = 0;

beforeAll(async () => {
  reached = await reachServer();
  client = EventStoreDBClient.connectionString(reached.url);
});
afterAll(async () => {
  await client.dispose();
  await reached.stop();
});

describe('an append', () => {
  it('answers the revision and the position of its last event', async () => {
    const stream = newStream();
    const events = newEvents(3);
    const appended = await append(stream, 'no_stream', events);
    const read = await readStream(stream);
    expect(appended.nextExpectedRevision).toBe(2n);
    expect(appended.position).toEqual(read.at(-1)?.position);
    expect(read.map(({ id }) => id)).toEqual(events.map(({ id }) => id));
  });

  it('gives each of its events a position of its own, with commit equal to prepare', async () => {
    const stream = newStream();
    await append(stream, 'no_stream', newEvents(3));
    const positions = (await readStream(stream)).map(positionOf);
    expect(positions.every(({ commit, prepare }) => commit === prepare)).toBe(true);
    expect(new Set(positions.map(({ commit }) => commit)).size).toBe(3);
    expect(isGrowing(positions)).toBe(true);
  });

  it('is refused when the stream is there already, is longer, is shorter, or is missing', async () => {
    const stream = newStream();
    await append(stream, 'no_stream', newEvents(2));
    expect(await actualVersion(stream, 'no_stream')).toBe(1n);
    expect(await actualVersion(stream, 0n)).toBe(1n);
    expect(await actualVersion(stream, 5n)).toBe(1n);
    expect(await actualVersion(newStream(), 0n)).toBe('no_stream');
  });

  it('keeps id, type, JSON mark and bytes', async () => {
    const stream = newStream();
    const [event] = newEvents(1);
    await append(stream, 'no_stream', [event!]);
    const [read] = await readStream(stream);
    expect(read).toMatchObject({
      streamId: stream,
      id: event!.id,
      type: event!.type,
      isJson: true,
      data: event!.data,
      metadata: event!.metadata,
      revision: 0n,
    });
    expect(Math.abs(Date.now() - read!.created.getTime())).toBeLessThan(60_000);
  });

  it('counts the data of its events up to 1 MiB, and no metadata', async () => {
    const stream = newStream();
    const data = { text: 'x'.repeat(1024 * 1024 - '{"text":""}'.length) };
    const metadata = { text: 'y'.repeat(64 * 1024) };
    await append(stream, 'no_stream', [jsonEvent({ type: 'large', data, metadata })]);
    const half = { text: 'x'.repeat(600 * 1024) };
    const tooLarge = append(newStream(), 'no_stream', [
      jsonEvent({ type: 'half', data: half }),
      jsonEvent({ type: 'half', data: half }),
    ]);
    const beside = append(newStream(), 'no_stream', newEvents(1));
    await expect(tooLarge).rejects.toBeInstanceOf(MaxAppendSizeExceededError);
    expect((await beside).success).toBe(true);
  });
});

describe('a repeated append', () => {
  it.each(['no_stream', 'an exact revision'])(
    'at %s answers the first revision and position, however much was appended since',
    async (kind) => {
      const stream = newStream();
      await append(stream, 'no_stream', newEvents(1));
      const [target, expected] =
        kind === 'no_stream' ? ([newStream(), 'no_stream'] as const) : ([stream, 0n] as const);
      const events = newEvents(2);
      const first = await append(target, expected, events);
      expect(await append(target, expected, events)).toEqual(first);
      for (let more = 1n; more <= 20n; more += 1n) {
        await append(target, first.nextExpectedRevision + more - 1n, newEvents(1));
      }
      expect(await append(target, expected, events)).toEqual(first);
    },
  );

  it('is known by its ids alone: its data are not compared', async () => {
    const stream = newStream();
    const [event] = newEvents(1);
    const first = await append(stream, 'no_stream', [event!]);
    expect(await append(stream, 'no_stream', [{ ...event!, data: { other: true } }])).toEqual(
      first,
    );
    expect(await readStream(stream)).toHaveLength(1);
  });

  it('may be a prefix of the first one, or span several', async () => {
    const stream = newStream();
    const [one, two, three] = newEvents(3);
    await append(stream, 'no_stream', [one!, two!]);
    const last = await append(stream, 1n, [three!]);
    const prefix = await append(stream, 'no_stream', [one!]);
    expect(prefix.nextExpectedRevision).toBe(0n);
    expect(await append(stream, 'no_stream', [one!, two!, three!])).toEqual(last);
  });

  it('is refused when it mixes old ids and new ones, or names another revision', async () => {
    const stream = newStream();
    const [one, two, three] = newEvents(3);
    await append(stream, 'no_stream', [one!, two!]);
    expect(await actualVersion(stream, 'no_stream', [one!, three!])).toBe(1n);
    expect(await actualVersion(stream, 0n, [one!])).toBe(1n);
  });

  it('is stored again at the current revision', async () => {
    const stream = newStream();
    const [event] = newEvents(1);
    await append(stream, 'no_stream', [event!]);
    expect((await append(stream, 0n, [event!])).nextExpectedRevision).toBe(1n);
    expect((await readStream(stream)).map(({ id }) => id)).toEqual([event!.id, event!.id]);
  });

  it('of events that a truncation hides answers without a position', async () => {
    const stream = newStream();
    const events = newEvents(1);
    await append(stream, 'no_stream', events);
    await append(stream, 0n, newEvents(1));
    await client.setStreamMetadata(stream, { truncateBefore: 1 });
    const repeated = await append(stream, 'no_stream', events);
    expect(repeated).toMatchObject({ success: true, nextExpectedRevision: 0n });
    expect(repeated.position).toBeUndefined();
  });
});

describe('a deleted stream', () => {
  it('is missing, can be begun again, and goes on with its revisions', async () => {
    const stream = newStream();
    await append(stream, 'no_stream', newEvents(2));
    await client.deleteStream(stream, { expectedRevision: 1n });
    await expect(readStream(stream)).rejects.toBeInstanceOf(StreamNotFoundError);
    expect((await append(stream, 'no_stream', newEvents(1))).nextExpectedRevision).toBe(2n);
    expect((await readStream(stream)).map(({ revision }) => revision)).toEqual([2n]);
  });

  it('can neither be read nor written when it has a tombstone', async () => {
    const stream = newStream();
    await append(stream, 'no_stream', newEvents(1));
    await client.tombstoneStream(stream, { expectedRevision: 0n });
    await expect(readStream(stream)).rejects.toBeInstanceOf(StreamDeletedError);
    await expect(append(stream, 0n, newEvents(1))).rejects.toBeInstanceOf(StreamDeletedError);
    await expect(append(stream, 'no_stream', newEvents(1))).rejects.toBeInstanceOf(
      StreamDeletedError,
    );
  });
});

describe('a read', () => {
  it('of a missing stream fails', async () => {
    await expect(readStream(newStream())).rejects.toBeInstanceOf(StreamNotFoundError);
  });

  it('goes forwards and backwards, from a revision, up to a count', async () => {
    const stream = newStream();
    await append(stream, 'no_stream', newEvents(5));
    const revisions = async (
      options: Parameters<EventStoreDBClient['readStream']>[1],
    ): Promise<bigint[]> => (await readStream(stream, options)).map(({ revision }) => revision);
    expect(await revisions({ fromRevision: 3n })).toEqual([3n, 4n]);
    expect(await revisions({ fromRevision: 1n, maxCount: 2 })).toEqual([1n, 2n]);
    expect(await revisions({ fromRevision: 9n })).toEqual([]);
    expect(await revisions({ direction: BACKWARDS, fromRevision: END, maxCount: 2 })).toEqual([
      4n,
      3n,
    ]);
    expect(await revisions({ direction: BACKWARDS, fromRevision: 1n })).toEqual([1n, 0n]);
  });

  it('of $all begins with the event at the position forwards, and before it backwards', async () => {
    const stream = newStream();
    await append(stream, 'no_stream', newEvents(3));
    const [first, second, third] = await readStream(stream);
    const forwards = await readAll({ fromPosition: positionOf(second!), maxCount: 2 });
    expect(forwards.map(({ id }) => id)).toEqual([second!.id, third!.id]);
    const backwards = await readAll({
      direction: BACKWARDS,
      fromPosition: positionOf(second!),
      maxCount: 1,
    });
    expect(backwards.map(({ id }) => id)).toEqual([first!.id]);
  });

  it('of $all from the end backwards finds the last event of all', async () => {
    const stream = newStream();
    const { position } = await append(stream, 'no_stream', newEvents(1));
    const [last] = await readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 1 });
    expect(last!.position.commit).toBeGreaterThanOrEqual(position!.commit);
  });

  it('of $all fails at a position that is not that of an event', async () => {
    const { position } = await append(newStream(), 'no_stream', newEvents(1));
    await append(newStream(), 'no_stream', newEvents(1));
    await expect(readAll({ fromPosition: beside(position!), maxCount: 1 })).rejects.toThrow(
      /invalid position/i,
    );
  });
});

describe('a subscription to $all', () => {
  it('hands over the events of its streams in order, first those that are there, then new ones', async () => {
    const prefix = newStream();
    const events = newEvents(4);
    await append(`${prefix}-a`, 'no_stream', events.slice(0, 2));
    await append(newStream(), 'no_stream', newEvents(1));
    const feed = subscribe(prefix, START);
    await feed.until(2);
    await append(`${prefix}-b`, 'no_stream', events.slice(2, 3));
    await append(`${prefix}-a`, 1n, events.slice(3));
    const received = await feed.until(4);
    expect(received.map(({ id }) => id)).toEqual(events.map(({ id }) => id));
    expect(isGrowing(received.map(positionOf))).toBe(true);
    await feed.end();
  });

  it('resumes after a position, exactly', async () => {
    const prefix = newStream();
    const events = newEvents(3);
    await append(prefix, 'no_stream', events);
    const [, second] = await readStream(prefix);
    const feed = subscribe(prefix, positionOf(second!));
    expect((await feed.until(1)).map(({ id }) => id)).toEqual([events[2]!.id]);
    await feed.end();
  });

  it('fails at a position that is not that of an event', async () => {
    const { position } = await append(newStream(), 'no_stream', newEvents(1));
    await append(newStream(), 'no_stream', newEvents(1));
    const feed = subscribe(newStream(), beside(position!));
    await expect(feed.until(1)).rejects.toThrow(/invalid position/i);
  });

  it('beyond the end is accepted, and passes over what comes below it', async () => {
    const prefix = newStream();
    const [hidden] = newEvents(1);
    const { position } = await append(newStream(), 'no_stream', newEvents(1));
    const beyond = position!.commit + 1_000_000_000n;
    const feed = subscribe(prefix, { commit: beyond, prepare: beyond });
    await feed.confirmed;
    await append(prefix, 'no_stream', [hidden!]);
    const marker = subscribe(prefix, START);
    await marker.until(1);
    expect(feed.received).toEqual([]);
    await Promise.all([feed.end(), marker.end()]);
  });

  it('says when it has caught up', async () => {
    const prefix = newStream();
    await append(prefix, 'no_stream', newEvents(1));
    const feed = subscribe(prefix, START);
    await feed.caughtUp;
    expect(feed.received).toHaveLength(1);
    await feed.end();
  });
});

describe('gossip', () => {
  it('names the leader', async () => {
    const [, host] = /^esdb(?:\+discover)?:\/\/(?:[^@]*@)?([^/?]+)/.exec(reached.url) ?? [];
    const query = /\?.*$/.exec(reached.url)?.[0] ?? '';
    const cluster = EventStoreDBClient.connectionString(
      `esdb://${String(host)},${String(host)}${query}`,
    );
    const appended = await cluster.appendToStream(newStream(), newEvents(1), {
      expectedRevision: 'no_stream',
    });
    expect(appended.success).toBe(true);
    await cluster.dispose();
  });
});

function newStream(): string {
  streams += 1;
  return `deployment-rules-${RUN}-${String(streams)}`;
}

function newEvents(count: number): JSONEventData[] {
  return Array.from({ length: count }, (_, n) =>
    jsonEvent({ type: 'noted', data: { n, text: 'ä€😀' }, metadata: { by: 'the rules' } }),
  );
}

function append(
  stream: string,
  expectedRevision: AppendExpectedRevision,
  events: JSONEventData[],
): Promise<AppendResult> {
  return client.appendToStream(stream, events, { expectedRevision });
}

/** The revision that a refused append tells. */
async function actualVersion(
  stream: string,
  expectedRevision: AppendExpectedRevision,
  events = newEvents(1),
): Promise<bigint | 'no_stream' | undefined> {
  const error: unknown = await append(stream, expectedRevision, events).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(WrongExpectedVersionError);
  return error instanceof WrongExpectedVersionError ? error.actualVersion : undefined;
}

async function readStream(
  stream: string,
  options: Parameters<EventStoreDBClient['readStream']>[1] = {},
): Promise<RecordedEvent[]> {
  const read: RecordedEvent[] = [];
  for await (const { event } of client.readStream(stream, options)) if (event) read.push(event);
  return read;
}

async function readAll(
  options: Parameters<EventStoreDBClient['readAll']>[0],
): Promise<AllStreamRecordedEvent[]> {
  const read: AllStreamRecordedEvent[] = [];
  for await (const { event } of client.readAll(options)) if (event) read.push(event);
  return read;
}

/** A subscription with what it has received. */
class Feed {
  readonly received: AllStreamRecordedEvent[] = [];
  readonly confirmed: Promise<unknown>;
  readonly caughtUp: Promise<unknown>;
  #problem: Error | null = null;
  #wake: () => void = () => {};

  constructor(private readonly subscription: AllStreamSubscription) {
    this.confirmed = once(subscription, 'confirmation');
    this.caughtUp = once(subscription, 'caughtUp');
    // What is not waited for may fail with the subscription.
    this.confirmed.catch(() => {});
    this.caughtUp.catch(() => {});
    subscription.on('error', (error: Error) => {
      this.#problem = error;
      this.#wake();
    });
    subscription.on('data', ({ event }: { readonly event?: AllStreamRecordedEvent }) => {
      if (event !== undefined) this.received.push(event);
      this.#wake();
    });
  }

  async until(count: number): Promise<readonly AllStreamRecordedEvent[]> {
    while (this.received.length < count) {
      if (this.#problem !== null) throw this.#problem;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
    return this.received;
  }

  end(): Promise<void> {
    return this.subscription.unsubscribe();
  }
}

function subscribe(prefix: string, fromPosition: Position | typeof START): Feed {
  const filter = streamNameFilter({ prefixes: [prefix] });
  return new Feed(client.subscribeToAll({ fromPosition, filter }));
}

function positionOf({ position }: { readonly position?: Position }): Position {
  if (position === undefined) throw new Error('a recorded event has a position');
  return position;
}

function beside({ commit, prepare }: Position): Position {
  return { commit: commit + 1n, prepare: prepare + 1n };
}

function isGrowing(positions: readonly Position[]): boolean {
  return positions.every(({ commit }, n) => n === 0 || commit > positions[n - 1]!.commit);
}
