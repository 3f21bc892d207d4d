import { hash } from 'node:crypto';
import { statSync } from 'node:fs';
import { Fault } from '../../ports/faults.js';
import {
  asFault,
  createDatabase,
  openDatabase,
  resultOf,
  rewriteWriteAheadLog,
  sqliteVersion,
  synchronousOf,
  type Database,
  type Statement,
  type Synchronous,
} from './driver.js';
import {
  EVENT_COLUMNS,
  EVENT_LOG,
  NO_REVISION,
  toEvent,
  type AppendOutcome,
  type AppendRequest,
  type EventRow,
} from './event-log.js';
import { EMPTY_HEAD, HeadFile, type Head } from './head-file.js';

export interface LogWriterOptions {
  /** Resolved path of the log file; the caller owns it. */
  readonly path: string;
  readonly synchronous: Synchronous;
  /** Goes on with a log that ends before its last known head. */
  readonly acceptLoss: boolean;
  /** Size that the file may reach, in pages of 4 KiB; null for no limit but the disk's. */
  readonly pagesMax: number | null;
}

/** What the last known head says of a log that the log does not hold. */
export interface Loss {
  /** Positions that are missing, or hold something else; 0 when nobody can tell. */
  readonly first: number;
  readonly last: number;
  /** The same in words. */
  readonly detail: string;
}

/**
 * The write-ahead log is copied into the file when it has about so many pages (16 MiB). Fewer make appends
 * wait for more copies of the same pages, more make each of these waits longer.
 */
const CHECKPOINT_PAGES = 4_000;
/** Pages that a commit writes beside those of its events: roots, the sequence. */
const PAGES_PER_COMMIT = 2;
/** Pages that an event touches: its row and its leaf in each of the two indexes. */
const PAGES_PER_EVENT = 2.5;
const PAGE_BYTES = 4_096;
/** What is tried to see whether a full disk has room again: more than an ordinary command needs. */
const ROOM_PAGES = 16;
/** A few megabytes. Beyond it all are forgotten and looked up again. */
const STREAMS_REMEMBERED_MAX = 20_000;
/** SQLITE_CONSTRAINT_UNIQUE */
const UNIQUE_VIOLATED = 2067;
/** Milliseconds to wait for somebody else's lock on the file, such as a shell's. */
const BUSY_TIMEOUT_MS = 2_000;

/**
 * The one connection that writes the log and copies its write-ahead log into the file. Synchronous: it
 * belongs into a thread of its own.
 */
export class LogWriter {
  /** What this opening gave up; null when nothing was missing. */
  readonly loss: Loss | null;
  /** False when nothing told where the log must end, as after a restore of the log alone. */
  readonly endWasKnown: boolean;
  readonly sqliteVersion: string;
  /** When its commits wait for the disk, as SQLite says. */
  readonly synchronous: Synchronous | null;
  readonly #path: string;
  readonly #database: Database;
  readonly #statements: Statements;
  readonly #headFile: HeadFile;
  #head: Head;
  #lastWritten: { readonly event: EventIdentity; readonly position: number } | null = null;
  #pagesSinceCheckpoint = 0;
  /** Last revisions of streams written lately: nobody else writes, and a look into the file costs 2 µs. */
  readonly #revisions = new Map<string, number>();

  private constructor({ path, database, loss, endWasKnown }: Opened) {
    this.loss = loss;
    this.endWasKnown = endWasKnown;
    this.sqliteVersion = sqliteVersion(database);
    this.synchronous = synchronousOf(database);
    this.#path = path;
    this.#database = database;
    this.#statements = prepare(database);
    this.#head = headOf(database);
    this.#headFile = HeadFile.open(headPath(path), this.#head);
  }

