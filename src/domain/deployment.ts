/**
 * The aggregate: what a deployment is and how its events fold.
 *
 * Pure, and imports nothing from outside this folder: no clock, no randomness, no promise.
 * The words and events are in `event-schema.ts`, the rules that decide in `decide.ts`, the same
 * rules as a table in `transitions.ts`.
 */
import {
  given,
  resultOf,
  type Actor,
  type AttemptId,
  type Declaration,
  type DeclarationPatch,
  type DeploymentEvent,
  type DeploymentId,
  type EventData,
  type Instant,
  type JsonObject,
  type Labels,
  type LossCause,
  type Outcome,
  type Policy,
  type PolicyPatch,
  type Resolution,
  type Result,
  type Runner,
  type ScopeKind,
  type State,
} from './event-schema.js';
import { effectivePolicy, type PolicyDefaults } from './lease.js';

export type AttemptState = 'pending' | 'running' | Outcome | 'unknown';

/** One try to change a deployment. `previous` leads to the attempt before it. */
export interface Attempt {
  readonly attemptId: AttemptId;
  readonly number: number;
  readonly scope: string;
  readonly kind: ScopeKind;
  readonly state: AttemptState;
  readonly exitCode: number | null;
  readonly code: string | null;
  readonly reason: string | null;
  readonly cause: LossCause | null;
  readonly cancelRequested: boolean;
  readonly recovered: boolean;
  readonly resolved: { readonly as: Resolution; readonly by: Actor; readonly at: Instant } | null;
  readonly runner: Runner | null;
  readonly leaseTokenHash: string | null;
  readonly leaseMs: number | null;
  readonly openedAt: Instant;
  readonly startedAt: Instant | null;
  readonly endedAt: Instant | null;
  /** The deployment as it stood when this attempt was opened; never changes. */
  readonly openedFrom: { readonly state: State; readonly tornDown: boolean };
  /** Results recorded after its end or closing (`late`), and after a newer attempt (`stale`). */
  readonly lateResults: readonly Result[];
  readonly staleResults: readonly Result[];
  readonly meta: JsonObject | null;
}

/** A deployment folded from its events. A chain of attempts, newest first, keeps `evolve` O(1). */
export interface Deployment {
  readonly deploymentId: DeploymentId;
  /** What it was declared to be at its creation; null before. */
  readonly created: Declaration | null;
  readonly name: string;
  readonly environment: string | null;
  readonly labels: Labels;
  readonly confirmPhrase: string | null;
  readonly policy: Policy;
  readonly state: State;
  readonly reason: string | null;
  readonly since: Instant | null;
  readonly settledState: State | null;
  readonly tornDown: boolean;
  readonly lastReadyAttempt: AttemptId | null;
  readonly attention: {
    readonly kind: 'conflicting_result';
    readonly attemptId: AttemptId;
    readonly outcome: Outcome;
    readonly at: Instant;
  } | null;
  readonly archived: boolean;
  readonly everStarted: boolean;
  readonly observedAt: Instant | null;
  readonly currentAttempt: Attempt | null;
  readonly earlierAttempts: AttemptChain | null;
}
/** Earlier attempts as an immutable list, newest first. */
export interface AttemptChain {
  readonly attempt: Attempt;
  readonly earlier: AttemptChain | null;
}

/** The deployment of which nothing is recorded yet. */
export function unrecorded(deploymentId: DeploymentId): Deployment {
  return {
    deploymentId,
    created: null,
    name: deploymentId,
    environment: null,
    labels: {},
    confirmPhrase: null,
    policy: {},
    state: 'pending',
    reason: null,
    since: null,
    settledState: null,
    tornDown: false,
    lastReadyAttempt: null,
    attention: null,
    archived: false,
    everStarted: false,
    observedAt: null,
    currentAttempt: null,
    earlierAttempts: null,
  };
}

/**
 * Folds one event into a deployment.
 *
 * Never throws on a stored event, whatever came before it: history is taken as it is, and the
 * rules about what may follow what belong to `decide`.
 * Shape: a new deployment; the argument is unchanged.   Cost: O(1); O(attempts) for a stale record, O(results) for a late one.
 */
