import type { Instant } from '../domain/event-schema.js';
import type { Clock } from '../ports/clock.js';
import type { Position } from '../ports/event-store.js';
import { isAfter } from './fold.js';

/** Measures how far behind the log a projector is, from what it sees pass. */
export class LagMeter {
  readonly #clock: Clock;
  /** Where counting began, how many events passed since, and the last one's position. */
  #seen: { readonly from: bigint; readonly events: number; readonly to: bigint } | null = null;
  #recordedAt: Instant | null = null;
  #levelAtMs: number | null = null;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Events of the log were folded in, those of other streams among them. */
  passed(batch: {
    readonly after: Position | null;
    readonly to: Position;
    readonly events: number;
    readonly recordedAt: Instant | null;
  }): void {
    const { from, events } = this.#seen ?? { from: batch.after ?? 0n, events: 0 };
    this.#seen = { from, events: events + batch.events, to: batch.to };
    this.#recordedAt = batch.recordedAt ?? this.#recordedAt;
  }

  /** At this moment nothing was left to fold. */
  level(): void {
    this.#levelAtMs = this.#clock.monotonicMs();
  }

  /** Milliseconds between the recording of the last event that passed and now; 0 when clocks disagree. */
  ageMs(): number {
    if (this.#recordedAt === null) return 0;
    return Math.max(0, Date.parse(this.#clock.now()) - Date.parse(this.#recordedAt));
  }

  /** Events between two positions, by the density of those seen; null before any was seen. */
  events(position: Position | null, head: Position | null): number | null {
    if (!isAfter(head, position)) return 0;
    if (this.#seen === null || head === null) return null;
    const { from, events, to } = this.#seen;
    const distance = Number(head - (position ?? 0n));
    return Math.max(1, Math.round((distance * events) / Math.max(1, Number(to - from))));
  }

  /** Seconds since the projector was last level; before it ever was, the age of what passed last. */
  seconds(position: Position | null, head: Position | null): number | null {
    if (!isAfter(head, position)) {
      this.level();
      return 0;
    }
    if (this.#levelAtMs !== null) return (this.#clock.monotonicMs() - this.#levelAtMs) / 1000;
    return this.#recordedAt === null ? null : this.ageMs() / 1000;
  }
}
