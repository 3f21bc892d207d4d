/** From settings to adapters: the one place where a store is chosen. */
import { dirname, join, resolve } from 'node:path';
import { parseConnectionString } from './adapters/eventstoredb/connection-string.js';
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
import { withoutSecrets, type LogLocation, type Settings, type TableLocation } from './settings.js';

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
  readonly readModels: TableLocation;
  readonly clock: Clock;
  /** Goes on with a log that is shorter than what was acknowledged; what is lost is recorded. */
  readonly acceptLoss?: boolean;
  /** Called once when the disk of the log has failed: the process must end, and recover by reopening. */
  readonly onFatal?: (fault: Fault) => void;
}

/**
 * Checks what no form of one setting can tell, before anything is opened: the options of a connection string, and
 * whether anybody can fold the log.
 * @throws {Error} of one line that names the setting, and shows no credentials.
 */
export function assertPlaces({
  eventStore,
  readModels,
  roles,
}: Pick<Settings, 'eventStore' | 'readModels' | 'roles'>): void {
  if (
    !roles.has('projector') &&
    (eventStore.kind !== 'eventstoredb' || readModels.kind === 'memory')
  ) {
    throw new Error(
      'SHIPSLOG_ROLES leaves out projector, and no other process can fold this log into these read models: ' +
        'that takes a log in EventStoreDB and read models that are shared',
    );
  }
  if (eventStore.kind !== 'eventstoredb') return;
  try {
    parseConnectionString(eventStore.url);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`SHIPSLOG_EVENT_STORE is not right: ${why}`, { cause });
  }
}

/**
 * Opens the log, then what is folded from it.
 * @throws {Fault} STORE_OWNED, STORE_FOREIGN, STORE_CORRUPT and others, with one line that says why.
 */
export async function openStores(options: StoresOptions): Promise<Stores> {
  const store = await openLog(options);
  try {
    return { store, ...(await openReadSide(options)) };
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

async function openReadSide({ readModels, clock }: StoresOptions): Promise<Omit<Stores, 'store'>> {
  switch (readModels.kind) {
    case 'memory':
      return {
        readModels: new MemoryReadModels(new MemoryTables(clock)),
        leases: new MemoryLeases(),
        journal: new MemoryAuditJournal(),
      };
    case 'sqlite':
      return {
        readModels: openSqliteReadModels(readModels.file),
        leases: new MemoryLeases(),
        journal: openSqliteAuditJournal(join(dirname(readModels.file), 'audit.db'), clock),
      };
    case 'postgres':
      return openPostgresSide(readModels.url, clock);
  }
}

async function openPostgresSide(url: string, clock: Clock): Promise<Omit<Stores, 'store'>> {
  // Loaded only where they are used, as the client of EventStoreDB.
  const { openPostgres } = await import('./adapters/postgres/database.js');
  const { postgresReadModels } = await import('./adapters/postgres/read-models.js');
  const { postgresLeases } = await import('./adapters/postgres/leases.js');
  const { postgresAuditJournal } = await import('./adapters/postgres/audit-journal.js');
  const database = await openPostgres({ url });
  return {
    readModels: postgresReadModels(database),
    leases: postgresLeases(database),
    journal: postgresAuditJournal(database, clock),
  };
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
export function placeOf(location: LogLocation | TableLocation): string {
  switch (location.kind) {
    case 'sqlite':
      return resolve(location.file);
    case 'memory':
      return 'in memory, gone when the process ends';
    case 'eventstoredb':
    case 'postgres':
      return withoutSecrets(location.url);
  }
}
