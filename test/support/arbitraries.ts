import fc from 'fast-check';
import type { DeploymentCommand } from '../../src/domain/command.js';
import type { Deployment } from '../../src/domain/deployment.js';
import {
  ACTOR_KINDS,
  EVENT_TYPES,
  LOSS_CAUSES,
  OUTCOMES,
  RESOLUTIONS,
  SCHEMA_VERSION,
  SCOPE_KINDS,
  STATES,
  type Actor,
  type AttemptId,
  type DeploymentId,
  type EventData,
  type EventMetadata,
  type EventType,
  type Fact,
  type Policy,
} from '../../src/domain/event-schema.js';
import {
  HUMAN,
  KINDS,
  RUNNER,
  SERVICE,
  SYSTEM,
  archive,
  beat,
  cancel,
  create,
  end,
  lose,
  open,
  resolve,
  start,
  update,
} from './commands.js';
import { idOf } from './events.js';

/** A command that waits for the deployment which it is about. */
export type Recipe = (deployment: Deployment) => DeploymentCommand;

const EXIT_CODE = fc.constantFrom(0, 1, -1, 137, 2 ** 31 - 1, -(2 ** 31));
const SHORT_TEXT = fc.constantFrom(
  '',
  ' ',
  'because',
  'E_QUOTA',
  'a “quoted” 語 \u{1f6a2}',
  '\ud800',
);
/** Members that are there or left out, never undefined. */
const maybe = <T>(members: { [K in keyof T]: fc.Arbitrary<T[K]> }): fc.Arbitrary<Partial<T>> =>
  fc.record<T, never>(members, { requiredKeys: [] }).map((record) => record as Partial<T>);

const ACTOR: fc.Arbitrary<Actor> = fc.constantFrom(HUMAN, HUMAN, SERVICE, RUNNER, SYSTEM);
const PROOF = fc.constantFrom(
  {},
  { leaseTokenHash: 'ab' },
  { leaseTokenHash: 'cd' },
  { runner: { id: 'r1' } },
  { runner: { id: 'r2', host: 'ci-7' }, leaseTokenHash: 'ab' },
);
export const POLICY: fc.Arbitrary<Policy> = maybe({
  lateResults: fc.constantFrom('accept', 'record'),
  afterTeardown: fc.constantFrom('reopen', 'retire'),
  leaseMs: fc.constantFrom(1000, 60_000),
});
const RESULT = maybe({ exitCode: EXIT_CODE, code: fc.constant('E'), reason: SHORT_TEXT });

/** How many attempts before the current one; now and then one that does not exist. */
const BACK = fc.constantFrom(0, 0, 0, 0, 0, 0, 1, 1, 2, -9);
/** A command about an attempt of the deployment; the first thing is to open one. */
const about =
  (back: number, make: (attemptId: string) => DeploymentCommand): Recipe =>
  ({ currentAttempt }) =>
    currentAttempt === null ? open('a1') : make(`a${Math.max(1, currentAttempt.number - back)}`);

const DECLARING: fc.Arbitrary<Recipe> = fc
  .record({
    again: fc.boolean(),
    declaration: maybe({
      name: fc.constantFrom('Shop', 'Store'),
      environment: fc.constantFrom('test', 'live'),
      labels: fc.constantFrom({}, { team: 'web' }),
      confirmPhrase: fc.constantFrom('yes', 'really'),
      policy: POLICY,
    }),
  })
  .map(
    ({ again, declaration }) =>
      () =>
        again ? create(declaration) : update(declaration),
  );

const OPENING: fc.Arbitrary<Recipe> = fc
  .record({
    scope: fc.constantFrom('full', ...Object.keys(KINDS), 'nap'),
    actor: ACTOR,
    acknowledged: fc.boolean(),
    phrase: fc.constantFrom('its own', 'its own', 'yes', null),
    ahead: fc.constantFrom(1, 1, 1, 1, 1, 0),
  })
  .map(({ scope, actor, acknowledged, phrase, ahead }) => ({ currentAttempt, ...deployment }) => {
    const confirmPhrase = phrase === 'its own' ? deployment.confirmPhrase : phrase;
    return open(`a${(currentAttempt?.number ?? 0) + ahead}`, {
      scope,
      actor,
      ...(acknowledged && { acknowledgeUnknown: { reason: 'looked at it' } }),
      ...(confirmPhrase !== null && { confirmPhrase }),
    });
  });

