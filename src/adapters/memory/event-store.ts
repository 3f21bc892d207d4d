import {
  APPEND_BYTES_MAX,
  type Appended,
  type Delivery,
  type EventStore,
  type LogRange,
  type NewEvent,
  type Position,
  type RecordedEvent,
  type Revision,
  type StoreHealth,
  type StreamRange,
  type Subscription,
} from '../../ports/event-store.js';
import { Fault } from '../../ports/faults.js';

/** Events of one page. */
const PAGE_SIZE = 500;

/** The log in memory: the reference of the port, and a store for tests. Lost with the process. */
export class MemoryEventStore implements EventStore {
  /** Tests open several command paths on one store, as several processes would. */
  readonly exclusive: boolean = false;
  readonly #log: RecordedEvent[] = [];
  readonly #streams = new Map<string, RecordedEvent[]>();
  readonly #ids = new Set<string>();
  readonly #waiting = new Set<() => void>();
  #closed = false;

  async append(
    stream: string,
    expected: Revision | 'no_stream',
    events: readonly NewEvent[],
  ): Promise<Appended> {
    if (this.#closed) throw new Fault('STORE_UNAVAILABLE', 'the log is closed');
    const bytes = events.reduce(
      (sum, { data, metadata }) => sum + Buffer.byteLength(data) + Buffer.byteLength(metadata),
      0,
    );
    if (bytes > APPEND_BYTES_MAX) throw new Fault('EVENT_TOO_LARGE');
    const recorded = this.#streams.get(stream) ?? [];
    const first = expected === 'no_stream' ? 0 : Number(expected) + 1;
    const repeated = recorded.slice(first, first + events.length);
    if (
      repeated.length === events.length &&
      repeated.every(({ id }, index) => id === events[index]?.id)
    ) {
      return lastOf(repeated);
    }
    if (recorded.length !== first || events.some(({ id }) => this.#ids.has(id))) {
      throw new Fault(
        'REVISION_CONFLICT',
        `${stream} is at ${String(recorded.length - 1)}, not at ${String(expected)}`,
      );
    }
    for (const event of events) {
      const placed = {
        ...event,
        stream,
        revision: BigInt(recorded.length),
        position: BigInt(this.#log.length + 1),
      };
      recorded.push(placed);
      this.#log.push(placed);
      this.#ids.add(event.id);
    }
    this.#streams.set(stream, recorded);
    for (const wake of this.#waiting) wake();
    return lastOf(recorded);
  }

  async *read(stream: string, range: StreamRange = {}): AsyncGenerator<readonly RecordedEvent[]> {
    const { from, to, direction = 'forward', limit } = range;
    const all = this.#streams.get(stream) ?? [];
    const low = direction === 'forward' ? from : to;
    const high = direction === 'forward' ? to : from;
    const wanted = all.filter(
      ({ revision }) => revision >= (low ?? 0n) && revision <= (high ?? revision),
    );
    yield* pagesOf((direction === 'forward' ? wanted : wanted.reverse()).slice(0, limit));
  }

  async *readAll({ after = 0n, limit }: LogRange = {}): AsyncGenerator<readonly RecordedEvent[]> {
    const first = Number(after);
    yield* pagesOf(this.#log.slice(first, limit === undefined ? undefined : first + limit));
  }

  async *subscribe({ after = 0n, signal }: Subscription = {}): AsyncGenerator<Delivery> {
    if (after > BigInt(this.#log.length)) throw new Fault('POSITION_INVALID');
    let next = Number(after);
    while (signal?.aborted !== true && !this.#closed) {
      const events = this.#log.slice(next, next + PAGE_SIZE);
      next += events.length;
      const caughtUp = next === this.#log.length;
      yield { events, caughtUp };
      if (next === this.#log.length) await this.#nextAppend(signal);
    }
  }

  async head(): Promise<Position | null> {
    return this.#log.at(-1)?.position ?? null;
  }

  health(): StoreHealth {
    return {
      reachable: !this.#closed,
      problem: this.#closed ? 'closed' : null,
      details: { kind: 'memory' },
    };
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const wake of this.#waiting) wake();
  }

  #nextAppend(signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal?.addEventListener('abort', wake, { once: true });
      if (signal?.aborted === true) wake();
    });
  }
}

function lastOf(events: readonly RecordedEvent[]): Appended {
  const last = events.at(-1);
  if (last === undefined) throw new Error('an append has at least one event');
  return { revision: last.revision, position: last.position };
}

function* pagesOf(events: readonly RecordedEvent[]): Generator<readonly RecordedEvent[]> {
  for (let first = 0; first < events.length; first += PAGE_SIZE)
    yield events.slice(first, first + PAGE_SIZE);
}
