/** The stores of the settings for verbs of the command line that need no service. */
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { libraryVersion } from './adapters/sqlite/driver.js';
import { openSqliteEventStore } from './adapters/sqlite/event-store.js';
import { openSqliteReadModels, openSqliteReadModelsToRead } from './adapters/sqlite/read-models.js';
import { openSqliteEventStoreToRead } from './adapters/sqlite/read-only-event-store.js';
import { systemClock } from './adapters/system-clock.js';
import { chance } from './application/ids.js';
import type { OpenStores, Workshop } from './cli/workshop.js';
import type { EventStore } from './ports/event-store.js';
import { Fault } from './ports/faults.js';
import type { ReadModels } from './ports/read-models.js';
import type { LogLocation, SettingName, Settings, TableLocation } from './settings.js';
import { placeOf } from './stores.js';

/** A person waits no longer for a server that is not there; a service would. */
const REACH_MS_MAX = 5_000;

/** What local verbs work with, by these settings. Nothing is opened before it is asked for. */
export function workshopOf(settings: Settings): Workshop {
  const { eventStore, readModels, scopes, policy: defaults, host, port } = settings;
  const openLogToRead = (): Promise<EventStore> => logToRead(eventStore);
  return {
    clock: systemClock,
    random: chance,
    scopes,
    defaults,
    host,
    port,
    places: { eventStore: placeOf(eventStore), readModels: placeOf(readModels) },
    files: { eventStore: pathOf(eventStore), readModels: pathOf(readModels) },
    isLogHidden: eventStore.kind === 'memory',
    areReadModelsHidden: readModels.kind === 'memory',
    sqliteVersion: libraryVersion,
    openLogToRead,
    openToRead: async () => together(await openLogToRead(), () => readModelsToRead(readModels)),
    openToFold: async () => together(await openLogToRead(), () => readModelsToWrite(readModels)),
    openLog: () => logToWrite(eventStore),
  };
}

async function together(store: EventStore, open: () => Promise<ReadModels>): Promise<OpenStores> {
  try {
    const readModels = await open();
    const close = async (): Promise<void> => {
      await readModels.close();
      await store.close();
    };
    return { store, readModels, close };
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function logToRead(at: LogLocation): Promise<EventStore> {
  return at.kind === 'eventstoredb'
    ? openEventStoreDB(at.url)
    : openSqliteEventStoreToRead(
        thereAt(fileOf(at, 'SHIPSLOG_EVENT_STORE'), {
          what: 'is no log',
          next: 'set SHIPSLOG_EVENT_STORE to the one that is meant, or begin this one: shipslog serve',
        }),
      );
}

async function logToWrite(at: LogLocation): Promise<EventStore> {
  return at.kind === 'eventstoredb'
    ? openEventStoreDB(at.url)
    : openSqliteEventStore({ file: fileOf(at, 'SHIPSLOG_EVENT_STORE'), clock: systemClock });
}

async function openEventStoreDB(url: string): Promise<EventStore> {
  // Loaded only where it is used: the client costs a start some 200 ms.
  const adapter = await import('./adapters/eventstoredb/event-store.js');
  const signal = AbortSignal.timeout(REACH_MS_MAX);
  return adapter.openEventStoreDB({ url, clock: systemClock, signal });
}

async function readModelsToRead(at: TableLocation): Promise<ReadModels> {
  return at.kind === 'postgres'
    ? openPostgres(at.url, false)
    : openSqliteReadModelsToRead(
        thereAt(fileOf(at, 'SHIPSLOG_READ_MODELS'), {
          what: 'are no read models',
          next: 'set SHIPSLOG_READ_MODELS to those that are meant, or build these: shipslog rebuild',
        }),
      );
}

async function readModelsToWrite(at: TableLocation): Promise<ReadModels> {
  return at.kind === 'postgres'
    ? openPostgres(at.url, true)
    : openSqliteReadModels(fileOf(at, 'SHIPSLOG_READ_MODELS'));
}

async function openPostgres(url: string, creates: boolean): Promise<ReadModels> {
  // Loaded only where it is used.
  const adapter = await import('./adapters/postgres/database.js');
  const { postgresReadModels } = await import('./adapters/postgres/read-models.js');
  const options = { url, waits: false, creates };
  return postgresReadModels(await adapter.openPostgres(options));
}

/** @throws {Fault} STORE_UNAVAILABLE when there is no such file, which tells what to do. */
function thereAt(
  file: string,
  { what, next }: { readonly what: string; readonly next: string },
): string {
  if (existsSync(file)) return file;
  throw new Fault('STORE_UNAVAILABLE', `there ${what} at ${resolve(file)}: ${next}`);
}

function pathOf(at: LogLocation | TableLocation): string | null {
  return at.kind === 'sqlite' ? resolve(at.file) : null;
}

function fileOf(
  at: Exclude<LogLocation | TableLocation, { readonly url: string }>,
  name: SettingName,
): string {
  if (at.kind === 'sqlite') return at.file;
  throw new Error(`${name}=memory: is seen by its own process only; set it to sqlite:<file>`);
}