const TOKEN = fc.constantFrom({}, { leaseTokenHash: 'ab' }, { leaseTokenHash: 'ab' });
const STARTING: fc.Arbitrary<Recipe> = fc
  .tuple(BACK, PROOF, maybe({ leaseMs: fc.constant(5000) }))
  .map(([back, proof, more]) => about(back, (id) => start(id, { ...proof, ...more })));
const BEATING: fc.Arbitrary<Recipe> = fc
  .tuple(BACK, TOKEN)
  .map(([back, token]) => about(back, (id) => beat(id, token)));
const ENDING: fc.Arbitrary<Recipe> = fc
  .tuple(BACK, fc.constantFrom('succeeded' as const, ...OUTCOMES), RESULT, TOKEN)
  .map(([back, outcome, result, token]) =>
    about(back, (id) => end(id, outcome, { ...result, ...token })),
  );
const CANCELLING: fc.Arbitrary<Recipe> = fc
  .tuple(BACK, maybe({ reason: SHORT_TEXT }))
  .map(([back, more]) => about(back, (id) => cancel(id, more)));
const LOSING: fc.Arbitrary<Recipe> = fc
  .tuple(BACK, fc.constantFrom(...LOSS_CAUSES), ACTOR)
  .map(([back, cause, actor]) => about(back, (id) => lose(id, cause, { actor })));
const RESOLVING: fc.Arbitrary<Recipe> = fc.tuple(fc.constantFrom(...RESOLUTIONS), ACTOR).map(
  ([as, actor]) =>
    () =>
      resolve(as, { actor }),
);
const ARCHIVING: fc.Arbitrary<Recipe> = fc.constant(() => archive());

/** Any command about the deployment that it meets; the ones that make stories more often. */
export const RECIPE: fc.Arbitrary<Recipe> = fc.oneof(
  { weight: 20, arbitrary: OPENING },
  { weight: 24, arbitrary: STARTING },
  { weight: 24, arbitrary: ENDING },
  { weight: 12, arbitrary: LOSING },
  { weight: 12, arbitrary: RESOLVING },
  { weight: 6, arbitrary: BEATING },
  { weight: 5, arbitrary: CANCELLING },
  { weight: 5, arbitrary: DECLARING },
  { weight: 1, arbitrary: ARCHIVING },
);

const INSTANT = fc.constantFrom('2026-01-01T00:00:00.000Z', '2026-12-31T23:59:59.999Z');
const ATTEMPT_ID = fc.constantFrom('a1', 'a2', 'a3').map((id) => idOf<AttemptId>(id));
const RUNNER_TOLD = maybe({
  id: fc.constantFrom('r1', 'r2'),
  host: SHORT_TEXT,
  pid: fc.nat(),
  bootId: fc.constant('b1'),
  startedAt: INSTANT,
});
const OBJECT = fc.constantFrom<Record<string, unknown>>({}, { a: 1 }, { a: { b: [null, 'c'] } });
const result = {
  exitCode: EXIT_CODE,
  code: fc.constantFrom('E', 'E_QUOTA'),
  reason: SHORT_TEXT,
};
const FLAG = fc.constant(true as const);
const { lateResults, afterTeardown } = {
  lateResults: fc.constantFrom('accept' as const, 'record' as const),
  afterTeardown: fc.constantFrom('reopen' as const, 'retire' as const),
};
const NAME = fc.constantFrom('Shop', 'Store');

