const BACKOFF_MIN_MS = 100;
const BACKOFF_MAX_MS = 5000;

/** How long to wait after so many failures in a row, from 0. Milliseconds, 50..5,000. */
export function backoffMs(failures: number, random: () => number): number {
  return jittered(Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(failures, 10)), random);
}

/** Half of a time to all of it, so that those who failed together do not try again together. */
export function jittered(ms: number, random: () => number): number {
  return ms * (0.5 + random() / 2);
}
