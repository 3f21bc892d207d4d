import { sleep } from '../ports/clock.js';
import type { Position } from '../ports/event-store.js';
import { isFault } from '../ports/faults.js';
import { Pace } from '../ports/pace.js';
import { emit } from '../ports/signals.js';
import type { Projection } from '../projections/projection.js';
import { backoffMs } from './backoff.js';
import { FoldGroup, readOn, type GroupOptions } from './fold-group.js';
import { messageOf, TableFold } from './fold.js';
import { StoredTables } from './stored-tables.js';

/** How far a rebuild is, in events. `total` is estimated from positions; null before the first batch. */
export interface RebuildProgress {
  readonly done: number;
  readonly total: number | null;
}
/** `stopped`: the projector was stopped, or overtaken; what is built stays, and the next owner goes on with it. */
export type RebuildOutcome = 'promoted' | 'cancelled' | 'stopped';
type Work = (rebuild: Rebuild, cancelled: AbortSignal) => Promise<RebuildOutcome>;

/** A rebuild that runs, or waits for its turn. */
export class Rebuild {
  readonly projections: readonly Projection[];
  /** Never rejects: what fails is tried again until it succeeds, is cancelled or stopped. */
  readonly finished: Promise<RebuildOutcome>;
  readonly #cancel = new AbortController();
  readonly #listeners = new Set<(progress: RebuildProgress) => void>();
  #progress: RebuildProgress = { done: 0, total: null };
  #problem: string | null = null;
  #ended = false;

  constructor(projections: readonly Projection[], work: Work) {
    this.projections = projections;
    this.finished = work(this, this.#cancel.signal).finally(() => {
      this.#ended = true;
      this.report(this.#progress);
      this.#listeners.clear();
    });
  }

  get progress(): RebuildProgress {
    return this.#progress;
  }

  /** What failed last and is tried again; null when nothing does. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Drops what is built so far; the live table goes on untouched. Too late once it is promoted. */
  cancel(): void {
    this.#cancel.abort();
  }

  /** Tells the listener of all progress from now on. */
  onProgress(listener: (progress: RebuildProgress) => void): void {
    this.#listeners.add(listener);
  }

  /** The progress now, then each change that the reader was quick enough to see, until the end. */
  async *follow(): AsyncGenerator<RebuildProgress, void, undefined> {
    while (!this.#ended) {
      const changed = new Promise<void>((resolve) => {
        const once = (): void => {
          this.#listeners.delete(once);
          resolve();
        };
        this.#listeners.add(once);
      });
      yield this.#progress;
      await changed;
    }
    yield this.#progress;
  }

