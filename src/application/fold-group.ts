import type { Instant } from '../domain/event-schema.js';
import type { Clock } from '../ports/clock.js';
import type { EventStore, Position, RecordedEvent } from '../ports/event-store.js';
import { turn, type Pace } from '../ports/pace.js';
import type { Change, ReadModels } from '../ports/read-models.js';
import { emit } from '../ports/signals.js';
import { FeedReader, inOrder } from './feed-reader.js';
import { FoldBatch, isAfter, type LoadRows, type ReadEvent, type TableFold } from './fold.js';

/** What groups work with. */
export interface GroupOptions {
  readonly store: EventStore;
  readonly readModels: ReadModels;
  readonly clock: Clock;
}

/** With a pace a group does not hold up the rest of the process; without one it goes on as fast as it can. */
type PacedOptions = GroupOptions & { readonly pace?: Pace };

/** What a commit wrote: how many events of ours it had, and when the last one was recorded. */
export interface Applied {
  readonly events: number;
  readonly recordedAt: Instant | null;
}

/**
 * A commit is due when so many rows have changed, 10 to 100 ms of work, or so many events are folded in.
 * While the same deployments go on changing, waiting for more events saves rows.
 */
const COMMIT_ROWS_MAX = 1000;
const COMMIT_EVENTS_MAX = 10_000;
/** A group with a pace commits fewer rows at a time, no more than hold the process up for about so long. */
const COMMIT_BLOCKS_MS = 3;
const COMMIT_ROWS_MIN = 25;
/** Events that are folded at a time: what is parsed and let go of soon costs the collector little. */
const PIECE_EVENTS_MAX = 100;

/** What is folded and not committed yet. */
interface Open {
  readonly batches: readonly (readonly [TableFold, FoldBatch])[];
  events: number;
  recordedAt: Instant | null;
  to: Position;
}

/**
 * Tables that are folded together: each event is read and parsed once, and a batch moves the rows and
 * checkpoints of all tables in one transaction.
 *
 * After an error the group no longer knows what is stored: begin with a new one.
 */
export class FoldGroup {
  readonly #options: PacedOptions;
  readonly #folds = new Map<string, TableFold>();
  readonly #feed: FeedReader;
  #position: Position | null = null;
  #open: Open | null = null;
  #rowsMax = COMMIT_ROWS_MAX;

  /**
   * `before` is the group that failed, of which two things are learned: the hole that it met, about which the
   * store is asked again, and that its last commit may have been too large.
   */
  constructor(options: PacedOptions, folds: readonly TableFold[], before: FoldGroup | null = null) {
    this.#options = options;
    this.#feed = new FeedReader(before === null ? null : before.#feed.hole);
    if (before !== null) this.#rowsMax = before.#open === null ? before.#rowsMax : before.#smaller;
    for (const fold of folds) this.put(fold);
  }

