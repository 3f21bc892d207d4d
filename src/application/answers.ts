/** Answers queries: from the read models, histories and past states of one deployment from the log itself. */
import { invalidBody } from '../domain/decision.js';
import type { Deployment } from '../domain/deployment.js';
import {
  parseId,
  STATES,
  type DeploymentId,
  type Instant,
  type State,
} from '../domain/event-schema.js';
import type { PolicyDefaults } from '../domain/lease.js';
import type { Refusal } from '../domain/refusals.js';
import {
  STREAM_PREFIX,
  type EventStore,
  type Position,
  type Revision,
} from '../ports/event-store.js';
import type { Clock } from '../ports/clock.js';
import { isFault } from '../ports/faults.js';
import type { Beat, Leases } from '../ports/leases.js';
import type { Condition, ReadModels } from '../ports/read-models.js';
import { attempts, type AttemptRow } from '../projections/attempts.js';
import { deployments, type DeploymentRow } from '../projections/deployments.js';
import { transitions, type TransitionRow } from '../projections/transitions.js';
import { parseInstant } from './fields.js';
import {
  changesIn,
  countThen,
  deploymentsThen,
  type ChangeView,
  type DeploymentThen,
  type Moment,
  type Part,
  type Span,
} from './fleet.js';
import type { CommandPath } from './handle.js';
import type { Folded } from './lanes.js';
import {
  CountByState,
  CountByStateAt,
  GetAttempt,
  GetAttemptStats,
  GetDeployment,
  GetHistory,
  GetStateAt,
  GetTimeInState,
  ListAttempts,
  ListChanges,
  ListDeployments,
  ListDeploymentsAt,
  ListTransitions,
  ListUnknowns,
  PAGE,
  type Counts,
  type LogPage,
  type Page,
  type VisiblePage,
} from './queries.js';
import { stateAt } from './replay.js';
import { Refused, refusedOn } from './refused.js';
import {
  attemptCounts,
  openUnknowns,
  timeInState,
  type AttemptCount,
  type TimeInState,
  type UnknownView,
} from './stats.js';
import {
  attemptView,
  deploymentView,
  eventView,
  type AttemptView,
  type DeploymentView,
  type EventView,
} from './views.js';

/** How far the read models are. The projector is one. */
export interface Visibility {
  /** The position up to which all read models show the log; null before the first event. */
  readonly position: Position | null;
  /** @throws {Fault} NOT_YET_VISIBLE when the time is up. */
  waitFor(position: Position, timeoutMs: number): Promise<void>;
}

/** What answering works with. */
export interface QueryOptions {
  readonly store: EventStore;
  readonly readModels: ReadModels;
  readonly leases: Leases;
  readonly commands: CommandPath;
  readonly visibility: Visibility;
  readonly defaults: PolicyDefaults;
  readonly clock: Clock;
}

/** How long a query waits for an asked position before it gives up. Milliseconds. */
const WAIT_MAX_MS = 5_000;
/** How long a query waits, unasked, for what this process itself acknowledged. Milliseconds. */
const OWN_WRITES_WAIT_MS = 500;

/** Answers queries. */
export class Answers {
  constructor(private readonly options: QueryOptions) {}

