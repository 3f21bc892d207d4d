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
import { groupOf, TableSql, type Sql } from '../sql/statements.js';
import type { Bound, PostgresDatabase, Rows, Run } from './database.js';
import { postgresDialect, SCHEMA } from './dialect.js';
import { isUnknownName, isUnstorable } from './failures.js';
import { BOOKKEEPING } from './migrations.js';
import { commitOf, loadOf, type Step } from './statements.js';

const OWNER = `${SCHEMA}.shipslog_owner`;
/** One claim after the other, the first one too; writes by the owner go on. */
const LOCK_OWNER = `lock table ${OWNER} in share row exclusive mode`;
/** Whoever asks waits for an answer, be it a refusal; callers often give up after 15 s. */
const QUERY_MS_MAX = 8_000;
/** Rows handed over by one step of a scan: about half a megabyte. */
const SCAN_PAGE_ROWS = 500;

/**
 * The read models in a database, beside those of other processes.
 *
 * A batch is one statement: whether this handle may write, the steps of all checkpoints, the rows of all
 * tables. So it costs one round trip, needs no session that lasts, and a process that is frozen holds no lock.
 */
export function postgresReadModels(database: PostgresDatabase): ReadModels {
  return new PostgresReadModels(database);
}

interface StoredCheckpoint extends Checkpoint {
  readonly build: bigint;
}

class PostgresReadModels implements ReadModels {
  readonly #database: PostgresDatabase;
  readonly #leave: () => Promise<void>;
  readonly #tables = new Map<string, TableSql>();
  /** The building of each generation that we know: what was built anew since is not ours to write to. */
  #builds: ReadonlyMap<string, bigint> | null = null;
  /** The number under which this handle claimed the tables; null without a claim. */
  #fence: bigint | null = null;

  constructor(database: PostgresDatabase) {
    this.#database = database;
    this.#leave = database.use();
  }

