/**
 * What a history must look like to have come from the rules. `evolve` takes whatever is stored; an event
 * that comes from outside, as by an import, is asked here first.
 */
import { findAttempt, isActive, type Attempt, type Deployment } from './deployment.js';
import type { AttemptId, DeploymentEvent, EventType, State } from './event-schema.js';

type EventOf<T extends EventType> = Extract<DeploymentEvent, { type: T }>;
type Rules = {
  readonly [T in EventType]: (before: Deployment, event: EventOf<T>) => string | null;
};

/** Says why an event can not follow what is recorded of a deployment; null when it can. Pure. */
export function illegalBecause(before: Deployment, event: DeploymentEvent): string | null {
  const isCreation = event.type === 'deployment_created';
  if (before.created === null && !isCreation) return 'nothing precedes deployment_created';
  if (before.archived) return 'nothing follows deployment_archived';
  const rule = RULES[event.type] as (before: Deployment, event: DeploymentEvent) => string | null;
  return rule(before, event);
}

/**
 * Says why a command can not have left a deployment like this; null when it can. Between the events of
 * one command it may be so, since the change of state follows its cause.
 */
export function unsettledBecause(deployment: Deployment): string | null {
  const { state, since, currentAttempt, tornDown } = deployment;
  if (since === null) return 'the first state_transition is missing';
  if (tornDown && state === 'ready') return 'it is torn down and ready';
  const needed = currentAttempt === null ? null : stateNeededBy(currentAttempt);
  if (needed !== null && state !== needed) {
    return `an attempt is ${phaseOf(currentAttempt)} and the state is ${state}`;
  }
  return needed !== 'deploying' && state === 'deploying'
    ? 'the state is deploying and no attempt is running'
    : null;
}

/** The state that the deployment has because of its current attempt; null when that says nothing. */
function stateNeededBy(attempt: Attempt): State | null {
  if (attempt.state === 'running') return 'deploying';
  if (attempt.state === 'pending') return 'pending';
  return isLost(attempt) ? 'unknown' : null;
}

function phaseOf(attempt: Attempt | null): string {
  return attempt?.state === 'unknown' ? 'lost' : (attempt?.state ?? 'missing');
}

const RULES: Rules = {
  deployment_created: ({ created }) => (created === null ? null : 'it is created already'),
  deployment_updated: () => null,
  deployment_archived: ({ currentAttempt, state }) =>
    (currentAttempt !== null && isActive(currentAttempt)) || state === 'unknown'
      ? `it is archived while ${state}`
      : null,
  attempt_opened: (before, { data }) => openedBecause(before, data),
  attempt_start: (before, { data }) =>
    ofCurrent(before, data.attemptId, ({ state, startedAt }) =>
      startedAt === null && (state === 'pending' || state === 'running')
        ? null
        : 'is started, but it does not wait for a start',
    ),
  cancel_requested: (before, { data }) =>
    ofCurrent(before, data.attemptId, ({ state }) =>
      state === 'running' ? null : 'is asked to stop, but it does not run',
    ),
  attempt_end: (before, { data }) =>
    ofCurrent(before, data.attemptId, (attempt) =>
      isActive(attempt) || isLost(attempt) ? null : 'ends twice',
    ),
  attempt_lost: (before, { data }) =>
    ofCurrent(before, data.attemptId, (attempt) =>
      isActive(attempt) ? null : 'is lost, but it was not active',
    ),
  attempt_recovered: (before, { data }) =>
    ofCurrent(before, data.attemptId, (attempt) =>
      isLost(attempt) ? null : 'is heard of again, but it was not lost',
    ),
  unknown_resolved: ({ state, attention }) =>
    state === 'unknown' || attention !== null ? null : 'there is nothing to resolve',
  late_result_recorded: (before, { data }) =>
    ofCurrent(before, data.attemptId, (attempt) =>
      isActive(attempt) ? 'has a late result, but it is active' : null,
    ),
  stale_result_recorded: (before, { data: { attemptId } }) =>
    attemptId !== before.currentAttempt?.attemptId && findAttempt(before, attemptId) !== null
      ? null
      : `attempt ${attemptId} is not an older one`,
  state_transition: ({ deploymentId, since, state }, { data }) => {
    if (data.deploymentId !== deploymentId) return `it is about ${data.deploymentId}`;
    const from = since === null ? null : state;
    if (data.from !== from)
      return `it goes on from ${String(data.from)}, but the state is ${String(from)}`;
    return data.to === from ? `it goes from ${from} to ${data.to}` : null;
  },
};

function openedBecause(
  before: Deployment,
  { attemptId, number, kind, settledState }: EventOf<'attempt_opened'>['data'],
): string | null {
  const { currentAttempt, state } = before;
  const next = (currentAttempt?.number ?? 0) + 1;
  if (number !== next) return `attempt ${attemptId} has number ${number}, the next one is ${next}`;
  if (findAttempt(before, attemptId) !== null) return `attempt ${attemptId} is opened already`;
  if (currentAttempt !== null && isActive(currentAttempt)) {
    return `attempt ${attemptId} is opened while ${currentAttempt.attemptId} is active`;
  }
  if (settledState !== state) return `it is opened from ${settledState}, but the state is ${state}`;
  return kind === 'teardown' && state === 'unknown' ? 'a teardown is opened in unknown' : null;
}

function ofCurrent(
  { currentAttempt }: Deployment,
  attemptId: AttemptId,
  rule: (attempt: Attempt) => string | null,
): string | null {
  if (currentAttempt?.attemptId !== attemptId) return `attempt ${attemptId} is not the current one`;
  const problem = rule(currentAttempt);
  return problem === null ? null : `attempt ${attemptId} ${problem}`;
}

function isLost({ state, resolved }: Attempt): boolean {
  return state === 'unknown' && resolved === null;
}
