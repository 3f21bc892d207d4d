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
  const { stream } = recorded;
  return stream.startsWith(STREAM_PREFIX) ? readEventOf(deploymentIdOf(stream), recorded) : null;
}

/** The deployment that a stream of ours is about; null when its name is malformed. */
export function deploymentIdOf(stream: string): DeploymentId | null {
  return parseId<DeploymentId>(stream.slice(STREAM_PREFIX.length));
}

/** Reads a stored event of a stream whose deployment is known; null is a malformed one. */
export function readEventOf(
  deploymentId: DeploymentId | null,
  { stream, revision, position, type, data, metadata }: RecordedEvent,
): ReadEvent {
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
export class FoldBatch {
  /** The last row of each key that changed, by key as text. */
  readonly changed = new Map<string, Row>();
  /** Streams that had to be left, each with its first bad event. */
  readonly poison = new Map<string, Poison>();
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
const CACHED_ROWS_MAX = 2000;

/**
 * The fold of one generation of one table: where it stands, which streams it left, which rows it saw last.
 *
 * Cached rows hold because nobody else changes them as long as our commits succeed; after a commit that
 * failed, begin with a new fold.
 */
export class TableFold {
  readonly projection: Projection;
  readonly generation: Generation;
  readonly #assertFits: RowCheck;
  readonly #parked: Map<string, Position>;
  readonly #cache = new BoundedMap<Row>(CACHED_ROWS_MAX);
  /** Rows that only one event makes need no place in the cache. */
  readonly #isCached: boolean;
  #position: Position | null;

  constructor(projection: Projection, generation: Generation, start: FoldStart) {
    this.projection = projection;
    this.generation = generation;
    this.#assertFits = rowCheckOf(projection);
    this.#isCached = !projection.key.includes('position');
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
   * Folds events in log order into a batch; those at or before the fold's position, and those of streams
   * that it left, are passed over. Each row is loaded at most once a batch. Never throws for an event's
   * sake: what `keyOf` or `evolve` throws, or a row that does not fit the table, is its stream's poison.
   */
  async fold(events: readonly ReadEvent[], load: LoadRows, batch: FoldBatch): Promise<void> {
    const { changed, poison } = batch;
    const steps = this.#stepsOf(events, poison);
    const rows = await this.#rowsFor(steps, load, changed);
    for (const { event, stream, key, text } of steps) {
      const { position, revision } = event;
      const left = poison.get(stream);
      if (left !== undefined && left.position <= position) continue;
      const before = changed.get(text) ?? rows.get(text) ?? null;
      try {
        const row = this.projection.evolve(before, event);
        if (row === before) continue;
        this.#assertFits(row, before, key);
        changed.set(text, row);
      } catch (error) {
        poison.set(stream, { stream, revision, position, problem: messageOf(error) });
      }
    }
  }

  /** The same fold once its generation is the live one. */
  promoted(): TableFold {
    return new TableFold(this.projection, 'live', {
      position: this.#position,
      parked: this.#parked,
    });
  }

  /** Takes over what `fold` made, once it is committed. */
  advance({ changed, poison }: FoldBatch, to: Position): void {
    this.#position = to;
    for (const { stream, position } of poison.values()) this.#parked.set(stream, position);
    if (!this.#isCached) return;
    for (const [text, row] of changed) this.#cache.set(text, row);
  }

  /** Takes back a stream that was left, once its rows are committed. */
  readmit(stream: string, { changed }: FoldBatch): void {
    this.#parked.delete(stream);
    if (!this.#isCached) return;
    for (const [text, row] of changed) this.#cache.set(text, row);
  }

  #isLeft(stream: string, position: Position): boolean {
    const leftAt = this.#parked.get(stream);
    return leftAt !== undefined && leftAt <= position;
  }

  #stepsOf(events: readonly ReadEvent[], poison: Map<string, Poison>): readonly Step[] {
    const steps: Step[] = [];
    for (const { stream, revision, position, parsed } of events) {
      if (!isAfter(position, this.#position)) continue;
      if (poison.has(stream) || this.#isLeft(stream, position)) continue;
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

  async #rowsFor(
    steps: readonly Step[],
    load: LoadRows,
    changed: ReadonlyMap<string, Row>,
  ): Promise<ReadonlyMap<string, Row | null>> {
    const rows = new Map<string, Row | null>();
    const missing: [string, RowKey][] = [];
    for (const { key, text, event } of steps) {
      // A key that holds the event's own position names a row that no earlier event can have made.
      if (changed.has(text) || rows.has(text) || key.includes(event.position)) continue;
      const row = this.#cache.get(text) ?? null;
      rows.set(text, row);
      if (row === null) missing.push([text, key]);
    }
    if (missing.length === 0) return rows;
    const loaded = await load(missing.map(([, key]) => key));
    missing.forEach(([text], n) => rows.set(text, loaded[n] ?? null));
    return rows;
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

/** Throws when a row does not fit its table; members that are as they were are not looked at again. */
type RowCheck = (row: Row, before: Row | null, key: RowKey) => void;

function rowCheckOf(table: Table): RowCheck {
  const isSearched = (name: string): boolean => table.indexes.some((index) => index.includes(name));
  const columns = Object.entries(table.columns).map(([name, { type, nullable }]) => ({
    name,
    fits: type === 'json' && isSearched(name) ? isStorableJson : FITS[type],
    nullable: nullable === true,
  }));
  return (row, before, key) => {
    for (const { name, fits, nullable } of columns) {
      const value = row[name];
      if (before !== null && before[name] === value) continue;
      if (value === null ? !nullable : !fits(value)) {
        throw new Error(`column ${name} cannot hold ${shown(value)}`);
      }
    }
    const sameKey = table.key.every((name, n) => row[name] === key[n]);
    if (!sameKey) throw new Error('the row has another key');
  };
}

/** Node has it since 20; the library of types does not know it yet. */
type WellFormable = string & { isWellFormed(): boolean };

/** Databases differ in what they make of a NUL or of half a surrogate pair: none gives it back as it was. */
function isStorable(text: string): boolean {
  return (text as WellFormable).isWellFormed() && !text.includes('\0');
}

/** A document that is searched is kept in parts, each of which has to be storable; others stay as they are. */
function isStorableJson(value: unknown): boolean {
  if (typeof value === 'string') return isStorable(value);
  if (typeof value !== 'object' || value === null) return value !== undefined;
  const members = Object.entries(value) as readonly (readonly [string, unknown])[];
  return members.every(([name, member]) => isStorable(name) && isStorableJson(member));
}

const FITS: Readonly<Record<ColumnType, (value: unknown) => boolean>> = {
  text: (value) => typeof value === 'string' && isStorable(value),
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

/** A map that forgets what came first when it is full. Bounds: at most `entriesMax` entries. */
export class BoundedMap<V> {
  readonly #entriesMax: number;
  readonly #entries = new Map<string, V>();

  constructor(entriesMax: number) {
    this.#entriesMax = entriesMax;
  }

  get(key: string): V | undefined {
    return this.#entries.get(key);
  }

  set(key: string, value: V): void {
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#entriesMax) return;
    const { value: first, done } = this.#entries.keys().next();
    if (done !== true) this.#entries.delete(first);
  }
}
