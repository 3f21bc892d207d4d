/** What local verbs work with. The entry point makes it: only it sees stores and settings. */
import type { ScopeKind } from '../domain/event-schema.js';
import type { PolicyDefaults } from '../domain/lease.js';
import type { Clock } from '../ports/clock.js';
import type { EventStore } from '../ports/event-store.js';
import type { ReadModels } from '../ports/read-models.js';
import type { ExitCode } from './exit-codes.js';
import type { Terminal } from './terminal.js';

/** Stores that are open, until they are closed. */
export interface OpenStores {
  readonly store: EventStore;
  readonly readModels: ReadModels;
  readonly close: () => Promise<void>;
}

/** The stores of the settings, and what else a service would decide by. */
export interface Workshop {
  readonly clock: Clock;
  readonly random: () => number;
  readonly scopes: ReadonlyMap<string, ScopeKind>;
  readonly defaults: PolicyDefaults;
  /** Where the log and the read models lie, for people. */
  readonly places: { readonly eventStore: string; readonly readModels: string };
  /** The files among them; null for what is elsewhere. */
  readonly files: { readonly eventStore: string | null; readonly readModels: string | null };
  /** Whether the log is in the memory of its own process, which nobody else can look into. */
  readonly isLogHidden: boolean;
  /** The same of the read models. */
  readonly areReadModelsHidden: boolean;
  readonly host: string;
  readonly port: number;
  /** Version of the SQLite library in use. */
  readonly sqliteVersion: () => string;

  /** Opens the log alone, to read: also while a service owns it. @throws {Fault} */
  readonly openLogToRead: () => Promise<EventStore>;
  /** Opens both to read, also while a service owns them. @throws {Fault} */
  readonly openToRead: () => Promise<OpenStores>;
  /** Opens the log to read and the read models to write: each batch compares and sets, so that a service goes on. */
  readonly openToFold: () => Promise<OpenStores>;
  /** Opens the log to write. @throws {Fault} STORE_OWNED while a service has it. */
  readonly openLog: () => Promise<EventStore>;
}

/** Serves until it is told to stop, by settings that flags override. */
export type Serve = (
  overrides: Readonly<Record<string, string>>,
  options: { readonly acceptLoss: boolean },
) => Promise<void>;

/** What local verbs are given. */
export interface LocalContext {
  readonly terminal: Terminal;
  /** Reads the settings. @throws {Error} of one line. */
  readonly workshop: () => Promise<Workshop>;
  readonly serve: Serve;
  /** Takes the exit code of a verb. */
  readonly exit: (code: ExitCode) => void;
  /** Where a service is asked, by the flag or the environment. */
  readonly urlOf: (options: { readonly url?: string }) => string;
  /** Who asks, as `kind:id`, by the flag or the environment. */
  readonly actorOf: (options: { readonly actor?: string }) => string;
  readonly version: string;
}
