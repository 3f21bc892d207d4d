import type { Actor, Instant, State } from '../domain/event-schema.js';
import type { Position, Revision } from '../ports/event-store.js';
import { defineProjection } from './projection.js';

/** A row of `transitions`: one change of one deployment's state. Rows are never changed. */
export type TransitionRow = {
  readonly position: Position;
  readonly recordedAt: Instant;
  readonly occurredAt: Instant;
  readonly deploymentId: string;
  readonly revision: Revision;
  readonly from: State | null;
  readonly to: State;
  readonly trigger: string;
  readonly attemptId: string | null;
  readonly number: number | null;
  readonly scope: string | null;
  readonly reason: string | null;
  readonly exitCode: number | null;
  readonly code: string | null;
  readonly recovered: boolean;
  readonly actor: Actor;
};

/** Every `state_transition` of the fleet, in log order. */
export const transitions = defineProjection<TransitionRow>({
  name: 'transitions',
  version: 2,
  columns: {
    position: { type: 'bigint' },
    recordedAt: { type: 'text' },
    occurredAt: { type: 'text' },
    deploymentId: { type: 'text' },
    revision: { type: 'bigint' },
    from: { type: 'text', nullable: true },
    to: { type: 'text' },
    trigger: { type: 'text' },
    attemptId: { type: 'text', nullable: true },
    number: { type: 'integer', nullable: true },
    scope: { type: 'text', nullable: true },
    reason: { type: 'text', nullable: true },
    exitCode: { type: 'integer', nullable: true },
    code: { type: 'text', nullable: true },
    recovered: { type: 'boolean' },
    actor: { type: 'json' },
  },
  key: ['position'],
  indexes: [
    // What the fleet was at a time is found in this index alone, a quarter of the table.
    ['deploymentId', 'position', 'occurredAt', 'recordedAt'],
  ],
  keyOf: (event) => (event.type === 'state_transition' ? [event.position] : null),
  evolve(row, event) {
    if (event.type !== 'state_transition') throw new Error(`${event.type} is not a transition`);
    const { data, metadata, position, revision } = event;
    return (
      row ?? {
        position,
        recordedAt: metadata.recordedAt,
        occurredAt: metadata.occurredAt,
        deploymentId: event.deploymentId,
        revision,
        from: data.from,
        to: data.to,
        trigger: data.trigger,
        attemptId: data.attemptId ?? null,
        number: data.number ?? null,
        scope: data.scope ?? null,
        reason: data.reason ?? null,
        exitCode: data.exitCode ?? null,
        code: data.code ?? null,
        recovered: data.recovered ?? false,
        actor: metadata.actor,
      }
    );
  },
});
