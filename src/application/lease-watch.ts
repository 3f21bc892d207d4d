import type { Instant, JsonObject } from '../domain/event-schema.js';
import type { Clock } from '../ports/clock.js';
import type { AttemptKey, Beat, Leases } from '../ports/leases.js';

/** How often the watch notes that it is awake. Milliseconds. */
const PULSE_MS = 250;
/** The most that the time between two looks may count. Milliseconds. */
const GAP_MAX_MS = 2 * PULSE_MS;

/** How many attempts a watch keeps in mind where nobody tells it which have ended: 4 MB. */
const KEPT_MAX = 10_000;

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
 * heartbeats that were sent meanwhile: such a gap counts for at most half a second. Nor does the time count
 * during which the store of beats was out of reach, when no runner could be heard by anybody. An attempt is
 * first heard of when it is first seen here, so after a start every lease counts anew.
 */
export class LeaseWatch {
  readonly #watched = new Map<string, Watched>();
  #awakeMs = 0;
  #lookedAtMs: number;
  /** The time awake when the store of beats answered last. */
  #answeredAtMs = 0;
  /** Whether it failed since. */
  #isDeaf = false;
  /** Whether the lost beats of earlier processes are known here. */
  #hasAdopted = false;
  #cancelPulse: () => void = () => undefined;

  /** `forgets`: nobody here calls `retain`, so that only the attempts heard of last are kept in mind. */
  constructor(
    private readonly clock: Clock,
    private readonly leases: Leases,
    private readonly options: { readonly forgets?: boolean } = {},
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
    this.#hear(key, 'running', await this.#answered(this.leases.beat(key, at, progress)));
  }

  /** Takes in what other processes have heard of these attempts. */
  async refresh(keys: readonly AttemptKey[]): Promise<void> {
    const beats = await this.#answered(this.leases.read(keys));
    for (const [index, key] of keys.entries()) {
      const beat = beats[index] ?? null;
      const known = this.#watched.get(nameOf(key))?.beat ?? null;
      if (beat !== null && !isSame(beat, known)) this.#hear(key, 'running', beat);
    }
  }

  /** Takes in, once, of which attempts there are beats: those that have ended are then forgotten by `retain`. */
  async adopt(): Promise<void> {
    if (this.#hasAdopted) return;
    for (const key of await this.#answered(this.leases.keys())) {
      if (!this.#watched.has(nameOf(key))) this.#hear(key, 'running', null);
    }
    this.#hasAdopted = true;
  }

  /** Beats can not be noted or read: until they can, time counts no more, nor since they last could. */
  missed(): void {
    this.#look();
    this.#awakeMs = this.#answeredAtMs;
    this.#isDeaf = true;
  }

  /** Has an attempt count anew, as one that is seen for the first time. */
  countAnew(key: AttemptKey): void {
    const known = this.#watched.get(nameOf(key));
    if (known !== undefined) this.#hear(key, known.phase, known.beat);
  }

  /** The last sign of life that is known here; null when none is. */
  lastBeat(key: AttemptKey): Beat | null {
    return this.#watched.get(nameOf(key))?.beat ?? null;
  }

  /** How long an attempt has been silent in this phase; 0 when it is seen for the first time. Milliseconds. */
  silentMs(key: AttemptKey, phase: Phase): number {
    const known = this.#watched.get(nameOf(key));
    if (known?.phase === phase) return this.#since(known);
    this.#hear(key, phase, known?.beat ?? null);
    return 0;
  }

  /** How long a running attempt has been silent, as far as it is watched here; else 0. Milliseconds. */
  knownSilenceMs(key: AttemptKey): number {
    const known = this.#watched.get(nameOf(key));
    return known?.phase === 'running' ? this.#since(known) : 0;
  }

  /** Forgets every attempt but these; one that was just opened is seen anew when it is looked for. */
  async retain(keys: readonly AttemptKey[]): Promise<void> {
    const active = new Set(keys.map(nameOf));
    for (const [name, { key }] of this.#watched) if (!active.has(name)) await this.drop(key);
  }

  /** Forgets an attempt that is no longer active; where that fails, the next `retain` does it. */
  async drop(key: AttemptKey): Promise<void> {
    await this.#answered(this.leases.drop(key));
    this.#watched.delete(nameOf(key));
  }

  #hear(key: AttemptKey, phase: Phase, beat: Beat | null): void {
    const { deploymentId, attemptId } = key;
    const heardAtMs = this.#look();
    const name = nameOf(key);
    this.#watched.delete(name);
    this.#watched.set(name, { key: { deploymentId, attemptId }, phase, beat, heardAtMs });
    if (this.options.forgets !== true || this.#watched.size <= KEPT_MAX) return;
    const [longestSilent] = this.#watched.keys();
    if (longestSilent !== undefined) this.#watched.delete(longestSilent);
  }

  /** Waits for the store of beats; notes whether it answers. */
  async #answered<T>(asked: Promise<T>): Promise<T> {
    try {
      const answer = await asked;
      this.#answeredAtMs = this.#look();
      this.#isDeaf = false;
      return answer;
    } catch (error) {
      this.missed();
      throw error;
    }
  }

  #since({ heardAtMs }: Watched): number {
    return Math.max(0, this.#look() - heardAtMs);
  }

  /** The time awake so far. */
  #look(): number {
    const now = this.clock.monotonicMs();
    if (!this.#isDeaf) this.#awakeMs += Math.min(now - this.#lookedAtMs, GAP_MAX_MS);
    this.#lookedAtMs = now;
    return this.#awakeMs;
  }
}

/** Counts begin again where an attempt was forgotten meanwhile; times only tell two beats apart. */
function isSame(beat: Beat, known: Beat | null): boolean {
  return beat.count === known?.count && beat.at === known.at;
}

function nameOf({ deploymentId, attemptId }: AttemptKey): string {
  return `${deploymentId}/${attemptId}`;
}
