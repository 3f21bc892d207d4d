import type { Actor, Instant } from '../domain/event-schema.js';
import type { Position, Revision } from './event-store.js';

/** How a column of a read-model table is stored; `json` is text that only the row's own code reads. */
export type ColumnType = 'text' | 'integer' | 'bigint' | 'boolean' | 'json';
/** What any row is made of: text, safe integers, bigints, booleans, null; `json` columns any JSON value. */
export type Row = Readonly<Record<string, unknown>>;
/** The values of a row's key columns, in the order of the table's `key`. */
export type RowKey = readonly (string | bigint)[];

/** The shape of a read-model table. Every projection is one. */
export interface Table<R extends Row = Row> {
  /** Plural noun of the row; lower case letters and underscores. */
  readonly name: string;
  /** Grows with each change of meaning or shape; a new version is built beside the live one. */
  readonly version: number;
  readonly columns: {
    readonly [K in keyof R]: { readonly type: ColumnType; readonly nullable?: true };
  };
  readonly key: readonly (keyof R & string)[];
  readonly indexes: readonly (readonly (keyof R & string)[])[];
}

/** `live` is what queries read; `next` is built beside it and takes its place in one transaction. */
export type Generation = 'live' | 'next';

/** How far a table has come. */
export interface Checkpoint {
  readonly table: string;
  readonly generation: Generation;
  /** Version of the definition that the rows were made by. */
  readonly version: number;
  /** The last position folded in; null before the first. */
  readonly position: Position | null;
}

/** Rows of one table to write, with the step of its checkpoint. */
export interface Change {
  readonly table: Table;
  readonly generation: Generation;
  /** Rows to insert or replace, at most one for each key. */
  readonly rows: readonly Row[];
  /** The checkpoint that must stand now; otherwise nothing of the whole commit is written. */
  readonly from: Position | null;
  readonly to: Position;
}

/** A stream that a projection can not fold: it waits there, whole, until it is mended or skipped. */
export interface ParkedStream {
  readonly table: string;
  readonly generation: Generation;
  readonly stream: string;
  /** The first event that could not be folded. */
  readonly revision: Revision;
  readonly position: Position;
  readonly problem: string;
  readonly parkedAt: Instant;
  /** What a person decided about it; null as long as it only waits. */
  readonly decided: ParkedDecision | null;
}

/** What a person decided about a parked stream. It stands until the stream is folded, rebuilds included. */
export interface ParkedDecision {
  /** `skip`: it stays left out, and harms no health; `retry`: whoever folds tries it again. */
  readonly decision: 'skip' | 'retry';
  readonly by: Actor;
  readonly reason: string | null;
  readonly at: Instant;
}

/** Who folds the log into the tables: one at a time, by a claim that is past unless it is renewed. */
export interface Ownership {
  /** A name for people, as `host/pid`: 1..200 characters. */
  readonly owner: string;
  /** Grows with each change of owner. */
  readonly fence: bigint;
  readonly since: Instant;
  /** How long the claim still holds unless it is renewed, by the clock of the store; ≤ 0 when it is past. Milliseconds. */
  readonly remainingMs: number;
  /** How often others were refused since. */
  readonly denials: number;
}

/** A claim to be the one who writes. */
export interface Claim {
  readonly owner: string;
  /** How long it holds without renewal, ≥ 0. Milliseconds. */
  readonly ttlMs: number;
  /** Takes it from whoever holds it: for one who knows by other means that the owner is gone. */
  readonly takesOver?: boolean;
}

/** One condition on a row. All conditions of a query must hold. */
export type Condition<R extends Row> =
  | { readonly column: keyof R & string; readonly is: string | bigint | number | boolean | null }
  | { readonly column: keyof R & string; readonly in: readonly string[] }
  | { readonly column: keyof R & string; readonly above: bigint | number }
  | { readonly column: keyof R & string; readonly below: bigint | number }
  /** Text by code unit: instants of one form stand in the order of time. */
  | { readonly column: keyof R & string; readonly after: string }
  | { readonly column: keyof R & string; readonly notAfter: string }
  /** The text of the column contains this text, case as it stands. */
  | { readonly column: keyof R & string; readonly contains: string }
  /** A `json` column holds an object with this member of text; member names: `[A-Za-z0-9._/-]`. */
  | { readonly column: keyof R & string; readonly member: string; readonly equals: string };

/**
 * Of the rows that are equal in the column `per`, only the one that is the greatest in the column `by`, of
 * those for which `among` holds.
 */
export interface Latest<R extends Row> {
  readonly per: keyof R & string;
  /** Whole numbers, each in one row only: as good as a key. */
  readonly by: keyof R & string;
  readonly among: readonly Condition<R>[];
}

/** Which rows: all for which each condition holds, and, where `latest` is given, that are the latest. */
export interface RowSelection<R extends Row> {
  readonly where?: readonly Condition<R>[];
  readonly latest?: Latest<R>;
}

/** Rows that are equal in some columns: how many, and what their numbers come to. */
export interface Group {
  /** The values that they have in common, in the order asked for. */
  readonly values: readonly string[];
  readonly rows: number;
  /** Of each column added up: the sum, and of how many rows; those with null are none of them. */
  readonly sums: readonly { readonly sum: bigint; readonly rows: number }[];
}

