/**
 * The words of the domain and every event that a deployment's stream may hold, with the one way
 * in which stored JSON becomes such an event.
 *
 * A newer version of an event gets its upcast in `parseEvent` and a golden stream in `test/history`.
 */

declare const brand: unique symbol;
/** Identifies a deployment: `[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`, case counts. Made by `parseId`. */
export type DeploymentId = string & { readonly [brand]: 'DeploymentId' };
/** Identifies an attempt within its deployment: same form as a deployment's id. */
export type AttemptId = string & { readonly [brand]: 'AttemptId' };
/** An instant: ISO-8601, UTC, milliseconds, e.g. `2026-11-25T13:00:00.000Z`. Sorts as text. */
export type Instant = string;

const ID = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
/** The pattern of both kinds of id, as documented for HTTP and OpenAPI. */
export const ID_PATTERN: string = ID.source;

/** Reads an id from text; null when it is malformed. */
export function parseId<T extends DeploymentId | AttemptId>(text: string): T | null {
  return ID.test(text) ? (text as T) : null;
}

/** The five states; everything more about a deployment is an attribute. */
export const STATES = ['pending', 'deploying', 'ready', 'failed', 'unknown'] as const;
export type State = (typeof STATES)[number];

export const SCOPE_KINDS = ['deploy', 'teardown', 'maintenance'] as const;
/** What an attempt does, as far as the rules care. */
export type ScopeKind = (typeof SCOPE_KINDS)[number];

export const OUTCOMES = ['succeeded', 'failed', 'cancelled'] as const;
export type Outcome = (typeof OUTCOMES)[number];

export const LOSS_CAUSES = [
  'lease_expired',
  'start_timeout',
  'orphaned',
  'abandoned',
  'operator',
] as const;
/** Why an attempt was lost; the first two are judged by time, the others are somebody's word. */
export type LossCause = (typeof LOSS_CAUSES)[number];

export const RESOLUTIONS = ['ready', 'failed', 'torn_down'] as const;
/** What a human says about an unknown deployment. */
export type Resolution = (typeof RESOLUTIONS)[number];

export const ACTOR_KINDS = ['human', 'service', 'runner', 'system'] as const;
/** Who did it. `system` is this service itself; nobody outside can claim it. */
export interface Actor {
  readonly id: string;
  readonly kind: (typeof ACTOR_KINDS)[number];
}

/** Policy as given; absent members follow the settings of the service that reads it. */
export interface Policy {
  readonly heartbeatMs?: number;
  readonly leaseMs?: number;
  readonly startTimeoutMs?: number;
  readonly lateResults?: 'accept' | 'record';
  readonly afterTeardown?: 'reopen' | 'retire';
}

/** A JSON object as a caller gave it (`meta`, `evidence`): at most 8 KiB and 8 levels. */
export type JsonObject = Readonly<Record<string, unknown>>;
export type Labels = Readonly<Record<string, string>>;

/** Who carries an attempt out, as told by the start. */
export interface Runner {
  readonly id?: string;
  readonly host?: string;
  readonly pid?: number;
  readonly bootId?: string;
  readonly startedAt?: Instant;
}

/** What ended an attempt. Two results are the same by outcome, and exit code where both give one. */
export interface Result {
  readonly outcome: Outcome;
  readonly exitCode?: number;
  readonly code?: string;
  readonly reason?: string;
}

/** What a deployment is declared to be; of an update, the members that changed (null: cleared). */
export interface Declaration {
  readonly name: string;
  readonly environment?: string;
  readonly labels?: Labels;
  readonly confirmPhrase?: string;
  readonly policy?: Policy;
}
type Nullable<T> = { readonly [K in keyof T]?: T[K] | null };
/** A change of policy by member; null goes back to the default. */
export type PolicyPatch = Nullable<Policy>;
/** A change of a declaration by member; `labels` are replaced whole. */
export interface DeclarationPatch extends Nullable<Omit<Declaration, 'policy'>> {
  readonly policy?: PolicyPatch | null;
}

