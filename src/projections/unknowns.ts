import type { Actor, Instant } from '../domain/event-schema.js';
import type { Position } from '../ports/event-store.js';
import { defineProjection } from './projection.js';

/** A row of `unknowns`: the last time that nobody knew what a deployment is. */
export type UnknownRow = {
  readonly deploymentId: string;
  /** Whether nobody knows it yet. */
  readonly isOpen: boolean;
  /** Of the change to unknown. */
  readonly position: Position;
  readonly recordedAt: Instant;
  readonly occurredAt: Instant;
  readonly attemptId: string | null;
  readonly number: number | null;
  readonly scope: string | null;
  readonly reason: string | null;
  readonly actor: Actor;
  /** How often it was unknown, this time included. */
  readonly times: number;
};

/** Deployments that are or were unknown: a list of what a human has to look at, the longest wait first. */
export const unknowns = defineProjection<UnknownRow>({
  name: 'unknowns',
  version: 1,
  columns: {
    deploymentId: { type: 'text' },
    isOpen: { type: 'boolean' },
    position: { type: 'bigint' },
    recordedAt: { type: 'text' },
    occurredAt: { type: 'text' },
    attemptId: { type: 'text', nullable: true },
    number: { type: 'integer', nullable: true },
    scope: { type: 'text', nullable: true },
    reason: { type: 'text', nullable: true },
    actor: { type: 'json' },
    times: { type: 'integer' },
  },
  key: ['deploymentId'],
  indexes: [['isOpen', 'position']],
  keyOf: (event) =>
    event.type === 'state_transition' && [event.data.from, event.data.to].includes('unknown')
      ? [event.deploymentId]
      : null,
  evolve(row, event) {
    if (event.type !== 'state_transition') throw new Error(`${event.type} is not a transition`);
    const { data, metadata, deploymentId, position } = event;
    if (data.to !== 'unknown') {
      if (row === null) throw new Error('it leaves unknown and was never there');
      return { ...row, isOpen: false };
    }
    return {
      deploymentId,
      isOpen: true,
      position,
      recordedAt: metadata.recordedAt,
      occurredAt: metadata.occurredAt,
      attemptId: data.attemptId ?? null,
      number: data.number ?? null,
      scope: data.scope ?? null,
      reason: data.reason ?? null,
      actor: metadata.actor,
      times: (row?.times ?? 0) + 1,
    };
  },
});
