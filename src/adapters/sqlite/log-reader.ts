import type { LogRange, RecordedEvent, StreamRange } from '../../ports/event-store.js';
import { Fault } from '../../ports/faults.js';
import { asFault, openDatabase, type Database, type SqlValue, type Statement } from './driver.js';
import { EVENT_COLUMNS, EVENT_LOG, toEvent, type EventRow } from './event-log.js';

/** Events of one page: about half a megabyte, some 2 ms of the thread that everything else runs on. */
const PAGE_EVENTS = 500;
/** Above every revision and position that there can be, and still exact. */
const END = Number.MAX_SAFE_INTEGER;

/**
 * The connection that reads the log, on the caller's thread: a read takes less than the way to another
 * thread and back. It sees each commit at once, and between two pages it holds nothing.
 */
export class LogReader {
  readonly #path: string;
  readonly #database: Database;
  readonly #statements: Readonly<Record<StatementName, Statement>>;

  /** @throws {Fault} STORE_UNAVAILABLE and others. */
  constructor(path: string) {
    this.#path = path;
    this.#database = openDatabase(path, { kind: EVENT_LOG, readOnly: true });
    const of = (rest: string): Statement => {
      const statement = this.#database.prepare(`SELECT ${EVENT_COLUMNS} FROM events ${rest}`);
      statement.setReturnArrays(true);
      return statement;
    };
    const range = 'WHERE stream = ? AND revision BETWEEN ? AND ? ORDER BY revision';
    const after = 'WHERE position > ? AND position <= ? ORDER BY position';
    // A limit that is a parameter has SQLite plan the statement anew at each use: 7 µs.
    this.#statements = {
      forward: of(range),
      backward: of(`${range} DESC LIMIT ?`),
      page: of(`${after} LIMIT ${String(PAGE_EVENTS)}`),
      part: of(`${after} LIMIT ?`),
    };
  }

  /** Pages of a stream; see `EventStore.read`. */
  async *stream(stream: string, range: StreamRange): AsyncGenerator<RecordedEvent[]> {
    let part = partOf(range);
    while (part.left > 0 && part.low <= part.high) {
      const rows = this.#rowsOf(stream, part);
      const last = rows.at(-1);
      if (last === undefined) return;
      yield rows.map(toEvent);
      part = restOf(part, rows.length, last[2]);
    }
  }

  /** Pages of the whole log up to a position; see `EventStore.readAll`. */
  async *log({ after = 0n, limit }: LogRange, end: number): AsyncGenerator<RecordedEvent[]> {
    let from = toInteger(after);
    let left = limit ?? END;
    while (left > 0 && from < end) {
      const page = this.page(from, { end, limit: left });
      const last = page.at(-1);
      if (last === undefined) return;
      yield page;
      left -= page.length;
      from = Number(last.position);
    }
  }

  /** The next events after a position, at most one page. */
  page(after: number, { end = END, limit = END } = {}): RecordedEvent[] {
    const rows =
      limit < PAGE_EVENTS
        ? this.#rows('part', [after, end, limit])
        : this.#rows('page', [after, end]);
    return rows.map(toEvent);
  }

  /** Safe to repeat. */
  close(): void {
    if (this.#database.isOpen) this.#database.close();
  }

  /** One page from the near end of a part. Revisions have no gaps: forward, a page is a range of them. */
  #rowsOf(stream: string, { isForward, low, high, left }: Part): EventRow[] {
    const asked = Math.min(left, PAGE_EVENTS);
    return isForward
      ? this.#rows('forward', [stream, low, Math.min(high, low + asked - 1)])
      : this.#rows('backward', [stream, low, high, asked]);
  }

  #rows(statement: StatementName, values: SqlValue[]): EventRow[] {
    if (!this.#database.isOpen) throw new Fault('STORE_UNAVAILABLE', 'the log is closed');
    try {
      return this.#statements[statement].all(...values) as EventRow[];
    } catch (error) {
      throw asFault(error, this.#path, 'read');
    }
  }
}

type StatementName = 'forward' | 'backward' | 'page' | 'part';

/** What is still to be read of a stream: revisions, both inclusive, and events at most. */
interface Part {
  readonly isForward: boolean;
  readonly low: number;
  readonly high: number;
  readonly left: number;
}

function partOf({ from, to, direction, limit = END }: StreamRange): Part {
  const isForward = direction !== 'backward';
  const [low = 0n, high = BigInt(END)] = isForward ? [from, to] : [to, from];
  return { isForward, low: toInteger(low), high: toInteger(high), left: limit };
}

function restOf(part: Part, count: number, edge: number): Part {
  const left = count < Math.min(part.left, PAGE_EVENTS) ? 0 : part.left - count;
  return part.isForward ? { ...part, left, low: edge + 1 } : { ...part, left, high: edge - 1 };
}

/** Revisions and positions are far below 2^53; what a caller asks for may be beyond. */
function toInteger(value: bigint): number {
  return Math.min(Number(value), END);
}
