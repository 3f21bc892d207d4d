import { randomUUID } from 'node:crypto';
import { openEventStoreDB } from '../../src/adapters/eventstoredb/event-store.js';
import { MemoryEventStore } from '../../src/adapters/memory/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { EventStore } from '../../src/ports/event-store.js';
import { reachServer } from './eventstoredb/reach.js';

/*
 * The log that suites of the whole service run on: in memory, or, with TEST_LOG=eventstoredb, in
 * EventStoreDB, on a server of the test's own or on the real one that EVENTSTOREDB_URL names.
 */

/** Where a log that nobody has written to is kept. */
export interface LogPlace {
  /** As `SHIPSLOG_EVENT_STORE` names it. */
  readonly location: string;
  /** Gives the place up; whoever used the log has closed it. */
  release(): Promise<void>;
}

/** Makes room for an empty log. */
export async function newLogPlace(): Promise<LogPlace> {
  if (process.env['TEST_LOG'] !== 'eventstoredb') {
    return { location: 'memory:', release: () => Promise.resolve() };
  }
  const { url, stop } = await reachServer();
  // A real server is shared, with earlier runs at least.
  const location = `${url}${url.includes('?') ? '&' : '?'}streamPrefix=test-${randomUUID()}-`;
  return { location, release: stop };
}

/** An empty log that is open. */
export interface OpenLog {
  readonly store: EventStore;
  /** Closes it and gives its place up. */
  dispose(): Promise<void>;
}

/** Opens an empty log. */
export async function newLog(): Promise<OpenLog> {
  const { location, release } = await newLogPlace();
  const store =
    location === 'memory:'
      ? new MemoryEventStore()
      : await openEventStoreDB({ url: location, clock: systemClock });
  const dispose = async (): Promise<void> => {
    await store.close();
    await release();
  };
  return { store, dispose };
}
