import type { Clock } from '../../ports/clock.js';
import { Fault } from '../../ports/faults.js';
import type { Position } from '../../ports/event-store.js';
import type {
  Change,
  Checkpoint,
  Claim,
  Condition,
  Generation,
  Group,
  Latest,
  Ownership,
  ParkedDecision,
  ParkedStream,
  ReadModels,
  Row,
  RowKey,
  RowQuery,
  RowSelection,
  Table,
} from '../../ports/read-models.js';

import { systemClock } from '../system-clock.js';
import {
  afterClaim,
  assertMayWrite,
  isOwned,
  ownershipOf,
  type Claimed,
  type OwnerRow,
} from '../ownership.js';

interface StoredTable {
  readonly table: string;
  readonly generation: Generation;
  readonly version: number;
  position: Position | null;
  /** By key as text, in no order. */
  readonly rows: Map<string, Row>;
  readonly parked: Map<string, Omit<ParkedStream, 'decided'>>;
}

/** What handles share. */
export class MemoryTables {
  readonly stored = new Map<string, StoredTable>();
  owner: OwnerRow | null = null;
  /** By table and stream: they outlive the building of a table. */
  readonly decisions = new Map<string, ParkedDecision>();

  /** The clock by which claims are past. */
  constructor(readonly clock: Clock = systemClock) {}
}

/** Rows handed over by one step of a scan. */
const SCAN_PAGE_ROWS = 500;

/**
 * Read models in memory: the reference for what every adapter must do, and the store of tests.
 *
 * Bounds: memory only; everything is gone with the process, and the projector folds it anew.
 */
export class MemoryReadModels implements ReadModels {
  readonly #tables: MemoryTables;
  readonly #stored: Map<string, StoredTable>;
  #fence: bigint | null = null;

  /** Handles on the same tables are to each other what processes on one database are. */
  constructor(tables = new MemoryTables()) {
    this.#tables = tables;
    this.#stored = tables.stored;
  }

  async open(tables: readonly Table[]): Promise<void> {
    for (const table of tables) {
      const known = this.#stored.has(placeOf(table.name, 'live'));
      if (!known) this.#put(blank(table, 'live'));
    }
  }