  /**
   * Opens the log, creating it when there is none, and compares its end with the last known head.
   *
   * Cost: the tail only, whatever the length of the log.
   * @throws {Fault} STORE_CORRUPT when acknowledged events are missing and the loss is not accepted.
   */
  static open(options: LogWriterOptions): LogWriter {
    const { path, synchronous, pagesMax } = options;
    try {
      const known = HeadFile.read(headPath(path));
      const isNew = sizeOf(path) === null;
      // Before the head tells what it holds, or a reader.
      rewriteWriteAheadLog(path);
      const loss = isNew ? lossOf(known, null) : lossIn(path, known);
      if (loss !== null && !options.acceptLoss) throw refusalOf(path, loss);
      if (isNew) create(path);
      const busyTimeoutMs = BUSY_TIMEOUT_MS;
      const database = openDatabase(path, { kind: EVENT_LOG, synchronous, busyTimeoutMs });
      // Checkpoints are made outside of commits, where nobody waits and their errors are seen.
      database.exec('PRAGMA wal_autocheckpoint = 0');
      if (pagesMax !== null) database.exec(`PRAGMA max_page_count = ${String(pagesMax)}`);
      if (loss !== null) record(loss, database);
      return new LogWriter({ path, database, loss, endWasKnown: isNew || known !== 'none' });
    } catch (error) {
      throw asFault(error, path, 'open');
    }
  }

  /** Position of the last event that is settled; 0 in an empty log. */
  get position(): number {
    return this.#head.position;
  }

  /**
   * Appends a group in one transaction, each append checked on its own, and returns when all of it is on
   * the disk. A conflict is an outcome, not an error; an error is of the whole group.
   * @throws {Fault} STORE_FULL, STORE_UNAVAILABLE: nothing was written. OUTCOME_UNKNOWN and others:
   *   perhaps it was; this writer must not be used again.
   */
  append(group: readonly AppendRequest[]): AppendOutcome[] {
    try {
      this.#statements.begin.run();
      const before = this.#pagesSinceCheckpoint;
      const outcomes = group.map((request) => this.#appendOne(request));
      if (this.#pagesSinceCheckpoint === before) {
        this.#statements.rollback.run();
      } else {
        this.#statements.commit.run();
        this.#pagesSinceCheckpoint += PAGES_PER_COMMIT;
      }
      return outcomes;
    } catch (error) {
      this.#lastWritten = null;
      this.#revisions.clear();
      if (this.#database.isTransaction) this.#statements.rollback.run();
      throw asFault(error, this.#path, 'write');
    }
  }

  /**
   * Does what the last group left to do and nobody waits for: notes the head, copies the write-ahead log.
   * @throws {Fault} when the disk failed; this writer must not be used again.
   */
  settle(): void {
    this.#tidy(() => {
      this.#noteHead();
      if (this.#pagesSinceCheckpoint >= CHECKPOINT_PAGES) this.#checkpoint('PASSIVE');
    });
  }

  /** Tells whether the disk has room again, by writing something. @throws {Fault} as `append`. */
  hasRoom(): boolean {
    try {
      this.#database.exec(
        `INSERT INTO room VALUES (zeroblob(${String(ROOM_PAGES * PAGE_BYTES)})); DELETE FROM room`,
      );
      this.#pagesSinceCheckpoint += 2 * ROOM_PAGES;
      return true;
    } catch (error) {
      const fault = asFault(error, this.#path, 'write');
      if (fault instanceof Fault && fault.code === 'STORE_FULL') return false;
      throw fault;
    }
  }

  /** Leaves one whole file behind, if there is room for it. @throws {Fault} as `settle`. */
  close(): void {
    this.#tidy(() => {
      this.#noteHead();
      this.#checkpoint('TRUNCATE');
    });
    try {
      this.#headFile.close();
      this.#database.close();
    } catch (error) {
      throw asFault(error, this.#path, 'write');
    }
  }

  /** Without room the write-ahead log keeps everything; the next append says that there is none. */
  #tidy(work: () => void): void {
    try {
      work();
    } catch (error) {
      const fault = asFault(error, this.#path, 'write');
      if (!(fault instanceof Fault && fault.code === 'STORE_FULL')) throw fault;
    }
  }

  #appendOne(request: AppendRequest): AppendOutcome {
    const { stream, expected, events } = request;
    const actual = this.#revisionOf(stream);
    const conflict = { revision: actual, position: 0 };
    if (actual !== expected) return this.#repeated(request) ?? conflict;
    // A known id is refused by its insertion; but of several events none may stay when a later one is.
    if (
      events.length > 1 &&
      events.some(({ id }) => this.#statements.known.get(id) !== undefined)
    ) {
      return conflict;
    }
    let revision = expected;
    let position = 0;
    for (const { id, type, data, metadata } of events) {
      const event = [stream, revision + 1, id, type, data, metadata] as const;
      const inserted = this.#insert(event);
      if (inserted === null) return conflict;
      revision += 1;
      position = inserted;
      this.#lastWritten = { event, position };
      this.#pagesSinceCheckpoint += PAGES_PER_EVENT + data.length / PAGE_BYTES;
    }
    this.#remember(stream, revision);
    return { revision, position };
  }

  /** The position of the new event; null when the log holds its id, or its place in the stream. */
  #insert(event: EventIdentity): number | null {
    try {
      return Number(this.#statements.insert.run(...event).lastInsertRowid);
    } catch (error) {
      if (resultOf(error) !== UNIQUE_VIOLATED) throw error;
      this.#revisions.delete(event[0]);
      return null;
    }
  }

  #revisionOf(stream: string): number {
    const known = this.#revisions.get(stream);
    if (known !== undefined) return known;
    const [revision] = (this.#statements.last.get(stream) as [number] | undefined) ?? [NO_REVISION];
    this.#remember(stream, revision);
    return revision;
  }

  #remember(stream: string, revision: number): void {
    if (this.#revisions.size >= STREAMS_REMEMBERED_MAX) this.#revisions.clear();
    this.#revisions.set(stream, revision);
  }

  /** The first outcome of an append whose events the stream holds at just this place; else null. */
  #repeated({ stream, expected, events }: AppendRequest): AppendOutcome | null {
    const last = expected + events.length;
    const held = this.#statements.held.all(stream, expected + 1, last) as [string, number][];
    const isSame =
      held.length === events.length &&
      held.every(([id], index) => id === events[index]?.id.replaceAll('-', ''));
    return isSame ? { revision: last, position: held.at(-1)?.[1] ?? 0 } : null;
  }

