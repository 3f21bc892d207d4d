import { sleep } from '../ports/clock.js';
import type { Position, RecordedEvent } from '../ports/event-store.js';
import { Fault, isFault } from '../ports/faults.js';
import { turn } from '../ports/pace.js';
import type { ParkedStream } from '../ports/read-models.js';
import { emit } from '../ports/signals.js';
import type { Projection } from '../projections/projection.js';
import { afterOf, FoldGroup, piecesOf, readOn, type GroupOptions } from './fold-group.js';
import { backoffMs, jittered } from './backoff.js';
import { Claimant, CLAIM_RENEW_MS } from './claimant.js';
import { isAfter, messageOf } from './fold.js';
import { LagMeter } from './lag.js';
import { readmit } from './parked-streams.js';
import { PositionWaiters } from './position-waiters.js';
import {
  projectionStatus,
  type ProjectionFacts,
  type ProjectionStatus,
} from './projection-status.js';
import { Rebuilds, type Rebuild } from './rebuild.js';
import { StoredTables } from './stored-tables.js';

/** What a projector works with. */
export interface ProjectorOptions extends GroupOptions {
  readonly projections: readonly Projection[];
  /** Chance from 0 to below 1, for the jitter of retries. */
  readonly random: () => number;
  /** Who this is, for people, as `host/pid`: the read models are folded by one process at a time. */
  readonly owner: string;
  /** Whether this process may fold; otherwise it only sees how far whoever does has come. True by default. */
  readonly folds?: boolean;
}

/** Events folded in one go while following the log: a dozen milliseconds at most. */
const LIVE_EVENTS_MAX = 500;
const CONFLICT_BACKOFF_MS = 50; // Another projector did the work meanwhile: nothing is wrong.
const FAILURES_MAX = 5; // In a row, a few seconds: another may reach what is out of reach here.
/** How often one who does not fold looks how far the tables are, while somebody waits for them. */
const LOOK_MS = 15;

/**
 * Keeps the read models level with the log.
 *
 * One subscription feeds all live tables; commits wake it, nothing polls. One process folds: others on the
 * same tables stand by, see how far it has come, and take over when it is silent. Checkpoints are compared
 * and set, so that two would do no harm either. What fails is told, waited out and
 * tried again; an event that cannot be folded parks its stream in that projection alone.
 */
export class Projector {
  readonly #options: ProjectorOptions;
  readonly #lag: LagMeter;
  readonly #rebuilds: Rebuilds;
  readonly #claimant: Claimant;
  readonly #stop = new AbortController();
  readonly #waiters: PositionWaiters;
  #running: Promise<void> | null = null;

  /** The tables that are folded together. */
  #live: FoldGroup;
  /** Whether `#live` is known to be what is stored. */
  #prepared = false;
  /** Ends the present reading of the log, so that everything is prepared again. */
  #refresh = new AbortController();
  /** The tables as they were found last: of those that are not live there is no other word. */
  #stored: StoredTables | null = null;
  /** Ends the present pause of one who stands by. */
  #nap = new AbortController();
  /** The end of the current turn at the live tables: batches and promotions take turns. */
  #turn: Promise<unknown> = Promise.resolve();

  /** The log's end at the start; undefined before it is known. */
  #goal: Position | null | undefined;
  #isCaughtUp = false;
  #head: Position | null = null;
  #headProblem: string | null = null;
  #failures = 0;
  #lastError: string | null = null;

  /** Resolves when every table shows all that was in the log at the start, new tables included. */
  readonly caughtUp: Promise<void>;
  #resolveCaughtUp: () => void = () => undefined;