  async claim(claim: Claim): Promise<Ownership & { readonly isOurs: boolean }> {
    const [row, isOurs] = afterClaim(this.#claimed(), claim);
    this.#tables.owner = row;
    if (isOurs) this.#fence = row.fence;
    return { ...ownershipOf(row, this.#claimed().nowMs), isOurs };
  }

  async release(): Promise<void> {
    const { owner } = this.#tables;
    if (owner?.fence === this.#fence) this.#tables.owner = { ...owner, owner: null };
    this.#fence = null;
  }

  async ownership(): Promise<Ownership | null> {
    const { row, nowMs } = this.#claimed();
    return isOwned(row) ? ownershipOf(row, nowMs) : null;
  }

  async checkpoints(): Promise<readonly Checkpoint[]> {
    return [...this.#stored.values()].map(({ table, generation, version, position }) => ({
      table,
      generation,
      version,
      position,
    }));
  }

  async load<R extends Row>(
    table: Table<R>,
    generation: Generation,
    keys: readonly RowKey[],
  ): Promise<readonly (R | null)[]> {
    const { rows } = this.#get(table.name, generation);
    return keys.map((key) => (rows.get(textOf(key)) ?? null) as R | null);
  }

  async commit(changes: readonly Change[]): Promise<void> {
    assertMayWrite(this.#claimed());
    const steps = changes.map((change) => ({ change, stored: this.#expect(change) }));
    for (const { change, stored } of steps) {
      for (const row of change.rows) stored.rows.set(keyTextOf(change.table, row), row);
      stored.position = change.to;
    }
  }

  async find<R extends Row>(table: Table<R>, query: RowQuery<R>): Promise<readonly R[]> {
    const { column, direction } = query.orderBy;
    const sign = direction === 'ascending' ? 1 : -1;
    const found = this.#selected(table, query).sort((a, b) => sign * compare(a[column], b[column]));
    return found.slice(0, query.limit);
  }

  async countBy<R extends Row>(
    table: Table<R>,
    column: keyof R & string,
    selection: RowSelection<R> = {},
  ): Promise<ReadonlyMap<string, number>> {
    const counts = new Map<string, number>();
    for (const row of this.#selected(table, selection)) {
      const value = row[column];
      if (typeof value === 'string') counts.set(value, (counts.get(value) ?? 0) + 1);
    }
    return counts;
  }

  async sumBy<R extends Row>(
    table: Table<R>,
    columns: {
      readonly by: readonly (keyof R & string)[];
      readonly sums: readonly (keyof R & string)[];
    },
    selection: RowSelection<R> = {},
  ): Promise<readonly Group[]> {
    const groups = new Map<string, R[]>();
    for (const row of this.#selected(table, selection)) {
      const values = columns.by.map((column) => row[column]);
      if (values.includes(null as R[keyof R & string])) continue;
      const text = JSON.stringify(values);
      groups.set(text, [...(groups.get(text) ?? []), row]);
    }
    return [...groups].map(([text, rows]) => ({
      values: JSON.parse(text) as string[],
      rows: rows.length,
      sums: columns.sums.map((column) => sumOf(rows.map((row) => row[column]))),
    }));
  }

  async *scan<R extends Row>(table: Table<R>): AsyncIterable<readonly R[]> {
    const rows = this.#selected(table).sort((a, b) => compareKeys(table, a, b));
    for (let from = 0; from < rows.length; from += SCAN_PAGE_ROWS) {
      yield rows.slice(from, from + SCAN_PAGE_ROWS);
    }
  }

  async startNext(table: Table): Promise<void> {
    this.#put(blank(table, 'next'));
  }

  async finishNext(table: Table): Promise<void> {
    assertMayWrite(this.#claimed());
    this.#get(table.name, 'next');
  }

  async promoteNext(table: Table, position: Position | null): Promise<void> {
    assertMayWrite(this.#claimed());
    const next = this.#expect({ table, generation: 'next', from: position });
    await this.dropNext(table);
    const parked = [...next.parked].map(
      ([stream, entry]) => [stream, { ...entry, generation: 'live' }] as const,
    );
    for (const stream of this.#stored.get(placeOf(table.name, 'live'))?.parked.keys() ?? []) {
      if (!next.parked.has(stream)) this.#tables.decisions.delete(textOf([table.name, stream]));
    }
    this.#put({ ...next, generation: 'live', parked: new Map(parked) });
  }

  async dropNext(table: Table): Promise<void> {
    assertMayWrite(this.#claimed());
    this.#stored.delete(placeOf(table.name, 'next'));
  }

  async park(entry: Omit<ParkedStream, 'decided'>): Promise<void> {
    assertMayWrite(this.#claimed());
    const { parked } = this.#get(entry.table, entry.generation);
    if (!parked.has(entry.stream)) parked.set(entry.stream, entry);
  }

  async parked(): Promise<readonly ParkedStream[]> {
    return [...this.#stored.values()].flatMap(({ parked }) =>
      [...parked.values()].map((entry) => ({
        ...entry,
        decided: this.#tables.decisions.get(textOf([entry.table, entry.stream])) ?? null,
      })),
    );
  }

  async decideParked(
    { table, stream }: { readonly table: string; readonly stream: string },
    decision: ParkedDecision,
  ): Promise<boolean> {
    if (this.#stored.get(placeOf(table, 'live'))?.parked.has(stream) !== true) return false;
    this.#tables.decisions.set(textOf([table, stream]), decision);
    return true;
  }

  async undecideParked({
    table,
    stream,
    decided,
  }: Pick<ParkedStream, 'table' | 'stream' | 'decided'>): Promise<void> {
    const place = textOf([table, stream]);
    if (this.#tables.decisions.get(place) === decided) this.#tables.decisions.delete(place);
  }

  async readmit(change: Change, stream: string): Promise<void> {
    await this.commit([change]);
    this.#get(change.table.name, change.generation).parked.delete(stream);
    this.#tables.decisions.delete(textOf([change.table.name, stream]));
  }

  async close(): Promise<void> {
    // Nothing is held.
  }

  #claimed(): Claimed {
    return {
      row: this.#tables.owner,
      nowMs: Date.parse(this.#tables.clock.now()),
      ours: this.#fence,
    };
  }

  #put(stored: StoredTable): void {
    this.#stored.set(placeOf(stored.table, stored.generation), stored);
  }

  #get(table: string, generation: Generation): StoredTable {
    const stored = this.#stored.get(placeOf(table, generation));
    if (stored === undefined) throw noTable(table, generation);
    return stored;
  }

  #expect({ table, generation, from }: Pick<Change, 'table' | 'generation' | 'from'>): StoredTable {
    const stored = this.#get(table.name, generation);
    if (stored.version === table.version && stored.position === from) return stored;
    throw new Fault(
      'REVISION_CONFLICT',
      `${table.name} (${generation}) is not at ${String(from)}: another projector moved it`,
    );
  }

  #selected<R extends Row>(table: Table<R>, { where = [], latest }: RowSelection<R> = {}): R[] {
    const all = [...this.#get(table.name, 'live').rows.values()] as R[];
    const rows = latest === undefined ? all : latestOf(all, latest);
    return rows.filter((row) => where.every((condition) => holds(row, condition)));
  }
}

function blank({ name, version }: Table, generation: Generation): StoredTable {
  return {
    table: name,
    generation,
    version,
    position: null,
    rows: new Map(),
    parked: new Map(),
  };
}

function placeOf(table: string, generation: Generation): string {
  return `${generation} ${table}`;
}

function noTable(table: string, generation: Generation): Fault {
  return new Fault('REVISION_CONFLICT', `${table} (${generation}) is not there (any more)`);
}

function textOf(key: RowKey): string {
  return key.map(String).join('\n');
}

function keyTextOf(table: Table, row: Row): string {
  return table.key.map((column) => String(row[column])).join('\n');
}

function sumOf(values: readonly unknown[]): Group['sums'][number] {
  const amounts = values.filter((value) => typeof value === 'number' || typeof value === 'bigint');
  return {
    sum: amounts.reduce<bigint>((sum, amount) => sum + BigInt(amount), 0n),
    rows: amounts.length,
  };
}

function latestOf<R extends Row>(rows: readonly R[], { per, by, among }: Latest<R>): readonly R[] {
  const latest = new Map<unknown, R>();
  for (const row of rows) {
    if (!among.every((condition) => holds(row, condition))) continue;
    const before = latest.get(row[per]);
    if (before === undefined || compare(before[by], row[by]) < 0) latest.set(row[per], row);
  }
  return [...latest.values()];
}

function holds<R extends Row>(row: R, condition: Condition<R>): boolean {
  const value: unknown = row[condition.column];
  if ('is' in condition) return value === condition.is;
  if (typeof value === 'string') return textHolds(value, condition);
  if (typeof value === 'bigint' || typeof value === 'number') return amountHolds(value, condition);
  return 'member' in condition && memberOf(value, condition.member) === condition.equals;
}

function textHolds<R extends Row>(text: string, condition: Condition<R>): boolean {
  if ('in' in condition) return condition.in.includes(text);
  if ('after' in condition) return text > condition.after;
  if ('notAfter' in condition) return text <= condition.notAfter;
  return 'contains' in condition && text.includes(condition.contains);
}

function amountHolds<R extends Row>(amount: bigint | number, condition: Condition<R>): boolean {
  if ('above' in condition) return amount > condition.above;
  return 'below' in condition && amount < condition.below;
}

function memberOf(value: unknown, member: string): unknown {
  const has = typeof value === 'object' && value !== null && Object.hasOwn(value, member);
  return has ? (value as Row)[member] : undefined;
}

function compareKeys<R extends Row>(table: Table<R>, a: R, b: R): number {
  for (const column of table.key) {
    const order = compare(a[column], b[column]);
    if (order !== 0) return order;
  }
  return 0;
}

/** Null before everything, numbers by size, text by code unit. */
function compare(a: unknown, b: unknown): number {
  if (a === b) return 0;
  if (a === null) return -1;
  if (b === null) return 1;
  return (a as string) < (b as string) ? -1 : 1;
}
