import { evolveAttempt, openedAttempt, recordStale, type Attempt } from '../domain/deployment.js';
import type { Revision } from '../ports/event-store.js';
import { defineProjection, type PlacedEvent } from './projection.js';

/** A row of `attempts`. */
export type AttemptRow = {
  readonly deploymentId: string;
  readonly attemptId: string;
  readonly number: number;
  readonly scope: string;
  readonly state: string;
  /** From its start to its end; null where it lacks one of them. Milliseconds. */
  readonly tookMs: number | null;
  /** Revision of the last event about this attempt. */
  readonly revision: Revision;
  readonly attempt: Attempt;
};

/** Every attempt of every deployment, folded by the same rules as the aggregate's current attempt. */
export const attempts = defineProjection<AttemptRow>({
  name: 'attempts',
  version: 2,
  columns: {
    deploymentId: { type: 'text' },
    attemptId: { type: 'text' },
    number: { type: 'integer' },
    scope: { type: 'text' },
    state: { type: 'text' },
    tookMs: { type: 'integer', nullable: true },
    revision: { type: 'bigint' },
    attempt: { type: 'json' },
  },
  key: ['deploymentId', 'attemptId'],
  indexes: [
    ['deploymentId', 'number'],
    // Attempts by scope and outcome, and what they took, are counted in this index alone.
    ['scope', 'state', 'tookMs'],
  ],
  keyOf: (event) =>
    event.type !== 'state_transition' && 'attemptId' in event.data
      ? [event.deploymentId, event.data.attemptId]
      : null,
  evolve(row, event) {
    const attempt = attemptAfter(row?.attempt ?? null, event);
    if (attempt === null) throw new Error(`${event.type} of an attempt that was never opened`);
    const { attemptId, number, scope, state } = attempt;
    const { deploymentId, revision } = event;
    const tookMs = tookOf(attempt);
    return { deploymentId, attemptId, number, scope, state, tookMs, revision, attempt };
  },
});

function tookOf({ startedAt, endedAt }: Attempt): number | null {
  if (startedAt === null || endedAt === null) return null;
  return Math.max(0, Date.parse(endedAt) - Date.parse(startedAt));
}

type AttemptEvent = Parameters<typeof evolveAttempt>[1];
/** The events that `evolveAttempt` folds. */
const FOLDED: Readonly<Record<AttemptEvent['type'], true>> = {
  attempt_start: true,
  cancel_requested: true,
  attempt_end: true,
  attempt_lost: true,
  attempt_recovered: true,
  unknown_resolved: true,
  late_result_recorded: true,
};

function attemptAfter(attempt: Attempt | null, event: PlacedEvent): Attempt | null {
  if (event.type === 'attempt_opened') return openedAttempt(event, false);
  if (attempt === null) return null;
  if (event.type === 'stale_result_recorded') return recordStale(attempt, event.data);
  return isFolded(event) ? evolveAttempt(attempt, event) : attempt;
}

function isFolded(event: PlacedEvent): event is PlacedEvent & AttemptEvent {
  return Object.hasOwn(FOLDED, event.type);
}
