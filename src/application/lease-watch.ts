import type { Instant, JsonObject } from '../domain/event-schema.js';
import type { Clock } from '../ports/clock.js';
import type { AttemptKey, Beat, Leases } from '../ports/leases.js';

/** How often the watch notes that it is awake. Milliseconds. */
const PULSE_MS = 250;
/** The most that the time between two looks may count. Milliseconds. */
const GAP_MAX_MS = 2 * PULSE_MS;

/** What an attempt is waited for: its start, or its next sign of life. */
export type Phase = 'pending' | 'running';

interface Watched {
  readonly key: AttemptKey;
  readonly phase: Phase;
  readonly beat: Beat | null;
  readonly heardAtMs: number;
}

/**
 * Judges silence by the time during which this process was awake to hear.
 *
 * Wall clocks jump, and a process that was frozen, or too busy to read its sockets, has not heard the
 * heartbeats that were sent meanwhile: such a gap counts for at most half a second. An attempt is first
 * heard of when it is first seen here, so after a start every lease counts anew.
 */
export class LeaseWatch {
  readonly #watched = new Map<string, Watched>();
  #awakeMs = 0;
  #lookedAtMs: number;
  #cancelPulse: () => void = () => undefined;

  constructor(
    private readonly clock: Clock,
    private readonly leases: Leases,
  ) {
    this.#lookedAtMs = clock.monotonicMs();
  }

  /** Begins to count time. Without it only the moments of calls count. */
  start(): void {
    this.#look();
    this.#cancelPulse = this.clock.after(PULSE_MS, () => {
      this.start();
    });
  }

  stop(): void {
    this.#cancelPulse();
  }

  /** Notes a sign of life: a start or a heartbeat. */
  async beat(key: AttemptKey, at: Instant, progress?: JsonObject): Promise<void> {
    this.#hear(key, 'running', await this.leases.beat(key, at, progress));
  }

  /** Takes in what other processes have heard of these attempts. */
  async refresh(keys: readonly AttemptKey[]): Promise<void> {
    const beats = await this.leases.read(keys);
    for (const [index, key] of keys.entries()) {
      const beat = beats[index] ?? null;
      const known = this.#watched.get(nameOf(key));
      if (beat !== null && known?.beat?.count !== beat.count) this.#hear(key, 'running', beat);
    }
  }

  /** The last sign of life that is known here; null when none is. */
  lastBeat(key: AttemptKey): Beat | null {
    return this.#watched.get(nameOf(key))?.beat ?? null;
  }

  /** How long an attempt has been silent in this phase; 0 when it is seen for the first time. Milliseconds. */
  silentMs(key: AttemptKey, phase: Phase): number {
    const known = this.#watched.get(nameOf(key));
    if (known?.phase === phase) return this.#look() - known.heardAtMs;
    this.#hear(key, phase, known?.beat ?? null);
    return 0;
  }

  /** How long a running attempt has been silent, as far as it is watched here; else 0. Milliseconds. */
  knownSilenceMs(key: AttemptKey): number {
    const known = this.#watched.get(nameOf(key));
    return known?.phase === 'running' ? this.#look() - known.heardAtMs : 0;
  }

  /** Forgets every attempt but these; one that was just opened is seen anew when it is looked for. */
  async retain(keys: readonly AttemptKey[]): Promise<void> {
    const active = new Set(keys.map(nameOf));
    for (const [name, { key }] of this.#watched) if (!active.has(name)) await this.drop(key);
  }

  /** Forgets an attempt that is no longer active. */
  async drop(key: AttemptKey): Promise<void> {
    this.#watched.delete(nameOf(key));
    await this.leases.drop(key);
  }

  #hear(key: AttemptKey, phase: Phase, beat: Beat | null): void {
    const { deploymentId, attemptId } = key;
    const heardAtMs = this.#look();
    this.#watched.set(nameOf(key), { key: { deploymentId, attemptId }, phase, beat, heardAtMs });
  }

  /** The time awake so far. */
  #look(): number {
    const now = this.clock.monotonicMs();
    this.#awakeMs += Math.min(now - this.#lookedAtMs, GAP_MAX_MS);
    this.#lookedAtMs = now;
    return this.#awakeMs;
  }
}

function nameOf({ deploymentId, attemptId }: AttemptKey): string {
  return `${deploymentId}/${attemptId}`;
}