/** Data of each event type. Members without a value are left out, false flags too. */
export interface EventData {
  deployment_created: Declaration;
  deployment_updated: DeclarationPatch;
  attempt_opened: {
    readonly attemptId: AttemptId;
    readonly number: number;
    readonly scope: string;
    readonly kind: ScopeKind;
    readonly settledState: State;
    readonly acknowledged?: { readonly reason: string };
    readonly meta?: JsonObject;
  };
  attempt_start: {
    readonly attemptId: AttemptId;
    readonly runner?: Runner;
    readonly leaseTokenHash?: string;
    readonly leaseMs?: number;
    readonly meta?: JsonObject;
  };
  cancel_requested: { readonly attemptId: AttemptId; readonly reason?: string };
  attempt_end: Result & {
    readonly attemptId: AttemptId;
    readonly late?: true;
    readonly cancelTooLate?: true;
  };
  attempt_lost: {
    readonly attemptId: AttemptId;
    readonly cause: LossCause;
    readonly evidence?: JsonObject;
    readonly lastHeartbeatAt?: Instant;
  };
  attempt_recovered: { readonly attemptId: AttemptId };
  unknown_resolved: {
    readonly attemptId?: AttemptId;
    readonly as: Resolution;
    readonly reason: string;
    readonly evidence?: JsonObject;
  };
  late_result_recorded: Result & { readonly attemptId: AttemptId; readonly conflict?: true };
  stale_result_recorded: Result & { readonly attemptId: AttemptId };
  deployment_archived: { readonly reason?: string };
  state_transition: {
    readonly deploymentId: DeploymentId;
    readonly from: State | null;
    readonly to: State;
    readonly trigger: string;
    readonly attemptId?: AttemptId;
    readonly number?: number;
    readonly scope?: string;
    readonly reason?: string;
    readonly exitCode?: number;
    readonly code?: string;
    readonly recovered?: true;
  };
}
export type EventType = keyof EventData;

/** Metadata of every event; see docs/reference/events.md for each member's source. */
export interface EventMetadata {
  readonly schemaVersion: number;
  readonly commandId: string;
  readonly commandDigest: string;
  readonly actor: Actor;
  readonly occurredAt: Instant;
  readonly recordedAt: Instant;
  readonly correlationId: string;
  readonly causationId: string;
  readonly traceparent?: string;
}

/** An event as `decide` makes it, before it has metadata. */
export type Fact = {
  [T in EventType]: { readonly type: T; readonly data: EventData[T] };
}[EventType];
/** An event as it stands in the log, parsed; all that `evolve` needs to know. */
export type DeploymentEvent = Fact & { readonly metadata: EventMetadata };

/** Leaves out the members that have no value, as events do. */
export function given<T extends object>(members: { [K in keyof T]: T[K] | undefined }): T {
  const present: Partial<T> = {};
  for (const name in members) {
    const value = members[name];
    if (value !== undefined) present[name] = value;
  }
  return present as T;
}

/** Takes the members of a result out of anything that holds them. */
export function resultOf({ outcome, exitCode, code, reason }: Result): Result {
  return given<Result>({ outcome, exitCode, code, reason });
}

/** Version of the data shapes above, written into each event's metadata. */
export const SCHEMA_VERSION = 1;

type Check = (value: unknown) => boolean;
const isText: Check = (value) => typeof value === 'string' && value !== '';
const isCount: Check = (value) =>
  typeof value === 'number' && value >= 1 && Number.isSafeInteger(value);
const isOneOf =
  (words: readonly string[]): Check =>
  (value) =>
    words.includes(value as string);
const isOneOfOrNull = (words: readonly string[]): Check => {
  const isWord = isOneOf(words);
  return (value) => value === null || isWord(value);
};

const isActorKind = isOneOf(ACTOR_KINDS);

