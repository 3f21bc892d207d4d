/**
 * The log of the test server, and the rules by which EventStoreDB 24 decides an append.
 *
 * Everything here was seen on a real server; the specification beside it says each rule as a test, and
 * runs against a real one too. Nothing in this file knows the adapter.
 */

/** An event as a client proposes it. */
export interface ProposedEvent {
  readonly id: string;
  readonly type: string;
  readonly contentType: string;
  readonly data: Buffer;
  readonly metadata: Buffer;
}

/** An event as it stands in the log. Commit and prepare position are one number from 24 on. */
export interface LoggedEvent extends ProposedEvent {
  readonly stream: string;
  readonly revision: bigint;
  readonly position: bigint;
  /** Ticks of 100 ns since 1970. */
  readonly created: bigint;
}

/** What a stream must be like before an append. */
export type Expected = bigint | 'no_stream' | 'any' | 'stream_exists';

export type AppendOutcome =
  | {
      readonly kind: 'written' | 'repeated';
      readonly revision: bigint;
      /** Of the last event; null when a truncation hides it. */
      readonly position: bigint | null;
    }
  | { readonly kind: 'wrong_expected'; readonly current: bigint | null }
  | { readonly kind: 'deleted' }
  | { readonly kind: 'too_large' }
  /** The same ids came before the first ones were indexed: the server drops the request. */
  | { readonly kind: 'not_indexed' };

/** Keeps what is appended, so that the log survives its process. */
export interface LogFile {
  load(): readonly LogEntry[];
  append(entry: LogEntry): void;
}

/** Events of one append, or the tombstone of a stream. */
export type LogEntry =
  | { readonly events: readonly LoggedEvent[] }
  | { readonly tombstone: string; readonly position: bigint };

/** An append as it is asked for. */
export interface Append {
  readonly stream: string;
  readonly expected: Expected;
  readonly events: readonly ProposedEvent[];
}

export interface LogOptions {
  /** Time until an unacknowledged append is indexed; a repeat before is dropped. Milliseconds. */
  readonly indexLagMs: number;
  /** Whether an empty log is begun, with the server's own events; a follower waits for its leader's. */
  readonly isNew: boolean;
  readonly file?: LogFile;
}

/** The data of all events of an append together; their metadata is free. */
export const APPEND_SIZE_MAX = 1024 * 1024;
/** `$tb` of a soft-deleted stream: nothing before this revision is shown. */
const DELETED_BEFORE = 9223372036854775807n;
const FIRST_POSITION = 1514n;
/** What a record takes beside its data and metadata. */
const RECORD_BYTES = 105;

interface Stream {
  readonly events: LoggedEvent[];
  tombstoned: boolean;
}

/** The log: streams, `$all`, deletions, truncations. */
export class Log {
  readonly all: LoggedEvent[] = [];
  readonly #streams = new Map<string, Stream>();
  /** Ids that this process has seen committed. Lost by a restart, as on the server. */
  readonly #committed = new Map<string, LoggedEvent>();
  readonly #unindexed = new Set<string>();
  readonly #listeners = new Set<() => void>();
  #nextPosition = FIRST_POSITION;

  constructor(private readonly options: LogOptions) {
    const entries = options.file?.load() ?? [];
    for (const entry of entries) this.#take(entry);
    if (entries.length === 0 && options.isNew) this.#seed();
  }