  async open(tables: readonly Table[]): Promise<void> {
    const missing = async (run: Run): Promise<readonly Table[]> => {
      const known = new Set((await this.#checkpoints(run)).map(({ table }) => table));
      return tables.filter(({ name }) => !known.has(name));
    };
    if ((await missing(this.#database.query)).length === 0) return;
    await this.#database.change(async (run) => {
      for (const table of await missing(run)) {
        const build = await this.#create(run, table, 'live');
        for (const text of this.#sqlOf(table).createIndexes('live', build)) await run(text);
      }
      await this.#checkpoints(run);
    });
  }

  async claim(claim: Claim): Promise<Ownership & { readonly isOurs: boolean }> {
    const claimed = await this.#database.transaction(async (run) => {
      await run(LOCK_OWNER);
      const { row: before, nowMs } = await ownerOf(run);
      const [row, isOurs] = afterClaim({ row: before, nowMs, ours: this.#fence }, claim);
      await own(run, row);
      return { ...ownershipOf(row, nowMs), isOurs };
    });
    if (claimed.isOurs) this.#fence = claimed.fence;
    return claimed;
  }

  async release(): Promise<void> {
    if (this.#fence === null) return;
    await this.#database.transaction(async (run) => {
      await run(LOCK_OWNER);
      const { row } = await ownerOf(run);
      if (row !== null && row.fence === this.#fence) await own(run, { ...row, owner: null });
    });
    this.#fence = null;
  }

  async ownership(): Promise<Ownership | null> {
    const { row, nowMs } = await ownerOf(this.#database.query);
    return isOwned(row) ? ownershipOf(row, nowMs) : null;
  }

  async checkpoints(): Promise<readonly Checkpoint[]> {
    const found = await this.#checkpoints(this.#database.query);
    return found.map(({ build: _, ...checkpoint }) => checkpoint);
  }

  async load<R extends Row>(
    table: Table<R>,
    generation: Generation,
    keys: readonly RowKey[],
  ): Promise<readonly (R | null)[]> {
    if (keys.length === 0) return [];
    const sql = this.#sqlOf(table);
    const rows = await this.#on(table, generation, loadOf(sql, generation, keys));
    const loaded = keys.map((): R | null => null);
    for (const [n, ...values] of rows) loaded[Number(n) - 1] = sql.decode(values);
    return loaded;
  }

  async commit(changes: readonly Change[]): Promise<void> {
    if (changes.length > 0) await this.#put(this.#database.query, changes);
  }

  async find<R extends Row>(table: Table<R>, query: RowQuery<R>): Promise<readonly R[]> {
    const sql = this.#sqlOf(table);
    const rows = await this.#on(table, 'live', sql.find(query));
    return rows.map((row) => sql.decode(row));
  }

  async countBy<R extends Row>(
    table: Table<R>,
    column: keyof R & string,
    selection?: RowSelection<R>,
  ): Promise<ReadonlyMap<string, number>> {
    const rows = await this.#on(table, 'live', this.#sqlOf(table).countBy(column, selection));
    return new Map(rows.map(([value, n]) => [value ?? '', Number(n)]));
  }

  async sumBy<R extends Row>(
    table: Table<R>,
    {
      by,
      sums,
    }: { readonly by: readonly (keyof R & string)[]; readonly sums: readonly (keyof R & string)[] },
    selection?: RowSelection<R>,
  ): Promise<readonly Group[]> {
    const rows = await this.#on(table, 'live', this.#sqlOf(table).sumBy(by, sums, selection));
    return rows.map((selected) => groupOf(by.length, selected));
  }

  async *scan<R extends Row>(table: Table<R>): AsyncIterable<readonly R[]> {
    const sql = this.#sqlOf(table);
    let after: RowKey | null = null;
    do {
      const page: Rows = await this.#on(table, 'live', sql.scan(after, SCAN_PAGE_ROWS));
      const rows = page.map((row) => sql.decode(row));
      if (rows.length > 0) yield rows;
      const last = rows[SCAN_PAGE_ROWS - 1];
      after = last === undefined ? null : sql.keyOf(last);
    } while (after !== null);
  }

  async startNext(table: Table): Promise<void> {
    await this.#database.change(async (run) => {
      await this.#drop(run, table, 'next');
      await this.#create(run, table, 'next');
      await this.#checkpoints(run);
    });
  }

  /** Indexes the table, while others go on reading and writing: it is not theirs yet. */
  async finishNext(table: Table): Promise<void> {
    const sql = this.#sqlOf(table);
    await this.#database.transaction(async (run) => {
      // The owner's row is not held meanwhile: claims must be renewed.
      assertMayWrite({ ...(await ownerOf(run)), ours: this.#fence });
      const build = await this.#nextOf(run, table);
      for (const text of sql.createIndexes('next', Number(build))) await run(text);
      await run(`analyze ${sql.place('next')}`);
    });
  }

  async promoteNext(table: Table, position: Position | null): Promise<void> {
    await this.finishNext(table);
    await this.#database.change(async (run) => {
      // Waits for whoever reads it; only then is the owner's row held, which a claim may wait for.
      await this.#drop(run, table, 'live');
      await this.#assertMayWrite(run);
      await this.#nextOf(run, table, position);
      await run(this.#sqlOf(table).rename());
      await run(BOOKKEEPING.promote, [table.name]);
      await run(BOOKKEEPING.promoteParked, [table.name]);
      await run(BOOKKEEPING.forgetDecisions, [table.name]);
      await this.#checkpoints(run);
    });
  }

  async dropNext(table: Table): Promise<void> {
    await this.#database.change(async (run) => {
      await this.#drop(run, table, 'next');
      await this.#assertMayWrite(run);
    });
  }

