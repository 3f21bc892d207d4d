/**
 * The aggregate: what a deployment is and how its events fold.
 *
 * Pure, and imports nothing from outside this folder: no clock, no randomness, no promise.
 * The words and events are in `event-schema.ts`, the rules that decide in `decide.ts`, the same
 * rules as a table in `transitions.ts`; how declarations change and compare is in `declaration.ts`.
 */
import { mergedPolicy } from './declaration.js';
import {
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
  type Resolution,
  type Result,
  type Runner,
  type ScopeKind,
  type State,
} from './event-schema.js';

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

/** What is not yet seen by anybody and may therefore still change. */
type Draft<T> = { -readonly [K in keyof T]: T[K] };

/**
 * Folds one event into a deployment.
 *
 * Never throws on a stored event, whatever came before it: history is taken as it is, and the
 * rules about what may follow what belong to `decide`.
 * Shape: a new deployment; the argument is unchanged.   Cost: O(1), 0.1 µs at most; O(attempts) for a
 * stale record, O(results) for a late one.
 */
export function evolve(deployment: Deployment, event: DeploymentEvent): Deployment {
  const next = draftOf(deployment);
  fold(next, event);
  return next;
}

function fold(next: Draft<Deployment>, event: DeploymentEvent): void {
  switch (event.type) {
    case 'state_transition':
      next.state = event.data.to;
      next.reason = event.data.reason ?? null;
      next.since = event.metadata.recordedAt;
      return;
    case 'deployment_created':
      next.created = event.data;
      declare(next, event.data);
      return;
    case 'deployment_updated':
      declare(next, event.data);
      return;
    case 'deployment_archived':
      next.archived = true;
      return;
    case 'attempt_opened':
      open(next, event);
      return;
    case 'stale_result_recorded':
      next.earlierAttempts = staleRecorded(next.earlierAttempts, event.data);
      return;
    case 'attempt_start':
    case 'cancel_requested':
    case 'attempt_end':
    case 'attempt_lost':
    case 'attempt_recovered':
    case 'unknown_resolved':
    case 'late_result_recorded':
      advance(next, event);
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
export function evolveAttempt(attempt: Attempt, event: AttemptEvent): Attempt {
  const next = draftOfAttempt(attempt);
  foldAttempt(next, event);
  return next;
}

function foldAttempt(next: Draft<Attempt>, { type, data, metadata }: AttemptEvent): void {
  switch (type) {
    case 'attempt_start':
      next.state = 'running';
      next.runner = data.runner ?? null;
      next.leaseTokenHash = data.leaseTokenHash ?? null;
      next.leaseMs = data.leaseMs ?? null;
      next.startedAt = metadata.occurredAt;
      if (data.meta !== undefined) next.meta = { ...next.meta, ...data.meta };
      return;
    case 'cancel_requested':
      next.cancelRequested = true;
      return;
    case 'attempt_end':
      endAttempt(next, data);
      next.endedAt = metadata.occurredAt;
      return;
    case 'attempt_lost':
      next.state = 'unknown';
      next.cause = data.cause;
      return;
    case 'attempt_recovered':
      next.state = 'running';
      next.recovered = true;
      return;
    case 'unknown_resolved':
      if (next.state === 'unknown')
        next.resolved = { as: data.as, by: metadata.actor, at: metadata.recordedAt };
      return;
    case 'late_result_recorded':
      next.lateResults = [...next.lateResults, resultOf(data)];
  }
}

function endAttempt(next: Draft<Attempt>, end: EventData['attempt_end']): void {
  next.state = end.outcome;
  next.exitCode = end.exitCode ?? null;
  next.code = end.code ?? null;
  next.reason = end.reason ?? null;
  if (end.late === true) next.recovered = true;
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

function declare(next: Draft<Deployment>, change: DeclarationPatch): void {
  const { name, environment, labels, confirmPhrase, policy } = change;
  if (name !== undefined) next.name = name ?? next.deploymentId;
  if (environment !== undefined) next.environment = environment;
  if (labels !== undefined) next.labels = labels ?? {};
  if (confirmPhrase !== undefined) next.confirmPhrase = confirmPhrase;
  next.policy = mergedPolicy(next.policy, policy);
}

function open(
  next: Draft<Deployment>,
  event: Extract<DeploymentEvent, { type: 'attempt_opened' }>,
): void {
  const { currentAttempt, earlierAttempts } = next;
  if (currentAttempt !== null)
    next.earlierAttempts = { attempt: currentAttempt, earlier: earlierAttempts };
  next.currentAttempt = openedAttempt(event, next.tornDown);
  next.settledState = event.data.settledState;
  next.observedAt = event.metadata.occurredAt;
  if (event.metadata.actor.kind === 'human') next.attention = null;
}

function advance(next: Draft<Deployment>, event: AttemptEvent): void {
  const { currentAttempt: attempt } = next;
  if (attempt !== null) next.currentAttempt = evolveAttempt(attempt, event);
  const { metadata } = event;
  switch (event.type) {
    case 'attempt_start':
      next.observedAt = metadata.recordedAt;
      next.everStarted = true;
      if (attempt?.kind === 'deploy') next.tornDown = false;
      return;
    case 'attempt_end':
      next.observedAt = metadata.recordedAt;
      next.settledState = null;
      if (event.data.outcome === 'succeeded') succeed(next, event.data.attemptId);
      return;
    case 'attempt_lost':
      next.observedAt = event.data.lastHeartbeatAt ?? next.observedAt;
      return;
    case 'attempt_recovered':
      next.observedAt = metadata.recordedAt;
      return;
    case 'unknown_resolved':
      next.settledState = null;
      next.attention = null;
      resolve(next, event.data.as);
      return;
    case 'late_result_recorded':
      if (event.data.conflict === true) next.attention = conflictOf(event);
      return;
    case 'cancel_requested':
      return;
  }
}

function succeed(next: Draft<Deployment>, attemptId: AttemptId): void {
  switch (next.currentAttempt?.kind) {
    case 'deploy':
      next.lastReadyAttempt = attemptId;
      return;
    case 'teardown':
      next.tornDown = true;
      next.lastReadyAttempt = null;
      return;
    case 'maintenance':
    case undefined:
      return;
  }
}

function resolve(next: Draft<Deployment>, as: Resolution): void {
  next.tornDown = as === 'torn_down';
  if (as === 'torn_down') next.lastReadyAttempt = null;
  if (as !== 'ready') return;
  const attempt = next.currentAttempt;
  if (attempt?.kind === 'deploy' && attempt.startedAt !== null)
    next.lastReadyAttempt = attempt.attemptId;
}

function conflictOf({
  data: { attemptId, outcome },
  metadata,
}: Extract<DeploymentEvent, { type: 'late_result_recorded' }>): Deployment['attention'] {
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

// Written out member by member: a spread that is then overridden costs 0.6 µs, this one 0.01 µs, and
// every fold of every projection pays it for every event. The compiler finds a member left out.
function draftOf(deployment: Deployment): Draft<Deployment> {
  return {
    deploymentId: deployment.deploymentId,
    created: deployment.created,
    name: deployment.name,
    environment: deployment.environment,
    labels: deployment.labels,
    confirmPhrase: deployment.confirmPhrase,
    policy: deployment.policy,
    state: deployment.state,
    reason: deployment.reason,
    since: deployment.since,
    settledState: deployment.settledState,
    tornDown: deployment.tornDown,
    lastReadyAttempt: deployment.lastReadyAttempt,
    attention: deployment.attention,
    archived: deployment.archived,
    everStarted: deployment.everStarted,
    observedAt: deployment.observedAt,
    currentAttempt: deployment.currentAttempt,
    earlierAttempts: deployment.earlierAttempts,
  };
}

function draftOfAttempt(attempt: Attempt): Draft<Attempt> {
  return {
    attemptId: attempt.attemptId,
    number: attempt.number,
    scope: attempt.scope,
    kind: attempt.kind,
    state: attempt.state,
    exitCode: attempt.exitCode,
    code: attempt.code,
    reason: attempt.reason,
    cause: attempt.cause,
    cancelRequested: attempt.cancelRequested,
    recovered: attempt.recovered,
    resolved: attempt.resolved,
    runner: attempt.runner,
    leaseTokenHash: attempt.leaseTokenHash,
    leaseMs: attempt.leaseMs,
    openedAt: attempt.openedAt,
    startedAt: attempt.startedAt,
    endedAt: attempt.endedAt,
    openedFrom: attempt.openedFrom,
    lateResults: attempt.lateResults,
    staleResults: attempt.staleResults,
    meta: attempt.meta,
  };
}