  /** Calls a listener after each append; the function returned ends it. */
  onAppend(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Decides an append and writes it. An acknowledged one is indexed; another one only some time later.
   */
  append({ stream, expected, events: proposed }: Append, isAcknowledged = true): AppendOutcome {
    const bytes = proposed.reduce((sum, { data }) => sum + data.length, 0);
    if (bytes > APPEND_SIZE_MAX) return { kind: 'too_large' };
    const { events, tombstoned } = this.#streams.get(stream) ?? NO_STREAM;
    if (tombstoned) return { kind: 'deleted' };
    const current = BigInt(events.length) - 1n;
    const repeated = this.#repeated(stream, expected, proposed);
    if (repeated !== null) return this.#answerRepeat(stream, repeated);
    if (!this.#isAsExpected(stream, expected) || this.#isMixture(expected, proposed)) {
      return { kind: 'wrong_expected', current: current === -1n ? null : current };
    }
    const last = this.#write(stream, proposed);
    if (!isAcknowledged) this.#indexLater(proposed);
    return { kind: 'written', revision: last.revision, position: last.position };
  }

  /** The events of a stream that a reader sees; null when there is no such stream, or it was deleted. */
  visible(stream: string): readonly LoggedEvent[] | null {
    const { events } = this.#streams.get(stream) ?? NO_STREAM;
    if (events.length === 0) return null;
    const first = this.#firstVisible(stream);
    if (first === DELETED_BEFORE) return null;
    return first === 0n ? events : events.slice(Number(first));
  }

  isTombstoned(stream: string): boolean {
    return (this.#streams.get(stream) ?? NO_STREAM).tombstoned;
  }

  /** Hides a stream; it can be written again. Null when it is not as expected. */
  softDelete(stream: string, expected: Expected): bigint | null {
    if (this.visible(stream) === null || !this.#isAsExpected(stream, expected)) return null;
    return this.#writeMetadata(stream, { $tb: DELETED_BEFORE });
  }

  /** Ends a stream for ever. Null when it is not as expected. */
  tombstone(stream: string, expected: Expected): bigint | null {
    if (!this.#isAsExpected(stream, expected)) return null;
    const position = this.#nextPosition;
    this.#nextPosition += BigInt(RECORD_BYTES + stream.length);
    const entry: LogEntry = { tombstone: stream, position };
    this.#take(entry);
    this.options.file?.append(entry);
    this.#tell();
    return position;
  }

  /** The last event of `$all`; null when there is none. */
  get last(): LoggedEvent | null {
    return this.all.at(-1) ?? null;
  }

  /**
   * The place in `all` of the first event at or after a position; null when the position is within the
   * log, but not that of an event.
   */
  indexOf(position: bigint): number | null {
    let [low, high] = [0, this.all.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.all[middle]?.position ?? 0n) < position) low = middle + 1;
      else high = middle;
    }
    const found = this.all[low];
    return found === undefined || found.position === position || position === 0n ? low : null;
  }

  /** The events that a repeat names, in their order; null when these events are not a repeat. */
  #repeated(
    stream: string,
    expected: Expected,
    proposed: readonly ProposedEvent[],
  ): readonly LoggedEvent[] | null {
    const { events } = this.#streams.get(stream) ?? NO_STREAM;
    const first =
      expected === 'no_stream' ? 0 : typeof expected === 'bigint' ? Number(expected) + 1 : null;
    const held = proposed.map(({ id }, index) => {
      if (first !== null) return events[first + index];
      const committed = this.#committed.get(id);
      return committed?.stream === stream ? committed : undefined;
    });
    const isRepeat = held.every((event, index) => event?.id === proposed[index]?.id);
    return isRepeat ? held.filter((event) => event != null) : null;
  }

  #answerRepeat(stream: string, repeated: readonly LoggedEvent[]): AppendOutcome {
    const last = repeated.at(-1);
    if (last === undefined) return { kind: 'wrong_expected', current: null };
    if (repeated.some(({ id }) => this.#unindexed.has(id))) return { kind: 'not_indexed' };
    const isHidden = last.revision < this.#firstVisible(stream);
    return {
      kind: 'repeated',
      revision: last.revision,
      position: isHidden ? null : last.position,
    };
  }

  #isAsExpected(stream: string, expected: Expected): boolean {
    const { length } = (this.#streams.get(stream) ?? NO_STREAM).events;
    if (expected === 'any') return true;
    if (expected === 'stream_exists') return this.visible(stream) !== null;
    if (expected === 'no_stream') return this.visible(stream) === null;
    return expected === BigInt(length) - 1n;
  }

  #write(stream: string, proposed: readonly ProposedEvent[]): LoggedEvent {
    const { events } = this.#streams.get(stream) ?? NO_STREAM;
    const wasDeleted = this.#firstVisible(stream) === DELETED_BEFORE;
    const created = BigInt(Date.now()) * 10_000n;
    const placed = proposed.map((event, index) => {
      const position = this.#nextPosition;
      this.#nextPosition += BigInt(RECORD_BYTES + event.data.length + event.metadata.length);
      return { ...event, stream, revision: BigInt(events.length + index), position, created };
    });
    const last = placed.at(-1);
    if (last === undefined) throw new RangeError('an append has at least one event');
    for (const event of placed) this.#committed.set(event.id, event);
    this.#take({ events: placed });
    this.options.file?.append({ events: placed });
    if (wasDeleted) this.#writeMetadata(stream, { $tb: placed[0]?.revision ?? 0n });
    this.#tell();
    return last;
  }

  /** Where no revision tells, old and new ids together are still no append. */
  #isMixture(expected: Expected, [first]: readonly ProposedEvent[]): boolean {
    return expected === 'any' && first !== undefined && this.#committed.has(first.id);
  }