  async getDeployment(query: GetDeployment): Promise<DeploymentView> {
    const id = addressed(query.deploymentId);
    if (query.consistency === 'strong') {
      const folded = await this.options.commands.read(id);
      if (folded?.position == null) throw notFound(id);
      return this.#view(folded.deployment, {
        revision: folded.revision,
        position: folded.position,
      });
    }
    await this.#visible(query);
    const row = await this.#row(id);
    return this.#view(row.deployment, row);
  }

  async getStateAt(query: GetStateAt): Promise<DeploymentView> {
    const id = addressed(query.deploymentId);
    const { store } = this.options;
    const { revision } = query;
    const at = query.at === undefined ? undefined : instantOf(query.at);
    const asked = { ...(revision !== undefined && { revision }), ...(at !== undefined && { at }) };
    const then = await stateAt({ store, deploymentId: id, ...asked });
    if (then.found && then.deployment.created !== null) {
      return deploymentView(then.deployment, then, this.#context(null));
    }
    const now = await this.options.commands.read(id);
    if (now === null || revision === undefined) throw notFound(id);
    const detail = `${id} is at revision ${String(now.revision)}; there is no ${String(revision)}`;
    throw this.#refusal({ code: 'REVISION_NOT_FOUND', detail }, now);
  }

  async listDeployments(query: ListDeployments): Promise<VisiblePage<DeploymentView>> {
    await this.#visible(query);
    const { position } = this.options.visibility;
    const { limit, before } = partOf(query);
    const rows = await this.options.readModels.find<DeploymentRow>(deployments, {
      where: [
        ...conditionsOf(query),
        ...(before === undefined ? [] : [{ column: 'position', below: before } as const]),
      ],
      orderBy: { column: 'position', direction: 'descending' },
      limit,
    });
    const { items, nextCursor } = pageOf(rows, query, (row) => row.position);
    return { items: await this.#views(items), nextCursor, position };
  }

  async listDeploymentsAt(query: ListDeploymentsAt): Promise<VisiblePage<DeploymentThen>> {
    await this.#visible(query);
    const { state } = query;
    const { position } = this.options.visibility;
    const rows = await deploymentsThen(this.options.readModels, {
      ...momentOf(query),
      ...partOf(query),
      ...(state !== undefined && { state }),
    });
    return { ...pageOf(rows, query, (row) => row.position), position };
  }

  async listChanges(query: ListChanges): Promise<VisiblePage<ChangeView>> {
    await this.#visible(query);
    const { position } = this.options.visibility;
    const rows = await changesIn(this.options.readModels, { ...spanOf(query), ...partOf(query) });
    return { ...pageOf(rows, query, ({ last }) => last.position), position };
  }

  async getAttempt(query: GetAttempt): Promise<AttemptView> {
    await this.#visible(query);
    const id = addressed(query.deploymentId);
    const { attemptId } = query;
    const [row] = await this.options.readModels.load<AttemptRow>(attempts, 'live', [
      [id, attemptId],
    ]);
    if (row == null) {
      const { deployment, revision, position } = await this.#row(id);
      const detail = `deployment ${id} has no attempt ${attemptId}`;
      throw this.#refusal(
        { code: 'ATTEMPT_NOT_FOUND', detail },
        { deployment, revision, position },
      );
    }
    const [beat = null] = await this.options.leases.read([{ deploymentId: id, attemptId }]);
    return attemptView(id, row.attempt, beat);
  }

  async listAttempts(query: ListAttempts): Promise<Page<AttemptView>> {
    await this.#visible(query);
    const id = addressed(query.deploymentId);
    await this.#row(id);
    const { limit = Number.MAX_SAFE_INTEGER - 1, cursor } = query;
    const where: Condition<AttemptRow>[] = [{ column: 'deploymentId', is: id }];
    if (cursor !== undefined) where.push({ column: 'number', below: Number(cursor) });
    const rows = await this.options.readModels.find<AttemptRow>(attempts, {
      where,
      orderBy: { column: 'number', direction: 'descending' },
      limit: limit + 1,
    });
    const { items: shown, nextCursor } = pageOf(rows, { limit }, (row) => row.number);
    const beats = await this.options.leases.read(shown);
    const items = shown.map((row, index) => attemptView(id, row.attempt, beats[index] ?? null));
    return { items, nextCursor };
  }

  async getHistory(query: GetHistory): Promise<LogPage<EventView>> {
    const id = addressed(query.deploymentId);
    const { after, limit = PAGE.default } = query;
    const items: EventView[] = [];
    const range = { limit, ...(after !== undefined && { from: after + 1n }) };
    for await (const page of this.options.store.read(STREAM_PREFIX + id, range)) {
      items.push(...page.map(eventView));
    }
    if (items.length === 0 && (await this.options.commands.read(id)) === null) throw notFound(id);
    return { items, nextAfter: items.at(-1)?.revision ?? after ?? 'start' };
  }

  async listTransitions(query: ListTransitions): Promise<LogPage<TransitionRow>> {
    await this.#visible(query);
    const { after, deploymentId, from, to, limit = PAGE.default } = query;
    const where: Condition<TransitionRow>[] = [];
    if (after !== undefined) where.push({ column: 'position', above: after });
    if (deploymentId !== undefined) where.push({ column: 'deploymentId', is: deploymentId });
    if (from !== undefined) where.push({ column: 'from', is: from === 'none' ? null : from });
    if (to !== undefined) where.push({ column: 'to', is: to });
    const orderBy = { column: 'position', direction: 'ascending' } as const;
    const items = await this.options.readModels.find<TransitionRow>(transitions, {
      where,
      orderBy,
      limit,
    });
    return { items, nextAfter: items.at(-1)?.position ?? after ?? 'start' };
  }

  async countByState(query: CountByState): Promise<Counts> {
    await this.#visible(query);
    const counted = await this.options.readModels.countBy(deployments, 'state', {
      where: shownOf(query),
    });
    return countsOf(counted);
  }

  async countByStateAt(query: CountByStateAt): Promise<Counts> {
    await this.#visible(query);
    return countsOf(await countThen(this.options.readModels, momentOf(query)));
  }

  async getTimeInState(
    query: GetTimeInState,
  ): Promise<{ items: readonly TimeInState[]; until: Instant }> {
    await this.#visible(query);
    await this.#known(query.deploymentId);
    const until = this.options.clock.now();
    return { items: await timeInState(this.options.readModels, Date.parse(until), query), until };
  }

  async getAttemptStats(query: GetAttemptStats): Promise<{ items: readonly AttemptCount[] }> {
    await this.#visible(query);
    await this.#known(query.deploymentId);
    return { items: await attemptCounts(this.options.readModels, query) };
  }

  async listUnknowns(query: ListUnknowns): Promise<VisiblePage<UnknownView>> {
    await this.#visible(query);
    const { position } = this.options.visibility;
    const { limit, before: after } = partOf(query);
    const nowMs = Date.parse(this.options.clock.now());
    const part = { limit, ...(after !== undefined && { after }) };
    const rows = await openUnknowns(this.options.readModels, nowMs, part);
    return { ...pageOf(rows, query, (row) => row.position), position };
  }

  async #visible({ minPosition }: { readonly minPosition?: Position }): Promise<void> {
    const { visibility, commands } = this.options;
    if (minPosition !== undefined) {
      await visibility.waitFor(minPosition, WAIT_MAX_MS);
      return;
    }
    // Unasked, a caller sees at least what this process has acknowledged, unless the read models lag.
    const own = commands.lastPosition;
    if (own === null) return;
    try {
      await visibility.waitFor(own, OWN_WRITES_WAIT_MS);
    } catch (error) {
      if (!isFault(error, 'NOT_YET_VISIBLE')) throw error;
    }
  }

  /** Figures of a deployment that there is not would be zeros. */
  async #known(deploymentId: string | undefined): Promise<void> {
    if (deploymentId !== undefined) await this.#row(addressed(deploymentId));
  }

  async #row(id: DeploymentId): Promise<DeploymentRow> {
    const [row] = await this.options.readModels.load<DeploymentRow>(deployments, 'live', [[id]]);
    if (row == null) throw notFound(id);
    return row;
  }

  async #view(
    deployment: Deployment,
    at: { revision: Revision; position: Position },
  ): Promise<DeploymentView> {
    const [view] = await this.#views([{ deployment, ...at }]);
    if (view === undefined) throw new Error('one deployment has one view');
    return view;
  }

  async #views(
    rows: readonly {
      readonly deployment: Deployment;
      readonly revision: Revision;
      readonly position: Position;
    }[],
  ): Promise<readonly DeploymentView[]> {
    const running = rows.map(({ deployment: { deploymentId, currentAttempt } }) => ({
      deploymentId,
      attemptId: currentAttempt?.attemptId ?? '',
    }));
    const beats = await this.options.leases.read(running);
    return rows.map((row, index) =>
      deploymentView(row.deployment, row, this.#context(beats[index] ?? null)),
    );
  }

  #context(beat: Beat | null): { defaults: PolicyDefaults; beat: Beat | null } {
    return { defaults: this.options.defaults, beat };
  }

  #refusal(refusal: Refusal, folded: Folded): Refused {
    return refusedOn(refusal, folded, this.options);
  }
}

