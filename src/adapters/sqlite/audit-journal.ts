import type { AuditJournal, AuditEntry } from '../../ports/audit-journal.js';
import type { Clock } from '../../ports/clock.js';
import { emit } from '../../ports/signals.js';
import {
  droppedError,
  ENTRY_COLUMNS,
  entryOf,
  JOURNAL,
  listLimit,
  valuesOf,
  type EntryValues,
} from '../sql/audit-entries.js';
import { openDatabase, type Database, type FileKind } from './driver.js';
import { refuseEmptyFile } from './empty-file.js';

const KIND: FileKind = {
  name: 'audit journal',
  applicationId: 0x5348_4c41, // SHLA
  userVersion: 1,
  schema: `create table refusals (
      id integer primary key, at text not null, deployment_id text not null, attempt_id text,
      command text not null, command_id text not null, actor_id text not null,
      actor_kind text not null, code text not null, detail text not null
    ) strict;
    create index refusals_of_deployment on refusals (deployment_id, id)`,
};
const INSERT = `insert into refusals (${ENTRY_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const FORGET = 'delete from refusals where id <= (select max(id) from refusals) - ?';
const SELECT = `select ${ENTRY_COLUMNS} from refusals where ?1 is null or deployment_id = ?1 order by id desc limit ?2`;

const BUSY_TIMEOUT_MS = 100;

/**
 * Opens a journal of refused commands in a SQLite file of its own, which is created when missing.
 *
 * Not a table among the read models: those may be deleted at any time and are folded anew, whereas
 * refusals are nowhere else. Written a moment later in small transactions with `synchronous = normal`:
 * a crash may cost the last 50 ms, a power cut a little more, and no command ever waits.
 * @throws {Fault} STORE_FOREIGN, STORE_UNAVAILABLE, STORE_FULL, STORE_CORRUPT
 */
export function openSqliteAuditJournal(path: string, clock: Clock): AuditJournal {
  refuseEmptyFile(path, KIND);
  const options = { kind: KIND, synchronous: 'normal', busyTimeoutMs: BUSY_TIMEOUT_MS } as const;
  return new SqliteAuditJournal(openDatabase(path, options), clock);
}

class SqliteAuditJournal implements AuditJournal {
  readonly #database: Database;
  readonly #clock: Clock;
  #waiting: AuditEntry[] = [];
  #dropped = 0;
  #cancelWrite: (() => void) | null = null;

  constructor(database: Database, clock: Clock) {
    this.#database = database;
    this.#clock = clock;
  }

  record(entry: AuditEntry): void {
    if (this.#waiting.length >= JOURNAL.waitingMax || !this.#database.isOpen) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(entry);
    this.#writeAfter(JOURNAL.writeDelayMs);
  }

  async list(
    filter: { readonly deploymentId?: string; readonly limit?: number } = {},
  ): Promise<readonly AuditEntry[]> {
    this.#writeAll();
    const limit = listLimit(filter.limit);
    const select = this.#database.prepare(SELECT);
    select.setReturnArrays(true);
    return (select.all(filter.deploymentId ?? null, limit) as EntryValues[]).map(entryOf);
  }

  async close(): Promise<void> {
    if (!this.#database.isOpen) return;
    this.#writeAll();
    this.#cancelWrite?.();
    this.#database.close();
  }

  #writeAfter(delayMs: number): void {
    this.#cancelWrite ??= this.#clock.after(delayMs, () => {
      this.#cancelWrite = null;
      const written = this.#writeBatch();
      if (this.#waiting.length > 0) this.#writeAfter(written ? 0 : JOURNAL.retryDelayMs);
    });
  }

  #writeAll(): void {
    while (this.#waiting.length > 0 && this.#writeBatch());
  }

  /** Writes the oldest that wait; tells whether it could. What could not be written goes on waiting. */
  #writeBatch(): boolean {
    const batch = this.#waiting.slice(0, JOURNAL.batchMax);
    try {
      this.#insert(batch);
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

  #insert(batch: readonly AuditEntry[]): void {
    this.#database.exec('begin immediate');
    try {
      const insert = this.#database.prepare(INSERT);
      for (const entry of batch) insert.run(...valuesOf(entry));
      this.#database.prepare(FORGET).run(JOURNAL.entriesMax);
      this.#database.exec('commit');
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('rollback');
      throw error;
    }
  }
}
