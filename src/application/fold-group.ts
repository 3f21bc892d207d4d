import type { Instant } from '../domain/event-schema.js';
import type { Clock } from '../ports/clock.js';
import type { EventStore, Position, RecordedEvent } from '../ports/event-store.js';
import type { Change, ReadModels } from '../ports/read-models.js';
import { emit } from '../ports/signals.js';
import { FeedGuard, inOrder, type Hole } from './feed-guard.js';
import { isAfter, readEvent, type Folded, type ReadEvent, type TableFold } from './fold.js';

/** What groups work with. */
export interface GroupOptions {
  readonly store: EventStore;
  readonly readModels: ReadModels;
  readonly clock: Clock;
}

/** What a batch did: how many events of ours it had, and when the last one was recorded. */
export interface Applied {
  readonly events: number;
  readonly recordedAt: Instant | null;
}

/** Events folded in one go while catching up: 10 to 40 ms of work between two turns of the event loop. */
const CATCH_UP_EVENTS_MAX = 2000;

/**
 * Tables that are folded together: each event is read and parsed once, and a batch moves the rows and
 * checkpoints of all tables in one transaction.
 *
 * After an error the group no longer knows what is stored: begin with a new one.
 */
export class FoldGroup {
  readonly #options: GroupOptions;
  readonly #folds = new Map<string, TableFold>();
  readonly #guard: FeedGuard;

  /** `hole` is the one that an earlier group met and asked the store about again. */
  constructor(options: GroupOptions, folds: readonly TableFold[], hole: Hole | null = null) {
    this.#options = options;
    this.#guard = new FeedGuard(hole);
    for (const fold of folds) this.put(fold);
  }

  get folds(): readonly TableFold[] {
    return [...this.#folds.values()];
  }

  /** The hole in the feed that stopped the group, if one did. */
  get hole(): Hole | null {
    return this.#guard.hole;
  }

  /** The position that all tables have reached; null before the first event, or without a table. */
  get position(): Position | null {
    const [first, ...others] = this.folds.map(({ position }) => position);
    return others.reduce<Position | null>(
      (lowest, position) => (isAfter(lowest, position) ? position : lowest),
      first ?? null,
    );
  }

  get(table: string): TableFold | null {
    return this.#folds.get(table) ?? null;
  }

  /** Adds a table, or puts another fold in its place. */
  put(fold: TableFold): void {
    this.#folds.set(fold.projection.name, fold);
  }

  /**
   * Folds a batch into all tables and commits it.
   *
   * Safe to repeat: what a table has folded already is passed over, in whatever order it comes.
   * @throws {Fault} REVISION_CONFLICT when another projector moved a checkpoint; STORE_UNAVAILABLE when
   *   the feed left an event out; whatever the read models throw.
   */
  async apply(records: readonly RecordedEvent[]): Promise<Applied> {
    const { position } = this;
    const due = inOrder(records).filter((record) => isAfter(record.position, position));
    const to = due.at(-1)?.position;
    if (to === undefined) return { events: 0, recordedAt: null };
    const events = this.#guard.inspect(due.map(readEvent).filter((event) => event !== null));
    const results: [TableFold, Folded][] = [];
    for (const fold of this.folds.filter((each) => isAfter(to, each.position))) {
      results.push([fold, await this.#fold(fold, events)]);
    }
    await this.#options.readModels.commit(
      results.map(([fold, { changed }]) => changeOf(fold, [...changed.values()], to)),
    );
    for (const [fold, folded] of results) fold.advance(folded, to);
    this.#guard.passed(events);
    return { events: events.length, recordedAt: recordedAtOf(events.at(-1)) };
  }

  async #fold(fold: TableFold, events: readonly ReadEvent[]): Promise<Folded> {
    const { readModels, clock } = this.#options;
    const { projection, generation } = fold;
    const folded = await fold.fold(events, (keys) => readModels.load(projection, generation, keys));
    for (const { stream, revision, position, problem } of folded.poison) {
      const place = { table: projection.name, generation, stream, revision, position };
      await readModels.park({ ...place, problem, parkedAt: clock.now() });
      emit('parked', { projection: projection.name, stream, problem });
    }
    return folded;
  }
}

/**
 * Hands the log to `apply` in large batches, from after a position up to another one or to its end at
 * the time of the call, and leaves the event loop a turn after each. Ends early when aborted.
 */
export async function readOn(
  store: EventStore,
  range: {
    readonly after: Position | null;
    readonly until?: Position;
    readonly signal: AbortSignal;
  },
  apply: (batch: readonly RecordedEvent[]) => Promise<void>,
): Promise<void> {
  const { after, until, signal } = range;
  let batch: RecordedEvent[] = [];
  for await (const page of store.readAll(afterOf(after))) {
    const wanted = until === undefined ? page : page.filter(({ position }) => position <= until);
    batch = batch.length === 0 ? [...wanted] : batch.concat(wanted);
    if (batch.length >= CATCH_UP_EVENTS_MAX) {
      await apply(batch);
      await turn();
      batch = [];
    }
    if (signal.aborted || wanted.length < page.length) break;
  }
  if (!signal.aborted && batch.length > 0) await apply(batch);
}

/** The part of a read or a subscription that says after which position to begin. */
export function afterOf(position: Position | null): { readonly after?: Position } {
  return position === null ? {} : { after: position };
}

/** Lets the event loop do everything else that is ready before going on. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function changeOf(fold: TableFold, rows: Change['rows'], to: Position): Change {
  const { projection, generation, position } = fold;
  return { table: projection, generation, rows, from: position, to };
}

function recordedAtOf(event: ReadEvent | undefined): Instant | null {
  return event?.parsed.ok === true ? event.parsed.event.metadata.recordedAt : null;
}
