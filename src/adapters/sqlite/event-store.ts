import { lstatSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Clock } from '../../ports/clock.js';
import {
  assertAppendable,
  type Appended,
  type Delivery,
  type EventStore,
  type LogRange,
  type NewEvent,
  type Position,
  type RecordedEvent,
  type Revision,
  type StoreHealth,
  type StreamRange,
  type Subscription,
} from '../../ports/event-store.js';
import { Fault } from '../../ports/faults.js';
import { emit } from '../../ports/signals.js';
import { makeFolder } from '../folders.js';
import { asFault, assertOurs, assertWritable, type Synchronous } from './driver.js';
import { refuseEmptyFile } from './empty-file.js';
import { EVENT_LOG, NO_REVISION } from './event-log.js';
import { GroupWriter } from './group-writer.js';
import { LogReader } from './log-reader.js';
import { StoreLock } from './store-lock.js';

export interface SqliteEventStoreOptions {
  /** The log file; it and its folder are made when missing. Side files stand beside it. */
  readonly file: string;
  /** Measures how long appends wait. */
  readonly clock: Clock;
  /** Goes on with a log that lacks acknowledged events; what is lost is told and recorded. Default false. */
  readonly acceptLoss?: boolean;
  /**
   * Called once when the disk has failed (or the writer thread): nothing can be written until the log is
   * opened again, by another process. The process should end, with code 74.
   */
  readonly onFatal?: (fault: Fault) => void;
  /**
   * When a commit waits for the disk. Anything but `full`, the default, loses acknowledged events in a
   * power cut: for benchmarks, and for tests that must see that happen.
   */
  readonly unsafeSynchronous?: Synchronous;
  /** Size that the log file may reach, in pages of 4 KiB; then the disk counts as full. For tests. */
  readonly unsafePagesMax?: number;
}

/**
 * Opens the log in a SQLite file and takes its ownership: one process writes it, until it closes it or dies.
 *
 * Every acknowledged event has reached the disk. Appends are written by a thread of their own, in groups;
 * reads run on the caller's thread.
 * Cost: opening looks at the end of the log only.
 * @throws {Fault} STORE_OWNED, STORE_FOREIGN (not a log of ours, newer, or empty), STORE_CORRUPT (damaged,
 *   or shorter than what was acknowledged), STORE_UNAVAILABLE (read-only …), STORE_FULL; one line each,
 *   and the file stays as it is.
 */
