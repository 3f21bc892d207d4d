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
  /** Revision of the last event about this attempt. */
  readonly revision: Revision;
  readonly attempt: Attempt;
};

/** Every attempt of every deployment, folded by the same rules as the aggregate's current attempt. */
export const attempts = defineProjection<AttemptRow>({
  name: 'attempts',
  version: 1,
  columns: {
    deploymentId: { type: 'text' },
    attemptId: { type: 'text' },
    number: { type: 'integer' },
    scope: { type: 'text' },
    state: { type: 'text' },
    revision: { type: 'bigint' },
    attempt: { type: 'json' },
  },
  key: ['deploymentId', 'attemptId'],
  indexes: [['deploymentId', 'number']],
  keyOf: (event) =>
    event.type !== 'state_transition' && 'attemptId' in event.data
      ? [event.deploymentId, event.data.attemptId]
      : null,
  evolve(row, event) {
    const attempt = attemptAfter(row?.attempt ?? null, event);
    if (attempt === null) throw new Error(`${event.type} of an attempt that was never opened`);
    const { attemptId, number, scope, state } = attempt;
    const { deploymentId, revision } = event;
    return { deploymentId, attemptId, number, scope, state, revision, attempt };
  },
});

function attemptAfter(attempt: Attempt | null, event: PlacedEvent): Attempt | null {
  switch (event.type) {
    case 'attempt_opened':
      return openedAttempt(event, false);
    case 'deployment_created':
    case 'deployment_updated':
    case 'deployment_archived':
    case 'state_transition':
      return attempt;
    case 'stale_result_recorded':
      return attempt === null ? null : recordStale(attempt, event.data);
    case 'attempt_start':
    case 'cancel_requested':
    case 'attempt_end':
    case 'attempt_lost':
    case 'attempt_recovered':
    case 'unknown_resolved':
    case 'late_result_recorded':
      return attempt === null ? null : evolveAttempt(attempt, event);
  }
}
