/**
 * The queries as the bus takes them, each beside its answer. They read the read models, the history
 * and past states the log itself.
 */
import { Query } from '@nestjs/cqrs';
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
import { isFault } from '../ports/faults.js';
import type { Beat, Leases } from '../ports/leases.js';
import type { Condition, ReadModels } from '../ports/read-models.js';
import { attempts, type AttemptRow } from '../projections/attempts.js';
import { deployments, type DeploymentRow } from '../projections/deployments.js';
import { transitions, type TransitionRow } from '../projections/transitions.js';
import { parseInstant } from './fields.js';
import type { CommandPath } from './handle.js';
import type { Folded } from './lanes.js';
import { stateAt } from './replay.js';
import { Refused, refusedOn } from './refused.js';
import {
  attemptView,
  deploymentView,
  eventView,
  type AttemptView,
  type DeploymentView,
  type EventView,
} from './views.js';

/** Items of a page when no limit is given, and the most there can be. */
export const PAGE = { default: 50, max: 200 } as const;

abstract class ShipslogQuery<A> extends Query<A> {
  /** Waits until the read models show this position. */
  readonly minPosition?: Position;

  /** Makes a query of its members. */
  static of<T extends object>(this: new () => T, members: Pick<T, Extract<keyof T, string>>): T {
    return Object.assign(new this(), members);
  }
}

/** A page of things, with where to go on; null on the last page. */
export interface Page<T> {
  readonly items: readonly T[];
  readonly nextCursor: string | null;
}
/** A page of a log, with the place after which to go on. */
export interface LogPage<T> {
  readonly items: readonly T[];
  readonly nextAfter: bigint | 'start';
}

/** One deployment: from the read model, or, `strong`, folded from its stream now. */
export class GetDeployment extends ShipslogQuery<DeploymentView> {
  readonly deploymentId!: string;
  readonly consistency?: 'eventual' | 'strong';
}

/** One deployment as it was: at a revision exactly, or after all events recorded up to an instant. */
export class GetStateAt extends ShipslogQuery<DeploymentView> {
  readonly deploymentId!: string;
  readonly revision?: Revision;
  readonly at?: Instant;
}

/** Deployments, newest change first. All conditions must hold. */
export class ListDeployments extends ShipslogQuery<
  Page<DeploymentView> & { readonly position: Position | null }
> {
  readonly state?: State;
  readonly environment?: string;
  readonly labels?: readonly { readonly key: string; readonly value: string }[];
  /** Part of the id or the name, in any case. */
  readonly q?: string;
  readonly archived?: 'exclude' | 'include';
  /** 1..200, default 50. */
  readonly limit?: number;
  /** `nextCursor` of the page before. */
  readonly cursor?: string;
}

/** One attempt. */
export class GetAttempt extends ShipslogQuery<AttemptView> {
  readonly deploymentId!: string;
  readonly attemptId!: string;
}

/** The attempts of a deployment, newest first; all of them when no limit is given. */
export class ListAttempts extends ShipslogQuery<Page<AttemptView>> {
  readonly deploymentId!: string;
  readonly limit?: number;
  readonly cursor?: string;
}

/** The events of a deployment, from the log. */
export class GetHistory extends ShipslogQuery<LogPage<EventView>> {
  readonly deploymentId!: string;
  /** Revision after which to begin; from the start when absent. */
  readonly after?: Revision;
  readonly limit?: number;
}

/** Changes of state across the fleet, in log order. */
export class ListTransitions extends ShipslogQuery<LogPage<TransitionRow>> {
  /** Position after which to begin; from the start when absent. */
  readonly after?: Position;
  readonly deploymentId?: string;
  readonly from?: State | 'none';
  readonly to?: State;
  readonly limit?: number;
}

/** How many deployments there are in each state. */
export type Counts = Readonly<Record<State | 'total', number>>;
/** Deployments by state. */
export class CountByState extends ShipslogQuery<Counts> {
  readonly archived?: 'exclude' | 'include';
}

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

  async listDeployments(
    query: ListDeployments,
  ): Promise<Page<DeploymentView> & { position: Position | null }> {
    await this.#visible(query);
    const { limit = PAGE.default, cursor } = query;
    const { position } = this.options.visibility;
    const rows = await this.options.readModels.find<DeploymentRow>(deployments, {
      where: [
        ...conditionsOf(query),
        ...(cursor === undefined ? [] : [{ column: 'position', below: BigInt(cursor) } as const]),
      ],
      orderBy: { column: 'position', direction: 'descending' },
      limit: limit + 1,
    });
    const items = await this.#views(rows.slice(0, limit));
    const last = rows.length > limit ? items.at(-1) : undefined;
    return { items, nextCursor: last === undefined ? null : String(last.position), position };
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
    const shown = rows.slice(0, limit);
    const beats = await this.options.leases.read(shown);
    const items = shown.map((row, index) => attemptView(id, row.attempt, beats[index] ?? null));
    const last = rows.length > limit ? items.at(-1) : undefined;
    return { items, nextCursor: last === undefined ? null : String(last.number) };
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
    const counts = STATES.map((state) => [state, counted.get(state) ?? 0] as const);
    const total = counts.reduce((sum, [, count]) => sum + count, 0);
    return { ...(Object.fromEntries(counts) as Record<State, number>), total };
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

function addressed(deploymentId: string): DeploymentId {
  const id = parseId<DeploymentId>(deploymentId);
  if (id === null) throw notFound(deploymentId);
  return id;
}

function notFound(deploymentId: string): Refused {
  const detail = `no deployment ${deploymentId.slice(0, 128)} is recorded`;
  return new Refused({ code: 'DEPLOYMENT_NOT_FOUND', detail });
}

function instantOf(text: string): Instant {
  const instant = parseInstant(text);
  if (instant !== null) return instant;
  const message = 'must be a date-time like 2026-11-25T13:00:00.000Z';
  throw new Refused(invalidBody([{ pointer: '/at', message }]));
}

/** Every query of the bus, with the method that answers it. */
export const QUERIES = [
  [GetDeployment, 'getDeployment'],
  [GetStateAt, 'getStateAt'],
  [ListDeployments, 'listDeployments'],
  [GetAttempt, 'getAttempt'],
  [ListAttempts, 'listAttempts'],
  [GetHistory, 'getHistory'],
  [ListTransitions, 'listTransitions'],
  [CountByState, 'countByState'],
] as const satisfies readonly (readonly [new () => object, keyof Answers])[];