export async function openSqliteEventStore(options: SqliteEventStoreOptions): Promise<EventStore> {
  const path = resolvedPath(options.file);
  refuseEmptyFile(path, EVENT_LOG);
  // Before the lock leaves a file beside one that is not ours to write.
  assertOurs(path, EVENT_LOG);
  assertWritable(path);
  const lock = StoreLock.take(path);
  try {
    return await SqliteEventStore.open(path, options, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

class SqliteEventStore implements EventStore {
  readonly exclusive = true;
  readonly #path: string;
  readonly #writer: GroupWriter;
  readonly #reader: LogReader;
  readonly #lock: StoreLock;
  /** Waiting subscriptions. */
  readonly #waiting = new Set<() => void>();
  #head: number;
  #closing: Promise<void> | null = null;

  private constructor(path: string, parts: Parts) {
    this.#path = path;
    this.#writer = parts.writer;
    this.#reader = parts.reader;
    this.#lock = parts.lock;
    this.#head = parts.writer.opened.position;
    parts.writer.onCommit = (position) => {
      this.#advance(position);
    };
  }

  static async open(
    path: string,
    options: SqliteEventStoreOptions,
    lock: StoreLock,
  ): Promise<SqliteEventStore> {
    const { clock, acceptLoss = false, onFatal, unsafePagesMax: pagesMax = null } = options;
    const synchronous = options.unsafeSynchronous ?? 'full';
    const writer = await GroupWriter.start({
      log: { path, synchronous, acceptLoss, pagesMax },
      clock,
      onFatal: (fault) => onFatal?.(fault),
    });
    try {
      const reader = new LogReader(path);
      const { loss } = writer.opened;
      if (loss !== null) {
        const detail = `${path}: loss accepted: ${loss.detail}`;
        emit('trouble', { where: 'event log', error: new Fault('STORE_CORRUPT', detail) });
      }
      return new SqliteEventStore(path, { writer, reader, lock });
    } catch (error) {
      await writer.close();
      throw error;
    }
  }

  async append(
    stream: string,
    expected: Revision | 'no_stream',
    events: readonly NewEvent[],
  ): Promise<Appended> {
    assertAppendable(events);
    const revision = expected === 'no_stream' ? NO_REVISION : Number(expected);
    return this.#writer.append({ stream, expected: revision, events });
  }

  read(stream: string, range: StreamRange = {}): AsyncIterable<readonly RecordedEvent[]> {
    return this.#reader.stream(stream, range);
  }

  readAll(range: LogRange = {}): AsyncIterable<readonly RecordedEvent[]> {
    return this.#reader.log(range, this.#head);
  }

  async *subscribe({ after = 0n, signal }: Subscription = {}): AsyncGenerator<Delivery> {
    let last = this.#placeOf(after);
    let isFirst = true;
    const isOver = (): boolean => signal?.aborted === true || this.#closing !== null;
    while (!isOver()) {
      const events = this.#reader.page(last);
      last = Number(events.at(-1)?.position ?? last);
      if (events.length > 0 || isFirst) yield { events, caughtUp: last >= this.#head };
      isFirst = false;
      if (last >= this.#head && !isOver()) await this.#nextCommit(signal);
    }
  }

  async head(): Promise<Position | null> {
    return this.#head === 0 ? null : BigInt(this.#head);
  }

  health(): StoreHealth {
    const { problem, waiting, groups, opened } = this.#writer;
    return {
      reachable: this.#writer.isUsable,
      problem,
      details: {
        kind: 'sqlite',
        path: this.#path,
        sqlite: opened.sqliteVersion,
        warning: warningOf(opened.sqliteVersion),
        synchronous: opened.synchronous,
        head: String(this.#head),
        groups,
        waiting,
        endWasChecked: opened.endWasKnown,
        loss: opened.loss?.detail ?? null,
      },
    };
  }

  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    this.#wake();
    // The last connection moves all into one file, if it can write: so be it the writer's, unless the
    // disk has failed and nothing may be written any more.
    if (this.#writer.isUsable) this.#reader.close();
    await this.#writer.close();
    this.#reader.close();
    this.#lock.release();
  }

  #placeOf(position: Position): number {
    if (position >= 0n && position <= BigInt(this.#head)) return Number(position);
    throw new Fault(
      'POSITION_INVALID',
      `position ${String(position)} is beyond the end of the log, ${String(this.#head)}`,
    );
  }

  #advance(position: number): void {
    if (position <= this.#head) return;
    this.#head = position;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
  }

  #nextCommit(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal?.addEventListener('abort', wake, { once: true });
    });
  }
}

interface Parts {
  readonly writer: GroupWriter;
  readonly reader: LogReader;
  readonly lock: StoreLock;
}

/** The first version whose write-ahead log cannot be spoilt by two connections that copy it at once. */
const SAFE_SQLITE = [3, 51, 3] as const;

/** We have one such connection; what an older SQLite must not meet is another program that writes. */
function warningOf(version: string): string | null {
  const parts = version.split('.').map(Number);
  const different = SAFE_SQLITE.findIndex((safe, index) => parts[index] !== safe);
  if (different === -1 || (parts[different] ?? 0) > (SAFE_SQLITE[different] ?? 0)) return null;
  return `SQLite ${version}: let no other program write to the log while it is open, or update Node`;
}

/** The file's own path: two names of one file must meet in one lock. The folder is made when missing. */
function resolvedPath(file: string): string {
  const path = resolve(file);
  try {
    makeFolder(dirname(path));
    const found = lstatSync(path, { throwIfNoEntry: false });
    if (found === undefined) return join(realpathSync(dirname(path)), basename(path));
    if (!found.isSymbolicLink()) return realpathSync(path);
    // A link to a file that does not exist yet has no real path.
    const target = statSync(path, { throwIfNoEntry: false });
    return target === undefined
      ? resolvedPath(resolve(dirname(path), readlinkSync(path)))
      : realpathSync(path);
  } catch (error) {
    throw asFault(error, path, 'open');
  }
}