export function evolve(deployment: Deployment, event: DeploymentEvent): Deployment {
  switch (event.type) {
    case 'state_transition':
      return {
        ...deployment,
        state: event.data.to,
        reason: event.data.reason ?? null,
        since: event.metadata.recordedAt,
      };
    case 'deployment_created':
      return declared({ ...deployment, created: event.data }, event.data);
    case 'deployment_updated':
      return declared(deployment, event.data);
    case 'deployment_archived':
      return { ...deployment, archived: true };
    case 'attempt_opened':
      return opened(deployment, event);
    case 'stale_result_recorded':
      return {
        ...deployment,
        earlierAttempts: staleRecorded(deployment.earlierAttempts, event.data),
      };
    case 'attempt_start':
    case 'cancel_requested':
    case 'attempt_end':
    case 'attempt_lost':
    case 'attempt_recovered':
    case 'unknown_resolved':
    case 'late_result_recorded':
      return advanced(deployment, event);
  }
}

type AttemptEvent = Extract<
  DeploymentEvent,
  {
    type:
      | 'attempt_start'
      | 'cancel_requested'
      | 'attempt_end'
      | 'attempt_lost'
      | 'attempt_recovered'
      | 'unknown_resolved'
      | 'late_result_recorded';
  }
>;

/** Folds an event into the attempt it is about; the same rules serve the `attempts` read model. */
export function evolveAttempt(attempt: Attempt, { type, data, metadata }: AttemptEvent): Attempt {
  switch (type) {
    case 'attempt_start':
      return {
        ...attempt,
        state: 'running',
        runner: data.runner ?? null,
        leaseTokenHash: data.leaseTokenHash ?? null,
        leaseMs: data.leaseMs ?? null,
        startedAt: metadata.occurredAt,
        meta: data.meta === undefined ? attempt.meta : { ...attempt.meta, ...data.meta },
      };
    case 'cancel_requested':
      return { ...attempt, cancelRequested: true };
    case 'attempt_end':
      return endedAttempt(attempt, data, metadata.occurredAt);
    case 'attempt_lost':
      return { ...attempt, state: 'unknown', cause: data.cause };
    case 'attempt_recovered':
      return { ...attempt, state: 'running', recovered: true };
    case 'unknown_resolved':
      return attempt.state === 'unknown'
        ? { ...attempt, resolved: { as: data.as, by: metadata.actor, at: metadata.recordedAt } }
        : attempt;
    case 'late_result_recorded':
      return { ...attempt, lateResults: [...attempt.lateResults, resultOf(data)] };
  }
}

function endedAttempt(
  attempt: Attempt,
  { outcome, exitCode, code, reason, late }: EventData['attempt_end'],
  endedAt: Instant,
): Attempt {
  return {
    ...attempt,
    state: outcome,
    exitCode: exitCode ?? null,
    code: code ?? null,
    reason: reason ?? null,
    recovered: attempt.recovered || late === true,
    endedAt,
  };
}

/** The attempt as `attempt_opened` makes it. */
export function openedAttempt(
  { data, metadata }: Extract<DeploymentEvent, { type: 'attempt_opened' }>,
  tornDown: boolean,
): Attempt {
  return {
    attemptId: data.attemptId,
    number: data.number,
    scope: data.scope,
    kind: data.kind,
    state: 'pending',
    exitCode: null,
    code: null,
    reason: null,
    cause: null,
    cancelRequested: false,
    recovered: false,
    resolved: null,
    runner: null,
    leaseTokenHash: null,
    leaseMs: null,
    openedAt: metadata.occurredAt,
    startedAt: null,
    endedAt: null,
    openedFrom: { state: data.settledState, tornDown },
    lateResults: [],
    staleResults: [],
    meta: data.meta ?? null,
  };
}