  #noteHead(): void {
    if (this.#lastWritten === null) return;
    const { event, position } = this.#lastWritten;
    this.#head = { position, hash: hashOf(position, event) };
    this.#headFile.write(this.#head);
    this.#lastWritten = null;
  }

  #checkpoint(mode: 'PASSIVE' | 'TRUNCATE'): void {
    this.#database.exec(`PRAGMA wal_checkpoint(${mode})`);
    this.#headFile.sync();
    this.#pagesSinceCheckpoint = 0;
  }
}

interface Statements {
  readonly begin: Statement;
  readonly commit: Statement;
  readonly rollback: Statement;
  /** stream → revision of its last event */
  readonly last: Statement;
  /** id → anything when the log has it */
  readonly known: Statement;
  /** stream, first, last → id without dashes, position */
  readonly held: Statement;
  /** stream, revision, id, type, data, metadata */
  readonly insert: Statement;
}

function prepare(database: Database): Statements {
  const rows = (sql: string): Statement => {
    const statement = database.prepare(sql);
    statement.setReturnArrays(true);
    return statement;
  };
  return {
    begin: database.prepare('BEGIN IMMEDIATE'),
    commit: database.prepare('COMMIT'),
    rollback: database.prepare('ROLLBACK'),
    last: rows('SELECT revision FROM events WHERE stream = ? ORDER BY revision DESC LIMIT 1'),
    known: rows(`SELECT 1 FROM events WHERE event_id = unhex(?, '-')`),
    held: rows(
      `SELECT lower(hex(event_id)), position FROM events
       WHERE stream = ? AND revision BETWEEN ? AND ? ORDER BY revision`,
    ),
    insert: database.prepare(
      `INSERT INTO events (stream, revision, event_id, type, data, metadata)
       VALUES (?, ?, unhex(?, '-'), ?, ?, ?)`,
    ),
  };
}

