/**
 * The fold of the log into the rows of a table, in batches of any size: what the projector writes and
 * what a verification expects are made here, by the same steps.
 */
import { parseEvent, parseId, type DeploymentId } from '../domain/event-schema.js';
import {
  STREAM_PREFIX,
  type Position,
  type RecordedEvent,
  type Revision,
} from '../ports/event-store.js';
import type { ColumnType, Generation, Row, RowKey, Table } from '../ports/read-models.js';
import type { PlacedEvent, Projection } from '../projections/projection.js';

/** An event of one of our streams: parsed, or with the problem that makes it poison. */
export interface ReadEvent {
  readonly stream: string;
  readonly revision: Revision;
  readonly position: Position;
  readonly parsed:
    | { readonly ok: true; readonly event: PlacedEvent }
    | { readonly ok: false; readonly problem: string };
}

/** Reads a stored event; null when its stream is not one of ours. */
export function readEvent(recorded: RecordedEvent): ReadEvent | null {
  const { stream, revision, position, type, data, metadata } = recorded;
  if (!stream.startsWith(STREAM_PREFIX)) return null;
  const deploymentId = parseId<DeploymentId>(stream.slice(STREAM_PREFIX.length));
  if (deploymentId === null) {
    return { stream, revision, position, parsed: { ok: false, problem: 'malformed stream name' } };
  }
  const parsed = parseEvent(type, data, metadata);
  if (!parsed.ok) return { stream, revision, position, parsed };
  const event = Object.assign(parsed.event, { deploymentId, revision, position });
  return { stream, revision, position, parsed: { ok: true, event } };
}

/** Whether one position is after another; null is before the first event. */
export function isAfter(a: Position | null, b: Position | null): boolean {
  return a !== null && (b === null || a > b);
}

/** A stream that a fold had to leave, with the first event that it could not take. */
export interface Poison {
  readonly stream: string;
  readonly revision: Revision;
  readonly position: Position;
  readonly problem: string;
}

/** What a batch makes of a table; nothing counts before it is committed and handed to `advance`. */
export interface Folded {
  /** The last row of each key that changed, by key as text. */
  readonly changed: ReadonlyMap<string, Row>;
  readonly poison: readonly Poison[];
}

/** Reads rows of the table that is folded, in the order of the keys. */
export type LoadRows = (keys: readonly RowKey[]) => Promise<readonly (Row | null)[]>;

/** Where a fold begins: after which position, and without which streams (from their first bad event on). */
export interface FoldStart {
  readonly position: Position | null;
  readonly parked: ReadonlyMap<string, Position>;
}

/** An event with the row that it changes. */
interface Step {
  readonly event: PlacedEvent;
  readonly stream: string;
  readonly key: RowKey;
  readonly text: string;
}

/** Rows kept in memory for each table, 3 KB each: enough for the deployments that are being worked on. */
const CACHED_ROWS_MAX = 4000;

/**
 * The fold of one generation of one table: where it stands, which streams it left, which rows it saw last.
 *
 * Cached rows hold because nobody else changes them as long as our commits succeed; after a commit that
 * failed, begin with a new fold.
 */
export class TableFold {
  readonly projection: Projection;
  readonly generation: Generation;
  readonly #problemOf: RowCheck;
  readonly #parked: Map<string, Position>;
  readonly #cache = new RecentMap<Row>(CACHED_ROWS_MAX);
  #position: Position | null;

  constructor(projection: Projection, generation: Generation, start: FoldStart) {
    this.projection = projection;
    this.generation = generation;
    this.#problemOf = rowCheckOf(projection);
    this.#position = start.position;
    this.#parked = new Map(start.parked);
  }

  /** The last position folded in; null before the first. */
  get position(): Position | null {
    return this.#position;
  }

  /** Streams left, with the position of the first event of each that is not folded. */
  get parked(): ReadonlyMap<string, Position> {
    return this.#parked;
  }

  /**
   * Folds events in log order; those at or before the fold's position, and those of streams that it
   * left, are passed over. Each row is loaded at most once. Never throws for an event's sake: what
   * `keyOf` or `evolve` throws, or a row that does not fit the table, is that stream's poison.
   */
  async fold(events: readonly ReadEvent[], load: LoadRows): Promise<Folded> {
    const poison = new Map<string, Poison>();
    const steps = this.#stepsOf(events, poison);
    const rows = await this.#rowsFor(steps, load);
    const changed = new Map<string, Row>();
    for (const { event, stream, key, text } of steps) {
      const { position, revision } = event;
      const left = poison.get(stream);
      if (left !== undefined && left.position <= position) continue;
      const before = changed.get(text) ?? rows.get(text) ?? null;
      const { row, problem } = this.#evolve(before, event, key);
      if (row === null) poison.set(stream, { stream, revision, position, problem });
      else if (row !== before) changed.set(text, row);
    }
    return { changed, poison: [...poison.values()] };
  }