function declared(deployment: Deployment, change: DeclarationPatch): Deployment {
  const { name, environment, labels, confirmPhrase, policy } = change;
  return {
    ...deployment,
    name: name === undefined ? deployment.name : (name ?? deployment.deploymentId),
    environment: environment === undefined ? deployment.environment : environment,
    labels: labels === undefined ? deployment.labels : (labels ?? {}),
    confirmPhrase: confirmPhrase === undefined ? deployment.confirmPhrase : confirmPhrase,
    policy: mergedPolicy(deployment.policy, policy),
  };
}

/** The policy after a change by member: null clears a member, or, given for the whole, all. */
export function mergedPolicy(policy: Policy, patch: PolicyPatch | null | undefined): Policy {
  if (patch === undefined) return policy;
  if (patch === null) return {};
  const merged = Object.entries({ ...policy, ...patch }).filter(([, value]) => value !== null);
  return Object.fromEntries(merged);
}

function opened(
  deployment: Deployment,
  event: Extract<DeploymentEvent, { type: 'attempt_opened' }>,
): Deployment {
  const { currentAttempt, earlierAttempts, attention, tornDown } = deployment;
  return {
    ...deployment,
    settledState: event.data.settledState,
    attention: event.metadata.actor.kind === 'human' ? null : attention,
    observedAt: event.metadata.occurredAt,
    currentAttempt: openedAttempt(event, tornDown),
    earlierAttempts:
      currentAttempt === null
        ? earlierAttempts
        : { attempt: currentAttempt, earlier: earlierAttempts },
  };
}

function advanced(deployment: Deployment, event: AttemptEvent): Deployment {
  const { currentAttempt: before, observedAt } = deployment;
  const currentAttempt = before === null ? null : evolveAttempt(before, event);
  const { recordedAt } = event.metadata;
  switch (event.type) {
    case 'attempt_start':
      return {
        ...deployment,
        currentAttempt,
        observedAt: recordedAt,
        everStarted: true,
        tornDown: deployment.tornDown && currentAttempt?.kind !== 'deploy',
      };
    case 'attempt_end': {
      const { tornDown, lastReadyAttempt } = targetAfterEnd(deployment, event.data);
      return {
        ...deployment,
        currentAttempt,
        observedAt: recordedAt,
        settledState: null,
        tornDown,
        lastReadyAttempt,
      };
    }
    case 'unknown_resolved': {
      const { tornDown, lastReadyAttempt } = targetAfterWord(deployment, event.data.as);
      return {
        ...deployment,
        currentAttempt,
        settledState: null,
        attention: null,
        tornDown,
        lastReadyAttempt,
      };
    }
    case 'attempt_lost':
      return {
        ...deployment,
        currentAttempt,
        observedAt: event.data.lastHeartbeatAt ?? observedAt,
      };
    case 'attempt_recovered':
      return { ...deployment, currentAttempt, observedAt: recordedAt };
    case 'late_result_recorded':
      return { ...deployment, currentAttempt, attention: attentionAfter(deployment, event) };
    case 'cancel_requested':
      return { ...deployment, currentAttempt };
  }
}

type Target = Pick<Deployment, 'tornDown' | 'lastReadyAttempt'>;

function targetAfterEnd(
  deployment: Deployment,
  { outcome, attemptId }: EventData['attempt_end'],
): Target {
  if (outcome !== 'succeeded') return deployment;
  switch (deployment.currentAttempt?.kind) {
    case 'deploy':
      return { tornDown: deployment.tornDown, lastReadyAttempt: attemptId };
    case 'teardown':
      return { tornDown: true, lastReadyAttempt: null };
    case 'maintenance':
    case undefined:
      return deployment;
  }
}

function targetAfterWord(deployment: Deployment, as: Resolution): Target {
  const { currentAttempt: attempt, lastReadyAttempt } = deployment;
  switch (as) {
    case 'ready': {
      const deployedIt = attempt?.kind === 'deploy' && attempt.startedAt !== null;
      return {
        tornDown: false,
        lastReadyAttempt: deployedIt ? attempt.attemptId : lastReadyAttempt,
      };
    }
    case 'failed':
      return { tornDown: false, lastReadyAttempt };
    case 'torn_down':
      return { tornDown: true, lastReadyAttempt: null };
  }
}

