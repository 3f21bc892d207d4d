/** Figures of the fleet that people ask for: time in state, attempts by outcome, what nobody knows. */
import { STATES, type Actor, type Instant, type State } from '../domain/event-schema.js';
import type { Position } from '../ports/event-store.js';
import type { Condition, ReadModels } from '../ports/read-models.js';
import { attempts, type AttemptRow } from '../projections/attempts.js';
import { stays, type StaysRow } from '../projections/stays.js';
import { unknowns, type UnknownRow } from '../projections/unknowns.js';

/** What one state came to, of one deployment or of all. */
export interface TimeInState {
  readonly state: State;
  /** How often it was entered. */
  readonly stays: number;
  /** Deployments that are in it now. */
  readonly open: number;
  /** Until now. Milliseconds. */
  readonly totalMs: number;
}

/** Attempts of one scope that are in one state, which is the outcome once they have ended. */
export interface AttemptCount {
  readonly scope: string;
  readonly state: string;
  readonly attempts: number;
  /** From start to end, of those that have both; null where none has. Milliseconds. */
  readonly meanMs: number | null;
}

/** A deployment of which nobody knows what it is. */
export interface UnknownView {
  readonly deploymentId: string;
  /** When it was recorded that it is unknown. */
  readonly since: Instant;
  readonly occurredAt: Instant;
  /** Since then. Milliseconds. */
  readonly ageMs: number;
  readonly attemptId: string | null;
  readonly number: number | null;
  readonly scope: string | null;
  readonly reason: string | null;
  readonly actor: Actor;
  /** How often it was unknown, this time included. */
  readonly times: number;
  readonly position: Position;
}

/** Of which deployments. */
interface Whose {
  readonly deploymentId?: string;
}

const SUMMED = STATES.flatMap((state) => [`${state}Ms`, `${state}Stays`] as const);

/**
 * Each state, in the order of the lifecycle. Archived deployments are left out unless they are included, or one is
 * asked for by its id. Units: `nowMs` since 1970.
 */
export async function timeInState(
  readModels: ReadModels,
  nowMs: number,
  { deploymentId, archived }: Whose & { readonly archived?: 'exclude' | 'include' },
): Promise<readonly TimeInState[]> {
  const where: Condition<StaysRow>[] = ofDeployment(deploymentId);
  const isFleet = deploymentId === undefined;
  if (archived === 'exclude' || (isFleet && archived === undefined)) {
    where.push({ column: 'archived', is: false });
  }
  const groups = await readModels.sumBy(
    stays,
    { by: ['state'], sums: ['sinceMs', ...SUMMED] },
    { where },
  );
  return STATES.map((state) => {
    const at = 1 + SUMMED.indexOf(`${state}Ms`);
    const sumAt = (n: number): bigint =>
      groups.reduce((sum, { sums }) => sum + (sums[n]?.sum ?? 0n), 0n);
    const here = groups.find(({ values: [value] }) => value === state);
    const open = here?.rows ?? 0;
    const openMs = BigInt(open) * BigInt(nowMs) - (here?.sums[0]?.sum ?? 0n);
    const totalMs = Math.max(0, Number(sumAt(at) + openMs));
    return { state, stays: Number(sumAt(at + 1)), open, totalMs };
  });
}

/** One count for each scope and state that there is, by name. */
export async function attemptCounts(
  readModels: ReadModels,
  { deploymentId }: Whose,
): Promise<readonly AttemptCount[]> {
  const groups = await readModels.sumBy(
    attempts,
    { by: ['scope', 'state'], sums: ['tookMs'] },
    { where: ofDeployment<AttemptRow>(deploymentId) },
  );
  const counts = groups.map(({ values: [scope = '', state = ''], rows, sums: [took] }) => ({
    scope,
    state,
    attempts: rows,
    meanMs: took === undefined || took.rows === 0 ? null : Math.round(Number(took.sum) / took.rows),
  }));
  return counts.sort((a, b) => (`${a.scope} ${a.state}` < `${b.scope} ${b.state}` ? -1 : 1));
}

/** What is unknown now, the longest wait first; that after a position of the list. */
export async function openUnknowns(
  readModels: ReadModels,
  nowMs: number,
  { limit, after }: { readonly limit: number; readonly after?: Position },
): Promise<readonly UnknownView[]> {
  const where: Condition<UnknownRow>[] = [{ column: 'isOpen', is: true }];
  if (after !== undefined) where.push({ column: 'position', above: after });
  const orderBy = { column: 'position', direction: 'ascending' } as const;
  const rows = await readModels.find(unknowns, { where, orderBy, limit });
  return rows.map(({ deploymentId, recordedAt, occurredAt, isOpen: _, ...row }) => ({
    deploymentId,
    since: recordedAt,
    occurredAt,
    ageMs: Math.max(0, nowMs - Date.parse(recordedAt)),
    ...row,
  }));
}

function ofDeployment<R extends { readonly deploymentId: string }>(
  deploymentId: string | undefined,
): Condition<R>[] {
  return deploymentId === undefined ? [] : [{ column: 'deploymentId', is: deploymentId }];
}
