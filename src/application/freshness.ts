import { sleep, type Clock } from '../ports/clock.js';
import type { EventStore } from '../ports/event-store.js';
import { isFault } from '../ports/faults.js';
import { emit } from '../ports/signals.js';
import type { Projector } from './projector.js';

/** What freshness is judged by. */
export interface FreshnessOptions {
  readonly store: Pick<EventStore, 'head'>;
  readonly projector: Pick<Projector, 'waitFor'>;
  readonly clock: Clock;
}

/** Read models that were level with the log so recently count as level. Milliseconds. */
const LEVEL_MS_MAX = 1_000;
/** How long a read waits to hear whether they are level. Milliseconds. */
const LOOK_WAIT_MS = 500;

/**
 * Tells whether what read models show is old: while the log is out of reach, or the fold behind it.
 *
 * Nothing polls: who reads has the log's end looked at, once a second at most, and all who read meanwhile
 * share the look. Read models are level when they show what the log held when a look began.
 */
export class Freshness {
  readonly #options: FreshnessOptions;
  #levelAtMs: number;
  /** When a read was told last that the read models are stale; null when the last one was not. */
  #staleAtMs: number | null = null;
  #looking: Promise<void> | null = null;

  constructor(options: FreshnessOptions) {
    this.#options = options;
    this.#levelAtMs = options.clock.monotonicMs();
  }

  /**
   * Whole seconds since the read models were last seen level with the log, or since the start; null when
   * that is a second at most. Waits half a second at most, and not at all where that was so a moment ago.
   */
  async staleSeconds(): Promise<number | null> {
    if (this.#ageMs() > LEVEL_MS_MAX) {
      this.#looking ??= this.#look().finally(() => (this.#looking = null));
      if (!this.#isKnownStale()) await this.#inTime(this.#looking);
    }
    const ageMs = this.#ageMs();
    const isStale = ageMs > LEVEL_MS_MAX;
    this.#staleAtMs = isStale ? this.#options.clock.monotonicMs() : null;
    return isStale ? Math.floor(ageMs / 1_000) : null;
  }

  /** What was so before a quiet time says nothing of now. */
  #isKnownStale(): boolean {
    const { clock } = this.#options;
    return this.#staleAtMs !== null && clock.monotonicMs() - this.#staleAtMs <= LEVEL_MS_MAX;
  }

  #ageMs(): number {
    return this.#options.clock.monotonicMs() - this.#levelAtMs;
  }

  /** Finds the log's end, and waits until it is shown. That it can not be told leaves what is known. */
  async #look(): Promise<void> {
    const { store, projector, clock } = this.#options;
    const beganAtMs = clock.monotonicMs();
    try {
      const head = await store.head();
      if (head !== null) await projector.waitFor(head, LEVEL_MS_MAX);
      this.#levelAtMs = beganAtMs;
    } catch (error) {
      if (!isFault(error)) emit('trouble', { where: 'freshness', error });
    }
  }

  async #inTime(looking: Promise<void>): Promise<void> {
    const heard = new AbortController();
    const late = sleep(this.#options.clock, LOOK_WAIT_MS, heard.signal);
    await Promise.race([looking, late]);
    heard.abort();
  }
}
