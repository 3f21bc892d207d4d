import type { Appended, EventStore, NewEvent, Position, Revision } from '../ports/event-store.js';
import { isFault } from '../ports/faults.js';

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
    try {
      const { position } = await this.#sent({ stream, expected, events });
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
