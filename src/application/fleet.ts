/** The fleet as it was at a time, and what changed between two, from the transitions. */
import type { Actor, Instant, State } from '../domain/event-schema.js';
import type { Position, Revision } from '../ports/event-store.js';
import type { Condition, Latest, ReadModels, RowQuery } from '../ports/read-models.js';
import { transitions, type TransitionRow } from '../projections/transitions.js';

/**
 * A point in two times. `at`: what had happened by then, as it is known; `asOf`: what was recorded by then.
 * Without `at`, all that was known; without `asOf`, as it is known now.
 */
export interface Moment {
  readonly at?: Instant;
  readonly asOf?: Instant;
}

/** Two times, as far as is known, or was known `asOf`. */
export interface Span {
  readonly from: Instant;
  /** Without an end, all that is known. */
  readonly to?: Instant;
  readonly asOf?: Instant;
}

/** Which part of a list. `before`: only what stands in the log before this position. */
export interface Part {
  readonly limit: number;
  readonly before?: Position;
}

/** A deployment at a time: its last change of state by then. */
export interface DeploymentThen {
  readonly deploymentId: string;
  readonly state: State;
  /** When the change happened. */
  readonly since: Instant;
  readonly recordedAt: Instant;
  readonly reason: string | null;
  readonly trigger: string;
  readonly attemptId: string | null;
  readonly number: number | null;
  readonly scope: string | null;
  readonly exitCode: number | null;
  readonly code: string | null;
  readonly recovered: boolean;
  readonly actor: Actor;
  readonly revision: Revision;
  readonly position: Position;
}

/** A deployment whose state changed between two times, be it back to what it was. */
export interface ChangeView {
  readonly deploymentId: string;
  /** Null when there was nothing of it yet. */
  readonly before: State | null;
  readonly after: State;
  /** The change that led to `after`. */
  readonly last: TransitionRow;
}

/** Deployments at a moment, the newest change first; those without a change of state by then are absent. */
export async function deploymentsThen(
  readModels: ReadModels,
  { state, limit, before, ...moment }: Moment & Part & { readonly state?: State },
): Promise<readonly DeploymentThen[]> {
  const rows = await readModels.find(transitions, {
    ...newestFirst({ limit, before }, state === undefined ? [] : [{ column: 'to', is: state }]),
    latest: lastBy(moment),
  });
  return rows.map(({ deploymentId, from: _, to, occurredAt, recordedAt, position, ...row }) => ({
    deploymentId,
    state: to,
    since: occurredAt,
    recordedAt,
    ...row,
    position,
  }));
}

/** How many deployments there were in each state at a moment. */
export function countThen(
  readModels: ReadModels,
  moment: Moment,
): Promise<ReadonlyMap<string, number>> {
  return readModels.countBy(transitions, 'to', { latest: lastBy(moment) });
}

/**
 * Deployments that changed between two times, the newest change first.
 *
 * A deployment has changed exactly when its last transition by the end is one that happened after the
 * beginning: were it by the beginning, it would be the last one there, too.
 */
export async function changesIn(
  readModels: ReadModels,
  { from, to, asOf, ...part }: Span & Part,
): Promise<readonly ChangeView[]> {
  const known = asOf === undefined ? {} : { asOf };
  const rows = await readModels.find(transitions, {
    ...newestFirst(part, [{ column: 'occurredAt', after: from }]),
    latest: lastBy({ ...known, ...(to !== undefined && { at: to }) }),
  });
  const ids = rows.map(({ deploymentId }) => deploymentId);
  const earlier = await readModels.find(transitions, {
    ...newestFirst({ limit: Math.max(1, ids.length) }),
    latest: lastBy({ ...known, at: from }, [{ column: 'deploymentId', in: ids }]),
  });
  const before = new Map(earlier.map((row) => [row.deploymentId, row.to]));
  return rows.map((last) => ({
    deploymentId: last.deploymentId,
    before: before.get(last.deploymentId) ?? null,
    after: last.to,
    last,
  }));
}

/** Of each deployment the last transition, in log order, of those that count at a moment. */
function lastBy(
  { at, asOf }: Moment,
  among: readonly Condition<TransitionRow>[] = [],
): Latest<TransitionRow> {
  return {
    per: 'deploymentId',
    by: 'position',
    among: [
      ...among,
      ...(at === undefined ? [] : [{ column: 'occurredAt', notAfter: at } as const]),
      ...(asOf === undefined ? [] : [{ column: 'recordedAt', notAfter: asOf } as const]),
    ],
  };
}

function newestFirst(
  { limit, before }: { readonly limit: number; readonly before?: Position | undefined },
  where: readonly Condition<TransitionRow>[] = [],
): RowQuery<TransitionRow> {
  return {
    where: [
      ...where,
      ...(before === undefined ? [] : [{ column: 'position', below: before } as const]),
    ],
    orderBy: { column: 'position', direction: 'descending' },
    limit,
  };
}