  #indexLater(events: readonly ProposedEvent[]): void {
    const { indexLagMs } = this.options;
    if (indexLagMs === 0) return;
    for (const { id } of events) this.#unindexed.add(id);
    setTimeout(() => {
      for (const { id } of events) this.#unindexed.delete(id);
    }, indexLagMs).unref();
  }

  /** Streams carry their settings in a stream of their own, `$$` before the name. */
  #writeMetadata(stream: string, settings: Readonly<Record<string, bigint>>): bigint {
    const members = Object.entries(settings).map(([name, value]) => `"${name}":${String(value)}`);
    const event = {
      id: crypto.randomUUID(),
      type: '$metadata',
      contentType: 'application/json',
      data: Buffer.from(`{${members.join(',')}}`),
      metadata: Buffer.alloc(0),
    };
    return this.#write(`$$${stream}`, [event]).position;
  }

  #firstVisible(stream: string): bigint {
    const settings = this.#streams.get(`$$${stream}`)?.events.at(-1);
    if (settings === undefined) return 0n;
    // Not by JSON.parse: the revision of a deleted stream is beyond the whole numbers of a double.
    const text = settings.data.toString('utf8');
    const before = BigInt(/"\$tb":\s*(\d+)/.exec(text)?.[1] ?? 0);
    const count = /"\$maxCount":\s*(\d+)/.exec(text)?.[1];
    if (count === undefined) return before;
    const { length } = (this.#streams.get(stream) ?? NO_STREAM).events;
    const kept = BigInt(Math.max(0, length - Number(count)));
    return kept > before ? kept : before;
  }

  #take(entry: LogEntry): void {
    if ('tombstone' in entry) {
      const { events } = this.#streams.get(entry.tombstone) ?? NO_STREAM;
      this.#streams.set(entry.tombstone, { events: [...events], tombstoned: true });
      if (entry.position >= this.#nextPosition) this.#nextPosition = entry.position + 1n;
      return;
    }
    for (const event of entry.events) {
      let stream = this.#streams.get(event.stream);
      if (stream === undefined) {
        stream = { events: [], tombstoned: false };
        this.#streams.set(event.stream, stream);
      }
      stream.events.push(event);
      this.all.push(event);
      const end = event.position + BigInt(RECORD_BYTES + event.data.length + event.metadata.length);
      if (end > this.#nextPosition) this.#nextPosition = end;
    }
  }

  /** A new server writes events of its own before anybody else does. */
  #seed(): void {
    this.#write('$user-admin', [
      {
        id: crypto.randomUUID(),
        type: '$UserCreated',
        contentType: 'application/json',
        data: Buffer.from('{"loginName":"admin"}'),
        metadata: Buffer.alloc(0),
      },
    ]);
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

const NO_STREAM: Stream = Object.freeze({ events: [], tombstoned: false });
