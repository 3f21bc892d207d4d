import {
  assertAppendable,
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

/**
 * The log in memory: the reference of the port, and a store for tests. Lost with the process.
 *
 * Every call does its work at once, so that two appends never meet half-way.
 */
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
    assertAppendable(events);
    const recorded = this.#streams.get(stream) ?? [];
    const first = expected === 'no_stream' ? 0 : Number(expected) + 1;
    const held = recorded.slice(first, first + events.length);
    if (held.length > 0 && isSame(held, events)) return lastOf(held);
    if (recorded.length !== first || events.some(({ id }) => this.#ids.has(id))) {
      const actual = revisionOf(recorded);
      throw new Fault(
        'REVISION_CONFLICT',
        `${stream} is at ${String(actual)}, not at ${String(expected)}`,
      );
    }
    for (const event of events) this.#place(stream, recorded, event);
    this.#streams.set(stream, recorded);
    for (const wake of this.#waiting) wake();
    return lastOf(recorded);
  }

  read(stream: string, range: StreamRange = {}): AsyncGenerator<readonly RecordedEvent[]> {
    const { from, to, direction = 'forward', limit } = range;
    const all = this.#streams.get(stream) ?? [];
    const low = direction === 'forward' ? from : to;
    const high = direction === 'forward' ? to : from;
    const wanted = all.filter(
      ({ revision }) => revision >= (low ?? 0n) && revision <= (high ?? revision),
    );
    return pagesOf((direction === 'forward' ? wanted : wanted.reverse()).slice(0, limit));
  }

  readAll({ after = 0n, limit }: LogRange = {}): AsyncGenerator<readonly RecordedEvent[]> {
    const first = Number(after);
    return pagesOf(this.#log.slice(first, limit === undefined ? undefined : first + limit));
  }

  async *subscribe({ after = 0n, signal }: Subscription = {}): AsyncGenerator<Delivery> {
    if (after < 0n || after > BigInt(this.#log.length)) throw new Fault('POSITION_INVALID');
    let next = Number(after);
    while (signal?.aborted !== true && !this.#closed) {
      const events = this.#log.slice(next, next + PAGE_SIZE);
      next += events.length;
      yield { events, caughtUp: next === this.#log.length };
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

  #place(stream: string, recorded: RecordedEvent[], event: NewEvent): void {
    const { id, type, data, metadata } = event;
    const revision = BigInt(recorded.length);
    const position = BigInt(this.#log.length + 1);
    const placed = { id, type, data, metadata, stream, revision, position };
    recorded.push(placed);
    this.#log.push(placed);
    this.#ids.add(id);
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

function revisionOf(recorded: readonly RecordedEvent[]): Revision | 'no_stream' {
  return recorded.at(-1)?.revision ?? 'no_stream';
}

function isSame(recorded: readonly RecordedEvent[], events: readonly NewEvent[]): boolean {
  return (
    recorded.length === events.length && recorded.every(({ id }, index) => id === events[index]?.id)
  );
}

function lastOf(events: readonly RecordedEvent[]): Appended {
  const last = events.at(-1);
  if (last === undefined) throw new Error('an append has at least one event');
  return { revision: last.revision, position: last.position };
}

async function* pagesOf(
  events: readonly RecordedEvent[],
): AsyncGenerator<readonly RecordedEvent[]> {
  for (let first = 0; first < events.length; first += PAGE_SIZE)
    yield events.slice(first, first + PAGE_SIZE);
}
