/** Answers as JSON Schema (2020-12), for the OpenAPI document; a test holds real answers against them. */
import { COMMAND_TYPES } from '../domain/command.js';
import {
  ACTOR_KINDS,
  EVENT_TYPES,
  ID_PATTERN,
  LOSS_CAUSES,
  OUTCOMES,
  RESOLUTIONS,
  SCOPE_KINDS,
  STATES,
} from '../domain/event-schema.js';
import type { JsonSchema } from '../application/fields.js';
import { STATUS } from './problem.filter.js';

const text: JsonSchema = { type: 'string' };
const flag: JsonSchema = { type: 'boolean' };
const count: JsonSchema = { type: 'integer', minimum: 0 };
const decimal: JsonSchema = { type: 'string', pattern: '^(0|[1-9][0-9]*)$' };
const instant: JsonSchema = { type: 'string', format: 'date-time' };
const id: JsonSchema = { type: 'string', pattern: ID_PATTERN };
const anyObject: JsonSchema = { type: 'object', additionalProperties: true };
const oneOf = (words: readonly string[]): JsonSchema => ({ type: 'string', enum: words });
const list = (items: JsonSchema): JsonSchema => ({ type: 'array', items });
const ref = (name: string): JsonSchema => ({ $ref: `#/components/schemas/${name}` });
const orNull = (schema: JsonSchema): JsonSchema =>
  '$ref' in schema
    ? { anyOf: [schema, { type: 'null' }] }
    : {
        ...schema,
        type: [schema.type, 'null'].flat() as readonly string[],
        ...('enum' in schema && { enum: [...(schema['enum'] as readonly string[]), null] }),
      };
const told = (schema: JsonSchema, description: string): JsonSchema => ({ ...schema, description });

type Members = Readonly<Record<string, JsonSchema>>;

/** An object of exactly these members; those of `optional` may be absent. */
function object(members: Members, optional: Members = {}): JsonSchema {
  return {
    type: 'object',
    properties: { ...members, ...optional },
    required: Object.keys(members),
    additionalProperties: false,
  };
}

const actor = object({ id: text, kind: oneOf(ACTOR_KINDS) });
const runner = object({}, { id: text, host: text, pid: count, bootId: text, startedAt: instant });
const page = (items: string): JsonSchema =>
  object({ items: list(ref(items)), nextCursor: orNull(text) });
const visiblePage = (items: string): JsonSchema =>
  object({
    items: list(ref(items)),
    nextCursor: told(orNull(text), 'Null on the last page.'),
    position: told(orNull(decimal), 'How much of the log the page shows.'),
  });
const nextAfter = told(
  { type: 'string', pattern: '^(0|[1-9][0-9]*)$|^start$' },
  'Where to go on; never null.',
);

const Attempt = object({
  deploymentId: id,
  attemptId: id,
  number: told(count, '1, 2, 3 … in its deployment.'),
  scope: text,
  kind: oneOf(SCOPE_KINDS),
  state: oneOf(['pending', 'running', ...OUTCOMES, 'unknown']),
  exitCode: orNull({ type: 'integer' }),
  code: orNull(text),
  reason: orNull(text),
  cause: told(orNull(oneOf(LOSS_CAUSES)), 'Why it was lost; stays after it came back.'),
  cancelRequested: flag,
  recovered: told(flag, 'It was lost, and then heard of again.'),
  resolved: told(
    orNull(object({ as: oneOf(RESOLUTIONS), by: actor, at: instant })),
    'What a human decided.',
  ),
  runner: orNull(runner),
  leaseMs: orNull(count),
  openedAt: instant,
  startedAt: orNull(instant),
  endedAt: orNull(instant),
  meta: orNull(anyObject),
  lastHeartbeatAt: told(orNull(instant), 'Operational: where no heartbeat is known, null.'),
  progress: told(orNull(anyObject), 'What the last heartbeat told; kept nowhere.'),
});