  async park(entry: Omit<ParkedStream, 'decided'>): Promise<void> {
    const { table, generation, stream, revision, position, problem, parkedAt } = entry;
    await this.#database.transaction(async (run) => {
      await this.#assertMayWrite(run);
      // What went wrong may quote the event, and text can hold no NUL here.
      const [of, why] = [stream, problem].map((text) => text.replaceAll('\0', '\ufffd'));
      const values = [table, generation, of, revision, position, why, parkedAt] as Bound[];
      await run(BOOKKEEPING.park, values);
    });
  }

  async parked(): Promise<readonly ParkedStream[]> {
    type Values = [string, Generation, string, string, string, string, string, string | null];
    const rows = (await this.#database.query(BOOKKEEPING.parked)) as readonly Values[];
    return rows.map(
      ([table, generation, stream, revision, position, problem, parkedAt, decided]) => ({
        table,
        generation,
        stream,
        revision: BigInt(revision),
        position: BigInt(position),
        problem,
        parkedAt,
        decided: decided === null ? null : (JSON.parse(decided) as ParkedDecision),
      }),
    );
  }

  decideParked(
    { table, stream }: { readonly table: string; readonly stream: string },
    decision: ParkedDecision,
  ): Promise<boolean> {
    return this.#database.transaction(async (run) => {
      const found = await run(`${BOOKKEEPING.isParked} for update`, [table, 'live', stream]);
      if (found.length === 0) return false;
      await run(BOOKKEEPING.decide, [table, stream, JSON.stringify(decision)]);
      return true;
    });
  }

  async undecideParked({
    table,
    stream,
    decided,
  }: Pick<ParkedStream, 'table' | 'stream' | 'decided'>): Promise<void> {
    const values = [table, stream, JSON.stringify(decided)];
    await this.#database.query(BOOKKEEPING.undecideThis, values);
  }

  async readmit(change: Change, stream: string): Promise<void> {
    const { table, generation } = change;
    await this.#database.transaction(async (run) => {
      await this.#put(run, [change]);
      await run(BOOKKEEPING.unparkOne, [table.name, generation, stream]);
      await run(BOOKKEEPING.undecide, [table.name, stream]);
    });
  }

  close(): Promise<void> {
    return this.#leave();
  }

  /** Writes all changes, or throws. */
  async #put(run: Run, changes: readonly Change[]): Promise<void> {
    if (this.#builds === null) await this.checkpoints();
    const steps = changes.map((change): Step => {
      const { table, generation } = change;
      return { change, sql: this.#sqlOf(table), build: this.#buildOf(table, generation) };
    });
    const absent = steps.find(({ build }) => build === null);
    if (absent !== undefined) throw gone(absent.change.table, absent.change.generation);
    const [[isOwner, isStepped] = []] = await this.#writing(run, steps);
    if (isOwner !== 't')
      assertMayWrite({ ...(await ownerOf(this.#database.query)), ours: this.#fence });
    if (isStepped === 't') return;
    const moved = changes.map(({ table, from }) => `${table.name} at ${String(from)}`).join(', ');
    throw new Fault('REVISION_CONFLICT', `not ${moved} any more: another projector was there`);
  }

  /** The building that is to be promoted: where a position is given, it must stand there. */
  async #nextOf(run: Run, { name }: Table, position?: Position | null): Promise<bigint> {
    const known = this.#builds?.get(placeOf(name, 'next'));
    const found = (await this.#checkpoints(run, false)).find(
      ({ table, generation }) => table === name && generation === 'next',
    );
    const isThere = position === undefined || found?.position === position;
    const isIt = isThere && (known === undefined || known === found?.build);
    if (found !== undefined && isIt) return found.build;
    const detail = `${name} (next) is not there (any more), or not as it was left`;
    throw new Fault('REVISION_CONFLICT', detail);
  }

  async #create(run: Run, table: Table, generation: Generation): Promise<number> {
    const [[value] = []] = await run(`select nextval('${SCHEMA}.shipslog_builds')`);
    const build = Number(value);
    await run(this.#sqlOf(table).create(generation));
    await run(BOOKKEEPING.place, [table.name, generation, table.version, build]);
    return build;
  }

  /** The table first: who writes to it has its lock before that of the checkpoint, too. */
  async #drop(run: Run, table: Table, generation: Generation): Promise<void> {
    await run(this.#sqlOf(table).drop(generation));
    await run(BOOKKEEPING.remove, [table.name, generation]);
    await run(BOOKKEEPING.unpark, [table.name, generation]);
  }

  async #checkpoints(run: Run, remembers = true): Promise<readonly StoredCheckpoint[]> {
    type Values = [string, Generation, string, string | null, string];
    const rows = (await run(BOOKKEEPING.checkpoints)) as readonly Values[];
    const found = rows.map(([table, generation, version, position, build]) => ({
      table,
      generation,
      version: Number(version),
      position: position === null ? null : (BigInt(position) satisfies Position),
      build: BigInt(build),
    }));
    if (remembers) {
      this.#builds = new Map(
        found.map(({ table, generation, build }) => [placeOf(table, generation), build]),
      );
    }
    return found;
  }

  #buildOf({ name }: Table, generation: Generation): bigint | null {
    return this.#builds?.get(placeOf(name, generation)) ?? null;
  }

  async #writing(run: Run, steps: readonly Step[]): Promise<Rows> {
    const { text, values } = commitOf(steps, this.#fence);
    try {
      return await run(text, values);
    } catch (error) {
      // Dropped since we looked: it is as good as moved.
      const [first] = steps;
      if (!isUnknownName(error) || first === undefined) throw error;
      throw gone(first.change.table, first.change.generation);
    }
  }

  /** A query on a generation of a table, which may be of another version or just gone. */
  async #on(
    table: Table,
    generation: Generation,
    { text, values }: Sql | { readonly text: string; readonly values: readonly Bound[] },
  ): Promise<Rows> {
    try {
      return await this.#database.query(text, values, QUERY_MS_MAX);
    } catch (error) {
      if (isUnstorable(error)) return [];
      if (!isUnknownName(error)) throw error;
      const at = (await this.#checkpoints(this.#database.query, false)).find(
        (place) => place.table === table.name && place.generation === generation,
      );
      if (at === undefined) throw gone(table, generation);
      if (at.version === table.version) throw error;
      const detail = `${table.name} is of version ${at.version} until version ${table.version} is built`;
      throw new Fault('STORE_UNAVAILABLE', detail, { cause: error });
    }
  }

  async #assertMayWrite(run: Run): Promise<void> {
    assertMayWrite({ ...(await ownerOf(run, 'locked')), ours: this.#fence });
  }

  #sqlOf<R extends Row>(table: Table<R>): TableSql<R> {
    let sql = this.#tables.get(table.name);
    if (sql?.table !== table) {
      sql = new TableSql<Row>(table, postgresDialect);
      this.#tables.set(table.name, sql);
    }
    return sql as TableSql<R>;
  }
}

