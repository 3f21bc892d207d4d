import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import type { Stats } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Fault } from '../../ports/faults.js';
import type { FaultCode } from '../../ports/faults.js';
import { makeFolder, syncFolder, withDescriptor } from '../folders.js';

/** What SQLite takes and gives. Integers are given as numbers unless a statement was told to read bigints. */
export type SqlValue = null | number | bigint | string | Uint8Array;

/** A prepared statement: the part of `StatementSync` (node:sqlite) that we use. */
export interface Statement {
  run(...values: SqlValue[]): {
    readonly changes: number | bigint;
    readonly lastInsertRowid: number | bigint;
  };
  /** The first row, or undefined; an array after `setReturnArrays(true)`, else an object. */
  get(...values: SqlValue[]): unknown;
  all(...values: SqlValue[]): unknown[];
  iterate(...values: SqlValue[]): IterableIterator<unknown>;
  setReadBigInts(on: boolean): void;
  setReturnArrays(on: boolean): void;
}

/** A connection: the part of `DatabaseSync` (node:sqlite) that we use. */
export interface Database {
  readonly isOpen: boolean;
  /** False again after an error that made SQLite roll back by itself. */
  readonly isTransaction: boolean;
  exec(sql: string): void;
  prepare(sql: string): Statement;
  /**
   * Ends the connection. The drop-in lets go of the files (descriptors, locks, `-wal`, `-shm`) only when the
   * statements prepared on it are garbage too, so a file whose lock must go at once prepares none.
   */
  close(): void;
}

/** A kind of file: how it is told from other files, and what a new one holds. */
export interface FileKind {
  /** For messages, e.g. `event store`. */
  readonly name: string;
  /** Written into the header of a new file and demanded of an old one. Not 0. */
  readonly applicationId: number;
  /** Version of the schema, ≥ 1. A file with another one is refused. */
  readonly userVersion: number;
  /** SQL that fills a new file; runs in the transaction that marks it as ours. */
  readonly schema: string;
}

/** When SQLite waits for the disk: `full` on each commit, `normal` on checkpoints only, `off` never. */
export type Synchronous = 'off' | 'normal' | 'full';

export interface DatabaseOptions {
  readonly kind: FileKind;
  /** Default `full`. Only data that can be made again may be written with less. */
  readonly synchronous?: Synchronous;
  /** Default false. A reader creates nothing and changes nothing. */
  readonly readOnly?: boolean;
  /** Milliseconds to wait for a lock of another connection. Default 0. */
  readonly busyTimeoutMs?: number;
  /** Page cache in KiB. Default 16,384. */
  readonly cacheKiB?: number;
}

/**
 * Opens a database of ours in WAL mode, creating folder (0700) and file (0600) when it is a writer.
 *
 * A foreign, newer or read-only file is refused before anything is touched. WAL mode and the synchronous
 * level are read back, because drivers and builds have their own defaults (the drop-in's is `normal`).
 * @throws {Fault} STORE_FOREIGN, STORE_CORRUPT, STORE_FULL, STORE_UNAVAILABLE; one line each.
 */
export function openDatabase(path: string, options: DatabaseOptions): Database {
  assertOurs(path, options.kind);
  try {
    return options.readOnly === true ? openReader(path, options) : openWriter(path, options);
  } catch (error) {
    throw asFault(error, path, 'open');
  }
}

/**
 * Refuses a file that is not of this kind, without touching it: no lock is taken, no side file appears.
 *
 * The header is read through SQLite (`immutable`), never through `fs`: closing a descriptor of the file
 * would drop every lock that this process holds on it. A missing or empty file passes.
 * @throws {Fault} STORE_FOREIGN, STORE_UNAVAILABLE.
 */
export function assertOurs(path: string, kind: FileKind): void {
  if ((statOf(path)?.size ?? 0) === 0) return;
  const url = pathToFileURL(path);
  url.searchParams.set('immutable', '1');
  let database: Database | undefined;
  try {
    database = new DatabaseSync(url.href, { readOnly: true });
    assertKind(database, path, kind);
  } catch (error) {
    // A copy of the write-ahead log that is under way, or was cut off, leaves the file alone incomplete.
    if (resultOf(error) !== CORRUPT) throw asFault(error, path, 'open');
  } finally {
    database?.close();
  }
}