function conditionsOf(query: ListDeployments): readonly Condition<DeploymentRow>[] {
  const { state, environment, labels = [], q } = query;
  return [
    ...shownOf(query),
    ...(state === undefined ? [] : [{ column: 'state', is: state } as const]),
    ...(environment === undefined ? [] : [{ column: 'environment', is: environment } as const]),
    ...labels.map(({ key, value }) => ({ column: 'labels', member: key, equals: value }) as const),
    ...(q === undefined ? [] : [{ column: 'searchText', contains: q.toLowerCase() } as const]),
  ];
}

function shownOf({
  archived,
}: {
  readonly archived?: 'exclude' | 'include';
}): readonly Condition<DeploymentRow>[] {
  return archived === 'include' ? [] : [{ column: 'archived', is: false }];
}

/** What a query says of the page that it wants. */
interface Paged {
  readonly limit?: number;
  readonly cursor?: string;
}

/** The part of a list that a query asks for, and one item more, which tells whether there is a next page. */
function partOf({ limit = PAGE.default, cursor }: Paged): Part {
  return { limit: limit + 1, ...(cursor !== undefined && { before: BigInt(cursor) }) };
}

/** A page of what was found by `partOf`. */
function pageOf<T>(
  found: readonly T[],
  { limit = PAGE.default }: Paged,
  placeOf: (item: T) => bigint | number,
): Page<T> {
  const items = found.slice(0, limit);
  const last = found.length > limit ? items.at(-1) : undefined;
  return { items, nextCursor: last === undefined ? null : String(placeOf(last)) };
}

