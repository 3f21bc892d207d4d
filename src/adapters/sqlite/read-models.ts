import { existsSync } from 'node:fs';
import type { Position } from '../../ports/event-store.js';
import { Fault } from '../../ports/faults.js';
import type {
  Change,
  Checkpoint,
  Claim,
  Generation,
  Group,
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
import { afterClaim, assertMayWrite, isOwned, ownershipOf, type OwnerRow } from '../ownership.js';
import { bookkeepingSql } from '../sql/bookkeeping.js';
import { groupOf, nameOf, TableSql, type Sql, type SqlValue as Value } from '../sql/statements.js';
import { sqliteDialect } from './dialect.js';
import {
  asFault,
  openDatabase,
  type Database,
  type Doing,
  type FileKind,
  type SqlValue,
  type Statement,
} from './driver.js';
import { refuseEmptyFile } from './empty-file.js';
import { OldTables } from './old-tables.js';

const BOOKKEEPING = bookkeepingSql(sqliteDialect);
const KIND: FileKind = {
  name: 'read-model file',
  applicationId: 0x5348_4c52, // SHLR
  userVersion: 1,
  schema: `${BOOKKEEPING.createCheckpoints};\n${BOOKKEEPING.createParked}`,
};
/**
 * How long a commit waits, and the whole process with it, for another process that writes. That takes it
 * milliseconds; where it was frozen in the middle, waiting here would only freeze us too.
 */
const BUSY_TIMEOUT_MS = 250;
/** Rows handed over by one step of a scan: about half a megabyte. */
const SCAN_PAGE_ROWS = 500;
/** Statements kept prepared. Each form of a query is one; there are a few dozen. */
const STATEMENTS_MAX = 200;

/**
 * Opens the read models in a SQLite file, which is created when it is missing.
 *
 * WAL with `synchronous = normal`: a power cut may undo the last commits, but rows and checkpoint go
 * together, so what is left is an earlier whole state, and the projector folds the rest of the log
 * again. Durability is the log's; paying for it twice would slow every batch down.
 * @throws {Fault} STORE_FOREIGN for a file that is empty, not ours or of another version; it stays
 *   untouched. STORE_UNAVAILABLE, STORE_FULL, STORE_CORRUPT.
 */
export function openSqliteReadModels(path: string): ReadModels {
  refuseEmptyFile(path, KIND);
  const database = openDatabase(path, {
    kind: KIND,
    synchronous: 'normal',
    busyTimeoutMs: BUSY_TIMEOUT_MS,
  });
  database.exec(`${BOOKKEEPING.createOwner}; ${BOOKKEEPING.createDecisions}`);
  return new SqliteReadModels(path, database);
}

/**
 * Opens the read models in a SQLite file to read only, beside whoever writes them.
 * @throws {Fault} STORE_UNAVAILABLE when there is no such file; STORE_FOREIGN, STORE_CORRUPT.
 */
export function openSqliteReadModelsToRead(path: string): ReadModels {
  if (!existsSync(path))
    throw new Fault(
      'STORE_UNAVAILABLE',
      `there are no read models at ${path} yet: a service that starts builds them`,
    );
  refuseEmptyFile(path, KIND);
  const database = openDatabase(path, {
    kind: KIND,
    readOnly: true,
    busyTimeoutMs: BUSY_TIMEOUT_MS,
  });
  return new SqliteReadModels(path, database);
}

/** A move of a checkpoint, or, to where it stands, the demand that it stands there. */
type Step = Pick<Change, 'table' | 'generation' | 'from'> & { readonly to: Position | null };

interface StoredCheckpoint extends Checkpoint {
  readonly build: number;
}

/** Statements run on the caller's thread: a batch is short, and reads never meet a half-done commit. */
class SqliteReadModels implements ReadModels {
  readonly #path: string;
  readonly #database: Database;
  readonly #tables = new Map<string, TableSql>();
  readonly #statements = new Map<string, Statement>();
  readonly #old: OldTables;
  /** The number under which this handle claimed the tables; null without a claim. */
  #fence: bigint | null = null;

  constructor(path: string, database: Database) {
    this.#path = path;
    this.#database = database;
    this.#old = new OldTables(database);
  }

  async open(tables: readonly Table[]): Promise<void> {
    const missing = (): readonly Table[] => {
      const known = new Set(this.#checkpoints().map(({ table }) => table));
      return tables.filter(({ name }) => !known.has(name));
    };
    if (this.#read(missing).length === 0) return;
    this.#transaction(() => {
      for (const table of missing()) this.#create(table, 'live', 1);
    });
  }

  async claim(claim: Claim): Promise<Ownership & { readonly isOurs: boolean }> {
    const claimed = this.#transaction(() => {
      const { row: before, nowMs } = this.#owner();
      const [row, isOurs] = afterClaim({ row: before, nowMs, ours: this.#fence }, claim);
      this.#own(row);
      if (isOurs) this.#fence = row.fence;
      return { ...ownershipOf(row, nowMs), isOurs };
    });
    // The owner's to do; with each renewal, should something have come in between.
    if (claimed.isOurs) this.#old.goOn();
    return claimed;
  }

  async release(): Promise<void> {
    if (this.#fence === null) return;
    this.#transaction(() => {
      const { row } = this.#owner();
      if (row !== null && row.fence === this.#fence) this.#own({ ...row, owner: null });
    });
    this.#fence = null;
  }

  async ownership(): Promise<Ownership | null> {
    return this.#read(() => {
      const { row, nowMs } = this.#owner();
      return isOwned(row) ? ownershipOf(row, nowMs) : null;
    });
  }

  async checkpoints(): Promise<readonly Checkpoint[]> {
    return this.#read(() => this.#checkpoints().map(({ build: _, ...checkpoint }) => checkpoint));
  }

  async load<R extends Row>(
    table: Table<R>,
    generation: Generation,
    keys: readonly RowKey[],
  ): Promise<readonly (R | null)[]> {
    if (keys.length === 0) return [];
    return this.#read(() => {
      const sql = this.#sqlOf(table);
      const statement = this.#prepare(sql.selectByKey(generation), table, generation);
      return keys.map((key) => {
        const values = statement.get(...key) as readonly unknown[] | undefined;
        return values === undefined ? null : sql.decode(values);
      });
    });
  }

  async commit(changes: readonly Change[]): Promise<void> {
    this.#write(() => {
      this.#put(changes);
    });
  }

  async find<R extends Row>(table: Table<R>, query: RowQuery<R>): Promise<readonly R[]> {
    const sql = this.#sqlOf(table);
    return this.#read(() => this.#select(sql, sql.find(query)));
  }

  async countBy<R extends Row>(
    table: Table<R>,
    column: keyof R & string,
    selection?: RowSelection<R>,
  ): Promise<ReadonlyMap<string, number>> {
    return this.#read(() => {
      const { text, values } = this.#sqlOf(table).countBy(column, selection);
      const counts = this.#prepare(text, table, 'live').all(...bound(values));
      return new Map((counts as [string, bigint][]).map(([value, n]) => [value, Number(n)]));
    });
  }

  async sumBy<R extends Row>(
    table: Table<R>,
    {
      by,
      sums,
    }: { readonly by: readonly (keyof R & string)[]; readonly sums: readonly (keyof R & string)[] },
    selection?: RowSelection<R>,
  ): Promise<readonly Group[]> {
    return this.#read(() => {
      const { text, values } = this.#sqlOf(table).sumBy(by, sums, selection);
      const groups = this.#prepare(text, table, 'live').all(...bound(values));
      return (groups as (string | bigint)[][]).map((selected) => groupOf(by.length, selected));
    });
  }

  async *scan<R extends Row>(table: Table<R>): AsyncIterable<readonly R[]> {
    const sql = this.#sqlOf(table);
    let after: RowKey | null = null;
    do {
      const from: RowKey | null = after;
      const rows: R[] = this.#read(() => this.#select(sql, sql.scan(from, SCAN_PAGE_ROWS)));
      if (rows.length > 0) yield rows;
      const last = rows[SCAN_PAGE_ROWS - 1];
      after = last === undefined ? null : sql.keyOf(last);
    } while (after !== null);
  }

  async startNext(table: Table): Promise<void> {
    this.#transaction(() => {
      const live = this.#checkpoints().find(
        (at) => at.table === table.name && at.generation === 'live',
      );
      this.#drop(table, 'next');
      this.#create(table, 'next', (live?.build ?? 0) + 1);
    });
  }

  /** Nothing takes long here: indexes grow with their table. */
  async finishNext(table: Table): Promise<void> {
    this.#write(() => {
      this.#assertNext(table);
    });
  }

  async promoteNext(table: Table, position: Position | null): Promise<void> {
    this.#write(() => {
      this.#step({ table, generation: 'next', from: position, to: position });
      this.#drop(table, 'live');
      this.#database.exec(this.#sqlOf(table).rename());
      this.#run(BOOKKEEPING.promote, [table.name]);
      this.#run(BOOKKEEPING.promoteParked, [table.name]);
      this.#run(BOOKKEEPING.forgetDecisions, [table.name]);
    });
  }

  async dropNext(table: Table): Promise<void> {
    this.#write(() => {
      this.#drop(table, 'next');
    });
  }

  async park(entry: Omit<ParkedStream, 'decided'>): Promise<void> {
    const { table, generation, stream, revision, position, problem, parkedAt } = entry;
    this.#write(() => {
      const values = [table, generation, stream, revision, position, problem, parkedAt];
      this.#run(BOOKKEEPING.park, values);
    });
  }

  async parked(): Promise<readonly ParkedStream[]> {
    type Values = [string, Generation, string, bigint, bigint, string, string, string | null];
    return this.#read(() =>
      (this.#statement(BOOKKEEPING.parked).all() as Values[]).map(
        ([table, generation, stream, revision, position, problem, parkedAt, decided]) => ({
          table,
          generation,
          stream,
          revision,
          position,
          problem,
          parkedAt,
          decided: decided === null ? null : (JSON.parse(decided) as ParkedDecision),
        }),
      ),
    );
  }

  async decideParked(
    { table, stream }: { readonly table: string; readonly stream: string },
    decision: ParkedDecision,
  ): Promise<boolean> {
    return this.#transaction(() => {
      if (this.#statement(BOOKKEEPING.isParked).get(table, 'live', stream) === undefined)
        return false;
      this.#run(BOOKKEEPING.decide, [table, stream, JSON.stringify(decision)]);
      return true;
    });
  }

  async undecideParked({
    table,
    stream,
    decided,
  }: Pick<ParkedStream, 'table' | 'stream' | 'decided'>): Promise<void> {
    this.#transaction(() => {
      this.#run(BOOKKEEPING.undecideThis, [table, stream, JSON.stringify(decided)]);
    });
  }

  async readmit(change: Change, stream: string): Promise<void> {
    const { table, generation } = change;
    this.#write(() => {
      this.#put([change]);
      this.#run(BOOKKEEPING.unparkOne, [table.name, generation, stream]);
      this.#run(BOOKKEEPING.undecide, [table.name, stream]);
    });
  }

  async close(): Promise<void> {
    this.#statements.clear();
    if (this.#database.isOpen) this.#database.close();
  }

  /** All steps first: where one stands elsewhere, no row is written. */
  #put(changes: readonly Change[]): void {
    for (const change of changes) this.#step(change);
    for (const { table, generation, rows } of changes) {
      if (rows.length === 0) continue;
      const sql = this.#sqlOf(table);
      const upsert = this.#prepare(sql.upsert(generation), table, generation);
      for (const row of rows) upsert.run(...bound(sql.encode(row)));
    }
  }

  #step({ table, generation, from, to }: Step): void {
    const values = [table.name, generation, table.version, from, to];
    if (this.#run(BOOKKEEPING.step, values) === 1) return;
    throw new Fault(
      'REVISION_CONFLICT',
      `${table.name} (${generation}) is not at ${String(from)}: another projector moved it`,
    );
  }

  #assertNext(table: Table): void {
    const places = this.#checkpoints();
    if (places.some((at) => at.table === table.name && at.generation === 'next')) return;
    throw gone(table, 'next');
  }

  #create(table: Table, generation: Generation, build: number): void {
    const sql = this.#sqlOf(table);
    this.#database.exec(sql.create(generation));
    for (const text of sql.createIndexes(generation, build)) this.#database.exec(text);
    this.#run(BOOKKEEPING.place, [table.name, generation, table.version, build]);
  }

  #drop(table: Table, generation: Generation): void {
    const isThere = this.#checkpoints().some(
      (at) => at.table === table.name && at.generation === generation,
    );
    if (isThere) {
      this.#old.putAway(nameOf(table, generation), this.#owner().nowMs);
      this.#old.goOn();
    }
    this.#run(BOOKKEEPING.remove, [table.name, generation]);
    this.#run(BOOKKEEPING.unpark, [table.name, generation]);
  }

  #checkpoints(): readonly StoredCheckpoint[] {
    type Values = [string, Generation, bigint, Position | null, bigint];
    const found = this.#statement(BOOKKEEPING.checkpoints).all() as Values[];
    return found.map(([table, generation, version, position, build]) => ({
      table,
      generation,
      version: Number(version),
      position,
      build: Number(build),
    }));
  }

  #select<R extends Row>(sql: TableSql<R>, { text, values }: Sql): R[] {
    const found = this.#prepare(text, sql.table, 'live').all(...bound(values));
    return (found as (readonly unknown[])[]).map((row) => sql.decode(row));
  }

  #run(text: string, values: readonly Value[]): number {
    return Number(this.#statement(text).run(...bound(values)).changes);
  }

  /** A statement on a generation of a table, which may be of another version or just gone. */
  #prepare(text: string, table: Table, generation: Generation): Statement {
    try {
      return this.#statement(text);
    } catch (error) {
      const at = this.#checkpoints().find(
        (place) => place.table === table.name && place.generation === generation,
      );
      if (at === undefined) throw gone(table, generation);
      if (at.version === table.version) throw error;
      const detail = `${table.name} is of version ${at.version} until version ${table.version} is built`;
      throw new Fault('STORE_UNAVAILABLE', detail, { cause: error });
    }
  }

  #statement(text: string): Statement {
    let statement = this.#statements.get(text);
    if (statement !== undefined) return statement;
    statement = this.#database.prepare(text);
    statement.setReturnArrays(true);
    statement.setReadBigInts(true);
    if (this.#statements.size >= STATEMENTS_MAX) this.#statements.clear();
    this.#statements.set(text, statement);
    return statement;
  }

  #sqlOf<R extends Row>(table: Table<R>): TableSql<R> {
    let sql = this.#tables.get(table.name);
    if (sql?.table !== table) {
      sql = new TableSql<Row>(table, sqliteDialect);
      this.#tables.set(table.name, sql);
    }
    return sql as TableSql<R>;
  }

  #read<T>(task: () => T): T {
    return this.#doing('read', task);
  }

  #owner(): { readonly row: OwnerRow | null; readonly nowMs: number } {
    type Values = [string | null, ...(bigint | null)[]];
    const [owner, fence, ...rest] = this.#statement(BOOKKEEPING.owner).get() as Values;
    const [sinceMs = 0, renewedAtMs = 0, ttlMs = 0, denials = 0, nowMs = 0] = rest.map(Number);
    const row = fence == null ? null : { owner, fence, sinceMs, renewedAtMs, ttlMs, denials };
    return { row, nowMs };
  }

  #own({ owner, fence, sinceMs, renewedAtMs, ttlMs, denials }: OwnerRow): void {
    this.#run(BOOKKEEPING.own, [owner, fence, sinceMs, renewedAtMs, ttlMs, denials]);
  }

  /** What only the owner of the tables may write, in one transaction. */
  #write(task: () => void): void {
    this.#transaction(() => {
      assertMayWrite({ ...this.#owner(), ours: this.#fence });
      task();
    });
  }

  /** Runs a task in one transaction: all of it, or nothing. */
  #transaction<T>(task: () => T): T {
    return this.#doing('write', () => {
      this.#statement('begin immediate').run();
      try {
        const result = task();
        this.#statement('commit').run();
        return result;
      } catch (error) {
        if (this.#database.isTransaction) this.#statement('rollback').run();
        throw error;
      }
    });
  }

  #doing<T>(doing: Doing, task: () => T): T {
    try {
      return task();
    } catch (error) {
      throw asFault(error, this.#path, doing);
    }
  }
}

function gone({ name }: Table, generation: Generation): Fault {
  return new Fault('REVISION_CONFLICT', `${name} (${generation}) is not there (any more)`);
}

/** In this dialect lists are bound as text and booleans as integers, so every value is one that SQLite takes. */
function bound(values: readonly Value[]): SqlValue[] {
  return values as SqlValue[];
}
