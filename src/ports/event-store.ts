import { Fault } from './faults.js';

/** A place of an event in the whole log: grows with it, may have gaps. Decimal string in JSON. */
export type Position = bigint;
/** A place of an event in its stream, from 0 without gaps. Decimal string in JSON. */
export type Revision = bigint;

/** An event to append: `data` and `metadata` are JSON text, stored as exactly these bytes. */
export interface NewEvent {
  /** A UUID, lower case. The same id at the same expected revision is a repeat. */
  readonly id: string;
  readonly type: string;
  readonly data: string;
  readonly metadata: string;
}

/** An event as it stands in the log. */
export interface RecordedEvent extends NewEvent {
  readonly stream: string;
  readonly revision: Revision;
  readonly position: Position;
}

/** Where an append ended: revision and position of its last event. */
export interface Appended {
  readonly revision: Revision;
  readonly position: Position;
}

export interface StreamRange {
  /** First revision wanted, inclusive; from the start (or, backward, the end) when absent. */
  readonly from?: Revision;
  /** Last revision wanted, inclusive. */
  readonly to?: Revision;
  readonly direction?: 'forward' | 'backward';
  /** Events at most, ≥ 1. */
  readonly limit?: number;
}

export interface LogRange {
  /** Position after which to begin, exclusive; from the start when absent. */
  readonly after?: Position;
  /** Events at most, ≥ 1. */
  readonly limit?: number;
}

export interface Subscription {
  /** Position after which to begin, exclusive; from the start of the log when absent. */
  readonly after?: Position;
  readonly signal?: AbortSignal;
}

/** What a subscription hands over: events in log order, and whether it has, for now, reached the end. */
export interface Delivery {
  readonly events: readonly RecordedEvent[];
  readonly caughtUp: boolean;
}

/** What the store says of itself, for health. */
export interface StoreHealth {
  readonly reachable: boolean;
  /** Why it cannot be written, in words; null when it can. */
  readonly problem: string | null;
  readonly details: Readonly<Record<string, string | number | boolean | null>>;
}

/**
 * The log. One stream per deployment; an append is atomic and checked against one exact revision.
 *
 * Reads hand over pages, never single events: a page costs one round trip and one promise.
 * Leaving a `for await`, or aborting, releases everything that the read held.
 */
export interface EventStore {
  /**
   * Whether this handle is the only writer there can be. Then a stream moves by our appends alone, and
   * an append may be sent before the one that it builds on is acknowledged.
   */
  readonly exclusive: boolean;

  /**
   * Appends events to a stream, all or none.
   *
   * Safe to repeat: yes, for ever – the same ids at the same expected revision answer what the first
   * append answered. Nothing is acknowledged before it is durable.
   * Bounds: 1..100 events; data and metadata together ≤ 1 MiB.
   * @throws {Fault} REVISION_CONFLICT when another event holds the expected revision, or the stream is
   *   shorter; OUTCOME_UNKNOWN, STORE_UNAVAILABLE, STORE_FULL, EVENT_TOO_LARGE, STREAM_DELETED.
   */
  append(
    stream: string,
    expected: Revision | 'no_stream',
    events: readonly NewEvent[],
  ): Promise<Appended>;

  /** Reads a stream in pages. A stream that does not exist gives no page. */
  read(stream: string, range?: StreamRange): AsyncIterable<readonly RecordedEvent[]>;

  /** Reads the whole log in order, in pages, up to its end at the time of the call. */
  readAll(range?: LogRange): AsyncIterable<readonly RecordedEvent[]>;

  /**
   * Follows the log from a position for ever: what is there, then what comes.
   *
   * Woken by commits, never polls; the next delivery is made when the last one was taken. A dropped
   * connection is resumed inside, without gap or repeat; the iteration ends only by `break` or abort.
   * @throws {Fault} POSITION_INVALID when `after` is beyond the log's end.
   */
  subscribe(subscription?: Subscription): AsyncIterable<Delivery>;

  /** The position of the log's last event; null when it is empty. */
  head(): Promise<Position | null>;

  health(): StoreHealth;

  /** Waits for appends in flight, then releases files, connections and threads. Safe to repeat. */
  close(): Promise<void>;
}

/** The prefix of all streams of this service; a log that is shared with others is filtered by it. */
export const STREAM_PREFIX = 'deployment-';
/** Limit of one append, data and metadata together. EventStoreDB refuses more than 1 MiB of data. */
export const APPEND_BYTES_MAX = 1024 * 1024;
/** Limit of one append. A command writes one to three events; more come from an import. */
export const APPEND_EVENTS_MAX = 100;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const UTF8_BYTES_PER_UNIT_MAX = 3;

/**
 * Checks what every store refuses, before it is asked: the same bounds whatever the store.
 * @throws {Fault} EVENT_TOO_LARGE.
 * @throws {RangeError} for a defect of the caller: no event or too many, an id that is no UUID or twice there.
 */
export function assertAppendable(events: readonly NewEvent[]): void {
  if (events.length < 1 || events.length > APPEND_EVENTS_MAX) {
    throw new RangeError(`an append has 1 to ${String(APPEND_EVENTS_MAX)} events`);
  }
  let units = 0;
  for (const { id, data, metadata } of events) {
    if (!UUID.test(id)) throw new RangeError('an event id is a UUID');
    units += data.length + metadata.length;
  }
  if (events.length > 1 && new Set(events.map(({ id }) => id)).size < events.length) {
    throw new RangeError('the events of an append have ids of their own');
  }
  if (units * UTF8_BYTES_PER_UNIT_MAX <= APPEND_BYTES_MAX) return;
  const bytes = events.reduce(
    (sum, { data, metadata }) => sum + Buffer.byteLength(data) + Buffer.byteLength(metadata),
    0,
  );
  if (bytes > APPEND_BYTES_MAX) {
    throw new Fault(
      'EVENT_TOO_LARGE',
      `${String(bytes)} bytes in one append; the limit is ${String(APPEND_BYTES_MAX)}`,
    );
  }
}
