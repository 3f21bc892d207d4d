import { evolve, unrecorded, type Deployment } from '../../src/domain/deployment.js';
import type {
  Actor,
  AttemptId,
  DeploymentEvent,
  EventData,
  EventMetadata,
  EventType,
  Fact,
  Instant,
  LossCause,
  Outcome,
  Resolution,
  State,
} from '../../src/domain/event-schema.js';
import { KINDS, SERVICE, SHOP } from './commands.js';
import { idOf, metadataOf } from './events.js';

/** A fact that a history is made of, with the actor where one matters. */
export type Told = Fact & { readonly by?: Actor };

type Spare<T extends EventType, K extends string = never> = Partial<
  Omit<EventData[T], 'attemptId' | K>
>;
const about = (attemptId: string) => ({ attemptId: idOf<AttemptId>(attemptId) });

/*
 * One function for each event: what a test is about comes first, the rest in the last argument.
 * Nothing is derived: a history says everything itself, so also a wrong one can be told.
 */

export const created = (data: Spare<'deployment_created'> = {}): Told => ({
  type: 'deployment_created',
  data: { name: SHOP, ...data },
});

export const updated = (data: EventData['deployment_updated']): Told => ({
  type: 'deployment_updated',
  data,
});

/** Opens attempt `a<number>`. */
export const opened = (number: number, data: Spare<'attempt_opened', 'number'> = {}): Told => {
  const scope = data.scope ?? 'full';
  const kind = KINDS[scope] ?? 'deploy';
  const what = { ...about(`a${number}`), number, scope, kind };
  return { type: 'attempt_opened', data: { ...what, settledState: 'pending', ...data } };
};

export const started = (attemptId: string, data: Spare<'attempt_start'> = {}): Told => ({
  type: 'attempt_start',
  data: { ...about(attemptId), ...data },
});

export const cancelRequested = (attemptId: string, data: Spare<'cancel_requested'> = {}): Told => ({
  type: 'cancel_requested',
  data: { ...about(attemptId), ...data },
});

export const ended = (
  attemptId: string,
  outcome: Outcome,
  data: Spare<'attempt_end', 'outcome'> = {},
): Told => ({ type: 'attempt_end', data: { ...about(attemptId), outcome, ...data } });

export const lost = (
  attemptId: string,
  cause: LossCause = 'lease_expired',
  data: Spare<'attempt_lost', 'cause'> = {},
): Told => ({ type: 'attempt_lost', data: { ...about(attemptId), cause, ...data } });

export const recovered = (attemptId: string): Told => ({
  type: 'attempt_recovered',
  data: about(attemptId),
});

export const resolved = (
  as: Resolution,
  data: Partial<Omit<EventData['unknown_resolved'], 'as'>> = {},
): Told => ({ type: 'unknown_resolved', data: { as, reason: 'looked at it', ...data } });

export const lateResult = (
  attemptId: string,
  outcome: Outcome,
  data: Spare<'late_result_recorded', 'outcome'> = {},
): Told => ({ type: 'late_result_recorded', data: { ...about(attemptId), outcome, ...data } });

export const staleResult = (
  attemptId: string,
  outcome: Outcome,
  data: Spare<'stale_result_recorded', 'outcome'> = {},
): Told => ({ type: 'stale_result_recorded', data: { ...about(attemptId), outcome, ...data } });

export const archived = (data: EventData['deployment_archived'] = {}): Told => ({
  type: 'deployment_archived',
  data,
});

/** The change of state as the log holds it. */
export const transition = (
  from: State | null,
  to: State,
  data: Omit<EventData['state_transition'], 'deploymentId' | 'from' | 'to'>,
): Told => ({ type: 'state_transition', data: { deploymentId: SHOP, from, to, ...data } });

/** A change of state in a history, where only the state that it leads to matters. */
export const became = (to: State): Told => transition(null, to, { trigger: 'Told' });

/** The same fact, told of somebody else. */
export const by = (actor: Actor, fact: Told): Told => ({ ...fact, by: actor });

const START_MS = Date.parse('2026-01-01T00:00:00.000Z');
/** When the n-th event of a history (from 0) was recorded: one a second. */
export const recordedAt = (n: number): Instant => new Date(START_MS + n * 1000).toISOString();
/** When what the n-th event tells of happened: a quarter of a second before it was recorded. */
export const occurredAt = (n: number): Instant => new Date(START_MS + n * 1000 - 250).toISOString();

/** Metadata of the n-th event of a history. */
export function toldMetadata(n: number, actor = SERVICE): EventMetadata {
  const times = { recordedAt: recordedAt(n), occurredAt: occurredAt(n) };
  return metadataOf({ commandId: `command-${n}`, actor, ...times });
}

/** Folds facts as if they had been recorded one a second. */
export function foldOf(facts: readonly Told[]): Deployment {
  return facts.reduce<Deployment>(
    (deployment, fact, n) => evolve(deployment, eventOf(fact, toldMetadata(n, fact.by))),
    unrecorded(SHOP),
  );
}

/** The event that a fact becomes in the log. */
export function eventOf({ type, data }: Fact, metadata: EventMetadata): DeploymentEvent {
  return { type, data, metadata } as DeploymentEvent;
}
