import type { Clock } from '../ports/clock.js';

let instantMs = Number.NaN;
let instant = '';

/** The machine's clocks. Timers never keep the process alive: work does. */
export const systemClock: Clock = {
  now: () => {
    const nowMs = Date.now();
    // Asked for many times in the same millisecond, and dear to write down.
    if (nowMs !== instantMs) [instantMs, instant] = [nowMs, new Date(nowMs).toISOString()];
    return instant;
  },
  monotonicMs: () => performance.now(),
  after: (delayMs, task) => {
    const timer = setTimeout(task, delayMs);
    timer.unref();
    return () => {
      clearTimeout(timer);
    };
  },
};
