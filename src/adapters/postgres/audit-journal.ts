import { randomUUID } from 'node:crypto';
import type { AuditJournal, AuditEntry } from '../../ports/audit-journal.js';
import type { Clock } from '../../ports/clock.js';
import { emit } from '../../ports/signals.js';
import type { PostgresDatabase } from './database.js';
import { arrayOf, SCHEMA } from './dialect.js';
import {
  droppedError,
  ENTRY_COLUMNS,
  entryOf,
  JOURNAL,
  listLimit,
  valuesOf,
  type EntryValues,
} from '../sql/audit-entries.js';

const REFUSALS = `${SCHEMA}.shipslog_refusals`;
/** The oldest make room in the same statement; what stands there already, its answer lost, is left as it is. */
const INSERT = `with "forgotten" as (
    delete from ${REFUSALS} where id <= (select max(id) from ${REFUSALS}) - $11::bigint)
  insert into ${REFUSALS} (${ENTRY_COLUMNS}, entry_id) select * from unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[]::uuid[]) on conflict (entry_id) do nothing`;
const SELECT = `select ${ENTRY_COLUMNS} from ${REFUSALS}
  where $1::text is null or deployment_id = $1 order by id desc limit $2`;

/** An entry with the id by which it is known when it is sent again. */
interface WaitingEntry {
  readonly id: string;
  readonly entry: AuditEntry;
}

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
  #waiting: WaitingEntry[] = [];
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
    if (this.#closed || this.#waiting.length >= JOURNAL.waitingMax) {
      this.#dropped++;
      return;
    }
    this.#waiting.push({ id: randomUUID(), entry });
    this.#writeAfter(JOURNAL.writeDelayMs);
  }

  async list(
    filter: { readonly deploymentId?: string; readonly limit?: number } = {},
  ): Promise<readonly AuditEntry[]> {
    await this.#writeAll();
    const limit = listLimit(filter.limit);
    const rows = await this.#database.query(SELECT, [filter.deploymentId ?? null, limit]);
    return rows.map((row) => entryOf(row as EntryValues));
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
        if (!written && !this.#closed) this.#writeAfter(JOURNAL.retryDelayMs);
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
    const batch = this.#waiting.slice(0, JOURNAL.batchMax);
    try {
      await this.#database.query(INSERT, [...columnsOf(batch), JOURNAL.entriesMax]);
    } catch (error) {
      emit('trouble', { where: 'audit journal', error });
      return false;
    }
    this.#waiting = this.#waiting.slice(batch.length);
    if (this.#dropped > 0) {
      const error = droppedError(this.#dropped);
      this.#dropped = 0;
      emit('trouble', { where: 'audit journal', error });
    }
    return true;
  }
}

function columnsOf(batch: readonly WaitingEntry[]): readonly Buffer[] {
  const rows = batch.map(({ id, entry }) => [...valuesOf(entry), id]);
  return [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) =>
    arrayOf(
      'text',
      // A NUL is the one sign that text can not hold here.
      rows.map((row) => row[n]?.replaceAll('\0', '\ufffd') ?? null),
    ),
  );
}