  /** The same fold once its generation is the live one. */
  promoted(): TableFold {
    return new TableFold(this.projection, 'live', {
      position: this.#position,
      parked: this.#parked,
    });
  }

  /** Takes over what `fold` made, once it is committed. */
  advance({ changed, poison }: Folded, to: Position): void {
    this.#position = to;
    for (const { stream, position } of poison) this.#parked.set(stream, position);
    for (const [text, row] of changed) this.#cache.set(text, row);
  }

  #stepsOf(events: readonly ReadEvent[], poison: Map<string, Poison>): readonly Step[] {
    const steps: Step[] = [];
    for (const { stream, revision, position, parsed } of events) {
      if (!isAfter(position, this.#position)) continue;
      const leftAt = this.#parked.get(stream);
      if ((leftAt !== undefined && leftAt <= position) || poison.has(stream)) continue;
      try {
        if (!parsed.ok) throw new Error(parsed.problem);
        const key = this.projection.keyOf(parsed.event);
        if (key !== null) steps.push({ event: parsed.event, stream, key, text: keyText(key) });
      } catch (error) {
        poison.set(stream, { stream, revision, position, problem: messageOf(error) });
      }
    }
    return steps;
  }

  async #rowsFor(steps: readonly Step[], load: LoadRows): Promise<ReadonlyMap<string, Row | null>> {
    const rows = new Map<string, Row | null>();
    const missing: [string, RowKey][] = [];
    for (const { key, text, event } of steps) {
      // A key that holds the event's own position names a row that no earlier event can have made.
      if (rows.has(text) || key.includes(event.position)) continue;
      const row = this.#cache.get(text) ?? null;
      rows.set(text, row);
      if (row === null) missing.push([text, key]);
    }
    if (missing.length === 0) return rows;
    const loaded = await load(missing.map(([, key]) => key));
    missing.forEach(([text], n) => rows.set(text, loaded[n] ?? null));
    return rows;
  }

  #evolve(
    before: Row | null,
    event: PlacedEvent,
    key: RowKey,
  ): { readonly row: Row | null; readonly problem: string } {
    try {
      const row = this.projection.evolve(before, event);
      const problem = this.#problemOf(row, before, key);
      return problem === null ? { row, problem: '' } : { row: null, problem };
    } catch (error) {
      return { row: null, problem: messageOf(error) };
    }
  }
}

/** A key as text, different for different keys. */
export function keyText(key: RowKey): string {
  const [first] = key;
  return key.length === 1 ? String(first) : JSON.stringify(key.map(String));
}

/** The key of a row of a table. */
export function keyOfRow(table: Table, row: Row): RowKey {
  return table.key.map((column) => row[column] as string | bigint);
}

/** Why a row does not fit its table, or null; members that are as they were are not looked at again. */
type RowCheck = (row: Row, before: Row | null, key: RowKey) => string | null;

function rowCheckOf(table: Table): RowCheck {
  const columns = Object.entries(table.columns).map(([name, { type, nullable }]) => ({
    name,
    fits: FITS[type],
    nullable: nullable === true,
  }));
  return (row, before, key) => {
    for (const { name, fits, nullable } of columns) {
      const value = row[name];
      if (before !== null && before[name] === value) continue;
      if (value === null ? !nullable : !fits(value))
        return `column ${name} cannot hold ${shown(value)}`;
    }
    return table.key.every((name, n) => row[name] === key[n]) ? null : 'the row has another key';
  };
}

/** Databases differ in what they make of a NUL or of half a surrogate pair: none gives it back as it was. */
const UNSTORABLE = /[\0\p{Surrogate}]/u;
const FITS: Readonly<Record<ColumnType, (value: unknown) => boolean>> = {
  text: (value) => typeof value === 'string' && !UNSTORABLE.test(value),
  integer: Number.isSafeInteger,
  bigint: (value) => typeof value === 'bigint',
  boolean: (value) => typeof value === 'boolean',
  json: (value) => value !== undefined,
};

function shown(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value).slice(0, 80) : typeof value;
}

/** What went wrong, in words, at most 500 characters. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).slice(0, 500);
}

/** A map that remembers what was used last, and forgets the rest. Bounds: at most `entriesMax` entries. */
export class RecentMap<V> {
  readonly #halfMax: number;
  #young = new Map<string, V>();
  #old = new Map<string, V>();

  constructor(entriesMax: number) {
    this.#halfMax = Math.max(1, Math.floor(entriesMax / 2));
  }

  get(key: string): V | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old !== undefined) this.set(key, old);
    return old;
  }

  set(key: string, value: V): void {
    // Two halves instead of a list in order of use: as good here, and a tenth of the work.
    if (this.#young.size >= this.#halfMax && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
  }
}
