import type { Instant } from '../../domain/event-schema.js';
import type { Clock } from '../../ports/clock.js';

interface Timer {
  readonly dueMs: number;
  readonly task: () => void;
}

/** A clock that moves only when told to: for tests of rules that wait. */
export class ManualClock implements Clock {
  readonly #timers = new Set<Timer>();
  #wallMs: number;
  #monotonicMs = 0;

  constructor(start: Instant = '2026-01-01T00:00:00.000Z') {
    this.#wallMs = Date.parse(start);
  }

  now(): Instant {
    return new Date(this.#wallMs).toISOString();
  }

  monotonicMs(): number {
    return this.#monotonicMs;
  }

  after(delayMs: number, task: () => void): () => void {
    const timer = { dueMs: this.#monotonicMs + Math.max(0, delayMs), task };
    this.#timers.add(timer);
    return () => {
      this.#timers.delete(timer);
    };
  }

  /** How many tasks wait for their time. */
  get waiting(): number {
    return this.#timers.size;
  }

  /**
   * Moves both clocks on, running every task that falls due, in order, each at its own time; between
   * two tasks, and at the end, promises and I/O callbacks that are ready get their turn.
   */
  async advance(ms: number): Promise<void> {
    const untilMs = this.#monotonicMs + ms;
    for (let timer = this.#next(untilMs); timer !== null; timer = this.#next(untilMs)) {
      this.#timers.delete(timer);
      this.#moveTo(Math.max(timer.dueMs, this.#monotonicMs));
      timer.task();
      await settled();
    }
    this.#moveTo(untilMs);
    await settled();
  }

  /** Sets the wall clock off by so much, as an operator or a time server would; nothing falls due. */
  jumpWall(ms: number): void {
    this.#wallMs += ms;
  }

  /** Lets time pass without a task getting its turn, as for a process that is stopped or starved. */
  freeze(ms: number): void {
    this.#moveTo(this.#monotonicMs + ms);
  }

  #next(untilMs: number): Timer | null {
    let first: Timer | null = null;
    for (const timer of this.#timers) {
      if (timer.dueMs <= untilMs && (first === null || timer.dueMs < first.dueMs)) first = timer;
    }
    return first;
  }

  #moveTo(monotonicMs: number): void {
    this.#wallMs += monotonicMs - this.#monotonicMs;
    this.#monotonicMs = monotonicMs;
  }
}

/** Lets everything that is ready run: a few turns of the event loop, without waiting for time. */
export async function settled(turns = 4): Promise<void> {
  for (let turn = 0; turn < turns; turn++) {
    await new Promise((resolve) => setImmediate(resolve));
  }
}
