import type { AuditJournal, AuditEntry } from '../../ports/audit-journal.js';
import type { Clock } from '../../ports/clock.js';
import { emit } from '../../ports/signals.js';
import type { PostgresDatabase } from './database.js';
import { arrayOf, SCHEMA } from './dialect.js';

const REFUSALS = `${SCHEMA}.shipslog_refusals`;
const COLUMNS = [
  ...['at', 'deployment_id', 'attempt_id', 'command', 'command_id', 'actor_id', 'actor_kind'],
  ...['code', 'detail'],
].join(', ');
/** The oldest make room in the same statement. */
const INSERT = `with "forgotten" as (
    delete from ${REFUSALS} where id <= (select max(id) from ${REFUSALS}) - $10::bigint)
  insert into ${REFUSALS} (${COLUMNS}) select * from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])`;
const SELECT = `select ${COLUMNS} from ${REFUSALS}
  where $1::text is null or deployment_id = $1 order by id desc limit $2`;

/** Entries that may wait for the database, about 400 KB; more are counted and dropped. */
const WAITING_MAX = 1000;
const BATCH_MAX = 200;
const WRITE_DELAY_MS = 50;
const RETRY_DELAY_MS = 1000;
/** Entries kept, about 40 MB; the oldest make room. */
const ENTRIES_MAX = 100_000;
const LIST_LIMIT_MAX = 200;
const LIST_LIMIT_DEFAULT = 50;

/**
 * A journal of refused commands that all processes on a database share, written a moment later in small
 * transactions: a crash may cost the last 50 ms, and no command ever waits.
 */
export function postgresAuditJournal(database: PostgresDatabase, clock: Clock): AuditJournal {
  return new PostgresAuditJournal(database, clock);
}

class PostgresAuditJournal implements AuditJournal {
  readonly #database: PostgresDatabase;
  readonly #leave: () => Promise<void>;
  readonly #clock: Clock;
  #waiting: AuditEntry[] = [];
  #dropped = 0;
  #closed = false;
  #cancelWrite: (() => void) | null = null;
  /** The end of the batch under way: one at a time, so that entries stand in their order. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(database: PostgresDatabase, clock: Clock) {
    this.#database = database;
    this.#leave = database.use();
    this.#clock = clock;
  }

  record(entry: AuditEntry): void {
    if (this.#closed || this.#waiting.length >= WAITING_MAX) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(entry);
    this.#writeAfter(WRITE_DELAY_MS);
  }

  async list(
    filter: { readonly deploymentId?: string; readonly limit?: number } = {},
  ): Promise<readonly AuditEntry[]> {
    await this.#writeAll();
    const limit = Math.min(Math.max(filter.limit ?? LIST_LIMIT_DEFAULT, 1), LIST_LIMIT_MAX);
    const rows = await this.#database.query(SELECT, [filter.deploymentId ?? null, limit]);
    return rows.map((row) => entryOf(row as Values));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#writeAll();
    this.#cancelWrite?.();
    await this.#leave();
  }

  #writeAfter(delayMs: number): void {
    this.#cancelWrite ??= this.#clock.after(delayMs, () => {
      this.#cancelWrite = null;
      void this.#writeAll().then((written) => {
        if (!written && !this.#closed) this.#writeAfter(RETRY_DELAY_MS);
      });
    });
  }

  /** Writes all that waits; tells whether it could. What could not be written goes on waiting. */
  #writeAll(): Promise<boolean> {
    const written = this.#turn.then(async () => {
      while (this.#waiting.length > 0) {
        if (!(await this.#writeBatch())) return false;
      }
      return true;
    });
    this.#turn = written;
    return written;
  }

  async #writeBatch(): Promise<boolean> {
    const batch = this.#waiting.slice(0, BATCH_MAX);
    try {
      await this.#database.query(INSERT, [...columnsOf(batch), ENTRIES_MAX]);
    } catch (error) {
      emit('trouble', { where: 'audit journal', error });
      return false;
    }
    this.#waiting = this.#waiting.slice(batch.length);
    if (this.#dropped > 0) {
      const lost = `${String(this.#dropped)} refusals found no room and were not recorded`;
      this.#dropped = 0;
      emit('trouble', { where: 'audit journal', error: new Error(lost) });
    }
    return true;
  }
}

type Values = [
  at: string,
  deploymentId: string,
  attemptId: string | null,
  command: string,
  commandId: string,
  actorId: string,
  actorKind: AuditEntry['actor']['kind'],
  code: string,
  detail: string,
];

function columnsOf(batch: readonly AuditEntry[]): readonly Buffer[] {
  const rows = batch.map(valuesOf);
  return [0, 1, 2, 3, 4, 5, 6, 7, 8].map((n) =>
    arrayOf(
      'text',
      // A NUL is the one sign that text can not hold here.
      rows.map((row) => row[n]?.replaceAll('\0', '\ufffd') ?? null),
    ),
  );
}

function valuesOf({ actor, ...entry }: AuditEntry): Values {
  const { at, deploymentId, attemptId, command, commandId, code, detail } = entry;
  return [at, deploymentId, attemptId, command, commandId, actor.id, actor.kind, code, detail];
}

function entryOf(values: Values): AuditEntry {
  const [at, deploymentId, attemptId, command, commandId, id, kind, code, detail] = values;
  return { at, deploymentId, attemptId, command, commandId, actor: { id, kind }, code, detail };
}
