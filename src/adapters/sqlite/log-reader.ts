import type { LogRange, RecordedEvent, StreamRange } from '../../ports/event-store.js';
import { Fault } from '../../ports/faults.js';
import { asFault, openDatabase, type Database, type SqlValue, type Statement } from './driver.js';
import { EVENT_COLUMNS, EVENT_LOG, toEvent, type EventRow } from './event-log.js';

/** Events of one page: about half a megabyte, some 2 ms of the thread that everything else runs on. */
export const PAGE_EVENTS = 500;
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
    this.#statements = {
      forward: of(`${range} LIMIT ?`),
      backward: of(`${range} DESC LIMIT ?`),
      log: of('WHERE position > ? AND position <= ? ORDER BY position LIMIT ?'),
    };
  }

  /** Pages of a stream; see `EventStore.read`. */
  async *stream(stream: string, range: StreamRange): AsyncGenerator<RecordedEvent[]> {
    const { direction = 'forward', limit = END } = range;
    let { low, high } = boundsOf(range);
    let left = limit;
    while (left > 0 && low <= high) {
      const asked = Math.min(left, PAGE_EVENTS);
      const rows = this.#rows(direction, [stream, low, high, asked]);
      const edge = rows.at(-1)?.[2] ?? END;
      if (rows.length > 0) yield rows.map(toEvent);
      if (rows.length < asked) return;
      left -= rows.length;
      if (direction === 'forward') low = edge + 1;
      else high = edge - 1;
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
    return this.#rows('log', [after, end, Math.min(limit, PAGE_EVENTS)]).map(toEvent);
  }

  close(): void {
    this.#database.close();
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

type StatementName = 'forward' | 'backward' | 'log';

/** The revisions of a range, smallest and largest, whatever its direction. */
function boundsOf({ from, to, direction }: StreamRange): { low: number; high: number } {
  const [low = 0n, high = BigInt(END)] = direction === 'backward' ? [to, from] : [from, to];
  return { low: toInteger(low), high: toInteger(high) };
}

/** Revisions and positions are far below 2^53; what a caller asks for may be beyond. */
function toInteger(value: bigint): number {
  return Math.min(Number(value), END);
}