/** Well-formed data of each event: what is required, and any of what is not. */
const DATA: { readonly [T in EventType]: fc.Arbitrary<EventData[T]> } = {
  deployment_created: merged(
    { name: NAME },
    {
      environment: SHORT_TEXT,
      labels: fc.constant({ team: 'web' }),
      confirmPhrase: SHORT_TEXT,
      policy: POLICY,
    },
  ),
  deployment_updated: merged(
    {},
    {
      name: fc.option(NAME),
      environment: fc.option(SHORT_TEXT),
      labels: fc.option(fc.constant({ team: 'web' })),
      confirmPhrase: fc.option(SHORT_TEXT),
      policy: fc.option(
        maybe({ lateResults: fc.option(lateResults), afterTeardown: fc.option(afterTeardown) }),
      ),
    },
  ),
  attempt_opened: merged(
    {
      attemptId: ATTEMPT_ID,
      number: fc.integer({ min: 1, max: 3 }),
      scope: fc.constantFrom('full', 'teardown', 'snapshot'),
      kind: fc.constantFrom(...SCOPE_KINDS),
      settledState: fc.constantFrom(...STATES),
    },
    { acknowledged: fc.constant({ reason: 'looked at it' }), meta: OBJECT },
  ),
  attempt_start: merged(
    { attemptId: ATTEMPT_ID },
    {
      runner: RUNNER_TOLD,
      leaseTokenHash: fc.constantFrom('ab', 'cd'),
      leaseMs: fc.constantFrom(1000, 60_000),
      meta: OBJECT,
    },
  ),
  cancel_requested: merged({ attemptId: ATTEMPT_ID }, { reason: SHORT_TEXT }),
  attempt_end: merged(
    { attemptId: ATTEMPT_ID, outcome: fc.constantFrom(...OUTCOMES) },
    { ...result, late: FLAG, cancelTooLate: FLAG },
  ),
  attempt_lost: merged(
    { attemptId: ATTEMPT_ID, cause: fc.constantFrom(...LOSS_CAUSES) },
    { evidence: OBJECT, lastHeartbeatAt: INSTANT },
  ),
  attempt_recovered: fc.record({ attemptId: ATTEMPT_ID }),
  unknown_resolved: merged(
    { as: fc.constantFrom(...RESOLUTIONS), reason: fc.constant('looked at it') },
    { attemptId: ATTEMPT_ID, evidence: OBJECT },
  ),
  late_result_recorded: merged(
    { attemptId: ATTEMPT_ID, outcome: fc.constantFrom(...OUTCOMES) },
    { ...result, conflict: FLAG },
  ),
  stale_result_recorded: merged(
    { attemptId: ATTEMPT_ID, outcome: fc.constantFrom(...OUTCOMES) },
    result,
  ),
  deployment_archived: merged({}, { reason: SHORT_TEXT }),
  state_transition: merged(
    {
      deploymentId: fc.constant(idOf<DeploymentId>('shop')),
      from: fc.option(fc.constantFrom(...STATES)),
      to: fc.constantFrom(...STATES),
      trigger: fc.constantFrom('StartAttempt', 'Heartbeat'),
    },
    {
      attemptId: ATTEMPT_ID,
      number: fc.integer({ min: 1, max: 3 }),
      scope: fc.constantFrom('full', 'teardown'),
      ...result,
      recovered: FLAG,
    },
  ),
};

function merged<R extends object, O extends object>(
  required: { [K in keyof R]: fc.Arbitrary<R[K]> },
  optional: { [K in keyof O]: fc.Arbitrary<O[K]> },
): fc.Arbitrary<R & Partial<O>> {
  return fc
    .tuple(fc.record(required), maybe<O>(optional))
    .map(([must, may]) => ({ ...must, ...may }));
}

/** Any well-formed fact, whatever came before it. */
export const FACT: fc.Arbitrary<Fact> = fc.oneof(
  ...EVENT_TYPES.map((type) => DATA[type].map((data) => ({ type, data }) as Fact)),
);

/** Well-formed metadata. */
export const METADATA: fc.Arbitrary<EventMetadata> = merged(
  {
    schemaVersion: fc.constant(SCHEMA_VERSION),
    commandId: fc.constantFrom('c1', 'c2'),
    commandDigest: fc.constant('ab'.repeat(32)),
    actor: fc.constantFrom(...ACTOR_KINDS.map((kind) => ({ id: 'somebody', kind }))),
    occurredAt: INSTANT,
    recordedAt: INSTANT,
    correlationId: fc.constantFrom('c1', 'c2'),
    causationId: fc.constantFrom('c1', 'c2'),
  },
  { traceparent: fc.constant('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01') },
);