/** Which rows, in which order (equal ones in none), how many. */
export interface RowQuery<R extends Row> extends RowSelection<R> {
  readonly orderBy: {
    readonly column: keyof R & string;
    readonly direction: 'ascending' | 'descending';
  };
  /** Rows at most, ≥ 1. */
  readonly limit: number;
}

/**
 * Tables folded from the log, with their checkpoints.
 *
 * One handle writes at a time: the one whose claim stands. A write (`commit`, `finishNext`, `promoteNext`, `dropNext`, `park`, `readmit`)
 * of a handle whose claim was taken by another fails, however late it comes; so does one of a handle without
 * a claim while that of another holds. Two writers would do no harm either, since every commit compares and
 * sets its checkpoints; they would only be in each other's way.
 */
export interface ReadModels {
  /**
   * Prepares the tables: creates what is missing, and leaves a table of another version as it is
   * (its checkpoint tells the version; the caller builds the new one beside it).
   */
  open(tables: readonly Table[]): Promise<void>;
  /**
   * Claims the tables for this handle, or renews its claim.
   * Shape: who owns them now, and whether it is this handle.
   */
  claim(claim: Claim): Promise<Ownership & { readonly isOurs: boolean }>;
  /** Gives up the claim of this handle, so that another need not wait until it is past. Safe to repeat. */
  release(): Promise<void>;
  /** Who owns the tables; null when nobody ever did, or the owner gave them up. */
  ownership(): Promise<Ownership | null>;

  /** All checkpoints, `live` and `next`. */
  checkpoints(): Promise<readonly Checkpoint[]>;

  /** The rows with these keys, in the order of the keys; null where there is none. */
  load<R extends Row>(
    table: Table<R>,
    generation: Generation,
    keys: readonly RowKey[],
  ): Promise<readonly (R | null)[]>;

  /**
   * Writes rows and checkpoints in one transaction.
   * @throws {Fault} REVISION_CONFLICT when a checkpoint is not where a change says, STORE_OWNED when another
   *   handle owns the tables; nothing is written.
   */
  commit(changes: readonly Change[]): Promise<void>;

  /** Rows of the live table by a query. */
  find<R extends Row>(table: Table<R>, query: RowQuery<R>): Promise<readonly R[]>;
  /** How many rows of the live table there are for each value of a text column. */
  countBy<R extends Row>(
    table: Table<R>,
    column: keyof R & string,
    selection?: RowSelection<R>,
  ): Promise<ReadonlyMap<string, number>>;
  /**
   * Adds up whole-number columns for each group of rows of the live table that are equal in columns of text.
   * Rows with null in one of these are left out; groups come in no order.
   */
  sumBy<R extends Row>(
    table: Table<R>,
    columns: {
      readonly by: readonly (keyof R & string)[];
      readonly sums: readonly (keyof R & string)[];
    },
    selection?: RowSelection<R>,
  ): Promise<readonly Group[]>;
  /** All rows of the live table in key order, in pages: for verification. Consistent within a page only. */
  scan<R extends Row>(table: Table<R>): AsyncIterable<readonly R[]>;

  /**
   * Begins a generation `next`, empty; one that was there is dropped, its parked streams too. Anybody may ask
   * for it: whoever owns the tables builds it.
   */
  startNext(table: Table): Promise<void>;
  /**
   * Does ahead of `promoteNext` what takes long, such as indexes. Rows may still be written. Safe to repeat.
   * @throws {Fault} REVISION_CONFLICT when there is no `next` (any more), STORE_OWNED.
   */
  finishNext(table: Table): Promise<void>;
  /**
   * Puts `next` in the place of `live` in one transaction: rows, checkpoint, parked streams. Decisions about
   * streams that are not parked any more go.
   * @throws {Fault} REVISION_CONFLICT when there is no `next` that stands at the position, STORE_OWNED.
   */
  promoteNext(table: Table, position: Position | null): Promise<void>;
  /** Drops a generation `next` that will not be finished. Safe to repeat. */
  dropNext(table: Table): Promise<void>;

  /** Notes a parked stream, in a transaction of its own. Safe to repeat: the first entry stands. */
  park(entry: Omit<ParkedStream, 'decided'>): Promise<void>;
  /** Parked streams of all tables, by position. */
  parked(): Promise<readonly ParkedStream[]>;
  /**
   * Notes a decision about a stream that is parked in a live table. Anybody may: whoever owns the tables acts
   * on it. Shape: false when no such stream is parked.
   */
  decideParked(
    parked: { readonly table: string; readonly stream: string },
    decision: ParkedDecision,
  ): Promise<boolean>;
  /** Takes back the decision that was seen, unless another was taken since. */
  undecideParked(seen: Pick<ParkedStream, 'table' | 'stream' | 'decided'>): Promise<void>;
  /**
   * Writes the rows of a parked stream that could be folded after all, and parks it no more, in one
   * transaction. The checkpoint of the change stays where it is.
   * @throws {Fault} as `commit`.
   */
  readmit(change: Change, stream: string): Promise<void>;

  close(): Promise<void>;
}