  /** For whoever does the work: it went on, or it failed and goes on later. */
  report(progress: RebuildProgress, problem: string | null = null): void {
    this.#progress = progress;
    this.#problem = problem;
    for (const listener of [...this.#listeners]) listener(progress);
  }
}

/** What rebuilds need of the projector that they serve. */
export interface RebuildsOptions extends GroupOptions {
  /** Ends all rebuilds for now; what they have built stays. */
  readonly stop: AbortSignal;
  /** Puts tables that are nearly level in the place of the live ones. */
  readonly promote: (next: FoldGroup) => Promise<void>;
  /** Another projector promoted or dropped what was being built. */
  readonly onTaken: () => void;
  /** Chance from 0 to below 1, for the jitter of retries. */
  readonly random: () => number;
}

/** `fresh` drops what an earlier run left, `resume` goes on with it, `go on` has begun already. */
type Beginning = 'fresh' | 'resume' | 'go on';

/** Less than this is left when a build asks to take its place: some milliseconds of work. */
const NEARLY_THERE_EVENTS = 100;

/** Builds generations `next` beside the live tables, one after the other. */
export class Rebuilds {
  readonly #options: RebuildsOptions;
  #all: readonly Rebuild[] = [];
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: RebuildsOptions) {
    this.#options = options;
  }

  /** The rebuild of a projection that runs or waits; null without one. */
  of(name: string): Rebuild | null {
    return this.#all.find(({ projections }) => projections.some((p) => p.name === name)) ?? null;
  }

  /** Resolves when all rebuilds so far have ended. */
  async settled(): Promise<void> {
    await this.#last;
  }

  /** Lines up a rebuild of tables that are built together. */
  begin(projections: readonly Projection[], how: 'fresh' | 'resume'): Rebuild {
    const before = this.#last;
    const rebuild = new Rebuild(projections, async (self, cancelled) => {
      await before;
      const outcome = await this.#build(self, how, cancelled);
      this.#all = this.#all.filter((each) => each !== self);
      return outcome;
    });
    this.#all = [...this.#all, rebuild];
    this.#last = rebuild.finished;
    return rebuild;
  }

  async #build(rebuild: Rebuild, how: Beginning, cancelled: AbortSignal): Promise<RebuildOutcome> {
    const { stop, clock, random } = this.#options;
    const signal = AbortSignal.any([cancelled, stop]);
    const group = new FoldGroup(this.#options, []);
    const pace = new Pace();
    const run: Run = { rebuild, how, signal, failures: 0, group, pace, from: null, done: 0 };
    while (!signal.aborted) {
      try {
        if (await this.#attempt(run)) return 'promoted';
      } catch (error) {
        // Whoever owns the tables now goes on with what is built.
        if (isFault(error, 'STORE_OWNED')) return 'stopped';
        rebuild.report(rebuild.progress, messageOf(error));
        emit('trouble', { where: 'rebuild', error });
        await sleep(clock, backoffMs(run.failures++, random), signal);
      }
    }
    return cancelled.aborted ? this.#drop(rebuild) : 'stopped';
  }

  /** Builds until it is promoted, or, answering false, until it is told to end. */
  async #attempt(run: Run): Promise<boolean> {
    const { rebuild } = run;
    const folds = await this.#beginNext(rebuild.projections, run.how);
    if (folds === null) {
      this.#options.onTaken();
      return true;
    }
    run.how = 'go on';
    run.group = new FoldGroup({ ...this.#options, pace: run.pace }, folds, run.group);
    Object.assign(run, { from: run.group.position, done: 0 });
    if (!(await this.#buildUp(run))) return false;
    // What takes long is done before the live tables have to wait; what came meanwhile is folded after it.
    for (const { projection } of folds) await this.#options.readModels.finishNext(projection);
    if (!(await this.#buildUp(run))) return false;
    await this.#options.promote(run.group);
    return true;
  }

  /** One fold for each table; null when one that was begun is not there any more. */
  async #beginNext(
    projections: readonly Projection[],
    how: Beginning,
  ): Promise<readonly TableFold[] | null> {
    const { readModels } = this.#options;
    const stored = await StoredTables.read(readModels);
    const folds: TableFold[] = [];
    for (const projection of projections) {
      const fold = how === 'fresh' ? null : stored.fold(projection, 'next');
      if (fold !== null) {
        folds.push(fold);
        continue;
      }
      if (how === 'go on') return null;
      // It was promoted or dropped since somebody saw that it was not finished.
      if (how === 'resume' && stored.shown(projection) !== null) continue;
      await readModels.startNext(projection);
      folds.push(new TableFold(projection, 'next', { position: null, parked: new Map() }));
    }
    return folds.length === 0 ? null : folds;
  }

  /** Folds the log into the new tables until hardly anything is left; false when it was told to end before. */
  async #buildUp(run: Run): Promise<boolean> {
    const { signal } = run;
    let left = await this.#foldToEnd(run);
    while (left >= NEARLY_THERE_EVENTS && !signal.aborted) {
      const before = left;
      left = await this.#foldToEnd(run);
      // The log grows nearly as fast as it is folded: the build ends sooner if others wait for it a little.
      if (2 * left > before) run.pace.hurry();
    }
    return !signal.aborted;
  }

  /** Folds up to the end that the log has now; answers how many events that were. */
  async #foldToEnd(run: Run): Promise<number> {
    const { store } = this.#options;
    const { group, rebuild, signal, from } = run;
    const before = run.done;
    const head = await store.head();
    const commit = async (): Promise<void> => {
      await group.commit();
      run.failures = 0;
      const total = estimatedTotal({ done: run.done, from, at: group.position, head });
      rebuild.report({ done: run.done, total });
    };
    await readOn(store, { after: group.position, signal }, async (piece) => {
      await group.fold(piece);
      run.done += piece.length;
      if (group.isFull) await commit();
    });
    await commit();
    return run.done - before;
  }

  async #drop({ projections }: Rebuild): Promise<RebuildOutcome> {
    try {
      for (const projection of projections) await this.#options.readModels.dropNext(projection);
    } catch (error) {
      emit('trouble', { where: 'rebuild', error });
    }
    return 'cancelled';
  }
}

interface Run {
  readonly rebuild: Rebuild;
  readonly signal: AbortSignal;
  how: Beginning;
  failures: number;
  group: FoldGroup;
  readonly pace: Pace;
  /** Where this attempt began, and how many events it has folded since. */
  from: Position | null;
  done: number;
}

/** Exact where positions have no gaps; elsewhere as good as events are evenly large. */
function estimatedTotal(way: {
  readonly done: number;
  readonly from: Position | null;
  readonly at: Position | null;
  readonly head: Position | null;
}): number | null {
  const { done, from, at, head } = way;
  if (at === null || head === null || done === 0) return null;
  const gone = Number(at - (from ?? 0n));
  const whole = Number(head - (from ?? 0n));
  return gone <= 0 ? null : Math.max(done, Math.round((done * whole) / gone));
}
