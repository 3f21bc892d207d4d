/** The queries as the bus takes them, each beside the type of its answer. */
import { Query } from '@nestjs/cqrs';
import type { Instant, State } from '../domain/event-schema.js';
import type { Position, Revision } from '../ports/event-store.js';
import type { TransitionRow } from '../projections/transitions.js';
import type { ChangeView, DeploymentThen } from './fleet.js';
import type { AttemptCount, TimeInState, UnknownView } from './stats.js';
import type { AttemptView, DeploymentView, EventView } from './views.js';

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
/** A page that tells how much of the log it shows. */
export interface VisiblePage<T> extends Page<T> {
  readonly position: Position | null;
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
export class ListDeployments extends ShipslogQuery<VisiblePage<DeploymentView>> {
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

/**
 * Deployments as they were: `at` a time, by what is known now, or was recorded `asOf` another; all, the newest
 * change first. One that had no state yet is absent.
 */
export class ListDeploymentsAt extends ShipslogQuery<VisiblePage<DeploymentThen>> {
  readonly at?: Instant;
  readonly asOf?: Instant;
  /** The state then. */
  readonly state?: State;
  /** 1..200, default 50. */
  readonly limit?: number;
  /** `nextCursor` of the page before. */
  readonly cursor?: string;
}

/** Deployments whose state changed after `from` and by `to`, the newest change first. */
export class ListChanges extends ShipslogQuery<VisiblePage<ChangeView>> {
  readonly from!: Instant;
  /** All that is known, when absent. */
  readonly to?: Instant;
  /** Only what was recorded by then. */
  readonly asOf?: Instant;
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

/** How long deployments stayed in each state, by when the changes happened, until now. */
export class GetTimeInState extends ShipslogQuery<{
  readonly items: readonly TimeInState[];
  /** Until when the stays that have not ended are counted. */
  readonly until: Instant;
}> {
  /** Of one deployment; of all, when absent. */
  readonly deploymentId?: string;
  readonly archived?: 'exclude' | 'include';
}

/** Attempts by scope and outcome, and what they took. */
export class GetAttemptStats extends ShipslogQuery<{ readonly items: readonly AttemptCount[] }> {
  /** Of one deployment; of all, when absent. */
  readonly deploymentId?: string;
}

/** Deployments of which nobody knows what they are, the longest wait first. */
export class ListUnknowns extends ShipslogQuery<VisiblePage<UnknownView>> {
  /** 1..200, default 50. */
  readonly limit?: number;
  /** `nextCursor` of the page before. */
  readonly cursor?: string;
}

/** Deployments by their state `at` a time, by what is known now, or was recorded `asOf` another. */
export class CountByStateAt extends ShipslogQuery<Counts> {
  readonly at?: Instant;
  readonly asOf?: Instant;
}