const Deployment = object({
  deploymentId: id,
  name: text,
  environment: orNull(text),
  labels: { type: 'object', additionalProperties: text },
  policy: told(
    object({
      heartbeatMs: count,
      leaseMs: count,
      startTimeoutMs: count,
      lateResults: oneOf(['accept', 'record']),
      afterTeardown: oneOf(['reopen', 'retire']),
    }),
    'What rules: the policy as given, defaults applied.',
  ),
  state: oneOf(STATES),
  reason: told(orNull(text), 'Of the last change of state.'),
  since: told(orNull(instant), 'When the state last changed.'),
  settledState: told(
    orNull(oneOf(STATES)),
    'The state before the current attempt was opened, until that has ended.',
  ),
  tornDown: flag,
  archived: flag,
  attention: told(
    orNull(
      object({
        kind: oneOf(['conflicting_result']),
        attemptId: id,
        outcome: oneOf(OUTCOMES),
        at: instant,
      }),
    ),
    'Evidence that contradicts what a human said.',
  ),
  currentAttempt: orNull(ref('Attempt')),
  lastReadyAttempt: orNull(id),
  revision: told(decimal, "Of the stream's last event."),
  position: decimal,
  observedAt: told(orNull(instant), "When the current attempt's runner was last heard of."),
  allowed: told(
    list(oneOf(COMMAND_TYPES)),
    'Commands of which some body would be accepted and write something now.',
  ),
});

const Event = object({
  id: { type: 'string', format: 'uuid' },
  type: oneOf(EVENT_TYPES),
  deploymentId: id,
  revision: decimal,
  position: decimal,
  recordedAt: instant,
  data: anyObject,
  metadata: object(
    {
      schemaVersion: count,
      commandId: text,
      commandDigest: text,
      actor,
      occurredAt: instant,
      recordedAt: instant,
      correlationId: text,
      causationId: text,
    },
    { traceparent: text },
  ),
});

const Transition = object({
  position: decimal,
  recordedAt: instant,
  occurredAt: instant,
  deploymentId: id,
  revision: decimal,
  from: told(orNull(oneOf(STATES)), 'Null for the first one.'),
  to: oneOf(STATES),
  trigger: told(text, 'The command that caused it, or Heartbeat.'),
  attemptId: orNull(id),
  number: orNull(count),
  scope: orNull(text),
  reason: orNull(text),
  exitCode: orNull({ type: 'integer' }),
  code: orNull(text),
  recovered: flag,
  actor,
});

const DeploymentThen = object({
  deploymentId: id,
  state: oneOf(STATES),
  since: told(instant, 'When the change to this state happened.'),
  recordedAt: told(instant, 'When that was recorded.'),
  reason: orNull(text),
  trigger: told(text, 'The command that caused the change, or Heartbeat.'),
  attemptId: orNull(id),
  number: orNull(count),
  scope: orNull(text),
  exitCode: orNull({ type: 'integer' }),
  code: orNull(text),
  recovered: flag,
  actor,
  revision: decimal,
  position: decimal,
});

const Change = object({
  deploymentId: id,
  before: told(orNull(oneOf(STATES)), 'Null when there was nothing of it yet.'),
  after: oneOf(STATES),
  last: told(ref('Transition'), 'The change that led there.'),
});

const TimeInState = object({
  state: oneOf(STATES),
  stays: told(count, 'How often it was entered.'),
  open: told(count, 'Deployments that are in it now.'),
  totalMs: told(count, 'Until now, ms.'),
});

const AttemptCount = object({
  scope: text,
  state: told(
    oneOf(['pending', 'running', ...OUTCOMES, 'unknown']),
    'The outcome, once they have ended.',
  ),
  attempts: count,
  meanMs: told(orNull(count), 'From start to end, of those that have both, ms.'),
});

const Unknown = object({
  deploymentId: id,
  since: told(instant, 'When it was recorded that it is unknown.'),
  occurredAt: instant,
  ageMs: told(count, 'Since then, ms.'),
  attemptId: orNull(id),
  number: orNull(count),
  scope: orNull(text),
  reason: orNull(text),
  actor,
  times: told(count, 'How often it was unknown, this time included.'),
  position: decimal,
});

