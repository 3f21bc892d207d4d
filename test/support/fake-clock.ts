import { ManualClock, settled } from '../../src/adapters/memory/manual-clock.js';

export { ManualClock as FakeClock, settled };

/** Lets the event loop turn until a condition holds; the test's own time limit is the only one. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await settled(1);
}
