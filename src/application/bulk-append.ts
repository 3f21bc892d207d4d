import { sleep, type Clock } from '../ports/clock.js';
import type { Appended, EventStore, NewEvent, Position, Revision } from '../ports/event-store.js';
import { Fault, isFault } from '../ports/faults.js';
import { backoffMs } from './backoff.js';

/** Events of one command for one stream, with the exact revision that it must be at. */
export interface Append {
  readonly stream: string;
  readonly expected: Revision | 'no_stream';
  readonly events: readonly NewEvent[];
}

/** Appends that wait for the disk at the same time: they share its commits. */
const IN_FLIGHT_MAX = 256;
/** Their events: a store that takes 500 a second still answers each of them within its deadline of 2 s. */
const EVENTS_IN_FLIGHT_MAX = 1_000;
/**
 * An append of which the store did not say whether it was written is sent so many times. Each took the
 * store's whole deadline: one that is only slow under so many appends gets time, one that is gone ends it.
 */
const SENT_MAX = 5;

/** How long a log that others share is waited for when it is out of reach. */
export interface PatienceOptions {
  readonly clock: Clock;
  /** Chance from 0 to below 1, for the jitter of retries. */
  readonly random: () => number;
  /** From the first failure to the last try. Milliseconds; 0 does not wait. */
  readonly forMs: number;
  /** Called once an outage, with what failed; and when it is over, with how long it took. */
  readonly onOutage?: (
    outage: { readonly problem: string } | { readonly overAfterMs: number },
  ) => void;
}

/** The patience with a log: none with one of our own, which no network hides. */
export function patienceWith(store: EventStore | null, options?: PatienceOptions): Patience {
  return new Patience(store?.exclusive === false ? (options ?? null) : null);
}

/** Waits out an outage of the log: work that is safe to repeat is repeated until it is done, or time is up. */
export class Patience {
  readonly #options: PatienceOptions | null;
  #sinceMs: number | null = null;

  constructor(options: PatienceOptions | null) {
    this.#options = options;
  }

  /** @throws what is no outage; the outage, when the time is up. */
  async through<T>(work: () => Promise<T>): Promise<T> {
    for (let failures = 0; ; failures += 1) {
      try {
        const result = await work();
        this.#over();
        return result;
      } catch (error) {
        await this.#wait(error, failures);
      }
    }
  }

  async #wait(error: unknown, failures: number): Promise<void> {
    const isOutage = isFault(error, 'STORE_UNAVAILABLE') || isFault(error, 'OUTCOME_UNKNOWN');
    if (!isOutage || this.#options === null) throw error;
    const { clock, random, forMs, onOutage } = this.#options;
    const nowMs = clock.monotonicMs();
    if (this.#sinceMs === null && forMs > 0) onOutage?.({ problem: error.message });
    this.#sinceMs ??= nowMs;
    const leftMs = this.#sinceMs + forMs - nowMs;
    if (leftMs <= 0) {
      const detail = `${error.message}. What is written stays: run it again when the log is back; nothing is added twice`;
      throw new Fault(error.code, detail, { cause: error });
    }
    await sleep(clock, Math.min(backoffMs(failures, random), leftMs));
  }

  /** One answer is enough: whoever still waits begins a new outage if it fails again. */
  #over(): void {
    if (this.#sinceMs === null || this.#options === null) return;
    const { clock, onOutage } = this.#options;
    onOutage?.({ overAfterMs: clock.monotonicMs() - this.#sinceMs });
    this.#sinceMs = null;
  }
}

/**
 * Appends much, in the order given where the store has no other writer, else in the order of each stream.
 *
 * Safe to repeat: a store recognises what it has by its ids.
 */
export class BulkAppender<A extends Append> {
  /** The first append that was refused, since the store has something else there. Stop adding then. */
  conflict: A | null = null;
  /** Events that were there before. */
  present = 0;
  readonly #inFlight = new Set<Promise<void>>();
  readonly #lastOf = new Map<string, Promise<void>>();
  #failure: { readonly error: unknown } | null = null;
  #added = 0;
  #events = 0;
  #conflictAt = Infinity;

  constructor(
    private readonly store: EventStore,
    /** The log's end before the first append: what lies before it was there. */
    private readonly headBefore: Position | null,
    private readonly patience: Patience,
  ) {}

  /** Sends an append off; waits only while too many are under way. @throws what the store threw. */
  async add(append: A): Promise<void> {
    while (this.#isFull()) await Promise.race(this.#inFlight);
    this.#throwFailure();
    const place = this.#added++;
    const { exclusive } = this.store;
    // A store with other writers takes one append of a stream after the other.
    const before = exclusive ? undefined : this.#lastOf.get(append.stream);
    const sent = before?.then(() => this.#append(append, place)) ?? this.#append(append, place);
    const done: Promise<void> = sent.finally(() => {
      this.#inFlight.delete(done);
      this.#events -= append.events.length;
      if (this.#lastOf.get(append.stream) === done) this.#lastOf.delete(append.stream);
    });
    this.#inFlight.add(done);
    this.#events += append.events.length;
    if (!exclusive) this.#lastOf.set(append.stream, done);
  }

  /** Waits for everything that is under way. @throws what the store threw first. */
  async finish(): Promise<void> {
    await Promise.all(this.#inFlight);
    this.#throwFailure();
  }

  #isFull(): boolean {
    return this.#inFlight.size >= IN_FLIGHT_MAX || this.#events >= EVENTS_IN_FLIGHT_MAX;
  }

  async #append(append: A, place: number): Promise<void> {
    const { stream, expected, events } = append;
    // What would follow an append that failed is not sent.
    if (this.#failure !== null) return;
    try {
      const sent = this.patience.through(() => this.#sent({ stream, expected, events }));
      const { position } = await sent;
      if (this.headBefore !== null && position <= this.headBefore) this.present += events.length;
    } catch (error) {
      if (!isFault(error, 'REVISION_CONFLICT')) this.#failure ??= { error };
      else if (place < this.#conflictAt) [this.conflict, this.#conflictAt] = [append, place];
    }
  }

  async #sent({ stream, expected, events }: Append): Promise<Appended> {
    for (let times = 1; ; times += 1) {
      try {
        return await this.store.append(stream, expected, events);
      } catch (error) {
        if (times === SENT_MAX || !isFault(error, 'OUTCOME_UNKNOWN')) throw error;
      }
    }
  }

  #throwFailure(): void {
    if (this.#failure !== null) throw this.#failure.error;
  }
}