/** All of an event but its position: stream, revision, id, type, data, metadata. */
type EventIdentity = readonly [string, number, string, string, string, string];
type Known = ReturnType<typeof HeadFile.read>;

interface Opened {
  readonly path: string;
  readonly database: Database;
  readonly loss: Loss | null;
  readonly endWasKnown: boolean;
}

function headPath(path: string): string {
  return `${path}-head`;
}

/** What a log lacks of what its last known head says; `database` null for a log that is gone. */
function lossOf(known: Known, database: Database | null): Loss | null {
  if (known === 'none') return null;
  if (known === 'damaged') {
    return { first: 0, last: 0, detail: 'its head file is damaged: events may be missing' };
  }
  const last = known.position;
  const end = database === null ? 0 : headOf(database).position;
  if (end < last) {
    const range = `positions ${String(end + 1)} to ${String(last)}`;
    return { first: end + 1, last, detail: `${range} were acknowledged and are missing` };
  }
  if (last === 0 || database === null || headAt(database, last).hash === known.hash) return null;
  const detail = `position ${String(last)} holds another event than the one that was acknowledged`;
  return { first: last, last, detail };
}

/**
 * The same of a file. Read-only, because closing a connection that can write would copy what is left of a
 * damaged write-ahead log into the file and throw the rest away, before anybody could look at it.
 */
function lossIn(path: string, known: Known): Loss | null {
  takeBack(path);
  const database = openDatabase(path, { kind: EVENT_LOG, readOnly: true });
  try {
    return lossOf(known, database);
  } finally {
    database.close();
  }
}

/**
 * Takes back a change that was cut off while the file was in no WAL mode, as one made by VACUUM INTO is
 * until it is first opened. A read-only connection may not.
 */
function takeBack(path: string): void {
  if ((sizeOf(`${path}-journal`) ?? 0) === 0) return;
  openDatabase(path, { kind: EVENT_LOG, busyTimeoutMs: BUSY_TIMEOUT_MS }).close();
}

function refusalOf(path: string, { detail }: Loss): Fault {
  const remedy = 'restore a newer copy, or accept the loss to go on without';
  return new Fault('STORE_CORRUPT', `${path}: ${detail}; ${remedy}`);
}

function create(path: string): void {
  // SQLite would mix what they hold into any file that bears the name.
  for (const left of [`${path}-wal`, `${path}-journal`]) {
    if ((sizeOf(left) ?? 0) === 0) continue;
    const detail = `${path} is gone, but ${left} is there; restore the first`;
    throw new Fault('STORE_CORRUPT', detail);
  }
  createDatabase(path, EVENT_LOG);
}

function sizeOf(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.size ?? null;
}

/** Keeps what was given up, and its positions free for ever: whoever saw them must not meet others there. */
function record({ first, last }: Loss, database: Database): void {
  database.exec('BEGIN IMMEDIATE');
  database.prepare('INSERT INTO losses VALUES (?, ?)').run(first, last);
  const end = Math.max(last, headOf(database).position);
  database.prepare(`DELETE FROM sqlite_sequence WHERE name = 'events'`).run();
  database.prepare(`INSERT INTO sqlite_sequence VALUES ('events', ?)`).run(end);
  database.exec('COMMIT');
}

function headOf(database: Database): Head {
  const last = database.prepare('SELECT max(position) FROM events');
  last.setReturnArrays(true);
  const [position] = last.get() as readonly [number | null];
  return position === null ? EMPTY_HEAD : headAt(database, position);
}

/** The head that a log had when this was its last position. */
function headAt(database: Database, position: number): Head {
  const statement = database.prepare(`SELECT ${EVENT_COLUMNS} FROM events WHERE position = ?`);
  statement.setReturnArrays(true);
  const row = statement.get(position) as EventRow | undefined;
  if (row === undefined) return { position, hash: '' };
  const { id, stream, type, data, metadata } = toEvent(row);
  return { position, hash: hashOf(position, [stream, row[2], id, type, data, metadata]) };
}

function hashOf(position: number, event: EventIdentity): string {
  return hash('sha256', JSON.stringify([position, ...event]));
}
