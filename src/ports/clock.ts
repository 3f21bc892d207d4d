import type { Instant } from '../domain/event-schema.js';

/** Time as the service sees it. All waiting and all judging of leases goes through here. */
export interface Clock {
  /** The wall clock. It may jump; nothing is judged by it. */
  now(): Instant;
  /** Milliseconds of a clock that never jumps, from an arbitrary start. */
  monotonicMs(): number;
  /** Calls `task` once after `delayMs`; the function returned cancels it. Never keeps the process alive. */
  after(delayMs: number, task: () => void): () => void;
}

/** Resolves after `delayMs` of the clock, or at once when the signal is aborted. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted === true) {
      resolve();
      return;
    }
    const cancel = clock.after(delayMs, done);
    signal?.addEventListener('abort', done, { once: true });
    function done(): void {
      cancel();
      signal?.removeEventListener('abort', done);
      resolve();
    }
  });
}
