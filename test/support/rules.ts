import type { DeploymentCommand } from '../../src/domain/command.js';
import { decide } from '../../src/domain/decide.js';
import type { Circumstances, Decision } from '../../src/domain/decision.js';
import { evolve, type Attempt, type Deployment } from '../../src/domain/deployment.js';
import type { EventMetadata, Fact, ScopeKind, State } from '../../src/domain/event-schema.js';
import { eventOf } from './facts.js';

/**
 * What a bystander makes of the events: who is sure of the state, told without any attribute that the
 * rules keep for themselves. The rules about `unknown` are checked against it.
 */
export interface Witness {
  /** The state by `state_transition` alone. */
  readonly state: State | null;
  /** Whether an attempt was lost and neither it nor a human nor a later deployment told how it went. */
  readonly unsure: boolean;
  readonly unsureAtOpening: boolean;
  readonly started: boolean;
  readonly kind: ScopeKind | null;
}

/** Who has not seen an event yet. */
export const NO_WITNESS: Witness = {
  state: null,
  unsure: false,
  unsureAtOpening: false,
  started: false,
  kind: null,
};

function witnessed(witness: Witness, { type, data }: Fact): Witness {
  switch (type) {
    case 'state_transition':
      return { ...witness, state: data.to };
    case 'attempt_opened':
      return { ...witness, unsureAtOpening: witness.unsure, started: false, kind: data.kind };
    case 'attempt_start':
      return { ...witness, started: true };
    case 'attempt_lost':
      return { ...witness, unsure: true };
    case 'attempt_recovered':
      return { ...witness, unsure: witness.unsureAtOpening };
    case 'attempt_end':
      return { ...witness, unsure: ranToSay(witness) ? false : witness.unsureAtOpening };
    case 'unknown_resolved':
      return { ...witness, unsure: false };
    case 'deployment_created':
    case 'deployment_updated':
    case 'deployment_archived':
    case 'cancel_requested':
    case 'late_result_recorded':
    case 'stale_result_recorded':
      return witness;
  }
}

/** Whether the end of an attempt says what the target is now. */
const ranToSay = ({ started, kind }: Witness): boolean => started && kind !== 'maintenance';

/** A deployment and what was witnessed of it. */
export interface Moment {
  readonly deployment: Deployment;
  readonly witness: Witness;
}

/** One command, what was answered, and what came of it. */
export interface Step {
  readonly before: Moment;
  readonly command: DeploymentCommand;
  readonly circumstances: Circumstances;
  readonly decision: Decision;
  /** What the answer left in the stream: the events of an acceptance, the record of a refusal. */
  readonly events: readonly Fact[];
  readonly after: Moment;
}

/** Asks one command and folds what it leaves. */
export function stepOf(
  before: Moment,
  { command, circumstances }: Pick<Step, 'command' | 'circumstances'>,
  metadata: EventMetadata,
): Step {
  const decision = decide(command, before.deployment, circumstances);
  const events = decision.ok ? decision.events : decision.record;
  let { deployment, witness } = before;
  for (const fact of events) {
    deployment = evolve(deployment, eventOf(fact, metadata));
    witness = witnessed(witness, fact);
  }
  return { before, command, circumstances, decision, events, after: { deployment, witness } };
}

/** The first rule that a step breaks; null when it keeps them all. */
export function brokenRule(step: Step): string | null {
  // What wrote nothing left the very moment that was checked before.
  if (step.events.length === 0) return null;
  for (const [rule, holds] of RULES) {
    if (!holds(step)) return rule;
  }
  return null;
}

/** The rules that must hold in every interleaving; the ninth is about folding and has its own test. */
const RULES: readonly (readonly [rule: string, holds: (step: Step) => boolean])[] = [
  ['1: a refusal changes no state', ({ decision, ...step }) => decision.ok || !changes(step)],
  ['1: a refusal leaves at most one record', leavesItsRecord],
  ['2: a change of state is one transition, the last event', isToldByOneTransition],
  ['2: transitions alone tell the state', ({ after }) => after.witness.state === stateOf(after)],
  ['3: unknown is left only by a human or by evidence', isLeftByWhoKnows],
  ['3: what did not run leaves unknown what was unknown', staysUnknownWithoutRunning],
  ['3: unknown is where nobody is sure', isUnknownWhereNobodyIsSure],
  ['4: a teardown never opens in unknown', opensNoTeardownInUnknown],
  ['5: older attempts are not active', ({ after }) => !olderOf(after).some(isActive)],
  ['5: older attempts have no effect', olderHasNoEffect],
  ['6: deploying is a running attempt', deployingIsRunning],
  ['6: torn down is not ready', ({ after: { deployment } }) => isEither(deployment)],
  ['7: time leads to nothing but unknown', leadsTimeToUnknown],
  ['8: a repeat adds nothing', addsNothingAgain],
];

