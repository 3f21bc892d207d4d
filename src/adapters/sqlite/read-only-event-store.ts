import { existsSync, realpathSync } from 'node:fs';
import type {
  Delivery,
  EventStore,
  LogRange,
  Position,
  RecordedEvent,
  StoreHealth,
  StreamRange,
  Subscription,
} from '../../ports/event-store.js';
import { Fault } from '../../ports/faults.js';
import { asFault, assertOurs, openDatabase, pragma, type Database } from './driver.js';
import { refuseEmptyFile } from './empty-file.js';
import { EVENT_LOG } from './event-log.js';
import { LogReader } from './log-reader.js';

/**
 * Opens the log in a SQLite file to read only: beside its owner, whom nothing disturbs, or without one.
 *
 * Nothing is created, locked or checked against the last known head; each read sees what is committed.
 * @throws {Fault} STORE_UNAVAILABLE when there is no such file; STORE_FOREIGN, STORE_CORRUPT.
 */
export function openSqliteEventStoreToRead(file: string): EventStore {
  if (!existsSync(file)) throw new Fault('STORE_UNAVAILABLE', `there is no log at ${file}`);
  const path = realpathSync(file);
  refuseEmptyFile(path, EVENT_LOG);
  assertOurs(path, EVENT_LOG);
  const database = openDatabase(path, { kind: EVENT_LOG, readOnly: true });
  return new ReadOnlyEventStore(path, new LogReader(path), database);
}

class ReadOnlyEventStore implements EventStore {
  readonly exclusive = false;

  constructor(
    private readonly path: string,
    private readonly reader: LogReader,
    /** Asked for the end of the log, which moves as its owner writes. */
    private readonly database: Database,
  ) {}

  async append(): Promise<never> {
    throw new Fault('STORE_UNAVAILABLE', `${this.path} is opened to read only`);
  }

  read(stream: string, range: StreamRange = {}): AsyncIterable<readonly RecordedEvent[]> {
    return this.reader.stream(stream, range);
  }

  async *readAll(range: LogRange = {}): AsyncGenerator<readonly RecordedEvent[]> {
    yield* this.reader.log(range, this.#end());
  }

  /** Hands over what is there, and then waits: commits of another process wake nobody here. */
  async *subscribe({ after = 0n, signal }: Subscription = {}): AsyncGenerator<Delivery> {
    for await (const events of this.readAll({ after })) {
      if (signal?.aborted === true) return;
      yield { events, caughtUp: false };
    }
    yield { events: [], caughtUp: true };
    await new Promise<void>((resolve) => {
      if (signal?.aborted === true) resolve();
      signal?.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  async head(): Promise<Position | null> {
    const end = this.#end();
    return end === 0 ? null : BigInt(end);
  }

  health(): StoreHealth {
    const details = { kind: 'sqlite', path: this.path, readOnly: true };
    return { reachable: true, problem: null, details };
  }

  async close(): Promise<void> {
    this.reader.close();
    this.database.close();
  }

  #end(): number {
    try {
      return Number(pragma(this.database, 'SELECT max(position) FROM events') ?? 0);
    } catch (error) {
      throw asFault(error, this.path, 'read');
    }
  }
}