const ofAttempt = { attemptId: isText } as const;
const ofResult = { ...ofAttempt, outcome: isOneOf(OUTCOMES) } as const;
/** The members without which an event cannot be folded; all others are optional. */
const REQUIRED: {
  readonly [T in EventType]: Readonly<Partial<Record<keyof EventData[T], Check>>>;
} = {
  deployment_created: { name: isText },
  deployment_updated: {},
  attempt_opened: {
    ...ofAttempt,
    number: isCount,
    scope: isText,
    kind: isOneOf(SCOPE_KINDS),
    settledState: isOneOf(STATES),
  },
  attempt_start: ofAttempt,
  cancel_requested: ofAttempt,
  attempt_end: ofResult,
  attempt_lost: { ...ofAttempt, cause: isOneOf(LOSS_CAUSES) },
  attempt_recovered: ofAttempt,
  unknown_resolved: { as: isOneOf(RESOLUTIONS), reason: isText },
  late_result_recorded: ofResult,
  stale_result_recorded: ofResult,
  deployment_archived: {},
  state_transition: {
    deploymentId: isText,
    from: isOneOfOrNull(STATES),
    to: isOneOf(STATES),
    trigger: isText,
  },
};
const REQUIRED_METADATA: Readonly<Record<Exclude<keyof EventMetadata, 'traceparent'>, Check>> = {
  schemaVersion: isCount,
  commandId: isText,
  commandDigest: isText,
  actor: (value) => isObject(value) && isText(value['id']) && isActorKind(value['kind']),
  occurredAt: isText,
  recordedAt: isText,
  correlationId: isText,
  causationId: isText,
};
type Checks = readonly (readonly [member: string, accepts: Check])[];
const CHECKS: ReadonlyMap<string, Checks> = new Map(
  Object.entries(REQUIRED).map(([type, members]) => [type, Object.entries(members)]),
);
const METADATA_CHECKS: Checks = Object.entries(REQUIRED_METADATA);

/** Every type of event, in the order of the documentation. */
export const EVENT_TYPES = Object.keys(REQUIRED) as readonly EventType[];

/** An event read from a log, or why it cannot be understood: such an event is poison, never skipped. */
export type ParsedEvent =
  | { readonly ok: true; readonly event: DeploymentEvent }
  | { readonly ok: false; readonly problem: string };

/**
 * Reads a stored event.
 *
 * Members that this version does not know are kept: a later minor version may have written them.
 * Shape: type, data and metadata as JSON text → the event, or the problem in words.   Cost: two JSON.parse.
 */
export function parseEvent(type: string, data: string, metadata: string): ParsedEvent {
  const checks = CHECKS.get(type);
  if (checks === undefined) return { ok: false, problem: `unknown event type ${shown(type)}` };
  let event: { type: string; data: unknown; metadata: unknown };
  try {
    event = { type, data: JSON.parse(data), metadata: JSON.parse(metadata) };
  } catch (error) {
    return { ok: false, problem: `${type} is not JSON: ${String(error)}` };
  }
  const problem =
    problemOf(event.data, checks) ??
    problemOf(event.metadata, METADATA_CHECKS, 'metadata.') ??
    newerVersion(event.metadata as EventMetadata);
  return problem === null
    ? { ok: true, event: event as DeploymentEvent }
    : { ok: false, problem: `${type}: ${problem}` };
}

function problemOf(value: unknown, checks: Checks, path = ''): string | null {
  if (!isObject(value)) return `${path === '' ? 'data' : 'metadata'} is ${shown(value)}`;
  for (const [member, accepts] of checks) {
    if (!accepts(value[member])) return `${path}${member} is ${shown(value[member])}`;
  }
  return null;
}

function newerVersion({ schemaVersion }: EventMetadata): string | null {
  return schemaVersion > SCHEMA_VERSION
    ? `schema version ${schemaVersion} was written by a newer Shipslog`
    : null;
}

/** A value in a few words: it may be long, or nested deeper than a stack. */
function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  if (Array.isArray(value)) return 'an array';
  if (isObject(value)) return 'an object';
  const text = typeof value === 'string' && value.length > 40 ? `${value.slice(0, 40)}…` : value;
  return JSON.stringify(text);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