function countsOf(counted: ReadonlyMap<string, number>): Counts {
  const counts = STATES.map((state) => [state, counted.get(state) ?? 0] as const);
  const total = counts.reduce((sum, [, count]) => sum + count, 0);
  return { ...(Object.fromEntries(counts) as Record<State, number>), total };
}

function momentOf({ at, asOf }: Moment): Moment {
  return {
    ...(at !== undefined && { at: instantOf(at) }),
    ...(asOf !== undefined && { asOf: instantOf(asOf, 'asOf') }),
  };
}

function spanOf({ from, to, asOf }: Span): Span {
  return {
    from: instantOf(from, 'from'),
    ...(to !== undefined && { to: instantOf(to, 'to') }),
    ...(asOf !== undefined && { asOf: instantOf(asOf, 'asOf') }),
  };
}

function addressed(deploymentId: string): DeploymentId {
  const id = parseId<DeploymentId>(deploymentId);
  if (id === null) throw notFound(deploymentId);
  return id;
}

function notFound(deploymentId: string): Refused {
  const detail = `no deployment ${deploymentId.slice(0, 128)} is recorded`;
  return new Refused({ code: 'DEPLOYMENT_NOT_FOUND', detail });
}

function instantOf(text: string, member = 'at'): Instant {
  const instant = parseInstant(text);
  if (instant !== null) return instant;
  const message = 'must be a date-time like 2026-11-25T13:00:00.000Z';
  throw new Refused(invalidBody([{ pointer: `/${member}`, message }]));
}

/** Every query of the bus, with the method that answers it. */
export const QUERIES = [
  [GetDeployment, 'getDeployment'],
  [GetStateAt, 'getStateAt'],
  [ListDeployments, 'listDeployments'],
  [ListDeploymentsAt, 'listDeploymentsAt'],
  [ListChanges, 'listChanges'],
  [GetAttempt, 'getAttempt'],
  [ListAttempts, 'listAttempts'],
  [GetHistory, 'getHistory'],
  [ListTransitions, 'listTransitions'],
  [CountByState, 'countByState'],
  [CountByStateAt, 'countByStateAt'],
  [GetTimeInState, 'getTimeInState'],
  [GetAttemptStats, 'getAttemptStats'],
  [ListUnknowns, 'listUnknowns'],
] as const satisfies readonly (readonly [new () => object, keyof Answers])[];