  constructor(options: ProjectorOptions) {
    if (options.projections.length === 0) throw new Error('a projector has projections');
    this.#options = options;
    this.#lag = new LagMeter(options.clock);
    this.#waiters = new PositionWaiters(options.clock);
    this.#live = new FoldGroup(options, []);
    this.#rebuilds = new Rebuilds({
      ...options,
      stop: this.#stop.signal,
      promote: (next) => this.#exclusive(() => this.#promote(next)),
      onTaken: () => this.#prepareAgain(),
    });
    this.#claimant = new Claimant({
      ...options,
      takesOver: options.store.exclusive,
      onRenewed: () => void this.doWhatIsAsked(),
      onLost: () => this.#prepareAgain(),
    });
    this.caughtUp = new Promise((resolve) => {
      this.#resolveCaughtUp = resolve;
    });
  }

  /** Whether `caughtUp` is resolved. */
  get isCaughtUp(): boolean {
    return this.#isCaughtUp;
  }

  /** The position that all live tables have reached; null before the first event. */
  get position(): Position | null {
    return this.#positionOf(undefined);
  }

  /** Whether this process folds, as far as it knows. */
  get isOwner(): boolean {
    return this.#claimant.isOwner;
  }

  /**
   * Checks the read models against the log and begins to follow it; resolves before it has caught up.
   * A store that is out of reach is waited for.
   * @throws {Fault} STORE_CORRUPT when the log is shorter than the read models; STORE_FOREIGN when a
   *   table was made by a newer program.
   */
  async start(): Promise<void> {
    if (this.#running !== null) throw new Error('a projector is started once');
    try {
      if (await this.#claim()) await this.#exclusive(() => this.#prepare());
      else await this.#look();
    } catch (error) {
      if (!isPassing(error)) throw error;
      this.#fail(error);
    }
    this.#running = this.#run();
  }

  /** Ends following and rebuilding after the batches in hand. What is built so far is kept. Safe to repeat. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#rebuilds.settled();
    this.#waiters.end();
    // Where that fails, the claim is past soon.
    await this.#claimant.release().catch((error: unknown) => {
      emit('trouble', { where: 'projector', error });
    });
  }

  /**
   * Resolves when the live tables, or the one of a projection, show the log up to a position.
   * @throws {Fault} NOT_YET_VISIBLE when the time is up, or the projector is stopped before.
   */
  waitFor(position: Position, timeoutMs: number, projection?: string): Promise<void> {
    const shown = (): Position | null => this.#positionOf(projection);
    const waiting = this.#waiters.wait({ position, timeoutMs, shown });
    if (this.#waiters.any) this.#nap.abort();
    return waiting;
  }

  /** Where each projection stands, in the order of their definitions. Cost: asks the log for its end. */
  async status(): Promise<readonly ProjectionStatus[]> {
    try {
      if (!this.isOwner) await this.#look();
      this.#head = await this.#options.store.head();
      this.#headProblem = null;
    } catch (error) {
      this.#headProblem = messageOf(error);
    }
    return this.#options.projections.map((projection) => this.#statusOf(projection));
  }

  /**
   * Builds the table of a projection anew beside the live one and puts it in its place, at the same
   * position, in one transaction. Parked streams get another try.
   *
   * One at a time: others wait for their turn. Asked again while it runs, the running one is answered.
   * Shape: null when there is no such projection.
   */
  rebuild(name: string, options: { readonly signal?: AbortSignal } = {}): Rebuild | null {
    const projection = this.#options.projections.find((each) => each.name === name);
    if (projection === undefined) return null;
    const rebuild = this.#rebuilds.of(name) ?? this.#rebuilds.begin([projection], 'fresh');
    const cancel = (): void => rebuild.cancel();
    if (options.signal?.aborted === true) cancel();
    options.signal?.addEventListener('abort', cancel, { once: true });
    return rebuild;
  }

  /**
   * Has a projection rebuilt by whoever folds; answers false when there is no such projection. One that is
   * being rebuilt is not begun again.
   */
  async askRebuild(name: string): Promise<boolean> {
    if (this.isOwner) return this.rebuild(name) !== null;
    const { readModels, projections } = this.#options;
    const projection = projections.find((each) => each.name === name);
    if (projection === undefined) return false;
    const isBegun = (await StoredTables.read(readModels)).at(name, 'next') !== null;
    if (!isBegun) await readModels.startNext(projection);
    return true;
  }

  async #run(): Promise<void> {
    const { clock, random } = this.#options;
    while (!this.#stop.signal.aborted) {
      try {
        if (!(await this.#claim())) {
          await this.#standBy();
          continue;
        }
        if (!this.#prepared) await this.#exclusive(() => this.#prepare());
        if (this.#live.folds.length > 0) {
          await this.#follow();
        } else {
          await this.#rebuilds.settled();
          this.#prepared = this.#live.folds.length > 0;
        }
      } catch (error) {
        this.#prepared = false;
        if (isFault(error, 'STORE_OWNED')) {
          this.#claimant.lost();
          continue;
        }
        const isConflict = isFault(error, 'REVISION_CONFLICT');
        const delayMs = isConflict ? jittered(CONFLICT_BACKOFF_MS, random) : this.#fail(error);
        if (!isPassing(error) || this.#failures > FAILURES_MAX) await this.#claimant.yield();
        await sleep(clock, delayMs, this.#stop.signal);
      }
    }
  }

  /** Asks for the tables, if this process may fold. */
  async #claim(): Promise<boolean> {
    const { readModels, projections, folds = true } = this.#options;
    if (!this.isOwner) await readModels.open(projections);
    return folds && this.#claimant.claim();
  }

  /** Another folds: sees how far it is, more often while somebody waits, until it is time to ask again. */
  async #standBy(): Promise<void> {
    const { clock } = this.#options;
    await this.#exclusive(async () => {
      this.#live = new FoldGroup(this.#options, []);
    });
    await this.#look();
    this.#recovered();
    const untilMs = clock.monotonicMs() + CLAIM_RENEW_MS;
    for (;;) {
      const leftMs = untilMs - clock.monotonicMs();
      if (leftMs <= 0 || this.#stop.signal.aborted) return;
      this.#nap = new AbortController();
      const signal = AbortSignal.any([this.#stop.signal, this.#nap.signal]);
      await sleep(clock, this.#waiters.any ? Math.min(LOOK_MS, leftMs) : leftMs, signal);
      if (this.#waiters.any) await this.#look();
    }
  }

  /** Sees how far the tables are that another folds. */
  async #look(): Promise<void> {
    const { readModels, store } = this.#options;
    this.#goal ??= this.#head = await store.head();
    this.#stored = await StoredTables.read(readModels);
    await this.#claimant.look();
    this.#moved();
  }

  /** Reads what is stored and decides what is followed and what must be built. */
  async #prepare(): Promise<void> {
    const { readModels, store, projections } = this.#options;
    const stored = await StoredTables.read(readModels);
    this.#head = await store.head();
    stored.assertUsable(projections, this.#head);
    await stored.assertOfThisLog(store, readModels);
    const current = projections.map((each) => stored.fold(each, 'live')).filter((f) => f !== null);
    // A new table beside others is built apart, so that these need not wait for it.
    const begun = current.filter(({ position }) => position !== null);
    this.#live = new FoldGroup(this.#options, begun.length > 0 ? begun : current, this.#live);
    this.#stored = stored;
    this.#goal ??= this.#head;
    this.#prepared = true;
    this.#buildMissing(stored);
    this.#moved();
  }

  /** Does what was asked for at any process: builds, and another try of streams that were left. */
  async doWhatIsAsked(): Promise<void> {
    const { readModels } = this.#options;
    try {
      if (!this.isOwner || !this.#prepared) return;
      this.#stored = await StoredTables.read(readModels);
      this.#buildMissing(this.#stored);
      const { toRetry } = this.#stored;
      for (const entry of toRetry) await this.#exclusive(() => this.#retry(entry));
      if (toRetry.length > 0) this.#stored = await StoredTables.read(readModels);
    } catch (error) {
      emit('trouble', { where: 'projector', error });
    }
  }

  async #retry(entry: ParkedStream): Promise<void> {
    const fold = this.#live.get(entry.table); // Another call may have folded it meanwhile.
    if (!this.#prepared || fold?.parked.get(entry.stream) !== entry.position) return;
    try {
      await this.#live.commit();
      const problem = await readmit(this.#options, fold, entry);
      // Tried: it waits for the next decision.
      if (problem !== null) await this.#options.readModels.undecideParked(entry);
    } catch (error) {
      this.#prepareAgain();
      throw error;
    }
  }

  /** Builds what is not among the live tables, and what was begun and is not finished. */
  #buildMissing(stored: StoredTables): void {
    const missing = this.#options.projections.filter(
      ({ name }) =>
        this.#rebuilds.of(name) === null &&
        (this.#live.get(name) === null || stored.at(name, 'next') !== null),
    );
    if (missing.length > 0) this.#rebuilds.begin(missing, 'resume');
  }

  async #follow(): Promise<void> {
    this.#refresh = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, this.#refresh.signal]);
    const [{ store }, { position: after }] = [this.#options, this.#live];
    await readOn(store, { after, signal }, (piece) => this.#apply(piece, 'when full'));
    await this.#apply([], 'now');
    const rest = { ...afterOf(this.#live.position), signal };
    for await (const { events, caughtUp } of store.subscribe(rest)) {
      for (const piece of piecesOf(events, LIVE_EVENTS_MAX)) {
        await this.#apply(piece, 'now');
        if (piece.length < events.length) await turn();
      }
      this.#recovered();
      if (caughtUp) this.#lag.level();
    }
    if (!signal.aborted) throw new Fault('STORE_UNAVAILABLE', 'the subscription ended by itself');
  }

  async #apply(records: readonly RecordedEvent[], commit: 'now' | 'when full'): Promise<void> {
    await this.#exclusive(async () => {
      if (!this.#prepared) {
        this.#refresh.abort();
        return;
      }
      const startedAtMs = this.#options.clock.monotonicMs();
      try {
        await this.#live.fold(records);
        if (commit === 'now' || this.#live.isFull) await this.#commit(startedAtMs);
      } catch (error) {
        this.#prepared = false;
        throw error;
      }
    });
  }

  async #commit(startedAtMs: number): Promise<void> {
    const { position: after } = this.#live;
    const { events, recordedAt } = await this.#live.commit();
    const { position } = this.#live;
    if (position === null || position === after) return;
    this.#lag.passed({ after, to: position, events, recordedAt });
    const ms = this.#options.clock.monotonicMs() - startedAtMs;
    emit('projected', { events, ms, lagMs: this.#lag.ageMs() });
    this.#recovered();
    this.#moved();
  }

  /** Brings the new tables and the live ones to one position, and lets the new ones take their place. */
  async #promote(next: FoldGroup): Promise<void> {
    const { store, readModels } = this.#options;
    const { signal } = new AbortController();
    const live = this.#live;
    if (!this.#prepared) throw new Fault('STORE_UNAVAILABLE', 'the live tables failed just now');
    try {
      // What is folded into the live tables and not committed yet would miss the new ones.
      await live.commit();
      const behind = isAfter(live.position, next.position) ? next : live;
      const until = behind === next ? live.position : next.position;
      if (live.folds.length > 0 && until !== null) {
        const range = { after: behind.position, until, signal };
        await readOn(store, range, (piece) => behind.fold(piece));
        await behind.commit();
      }
      for (const fold of next.folds) {
        await readModels.promoteNext(fold.projection, fold.position);
        live.put(fold.promoted());
      }
    } catch (error) {
      this.#prepareAgain();
      throw error;
    }
    this.#moved();
  }

  /** What is stored is not what we think: read it again before anything else is written. */
  #prepareAgain(): void {
    this.#prepared = false;
    this.#refresh.abort();
  }

  /** Tells everybody who waits that the live tables have moved. */
  #moved(): void {
    const { projections } = this.#options;
    const goal = this.#goal;
    if (!this.#isCaughtUp && goal !== undefined) {
      this.#isCaughtUp = projections.every((each) => this.#shows(each, goal));
      if (this.#isCaughtUp) this.#resolveCaughtUp();
    }
    this.#waiters.moved();
  }

  /** Runs a task when all earlier ones at the live tables are done. */
  #exclusive<T>(task: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(task);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  /** Notes and tells a failure; answers how long to wait. */
  #fail(error: unknown): number {
    this.#lastError = messageOf(error);
    emit('trouble', { where: 'projector', error });
    return backoffMs(this.#failures++, this.#options.random);
  }

  #recovered(): void {
    this.#failures = 0;
    this.#lastError = null;
  }

  #shows({ name, version }: Projection, goal: Position | null): boolean {
    if (this.#live.folds.length > 0) {
      return this.#live.get(name) !== null && !isAfter(goal, this.#live.position);
    }
    const at = this.#stored?.at(name, 'live');
    return at?.version === version && !isAfter(goal, at.position);
  }

  /** What a table shows, or all of them; a new one among them is built apart, and nobody waits for it. */
  #positionOf(name: string | undefined): Position | null {
    if (this.#live.folds.length > 0) {
      return name === undefined ? this.#live.position : (this.#live.get(name)?.position ?? null);
    }
    const shown = this.#options.projections
      .filter((each) => name === undefined || each.name === name)
      .map((each) => this.#stored?.shown(each) ?? null)
      .filter((position) => position !== null);
    return shown.reduce<Position | null>((a, b) => (a === null || b < a ? b : a), null);
  }

  #statusOf({ name, version }: Projection): ProjectionStatus {
    const { isRebuilding, ...place } = this.#placeOf(name);
    const { position } = place;
    const rebuild = this.#rebuilds.of(name);
    const { seen } = this.#claimant;
    return projectionStatus({
      name,
      version,
      ...place,
      headPosition: this.#head,
      lagEvents: this.#lag.events(position, this.#head),
      lagSeconds: position === null ? null : this.#lag.seconds(position, this.#head),
      lastError: rebuild?.problem ?? this.#lastError ?? this.#headProblem,
      rebuild: rebuild?.progress ?? null,
      isRebuilding: isRebuilding || rebuild !== null,
      isStopped: this.#running === null || this.#stop.signal.aborted,
      isCaughtUp: this.#isCaughtUp,
      owner: seen && { ...seen, isThisProcess: this.isOwner },
    });
  }

  /** Where a table stands: as it is folded here, or as it was found last. */
  #placeOf(
    name: string,
  ): Pick<ProjectionFacts, 'position' | 'parked' | 'skipped' | 'isRebuilding'> {
    const fold = this.#live.get(name);
    const skipped = this.#stored?.skippedIn(name).length ?? 0;
    if (fold !== null) {
      const parked = Math.max(0, fold.parked.size - skipped);
      return { position: fold.position, parked, skipped, isRebuilding: false };
    }
    return {
      position: this.#stored?.at(name, 'live')?.position ?? null,
      parked: this.#stored?.waitingIn(name).length ?? 0,
      skipped,
      isRebuilding: this.#stored?.at(name, 'next') != null,
    };
  }
}

/** Whether a failure is one that time or an operator mends, so that waiting helps. */
function isPassing(error: unknown): boolean {
  return isFault(error) && (error.retryable || error.code === 'STORE_FULL');
}