/**
 * Refuses a file that cannot be written, or whose folder cannot; a missing file passes.
 * @throws {Fault} STORE_UNAVAILABLE.
 */
export function assertWritable(path: string): void {
  const found = statOf(path);
  if (found === null) return;
  // Root may write to a file without any write bit; whoever took them away meant it nevertheless.
  if ((found.mode & 0o222) === 0) throw new Fault('STORE_UNAVAILABLE', `${path} is read-only`);
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    accessSync(dirname(path), constants.W_OK);
  } catch (error) {
    throw asFault(error, path, 'open');
  }
}

/**
 * Makes a new file under another name and gives it its own when it is whole, so that a crash leaves
 * either no file or a good one. Where another process is quicker, its file stays.
 * @throws {Fault} STORE_FULL, STORE_UNAVAILABLE.
 */
export function createDatabase(path: string, kind: FileKind): void {
  const draft = `${path}-new-${String(process.pid)}`;
  const removeDraft = (): void => {
    for (const suffix of ['', '-journal', '-wal', '-shm']) rmSync(draft + suffix, { force: true });
  };
  try {
    makeFolder(dirname(path));
    removeDraft();
    closeSync(openSync(draft, 'wx', 0o600));
    const database = new DatabaseSync(draft);
    closingOnError(database, () => {
      initialise(database, kind);
      // Under its own name this change could be cut off, and a reader cannot take it back.
      database.exec('PRAGMA journal_mode = WAL');
    });
    database.close();
    giveName(draft, path);
    syncFolder(dirname(path));
  } catch (error) {
    throw asFault(error, path, 'open');
  } finally {
    removeDraft();
  }
}

/** Gives a file its name, unless there is one of that name. */
function giveName(draft: string, path: string): void {
  try {
    linkSync(draft, path);
  } catch (error) {
    if (statOf(path) !== null) return;
    // A file system that knows one name for a file.
    if (statOf(draft) === null) throw error;
    renameSync(draft, path);
  }
}

/** Opens a file for its locks alone: no mode, no schema, nothing written. */
export function openLockFile(path: string): Database {
  createPrivately(path);
  return new DatabaseSync(path, { timeout: 0 });
}

/** What a statement was for: the same result of SQLite means different things. */
export type Doing = 'open' | 'read' | 'write';

/**
 * Turns an error of SQLite or of the file system into a fault; any other error is returned as it is.
 *
 * An I/O error of a write leaves the outcome open: a commit that failed was found on disk later.
 */
export function asFault(error: unknown, path: string, doing: Doing): unknown {
  if (error instanceof Fault) return error;
  const result = resultOf(error);
  const code = result === null ? faultOfFileSystem(error) : FAULT_OF_RESULT[result % 256]?.[doing];
  if (code === undefined) return error;
  const shown = result === null ? '' : ` (SQLite result ${String(result)})`;
  return new Fault(code, `${path}: ${messageOf(error)}${shown}`, { cause: error });
}

/**
 * SQLite's extended result code of an error, or null; the primary code is its remainder by 256.
 *
 * The drop-in gives no code with an error of `all` and `iterate`, only SQLite's text, which never changes.
 */
export function resultOf(error: unknown): number | null {
  if (typeof error !== 'object' || error === null) return null;
  if ('errcode' in error && typeof error.errcode === 'number') return error.errcode;
  const isOfDriver = 'code' in error && error.code === 'ERR_SQLITE_ERROR' && 'message' in error;
  return isOfDriver ? (RESULT_OF_TEXT[String(error.message)] ?? null) : null;
}

/** The version of the SQLite library in use, e.g. `3.53.0`. */
export function sqliteVersion(database: Database): string {
  return String(pragma(database, 'SELECT sqlite_version()'));
}

