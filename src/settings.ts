/** The environment as settings: every name with its default, unit, bounds and reason. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { nearestTo } from './application/spelling.js';
import { SCOPE_KINDS, type ScopeKind } from './domain/event-schema.js';
import { POLICY_BOUNDS, type PolicyDefaults } from './domain/lease.js';

/** A place that both the log and the read models may have. */
type Location = { readonly kind: 'sqlite'; readonly file: string } | { readonly kind: 'memory' };
/** Where the read models are kept, and leases and the audit journal with them. */
export type TableLocation = Location | { readonly kind: 'postgres'; readonly url: string };
/** Where the log is kept. */
export type LogLocation = Location | { readonly kind: 'eventstoredb'; readonly url: string };

export const ROLES = ['api', 'projector', 'reaper'] as const;
export type Role = (typeof ROLES)[number];

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
const LOG_FORMATS = ['pretty', 'json'] as const;

/** Everything that can be set, decided. */
export interface Settings {
  readonly eventStore: LogLocation;
  readonly readModels: TableLocation;
  readonly host: string;
  readonly port: number;
  readonly roles: ReadonlySet<Role>;
  readonly policy: PolicyDefaults;
  readonly reaperIntervalMs: number;
  readonly scopes: ReadonlyMap<string, ScopeKind>;
  readonly logLevel: (typeof LOG_LEVELS)[number];
  readonly logFormat: (typeof LOG_FORMATS)[number] | null;
  readonly shutdownMs: number;
}

/** Scopes that are always registered. */
const BUILT_IN_SCOPES: ReadonlyMap<string, ScopeKind> = new Map([
  ['full', 'deploy'],
  ['configure', 'deploy'],
  ['teardown', 'teardown'],
]);

/** How one setting is read: its default, what it means, and a value of its text or what is wrong with it. */
interface Setting<T> {
  readonly fallback: string;
  readonly meaning: string;
  readonly bounds: string;
  readonly read: (text: string) => T | Wrong;
}
class Wrong {
  constructor(readonly hint: string) {}
}

const SECOND = 1_000;

/** Every setting by its name in the environment. The reference page and its test read this table. */
export const SETTINGS = {
  SHIPSLOG_EVENT_STORE: {
    fallback: 'sqlite:./data/events.db',
    meaning: 'Where the log is kept.',
    bounds: 'sqlite:<file>, memory:, or a connection string esdb://… or esdb+discover://…',
    read: logLocation,
  },
  SHIPSLOG_READ_MODELS: {
    fallback: 'sqlite:./data/read-models.db',
    meaning: 'Where the read models are kept; they can always be rebuilt from the log.',
    bounds: 'sqlite:<file>, memory:, or postgres://user:password@host:5432/database',
    read: tableLocation,
  },
  SHIPSLOG_HOST: {
    fallback: '127.0.0.1',
    meaning: 'Address to listen on. Only loopback, since nobody is asked who they are.',
    bounds: 'a loopback address or localhost',
    read: loopback,
  },
  SHIPSLOG_PORT: {
    fallback: '3000',
    meaning: 'Port to listen on; 0 takes any that is free and prints it.',
    bounds: '0 to 65535',
    read: integer(0, 65_535),
  },
  SHIPSLOG_ROLES: {
    fallback: ROLES.join(','),
    meaning: 'What this process does.',
    bounds: `some of ${ROLES.join(',')}`,
    read: roles,
  },
  SHIPSLOG_HEARTBEAT_MS: {
    fallback: '30000',
    meaning: 'How often runners should send a heartbeat, unless a policy says otherwise.',
    bounds: `${String(POLICY_BOUNDS.heartbeatMs.min)} to half of SHIPSLOG_LEASE_MS`,
    read: integer(POLICY_BOUNDS.heartbeatMs.min, POLICY_BOUNDS.heartbeatMs.max),
  },
  SHIPSLOG_LEASE_MS: {
    fallback: '90000',
    meaning: 'How long a running attempt may be silent before it is lost.',
    bounds: `${String(POLICY_BOUNDS.leaseMs.min)} to ${String(POLICY_BOUNDS.leaseMs.max)}`,
    read: integer(POLICY_BOUNDS.leaseMs.min, POLICY_BOUNDS.leaseMs.max),
  },
  SHIPSLOG_START_TIMEOUT_MS: {
    fallback: '90000',
    meaning: 'How long an attempt may wait for its start before it is lost.',
    bounds: `${String(POLICY_BOUNDS.startTimeoutMs.min)} to ${String(POLICY_BOUNDS.startTimeoutMs.max)}`,
    read: integer(POLICY_BOUNDS.startTimeoutMs.min, POLICY_BOUNDS.startTimeoutMs.max),
  },
  SHIPSLOG_REAPER_INTERVAL_MS: {
    fallback: '5000',
    meaning:
      'Time between two looks for attempts that were silent for too long, at most; a quarter of the shortest lease where that is less.',
    bounds: '50 to 60000',
    read: integer(50, 60 * SECOND),
  },
  SHIPSLOG_SCOPES: {
    fallback: '',
    meaning: 'More scopes beside full, configure and teardown.',
    bounds: `name:kind,… with kind one of ${SCOPE_KINDS.join(', ')}`,
    read: scopes,
  },
  SHIPSLOG_LOG_LEVEL: {
    fallback: 'info',
    meaning: 'The least severe level that is logged.',
    bounds: LOG_LEVELS.join(', '),
    read: oneOf(LOG_LEVELS),
  },
  SHIPSLOG_LOG_FORMAT: {
    fallback: '',
    meaning: 'Form of the log; pretty on a terminal and json elsewhere, when not set.',
    bounds: LOG_FORMATS.join(', '),
    read: (text: string) => (text === '' ? null : oneOf(LOG_FORMATS)(text)),
  },
  SHIPSLOG_SHUTDOWN_MS: {
    fallback: '10000',
    meaning: 'How long requests in flight may take to finish after SIGTERM.',
    bounds: '0 to 600000',
    read: integer(0, 600 * SECOND),
  },
} as const satisfies Record<string, Setting<unknown>>;
/** Name of a setting. */
export type SettingName = keyof typeof SETTINGS;

