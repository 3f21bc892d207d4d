/** A database of PostgreSQL as all stores in it use it: connections, transactions, our schema. */
import { setTimeout } from 'node:timers/promises';
import pg from 'pg';
import { Fault, isFault } from '../../ports/faults.js';
import { emit } from '../../ports/signals.js';
import { asFault, isParameterRefused, isRefusal } from './failures.js';
import { SCHEMA } from './dialect.js';
import { MIGRATIONS } from './migrations.js';

/** How a database is used. */
export interface PostgresOptions {
  /** `postgres://user:password@host:5432/database`; TLS by `?sslmode=verify-full`, `&sslrootcert=FILE`. */
  readonly url: string;
  /** Waits for a server that is not there yet, and says so once; true unless told otherwise. */
  readonly waits?: boolean;
  /** Makes and upgrades our schema; true unless told otherwise. */
  readonly creates?: boolean;
  /** Connections at most, 1..100; 10 unless told otherwise. */
  readonly connectionsMax?: number;
  /** How long a statement may take that reads or writes rows. Milliseconds; 15,000 unless told otherwise. */
  readonly statementTimeoutMs?: number;
}

/** What a statement binds: binary arrays go as buffers. */
export type Bound = null | number | bigint | string | boolean | readonly string[] | Buffer;
/** A statement's rows, each an array of texts as PostgreSQL writes them, and null. */
export type Rows = readonly (readonly (string | null)[])[];
/** Runs one statement. Never by a name: behind a pooler the next one may meet another session. */
export type Run = (text: string, values?: readonly Bound[]) => Promise<Rows>;

const CONNECTIONS_MAX = 10;
const CONNECT_MS_MAX = 5_000;
const STATEMENT_MS_MAX = 15_000;
/** A server that is out of reach is noticed on our side, a little later than it would itself. */
const SILENCE_MS_MAX = 2_000;
const IDLE_MS_MAX = 30_000;
/** Time between two tries to reach a server that is not there yet. */
const WAIT_MS = 250;
/** A table of millions of rows takes its time to be indexed. */
const CHANGE_MS_MAX = 600_000;
/** Whoever changes our tables holds this lock: any number, the same for every version. */
const LOCK = '8243113893085146734';
/** A process that is frozen in the middle gives up its locks; others wait for them no longer than this. */
const BEGIN = `begin; set local statement_timeout = 0; set local lock_timeout = '5s';
  set local idle_in_transaction_session_timeout = '10s'`;

/**
 * Opens a database; makes what is missing of our schema, several processes at once included.
 * @throws {Error} of one line when the connection string is wrong.
 * @throws {Fault} STORE_UNAVAILABLE when the server refuses us, or does not answer and is not waited for;
 *   STORE_FOREIGN when a newer program made the schema.
 */
