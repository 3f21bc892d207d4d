import { randomInt } from 'node:crypto';

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