/** Names that the command line reads, and those it gives to what it runs: no settings of the service. */
const OF_THE_COMMAND_LINE: ReadonlySet<string> = new Set([
  'SHIPSLOG_URL',
  'SHIPSLOG_ACTOR',
  'SHIPSLOG_SPOOL',
  'SHIPSLOG_DEPLOYMENT_ID',
  'SHIPSLOG_ATTEMPT_ID',
  'SHIPSLOG_RUN',
]);

type ValueOf<N extends SettingName> = Exclude<ReturnType<(typeof SETTINGS)[N]['read']>, Wrong>;

/**
 * Reads the settings from an environment; `<NAME>_FILE` names a file that holds the value.
 * @throws {Error} of one line that names the setting, its bounds and what to do.
 */
export function readSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  for (const name of Object.keys(environment)) {
    if (name.startsWith('SHIPSLOG_') && !OF_THE_COMMAND_LINE.has(name)) assertKnown(name);
  }
  const value = <N extends SettingName>(name: N): ValueOf<N> =>
    readSetting(name, environment) as ValueOf<N>;
  const leaseMs = value('SHIPSLOG_LEASE_MS');
  const heartbeatMs = value('SHIPSLOG_HEARTBEAT_MS');
  if (environment['SHIPSLOG_HEARTBEAT_MS'] !== undefined && heartbeatMs > leaseMs / 2) {
    throw new Error(
      `SHIPSLOG_HEARTBEAT_MS=${String(heartbeatMs)} must be at most half of SHIPSLOG_LEASE_MS (${String(leaseMs)}), so that one lost heartbeat is no loss`,
    );
  }
  return Object.freeze({
    eventStore: value('SHIPSLOG_EVENT_STORE'),
    readModels: value('SHIPSLOG_READ_MODELS'),
    host: value('SHIPSLOG_HOST'),
    port: value('SHIPSLOG_PORT'),
    roles: value('SHIPSLOG_ROLES'),
    policy: { heartbeatMs, leaseMs, startTimeoutMs: value('SHIPSLOG_START_TIMEOUT_MS') },
    reaperIntervalMs: value('SHIPSLOG_REAPER_INTERVAL_MS'),
    scopes: new Map([...BUILT_IN_SCOPES, ...value('SHIPSLOG_SCOPES')]),
    logLevel: value('SHIPSLOG_LOG_LEVEL'),
    logFormat: value('SHIPSLOG_LOG_FORMAT'),
    shutdownMs: value('SHIPSLOG_SHUTDOWN_MS'),
  });
}

