import type { Clock } from '../ports/clock.js';
import type { Position } from '../ports/event-store.js';
import { Fault } from '../ports/faults.js';
import { isAfter } from './fold.js';

/** A position that somebody waits for, and where that is looked up. */
interface Awaited {
  readonly position: Position;
  readonly timeoutMs: number;
  readonly shown: () => Position | null;
}

/** Those who wait until read models show a position. */
export class PositionWaiters {
  readonly #checks = new Set<() => void>();
  #isEnded = false;

  constructor(private readonly clock: Clock) {}

  /** Whether anybody waits. */
  get any(): boolean {
    return this.#checks.size > 0;
  }

  /** @throws {Fault} NOT_YET_VISIBLE when the time is up, or nothing will be shown any more. */
  wait({ position, timeoutMs, shown }: Awaited): Promise<void> {
    const shows = (): boolean => !isAfter(position, shown());
    if (shows()) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const end = (settle: () => void): void => {
        cancel();
        this.#checks.delete(check);
        settle();
      };
      const tooLate = (): void => {
        const detail = `position ${String(position)} is not visible yet; the read models are at ${String(shown())}`;
        end(() => reject(new Fault('NOT_YET_VISIBLE', detail)));
      };
      const check = (): void => {
        if (shows()) end(resolve);
        else if (this.#isEnded) tooLate();
      };
      const cancel = this.clock.after(timeoutMs, tooLate);
      this.#checks.add(check);
    });
  }

  /** What is shown has changed. */
  moved(): void {
    for (const check of [...this.#checks]) check();
  }

  /** Nothing will be shown any more. */
  end(): void {
    this.#isEnded = true;
    this.moved();
  }
}
