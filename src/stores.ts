/** From settings to adapters: the one place where a store is chosen. */
import { dirname, join, resolve } from 'node:path';
import { MemoryAuditJournal } from './adapters/memory/audit-journal.js';
import { MemoryEventStore } from './adapters/memory/event-store.js';
import { MemoryLeases } from './adapters/memory/leases.js';
import { MemoryReadModels, MemoryTables } from './adapters/memory/read-models.js';
import { openSqliteAuditJournal } from './adapters/sqlite/audit-journal.js';
import { openSqliteEventStore } from './adapters/sqlite/event-store.js';
import { openSqliteReadModels } from './adapters/sqlite/read-models.js';
import { systemClock } from './adapters/system-clock.js';
import type { AuditJournal } from './ports/audit-journal.js';
import type { Clock } from './ports/clock.js';
import type { EventStore } from './ports/event-store.js';
import type { Fault } from './ports/faults.js';
import type { Leases } from './ports/leases.js';
import type { ReadModels } from './ports/read-models.js';
import type { Location, LogLocation } from './settings.js';

/** Everything that keeps something. */
export interface Stores {
  readonly store: EventStore;
  readonly readModels: ReadModels;
  readonly leases: Leases;
  readonly journal: AuditJournal;
}

/** How the stores are opened. */
export interface StoresOptions {
  readonly eventStore: LogLocation;
  readonly readModels: Location;
  readonly clock: Clock;
  /** Goes on with a log that is shorter than what was acknowledged; what is lost is recorded. */
  readonly acceptLoss?: boolean;
  /** Called once when the disk of the log has failed: the process must end, and recover by reopening. */
  readonly onFatal?: (fault: Fault) => void;
}

/**
 * Opens the log, then what is folded from it.
 * @throws {Fault} STORE_OWNED, STORE_FOREIGN, STORE_CORRUPT and others, with one line that says why.
 */
export async function openStores(options: StoresOptions): Promise<Stores> {
  const store = await openLog(options);
  try {
    return { store, leases: new MemoryLeases(), ...openReadSide(options) };
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function openLog(options: StoresOptions): Promise<EventStore> {
  const { eventStore, acceptLoss, onFatal, clock } = options;
  switch (eventStore.kind) {
    case 'memory':
      return new MemoryEventStore();
    case 'eventstoredb': {
      // Loaded only where it is used: the client costs a start some 200 ms.
      const { openEventStoreDB } = await import('./adapters/eventstoredb/event-store.js');
      // A network takes real time, whatever the clock of the rules says.
      return openEventStoreDB({ url: eventStore.url, clock: systemClock });
    }
    case 'sqlite':
      return openSqliteEventStore({
        file: eventStore.file,
        clock,
        ...(acceptLoss !== undefined && { acceptLoss }),
        ...(onFatal !== undefined && { onFatal }),
      });
  }
}

function openReadSide({
  readModels,
  clock,
}: StoresOptions): Pick<Stores, 'readModels' | 'journal'> {
  switch (readModels.kind) {
    case 'memory':
      return {
        readModels: new MemoryReadModels(new MemoryTables(clock)),
        journal: new MemoryAuditJournal(),
      };
    case 'sqlite':
      return {
        readModels: openSqliteReadModels(readModels.file),
        journal: openSqliteAuditJournal(join(dirname(readModels.file), 'audit.db'), clock),
      };
  }
}

/** Closes everything, the log last. */
export async function closeStores({ store, readModels, leases, journal }: Stores): Promise<void> {
  const failures: unknown[] = [];
  for (const each of [journal, readModels, leases, store]) {
    await each.close().catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) throw failures[0];
}

/** A place in words, without what is secret about it. */
export function placeOf(location: LogLocation): string {
  switch (location.kind) {
    case 'sqlite':
      return resolve(location.file);
    case 'memory':
      return 'in memory, gone when the process ends';
    case 'eventstoredb':
      return location.url.replace(/\/\/[^@/]*@/, '//…@');
  }
}