/** The version of the SQLite library that comes with Node, or with its drop-in. */
export function libraryVersion(): string {
  const database = new DatabaseSync(':memory:');
  try {
    return sqliteVersion(database);
  } finally {
    database.close();
  }
}

/** When commits of this connection wait for the disk, asked of the connection itself. */
export function synchronousOf(database: Database): Synchronous | null {
  const level = pragma(database, 'PRAGMA synchronous');
  return SYNCHRONOUS_LEVELS.find(([, value]) => value === level)?.[0] ?? null;
}

/** Runs a pragma or a query and gives the first column of its first row; null without a row. */
export function pragma(database: Database, sql: string): SqlValue {
  const statement = database.prepare(sql);
  statement.setReturnArrays(true);
  const row = statement.get() as readonly SqlValue[] | undefined;
  return row?.[0] ?? null;
}

function openReader(path: string, options: DatabaseOptions): Database {
  const database = new DatabaseSync(path, {
    readOnly: true,
    timeout: options.busyTimeoutMs ?? 0,
  });
  return closingOnError(database, () => {
    assertKind(database, path, options.kind);
    setUp(database, options);
  });
}

function openWriter(path: string, options: DatabaseOptions): Database {
  if (statOf(path) === null) createDatabase(path, options.kind);
  createPrivately(path);
  const database = new DatabaseSync(path, { timeout: options.busyTimeoutMs ?? 0 });
  return closingOnError(database, () => {
    const { kind } = options;
    // Marked before it becomes a WAL file, so that the header alone always tells whose it is.
    if (isBlank(database)) initialise(database, kind);
    assertKind(database, path, kind);
    const mode = pragma(database, 'PRAGMA journal_mode = WAL');
    if (mode !== 'wal') throw new Fault('STORE_UNAVAILABLE', `${path}: no WAL mode here`);
    const wanted = options.synchronous ?? 'full';
    database.exec(`PRAGMA synchronous = ${wanted}`);
    if (synchronousOf(database) !== wanted) {
      throw new Fault('STORE_UNAVAILABLE', `${path}: synchronous = ${wanted} is not in effect`);
    }
    setUp(database, options);
  });
}

function closingOnError(database: Database, prepare: () => void): Database {
  try {
    prepare();
    return database;
  } catch (error) {
    database.close();
    throw error;
  }
}

function setUp(database: Database, options: DatabaseOptions): void {
  database.exec(`PRAGMA cache_size = -${String(options.cacheKiB ?? 16_384)}`);
}

function isBlank(database: Database): boolean {
  return pragma(database, 'SELECT count(*) FROM sqlite_schema') === 0;
}

function initialise(database: Database, kind: FileKind): void {
  database.exec(`BEGIN IMMEDIATE;
    PRAGMA application_id = ${String(kind.applicationId)};
    PRAGMA user_version = ${String(kind.userVersion)};
    ${kind.schema};
    COMMIT`);
}

function assertKind(database: Database, path: string, kind: FileKind): void {
  const applicationId = pragma(database, 'PRAGMA application_id');
  if (applicationId !== kind.applicationId) {
    throw new Fault('STORE_FOREIGN', `${path} is not a Shipslog ${kind.name}`);
  }
  const version = pragma(database, 'PRAGMA user_version');
  if (version !== kind.userVersion) {
    throw new Fault(
      'STORE_FOREIGN',
      `${path} has version ${String(version)} of the ${kind.name}; this program knows version ${String(kind.userVersion)}`,
    );
  }
}

/** Makes sure that the file exists, can be written, and is for its owner alone. */
function createPrivately(path: string): void {
  const folder = dirname(path);
  makeFolder(folder);
  const found = statOf(path);
  if (found === null) {
    closeSync(openSync(path, 'wx', 0o600));
    syncFolder(folder);
    return;
  }
  assertWritable(path);
  if ((found.mode & 0o077) !== 0 && found.uid === process.getuid?.()) chmodSync(path, 0o600);
}

/** What is held in memory of a write-ahead log that is written again. */
const PIECE_BYTES = 1024 * 1024;

