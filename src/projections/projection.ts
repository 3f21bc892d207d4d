import type { DeploymentEvent, DeploymentId } from '../domain/event-schema.js';
import type { Position, Revision } from '../ports/event-store.js';
import type { Row, RowKey, Table } from '../ports/read-models.js';

/** A parsed event with its place in the log. */
export type PlacedEvent = DeploymentEvent & {
  readonly deploymentId: DeploymentId;
  readonly revision: Revision;
  readonly position: Position;
};

/**
 * A read model as a fold of the log into the rows of one table: one definition for every database.
 *
 * `evolve` is pure and takes only the row that the event concerns, so that rows can be folded in any
 * batch size and compared with the log at any time. Derived from a definition: the table, its indexes,
 * catch-up, rebuild, lag, verification.
 */
export interface Projection<R extends Row = Row> extends Table<R> {
  /** The key of the row that an event changes; null when it changes none. */
  keyOf(this: void, event: PlacedEvent): RowKey | null;
  /** The row after an event; `row` is null before its first one. Never throws on a legal history. */
  evolve(this: void, row: R | null, event: PlacedEvent): R;
}

/** Declares a projection, checking its columns and key against its row. */
export function defineProjection<R extends Row>(projection: Projection<R>): Projection<R> {
  return projection;
}
