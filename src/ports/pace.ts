/** Lets the event loop do everything else that is ready before going on. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Work goes on for this long before it asks whether somebody waits. */
const PIECE_MS = 3;
/** A rest ends when the event loop has been idle for so many times as long as it was busy. */
const IDLE_SHARE = 3;
/** A rest takes at most so many times as long as the work before it: a busy service must not starve the work. */
const REST_SHARE = 2;
/** Nor longer than this: what others did while the work waited, for a database or frozen, is no work of its own. */
const REST_MS_MAX = 250;

/**
 * The pace of work in the background, such as building a table beside those that serve: after every few
 * milliseconds of it, all else in the process goes first. A process without other work hardly notices.
 */
export class Pace {
  #since = performance.eventLoopUtilization();
  #hurries = false;

  /** From now on others get no more than a turn in between. */
  hurry(): void {
    this.#hurries = true;
  }

  /** Resolves at once after little work; after more, when the event loop has had time for everything else. */
  async giveWay(): Promise<void> {
    const { active, idle } = performance.eventLoopUtilization(this.#since);
    if (active < PIECE_MS) return;
    // Work that mostly waits, as for a database server, leaves time enough.
    if (this.#hurries || idle > active) await turn();
    else await restFor(Math.min(active * REST_SHARE, REST_MS_MAX));
    this.#since = performance.eventLoopUtilization();
  }
}

async function restFor(maxMs: number): Promise<void> {
  const begun = performance.eventLoopUtilization();
  let [isBusy, restedMs] = [true, 0];
  while (isBusy && restedMs < maxMs) {
    const before = performance.eventLoopUtilization();
    await new Promise((resolve) => setTimeout(resolve, 1));
    const now = performance.eventLoopUtilization();
    const last = performance.eventLoopUtilization(now, before);
    const all = performance.eventLoopUtilization(now, begun);
    isBusy = last.idle < last.active * IDLE_SHARE;
    restedMs = all.idle + all.active;
  }
}
