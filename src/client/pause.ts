import { randomInt } from 'node:crypto';

/** A timer of more would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** Half to the whole of a time, so that many who wait do not come back together. */
export function jittered(ms: number): number {
  return ms / 2 + (ms / 2) * (randomInt(1_000) / 1_000);
}

/** Resolves after a time, or at once when the signal is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done, { once: true });
    if (signal?.aborted === true) done();
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
  });
}

/**
 * A signal that is aborted after a time, or with the other one. Not `AbortSignal.any` over
 * `AbortSignal.timeout`: there nothing holds the timeout, and once it is collected the time is never over.
 */
export function timeLimit(ms: number, other: AbortSignal): AbortSignal {
  const limit = new AbortController();
  setTimeout(() => limit.abort(), Math.min(ms, TIMER_MS_MAX)).unref();
  return AbortSignal.any([limit.signal, other]);
}