const Projection = object({
  name: text,
  version: count,
  position: told(orNull(decimal), 'The last position folded in.'),
  headPosition: told(orNull(decimal), "The log's end."),
  lagEvents: orNull(count),
  lagSeconds: orNull({ type: 'number', minimum: 0 }),
  status: oneOf(['live', 'catching_up', 'rebuilding', 'degraded', 'stopped']),
  lastError: orNull(text),
  parked: told(count, 'Streams that could not be folded and wait.'),
  skipped: told(count, 'Streams that somebody decided to leave out.'),
  rebuild: orNull(object({ done: count, total: orNull(count) })),
  owner: told(
    orNull(object({ name: text, since: instant, isThisProcess: flag, denials: count })),
    'The process that folds; others stand by. `denials`: how often they asked for its place.',
  ),
});

const Parked = object({
  projection: text,
  deploymentId: text,
  revision: told(decimal, 'Of the first event that could not be folded.'),
  position: decimal,
  problem: text,
  parkedAt: instant,
  state: oneOf(['waiting', 'skipped', 'retrying', 'folded']),
  decidedBy: orNull(actor),
  decidedAt: orNull(instant),
  reason: orNull(text),
});

const Problem = {
  ...object(
    {
      type: { type: 'string', format: 'uri' },
      title: text,
      status: { type: 'integer' },
      detail: told(text, 'What happened, why, and what to do next.'),
      instance: text,
      code: oneOf(Object.keys(STATUS)),
      requestId: text,
    },
    {
      state: told(oneOf(STATES), 'Of the deployment, where it exists.'),
      allowed: list(oneOf(COMMAND_TYPES)),
      revision: told(decimal, 'Of its newest event.'),
      errors: list(object({ pointer: text, message: text })),
    },
  ),
  description: 'An error, as RFC 9457 says.',
};

/** The schemas of all answers, by name. */
export const SCHEMAS = {
  Receipt: object(
    {
      deploymentId: id,
      state: told(oneOf(STATES), 'After the command.'),
      revision: told(decimal, "Of the last event written; of the stream's last when none was."),
      position: decimal,
      changed: told(flag, 'Whether something was written.'),
      replayed: told(flag, 'Whether this is the answer of an earlier request with the same key.'),
      events: list(object({ id: text, type: oneOf(EVENT_TYPES), revision: decimal })),
    },
    { attemptId: id, number: count, leaseExpiresAt: instant },
  ),
  Deployment,
  DeploymentPage: visiblePage('Deployment'),
  DeploymentThen,
  FleetPage: visiblePage('DeploymentThen'),
  Attempt,
  AttemptPage: page('Attempt'),
  Event,
  HistoryPage: object({ items: list(ref('Event')), nextAfter }),
  Transition,
  TransitionPage: object({ items: list(ref('Transition')), nextAfter }),
  Change,
  ChangePage: visiblePage('Change'),
  Counts: object(Object.fromEntries([...STATES, 'total'].map((name) => [name, count]))),
  TimeInState,
  TimeInStatePage: object({
    items: list(ref('TimeInState')),
    until: told(instant, 'Until when the stays that have not ended are counted.'),
  }),
  AttemptCount,
  AttemptStatsPage: object({ items: list(ref('AttemptCount')) }),
  Unknown,
  UnknownPage: visiblePage('Unknown'),
  Heartbeat: object({
    leaseExpiresAt: instant,
    cancelRequested: told(flag, 'Whether the runner must stop.'),
  }),
  Lifecycle: object({
    states: list(oneOf(STATES)),
    items: list(
      object({
        row: text,
        commands: list(oneOf(COMMAND_TYPES)),
        when: text,
        from: list(oneOf([...STATES, 'none'])),
        to: list(oneOf([...STATES, 'settled', 'unchanged'])),
        events: list(oneOf(EVENT_TYPES)),
        refuses: list(text),
      }),
    ),
  }),
  Projection,
  ProjectionPage: object({ items: list(ref('Projection')) }),
  Parked,
  ParkedPage: object({ items: list(ref('Parked')) }),
  Health: object(
    { status: oneOf(['live', 'ready', 'degraded', 'unavailable']) },
    {
      reasons: told(
        list(object({ part: text, problem: text })),
        'What is wrong, part by part; empty when nothing is.',
      ),
      store: anyObject,
      projections: list(ref('Projection')),
    },
  ),
  Problem,
} as const satisfies Readonly<Record<string, JsonSchema>>;