/**
 * Makes durable what the last process wrote to a file's write-ahead log and did not live to sync, or what
 * the disk failed to: SQLite takes either for committed, and puts the next commits behind it.
 *
 * It is written once more, because the kernel counts as written what a failed sync has dropped, and another
 * sync passes that over. For a caller who is alone with the file, before it is opened.
 * Cost: a copy of the write-ahead log onto itself; there is none after an orderly end.
 */
export function rewriteWriteAheadLog(path: string): void {
  const log = `${path}-wal`;
  if ((statOf(log)?.size ?? 0) === 0) return;
  // SQLite locks the file and its index, never the write-ahead log, so that closing this drops no lock.
  withDescriptor(log, 'r+', (descriptor) => {
    const piece = Buffer.alloc(PIECE_BYTES);
    for (let at = 0, count = 1; count > 0; at += count) {
      count = readSync(descriptor, piece, 0, PIECE_BYTES, at);
      count = writeSync(descriptor, piece, 0, count, at);
    }
    fsyncSync(descriptor);
  });
  syncFolder(dirname(path));
}

function statOf(path: string): Stats | null {
  return statSync(path, { throwIfNoEntry: false }) ?? null;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function faultOfFileSystem(error: unknown): FaultCode | undefined {
  if (typeof error !== 'object' || error === null || !('syscall' in error)) return undefined;
  return 'code' in error && error.code === 'ENOSPC' ? 'STORE_FULL' : 'STORE_UNAVAILABLE';
}

const SYNCHRONOUS_LEVELS = [
  ['off', 0],
  ['normal', 1],
  ['full', 2],
] as const;

const UNAVAILABLE = {
  open: 'STORE_UNAVAILABLE',
  read: 'STORE_UNAVAILABLE',
  write: 'STORE_UNAVAILABLE',
} as const;

const CORRUPT = 11;
const RESULT_OF_TEXT: Readonly<Record<string, number>> = {
  'database is locked': 5,
  'database table is locked': 6,
  'attempt to write a readonly database': 8,
  'disk I/O error': 10,
  'database disk image is malformed': 11,
  'database or disk is full': 13,
  'unable to open database file': 14,
  'file is not a database': 26,
};

/** By SQLite's primary result code. A code that is missing here is a defect of ours. */
const FAULT_OF_RESULT: Readonly<Record<number, Readonly<Record<Doing, FaultCode>>>> = {
  5: UNAVAILABLE, // BUSY
  6: UNAVAILABLE, // LOCKED
  8: UNAVAILABLE, // READONLY
  10: { ...UNAVAILABLE, write: 'OUTCOME_UNKNOWN' }, // IOERR
  11: { open: 'STORE_CORRUPT', read: 'STORE_CORRUPT', write: 'STORE_CORRUPT' }, // CORRUPT
  13: { open: 'STORE_FULL', read: 'STORE_FULL', write: 'STORE_FULL' }, // FULL
  14: UNAVAILABLE, // CANTOPEN
  26: { open: 'STORE_FOREIGN', read: 'STORE_CORRUPT', write: 'STORE_CORRUPT' }, // NOTADB
};

interface Driver {
  readonly DatabaseSync: new (
    path: string,
    options?: { readonly readOnly?: boolean; readonly timeout?: number },
  ) => Database;
}

/** Node's own driver where there is one, else its drop-in, which has the same interface. */
function loadDriver(): Driver {
  const builtIn = quietly(() => process.getBuiltinModule('node:sqlite') as Driver | undefined);
  return builtIn ?? (createRequire(import.meta.url)('@photostructure/sqlite') as Driver);
}

/** Node 22 warns at load that its SQLite is experimental; a user can do nothing about that. */
function quietly<T>(load: () => T): T {
  const original = Object.getOwnPropertyDescriptor(process, 'emitWarning');
  process.emitWarning = () => undefined;
  try {
    return load();
  } finally {
    if (original !== undefined) Object.defineProperty(process, 'emitWarning', original);
  }
}

const { DatabaseSync } = loadDriver();