  get folds(): readonly TableFold[] {
    return [...this.#folds.values()];
  }

  /** The position that all tables have reached; null before the first event, or without a table. */
  get position(): Position | null {
    return this.#position;
  }

  get(table: string): TableFold | null {
    return this.#folds.get(table) ?? null;
  }

  /** Adds a table, or puts another fold in its place. */
  put(fold: TableFold): void {
    this.#folds.set(fold.projection.name, fold);
    this.#position = lowestOf(this.folds);
  }

  /** Whether so much is folded that it should be committed before more is. */
  get isFull(): boolean {
    if (this.#open === null) return false;
    const { batches, events } = this.#open;
    const rows = batches.reduce((sum, [, { changed }]) => sum + changed.size, 0);
    return events >= COMMIT_EVENTS_MAX || rows >= this.#rowsMax;
  }

  /**
   * Folds events into all tables; nothing is written yet.
   *
   * Safe to repeat: what a table has folded already is passed over, in whatever order it comes.
   * @throws {Fault} STORE_UNAVAILABLE when the feed left an event out; whatever the read models throw.
   */
  async fold(records: readonly RecordedEvent[]): Promise<void> {
    const due = dueAfter(this.#open?.to ?? this.position, inOrder(records));
    const to = due.at(-1)?.position;
    if (to === undefined) return;
    const open = (this.#open ??= this.#begin(to));
    for (const piece of piecesOf(due, PIECE_EVENTS_MAX)) {
      const parsed = this.#feed.read(piece);
      for (const [fold, batch] of open.batches)
        await fold.fold(parsed, this.#loaderOf(fold), batch);
      await this.#options.pace?.giveWay();
      open.events += parsed.length;
      open.recordedAt = recordedAtOf(parsed.at(-1)) ?? open.recordedAt;
    }
    open.to = to;
  }

  /**
   * Writes what is folded: first the streams that had to be left, each by itself, then the rows and
   * checkpoints of all tables in one transaction.
   * @throws {Fault} REVISION_CONFLICT when another projector moved a checkpoint; whatever the read models
   *   throw.
   */
  async commit(): Promise<Applied> {
    if (this.#open === null) return { events: 0, recordedAt: null };
    const { events, recordedAt, to } = this.#open;
    const batches = this.#open.batches.filter(([{ position }]) => isAfter(to, position));
    for (const [fold, batch] of batches) await this.#park(fold, batch);
    await this.#write(
      batches.map(([fold, { changed }]) => changeOf(fold, [...changed.values()], to)),
    );
    for (const [fold, batch] of batches) fold.advance(batch, to);
    this.#position = to;
    this.#open = null;
    await this.#options.pace?.giveWay();
    return { events, recordedAt };
  }

  async #write(changes: readonly Change[]): Promise<void> {
    const { readModels, clock, pace } = this.#options;
    const beganAtMs = clock.monotonicMs();
    const written = readModels.commit(changes);
    // An embedded database has written when it hands over the promise; a server writes meanwhile.
    const blockedMs = clock.monotonicMs() - beganAtMs;
    await written;
    const rows = changes.reduce((sum, change) => sum + change.rows.length, 0);
    const isFree = pace === undefined || blockedMs === 0;
    const fitting = isFree ? COMMIT_ROWS_MAX : Math.round((rows * COMMIT_BLOCKS_MS) / blockedMs);
    const rowsMax = Math.min(COMMIT_ROWS_MAX, 2 * this.#rowsMax, fitting);
    this.#rowsMax = Math.max(COMMIT_ROWS_MIN, rowsMax);
  }

  get #smaller(): number {
    return Math.max(COMMIT_ROWS_MIN, Math.floor(this.#rowsMax / 2));
  }

  #begin(to: Position): Open {
    const batches = this.folds.map((fold) => [fold, new FoldBatch()] as const);
    return { batches, events: 0, recordedAt: null, to };
  }

  #loaderOf({ projection, generation }: TableFold): LoadRows {
    return (keys) => this.#options.readModels.load(projection, generation, keys);
  }

  async #park({ projection, generation }: TableFold, { poison }: FoldBatch): Promise<void> {
    const { readModels, clock } = this.#options;
    for (const { stream, revision, position, problem } of poison.values()) {
      const place = { table: projection.name, generation, stream, revision, position };
      await readModels.park({ ...place, problem, parkedAt: clock.now() });
      emit('parked', { projection: projection.name, stream, problem });
    }
  }
}

/**
 * Hands over the log in pieces, from after a position up to another one or to its end at the time of the
 * call, and leaves the event loop a turn after each page of the store. Ends early when aborted.
 */
export async function readOn(
  store: EventStore,
  range: {
    readonly after: Position | null;
    readonly until?: Position;
    readonly signal: AbortSignal;
  },
  take: (piece: readonly RecordedEvent[]) => Promise<void>,
): Promise<void> {
  const { after, until, signal } = range;
  for await (const page of store.readAll(afterOf(after))) {
    const wanted = until === undefined ? page : page.filter(({ position }) => position <= until);
    for (const piece of piecesOf(wanted, PIECE_EVENTS_MAX)) {
      await take(piece);
      if (signal.aborted) return;
    }
    if (wanted.length < page.length) return;
    await turn();
  }
}

/** The part of a read or a subscription that says after which position to begin. */
export function afterOf(position: Position | null): { readonly after?: Position } {
  return position === null ? {} : { after: position };
}

/** Parts of a list, in its order, each but the last one of the same size. */
export function* piecesOf<T>(all: readonly T[], size: number): Generator<readonly T[]> {
  for (let from = 0; from < all.length; from += size) yield all.slice(from, from + size);
}

function lowestOf(folds: readonly TableFold[]): Position | null {
  const [first, ...others] = folds.map(({ position }) => position);
  return others.reduce<Position | null>(
    (lowest, position) => (isAfter(lowest, position) ? position : lowest),
    first ?? null,
  );
}

function changeOf(fold: TableFold, rows: Change['rows'], to: Position): Change {
  const { projection, generation, position } = fold;
  return { table: projection, generation, rows, from: position, to };
}

function recordedAtOf(event: ReadEvent | undefined): Instant | null {
  return event?.parsed.ok === true ? event.parsed.event.metadata.recordedAt : null;
}

function dueAfter(
  position: Position | null,
  records: readonly RecordedEvent[],
): readonly RecordedEvent[] {
  const [first] = records;
  if (first === undefined || isAfter(first.position, position)) return records;
  return records.filter((record) => isAfter(record.position, position));
}