function readSetting(
  name: SettingName,
  environment: Readonly<Record<string, string | undefined>>,
): unknown {
  const setting = SETTINGS[name];
  const text =
    environment[name] ?? textOfFile(name, environment[`${name}_FILE`]) ?? setting.fallback;
  const value = setting.read(text);
  if (!(value instanceof Wrong)) return value;
  throw new Error(
    `${name}=${withoutSecrets(text)} is not right: ${value.hint} (${setting.bounds})`,
  );
}

function textOfFile(name: string, file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (cause) {
    throw new Error(`${name}_FILE names ${file}, which can not be read: ${String(cause)}`, {
      cause,
    });
  }
}

function assertKnown(name: string): void {
  const known = Object.keys(SETTINGS);
  if (known.includes(name) || known.includes(name.replace(/_FILE$/, ''))) return;
  throw new Error(`${name} is not a setting; did you mean ${nearestTo(name, known) ?? 'another'}?`);
}

function location(text: string): Location | Wrong {
  if (text === 'memory:') return { kind: 'memory' };
  const file = /^sqlite:(.+)$/.exec(text)?.[1];
  return file === undefined
    ? new Wrong('use a file, e.g. sqlite:./data/events.db')
    : { kind: 'sqlite', file };
}

function logLocation(text: string): LogLocation | Wrong {
  return /^esdb(\+discover)?:\/\/./.test(text)
    ? { kind: 'eventstoredb', url: text }
    : location(text);
}

function tableLocation(text: string): TableLocation | Wrong {
  if (!/^postgres(ql)?:/.test(text)) return location(text);
  return URL.canParse(text) && new URL(text).hostname !== ''
    ? { kind: 'postgres', url: text }
    : new Wrong(
        'a sign in the password that is none of an address is written as %XX, e.g. %40 for @',
      );
}

/** An address as it may be shown: without who we are there. */
export function withoutSecrets(address: string): string {
  return address.replace(/\/\/.*@/, '//…@').replaceAll(/([?&](?:user|password)=)[^&]*/g, '$1…');
}

function loopback(text: string): string | Wrong {
  const isLoopback =
    text === 'localhost' || text === '::1' || (isIP(text) === 4 && text.startsWith('127.'));
  return isLoopback
    ? text
    : new Wrong(
        'without access control only loopback is safe; put a proxy that asks who is there before it',
      );
}

function integer(min: number, max: number): (text: string) => number | Wrong {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
    return value >= min && value <= max
      ? value
      : new Wrong('it must be a whole number within its bounds');
  };
}

function oneOf<T extends string>(words: readonly T[]): (text: string) => T | Wrong {
  return (text) =>
    words.find((word) => word === text) ?? new Wrong(`it must be one of ${words.join(', ')}`);
}

function roles(text: string): ReadonlySet<Role> | Wrong {
  const names = text.split(',').map((name) => name.trim());
  const known = names.map((name) => ROLES.find((role) => role === name));
  const found = known.filter((role) => role !== undefined);
  return found.length === names.length
    ? new Set(found)
    : new Wrong('one of its roles does not exist');
}

const SCOPE_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

function scopes(text: string): ReadonlyMap<string, ScopeKind> | Wrong {
  const registered = new Map<string, ScopeKind>();
  for (const entry of text === '' ? [] : text.split(',')) {
    const [name = '', kind, ...rest] = entry.trim().split(':');
    const known = SCOPE_KINDS.find((scopeKind) => scopeKind === kind);
    if (!SCOPE_NAME.test(name) || known === undefined || rest.length > 0)
      return new Wrong(`"${entry}" is no scope`);
    if (BUILT_IN_SCOPES.has(name)) return new Wrong(`${name} is built in`);
    registered.set(name, known);
  }
  return registered;
}