const stateOf = ({ deployment }: Moment): State | null =>
  deployment.created === null ? null : deployment.state;
const changes = ({ before, after }: Pick<Step, 'before' | 'after'>): boolean =>
  stateOf(before) !== stateOf(after);
const isActive = ({ state }: Attempt): boolean => state === 'pending' || state === 'running';
const isLost = ({ state, resolved }: Attempt): boolean => state === 'unknown' && resolved === null;
const isEither = ({ tornDown, state }: Deployment): boolean => !(tornDown && state === 'ready');

function olderOf({ deployment }: Moment): readonly Attempt[] {
  const older: Attempt[] = [];
  let chain = deployment.earlierAttempts;
  for (; chain !== null; chain = chain.earlier) older.push(chain.attempt);
  return older;
}

const RECORDS = new Map([
  ['ATTEMPT_SUPERSEDED', 'stale_result_recorded'],
  ['ATTEMPT_TERMINAL', 'late_result_recorded'],
]);
function leavesItsRecord({ decision, events }: Step): boolean {
  if (decision.ok) return true;
  return events.length === 1 && RECORDS.get(decision.refusal.code) === events[0]?.type;
}

function isToldByOneTransition(step: Step): boolean {
  const transitions = step.events.filter((fact) => fact.type === 'state_transition');
  if (!changes(step)) return transitions.length === 0;
  const [transition] = transitions;
  if (transition === undefined || transitions.length > 1) return false;
  const { from, to } = transition.data;
  const isLast = step.events.length > 1 && step.events.at(-1) === transition;
  return isLast && from === stateOf(step.before) && to === stateOf(step.after);
}

function isLeftByWhoKnows(step: Step): boolean {
  const { before, command, after } = step;
  if (stateOf(before) !== 'unknown' || stateOf(after) === 'unknown') return true;
  switch (command.type) {
    case 'ResolveUnknown':
      return command.actor.kind === 'human';
    case 'OpenAttempt':
      return command.actor.kind === 'human' && command.acknowledgeUnknown !== undefined;
    case 'EndAttempt':
    case 'StartAttempt':
    case 'Heartbeat': {
      const { currentAttempt } = before.deployment;
      const isCurrent = currentAttempt?.attemptId === command.attemptId;
      return isCurrent && isLost(currentAttempt);
    }
    case 'CreateDeployment':
    case 'UpdateDeployment':
    case 'CancelAttempt':
    case 'MarkUnknown':
    case 'ArchiveDeployment':
      return false;
  }
}

function staysUnknownWithoutRunning({ before, events, after }: Step): boolean {
  const ends = events.some(({ type }) => type === 'attempt_end');
  const { witness } = before;
  return !ends || !witness.unsureAtOpening || ranToSay(witness) || stateOf(after) === 'unknown';
}

function isUnknownWhereNobodyIsSure({ after }: Step): boolean {
  const { currentAttempt } = after.deployment;
  if (currentAttempt !== null && isActive(currentAttempt)) return true;
  return after.witness.unsure === (stateOf(after) === 'unknown');
}

function opensNoTeardownInUnknown({ before, events }: Step): boolean {
  const opens = events.some(
    (fact) => fact.type === 'attempt_opened' && fact.data.kind === 'teardown',
  );
  return !opens || (stateOf(before) !== 'unknown' && !before.witness.unsure);
}

function olderHasNoEffect(step: Step): boolean {
  const { command, before, events } = step;
  const isOlder =
    'attemptId' in command &&
    command.type !== 'OpenAttempt' &&
    command.attemptId !== before.deployment.currentAttempt?.attemptId;
  return !isOlder || events.every(({ type }) => type === 'stale_result_recorded');
}

function deployingIsRunning({ after: { deployment } }: Step): boolean {
  const { state, currentAttempt } = deployment;
  if ((state === 'deploying') !== (currentAttempt?.state === 'running')) return false;
  if (currentAttempt === null) return true;
  if (currentAttempt.state === 'pending') return state === 'pending';
  return !isLost(currentAttempt) || state === 'unknown';
}

function leadsTimeToUnknown(step: Step): boolean {
  return step.command.type !== 'MarkUnknown' || !changes(step) || stateOf(step.after) === 'unknown';
}

function addsNothingAgain({ command, circumstances, decision, after }: Step): boolean {
  if (!decision.ok) return true;
  const again = decide(command, after.deployment, circumstances);
  return (again.ok ? again.events : again.record).length === 0;
}