export async function openPostgres(options: PostgresOptions): Promise<PostgresDatabase> {
  const database = new PostgresDatabase(options);
  try {
    await database.reach(options);
    await database.migrate(options.creates ?? true);
    return database;
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Connections to one database, shared by the stores in it. */
export class PostgresDatabase {
  /** Host, port and name, without what is secret. */
  readonly place: string;
  readonly #config: pg.PoolConfig;
  readonly #statementMs: number;
  #pool: pg.Pool;
  readonly #users = new Set<symbol>();
  #closing: Promise<void> | null = null;
  /** Whether connections start without what a pooler may not take. */
  #isBare = false;

  constructor({ url, connectionsMax, statementTimeoutMs }: PostgresOptions) {
    this.place = placeOf(url);
    this.#statementMs = statementTimeoutMs ?? STATEMENT_MS_MAX;
    this.#config = {
      connectionString: url,
      max: connectionsMax ?? CONNECTIONS_MAX,
      application_name: 'shipslog',
      connectionTimeoutMillis: CONNECT_MS_MAX,
      idleTimeoutMillis: IDLE_MS_MAX,
      query_timeout: this.#statementMs + SILENCE_MS_MAX,
      keepAlive: true,
      types: { getTypeParser: () => asItIs },
    };
    this.#pool = poolOf({ ...this.#config, statement_timeout: this.#statementMs });
  }

  /** Counts one store more that uses the connections; the last one to leave closes them. */
  use(): () => Promise<void> {
    const user = Symbol();
    this.#users.add(user);
    return async () => {
      this.#users.delete(user);
      if (this.#users.size === 0) await this.close();
    };
  }

  /** Resolves when the server has answered once. */
  async reach({ waits = true }: PostgresOptions): Promise<void> {
    let told = false;
    while (true) {
      try {
        await this.query('select 1');
        return;
      } catch (error) {
        if (await this.#withoutParameters(error)) continue;
        if (!waits || !isPassing(error)) throw error;
        if (!told) emit('trouble', { where: 'PostgreSQL', error });
        told = true;
      }
      // Not by the clock, whose timers keep no process alive: this is all that it has to do yet.
      await setTimeout(WAIT_MS);
    }
  }

  /** Leaves out what a pooler does not take: statements are then bounded on our side alone. */
  async #withoutParameters(error: unknown): Promise<boolean> {
    if (this.#isBare || !isFault(error) || !isParameterRefused(error.cause)) return false;
    this.#isBare = true;
    await this.#pool.end();
    this.#pool = poolOf(this.#config);
    return true;
  }

  /** Brings our schema to this version. */
  async migrate(creates: boolean): Promise<void> {
    const found = await this.#version(this.query);
    this.#assertKnown(found);
    if (found === MIGRATIONS.length) return;
    if (!creates) {
      const what =
        found === 0
          ? `there are no read models at ${this.place} yet`
          : `the schema ${SCHEMA} at ${this.place} has version ${found}, this program needs version ${MIGRATIONS.length}`;
      throw new Fault(
        'STORE_UNAVAILABLE',
        `${what}: a service of this version sees to it at its start`,
      );
    }
    await this.change(async (run) => {
      const version = await this.#version(run);
      this.#assertKnown(version);
      const [made] = await run('select 1 from pg_namespace where nspname = $1', [SCHEMA]);
      if (made === undefined) await run(`create schema ${SCHEMA}`);
      for (const text of MIGRATIONS.slice(version).flat()) await run(text);
      await run(`delete from ${SCHEMA}.shipslog_version`);
      await run(`insert into ${SCHEMA}.shipslog_version values ($1)`, [MIGRATIONS.length]);
    });
  }

  /** One statement, which is a transaction of its own; it may be given less time than others. */
  readonly query = async (
    text: string,
    values: readonly Bound[] = [],
    timeoutMs?: number,
  ): Promise<Rows> => {
    try {
      return rowsOf(await this.#pool.query(statement(text, values, timeoutMs)));
    } catch (error) {
      throw asFault(error, this.place);
    }
  };

  /** Several statements, all of them or none. */
  transaction<T>(task: (run: Run) => Promise<T>): Promise<T> {
    return this.#begin(BEGIN, task);
  }

  /** A transaction that changes our tables, when nobody else does so. */
  change<T>(task: (run: Run) => Promise<T>): Promise<T> {
    return this.#begin(`${BEGIN}; select pg_advisory_xact_lock(${LOCK})`, task);
  }

  /** Closes the connections, whoever uses them. Safe to repeat. */
  async close(): Promise<void> {
    await (this.#closing ??= this.#pool.end());
  }

  async #begin<T>(begin: string, task: (run: Run) => Promise<T>): Promise<T> {
    let client: pg.PoolClient | null = null;
    let isClean = false;
    try {
      client = await this.#pool.connect();
      const connection = client;
      const run: Run = async (text, values = []) =>
        rowsOf(await connection.query(statement(text, values, CHANGE_MS_MAX)));
      await run(begin);
      const result = await task(run);
      await run('commit');
      isClean = true;
      return result;
    } catch (error) {
      const isBack = await client?.query('rollback').then(
        () => true,
        () => false,
      );
      isClean = isFault(error) && isBack === true;
      throw asFault(error, this.place);
    } finally {
      // A connection on which something failed is not used again, unless it was a rule of ours that said no.
      client?.release(!isClean);
    }
  }

  async #version(run: Run): Promise<number> {
    // From the catalogue as it is now: by its name, a session remembers that a table was not there.
    const [found] = await run(
      'select 1 from pg_class join pg_namespace on relnamespace = pg_namespace.oid where nspname = $1 and relname = $2',
      [SCHEMA, 'shipslog_version'],
    );
    if (found === undefined) return 0;
    const [[version] = []] = await run(`select version from ${SCHEMA}.shipslog_version`);
    return Number(version ?? 0);
  }

  #assertKnown(version: number): void {
    if (version <= MIGRATIONS.length) return;
    throw new Fault(
      'STORE_FOREIGN',
      `the schema ${SCHEMA} at ${this.place} has version ${version}, this program knows version ` +
        `${MIGRATIONS.length}: start the newer program`,
    );
  }
}

/** Whether a server that is not there now may be there later. */
function isPassing(error: unknown): boolean {
  return isFault(error, 'STORE_UNAVAILABLE') && !isRefusal(error.cause);
}

function poolOf(config: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool(config);
  // A connection that breaks while nobody uses it is replaced by the next one who needs one; without a
  // listener the process would end.
  pool.on('error', () => undefined);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

/** A setting of one statement that the driver's types leave out. */
type Statement = pg.QueryArrayConfig<unknown[]> & { readonly query_timeout?: number };

function statement(text: string, values: readonly Bound[], timeoutMs?: number): Statement {
  return {
    text,
    rowMode: 'array',
    // Without values a text may hold several statements.
    ...(values.length > 0 && { values: [...values] }),
    ...(timeoutMs !== undefined && { query_timeout: timeoutMs }),
  };
}

function rowsOf(result: pg.QueryArrayResult | readonly pg.QueryArrayResult[]): Rows {
  return ([result].flat().at(-1)?.rows ?? []) as Rows;
}

function asItIs(text: string): string {
  return text;
}

function placeOf(url: string): string {
  try {
    const { protocol, hostname, port, pathname } = new URL(url);
    if (!['postgres:', 'postgresql:'].includes(protocol)) throw new Error(protocol);
    return `${hostname}:${port === '' ? '5432' : port}${pathname}`;
  } catch {
    throw new Error(
      'the connection string of PostgreSQL is wrong; use postgres://USER:PASSWORD@HOST:5432/DATABASE',
    );
  }
}