function attentionAfter(
  { attention }: Deployment,
  { data, metadata }: Extract<DeploymentEvent, { type: 'late_result_recorded' }>,
): Deployment['attention'] {
  if (data.conflict !== true) return attention;
  const { attemptId, outcome } = data;
  return { kind: 'conflicting_result', attemptId, outcome, at: metadata.recordedAt };
}

function staleRecorded(
  chain: AttemptChain | null,
  data: EventData['stale_result_recorded'],
): AttemptChain | null {
  // The path to the attempt is rebuilt, iteratively: a chain may be longer than the stack is deep.
  const newer: Attempt[] = [];
  let rest = chain;
  for (; rest !== null && rest.attempt.attemptId !== data.attemptId; rest = rest.earlier) {
    newer.push(rest.attempt);
  }
  if (rest === null) return chain;
  const recorded = { attempt: recordStale(rest.attempt, data), earlier: rest.earlier };
  return newer.reduceRight<AttemptChain>((earlier, attempt) => ({ attempt, earlier }), recorded);
}

/** The members of a change that differ from what stands; an empty object when nothing does. */
export function changedMembers(deployment: Deployment, patch: DeclarationPatch): DeclarationPatch {
  const { name, environment, labels, confirmPhrase, policy } = patch;
  const named = name === null ? deployment.deploymentId : name;
  const relabelled = labels !== undefined && !sameMembers(labels ?? {}, deployment.labels);
  return given<DeclarationPatch>({
    name: named === deployment.name ? undefined : name,
    environment: environment === deployment.environment ? undefined : environment,
    labels: relabelled ? labels : undefined,
    confirmPhrase: confirmPhrase === deployment.confirmPhrase ? undefined : confirmPhrase,
    policy: changedPolicyMembers(deployment.policy, policy),
  });
}

function changedPolicyMembers(
  policy: Policy,
  patch: PolicyPatch | null | undefined,
): PolicyPatch | null | undefined {
  if (sameMembers(mergedPolicy(policy, patch), policy) || patch === undefined) return undefined;
  if (patch === null) return null;
  const stands: Readonly<Record<string, unknown>> = { ...policy };
  const changed = Object.entries(patch).filter(
    ([member, value]) => value !== (stands[member] ?? null),
  );
  return Object.fromEntries(changed);
}

/** Whether two declarations say the same once defaults are applied. */
export function sameDeclaration(a: Declaration, b: Declaration, defaults: PolicyDefaults): boolean {
  const rulesOf = ({ policy = {} }: Declaration): Policy => effectivePolicy(policy, defaults);
  return (
    a.name === b.name &&
    a.environment === b.environment &&
    a.confirmPhrase === b.confirmPhrase &&
    sameMembers(a.labels ?? {}, b.labels ?? {}) &&
    sameMembers(rulesOf(a), rulesOf(b))
  );
}

/** Whether two flat objects have the same members, in any order. */
function sameMembers(a: object, b: object): boolean {
  const [entries, other] = [Object.entries(a), new Map<string, unknown>(Object.entries(b))];
  return entries.length === other.size && entries.every(([key, value]) => other.get(key) === value);
}

/** The attempt with one more result that came after a newer attempt was opened. */
export function recordStale(attempt: Attempt, result: Result): Attempt {
  return { ...attempt, staleResults: [...attempt.staleResults, resultOf(result)] };
}

/** Finds an attempt of a deployment by its id. Cost: O(attempts), O(1) for the current one. */
export function findAttempt(deployment: Deployment, attemptId: AttemptId): Attempt | null {
  const { currentAttempt } = deployment;
  if (currentAttempt?.attemptId === attemptId) return currentAttempt;
  for (let chain = deployment.earlierAttempts; chain !== null; chain = chain.earlier) {
    if (chain.attempt.attemptId === attemptId) return chain.attempt;
  }
  return null;
}

/** Whether an attempt is pending or running. */
export function isActive(attempt: Attempt): boolean {
  return attempt.state === 'pending' || attempt.state === 'running';
}