/** The row of the owner; `locked`, no claim comes in between before the transaction ends. */
async function ownerOf(
  run: Run,
  how: 'seen' | 'locked' = 'seen',
): Promise<{ readonly row: OwnerRow | null; readonly nowMs: number }> {
  if (how === 'locked') await run(`select from ${OWNER} for share`);
  type Values = readonly [string | null, string | null, string, string, string, string, string];
  const [values] = (await run(BOOKKEEPING.owner)) as readonly [Values];
  const [owner, fence, ...rest] = values;
  const [sinceMs, renewedAtMs, ttlMs, denials, nowMs] = rest.map(Number) as Numbers;
  if (fence === null) return { row: null, nowMs };
  return { row: { owner, fence: BigInt(fence), sinceMs, renewedAtMs, ttlMs, denials }, nowMs };
}

type Numbers = [number, number, number, number, number];

async function own(run: Run, row: OwnerRow): Promise<void> {
  const { owner, fence, sinceMs, renewedAtMs, ttlMs, denials } = row;
  await run(BOOKKEEPING.own, [owner, fence, sinceMs, renewedAtMs, ttlMs, denials]);
}

function placeOf(table: string, generation: Generation): string {
  return `${table} ${generation}`;
}

function gone({ name }: Table, generation: Generation): Fault {
  return new Fault('REVISION_CONFLICT', `${name} (${generation}) is not there (any more)`);
}
