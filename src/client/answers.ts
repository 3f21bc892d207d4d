/** Made from the OpenAPI document by `npm run client`; a change is made there. */
import type { CommandType } from '../domain/command.js';
import type { EventType, LossCause, Outcome, Resolution, State } from '../domain/event-schema.js';

/** What an accepted command answers. */
export type Receipt = {
  readonly deploymentId: string;
  /** After the command. */
  readonly state: State;
  /** Of the last event written; of the stream's last when none was. */
  readonly revision: string;
  readonly position: string;
  /** Whether something was written. */
  readonly changed: boolean;
  /** Whether this is the answer of an earlier request with the same key. */
  readonly replayed: boolean;
  readonly events: readonly {
    readonly id: string;
    readonly type: EventType;
    readonly revision: string;
  }[];
  readonly attemptId?: string;
  readonly number?: number;
  readonly leaseExpiresAt?: string;
};
/** A deployment, now or as it was. */
export type Deployment = {
  readonly deploymentId: string;
  readonly name: string;
  readonly environment: string | null;
  readonly labels: Readonly<Record<string, string>>;
  /** What rules: the policy as given, defaults applied. */
  readonly policy: {
    readonly heartbeatMs: number;
    readonly leaseMs: number;
    readonly startTimeoutMs: number;
    readonly lateResults: 'accept' | 'record';
    readonly afterTeardown: 'reopen' | 'retire';
  };
  readonly state: State;
  /** Of the last change of state. */
  readonly reason: string | null;
  /** When the state last changed. */
  readonly since: string | null;
  /** The state before the current attempt was opened, until that has ended. */
  readonly settledState: State | null;
  readonly tornDown: boolean;
  readonly archived: boolean;
  /** Evidence that contradicts what a human said. */
  readonly attention: {
    readonly kind: 'conflicting_result';
    readonly attemptId: string;
    readonly outcome: Outcome;
    readonly at: string;
  } | null;
  readonly currentAttempt: Attempt | null;
  readonly lastReadyAttempt: string | null;
  /** Of the stream's last event. */
  readonly revision: string;
  readonly position: string;
  /** When the current attempt's runner was last heard of. */
  readonly observedAt: string | null;
  /** Commands of which some body would be accepted and write something now. */
  readonly allowed: readonly CommandType[];
};
/** What the interface calls DeploymentPage. */
export type DeploymentPage = {
  readonly items: readonly Deployment[];
  /** Null on the last page. */
  readonly nextCursor: string | null;
  /** How much of the log the page shows. */
  readonly position: string | null;
};
/** A deployment as it was: its last change of state by then. */
export type DeploymentThen = {
  readonly deploymentId: string;
  readonly state: State;
  /** When the change to this state happened. */
  readonly since: string;
  /** When that was recorded. */
  readonly recordedAt: string;
  readonly reason: string | null;
  /** The command that caused the change, or Heartbeat. */
  readonly trigger: string;
  readonly attemptId: string | null;
  readonly number: number | null;
  readonly scope: string | null;
  readonly exitCode: number | null;
  readonly code: string | null;
  readonly recovered: boolean;
  readonly actor: { readonly id: string; readonly kind: 'human' | 'service' | 'runner' | 'system' };
  readonly revision: string;
  readonly position: string;
};
/** What the interface calls FleetPage. */
export type FleetPage = {
  readonly items: readonly DeploymentThen[];
  /** Null on the last page. */
  readonly nextCursor: string | null;
  /** How much of the log the page shows. */
  readonly position: string | null;
};
/** An attempt. */
export type Attempt = {
  readonly deploymentId: string;
  readonly attemptId: string;
  /** 1, 2, 3 … in its deployment. */
  readonly number: number;
  readonly scope: string;
  readonly kind: 'deploy' | 'teardown' | 'maintenance';
  readonly state: Outcome | 'pending' | 'running' | 'unknown';
  readonly exitCode: number | null;
  readonly code: string | null;
  readonly reason: string | null;
  /** Why it was lost; stays after it came back. */
  readonly cause: LossCause | null;
  readonly cancelRequested: boolean;
  /** It was lost, and then heard of again. */
  readonly recovered: boolean;
  /** What a human decided. */
  readonly resolved: {
    readonly as: Resolution;
    readonly by: { readonly id: string; readonly kind: 'human' | 'service' | 'runner' | 'system' };
    readonly at: string;
  } | null;
  readonly runner: {
    readonly id?: string;
    readonly host?: string;
    readonly pid?: number;
    readonly bootId?: string;
    readonly startedAt?: string;
  } | null;
  readonly leaseMs: number | null;
  readonly openedAt: string;
  readonly startedAt: string | null;
  readonly endedAt: string | null;
  readonly meta: Readonly<Record<string, unknown>> | null;
  /** Operational: where no heartbeat is known, null. */
  readonly lastHeartbeatAt: string | null;
  /** What the last heartbeat told; kept nowhere. */
  readonly progress: Readonly<Record<string, unknown>> | null;
};
/** What the interface calls AttemptPage. */
export type AttemptPage = {
  readonly items: readonly Attempt[];
  readonly nextCursor: string | null;
};
/** An event as it stands in the log. */
export type Event = {
  readonly id: string;
  readonly type: EventType;
  readonly deploymentId: string;
  readonly revision: string;
  readonly position: string;
  readonly recordedAt: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly metadata: {
    readonly schemaVersion: number;
    readonly commandId: string;
    readonly commandDigest: string;
    readonly actor: {
      readonly id: string;
      readonly kind: 'human' | 'service' | 'runner' | 'system';
    };
    readonly occurredAt: string;
    readonly recordedAt: string;
    readonly correlationId: string;
    readonly causationId: string;
    readonly traceparent?: string;
  };
};
/** What the interface calls HistoryPage. */
export type HistoryPage = {
  readonly items: readonly Event[];
  /** Where to go on; never null. */
  readonly nextAfter: string;
};
/** A change of state. */
export type Transition = {
  readonly position: string;
  readonly recordedAt: string;
  readonly occurredAt: string;
  readonly deploymentId: string;
  readonly revision: string;
  /** Null for the first one. */
  readonly from: State | null;
  readonly to: State;
  /** The command that caused it, or Heartbeat. */
  readonly trigger: string;
  readonly attemptId: string | null;
  readonly number: number | null;
  readonly scope: string | null;
  readonly reason: string | null;
  readonly exitCode: number | null;
  readonly code: string | null;
  readonly recovered: boolean;
  readonly actor: { readonly id: string; readonly kind: 'human' | 'service' | 'runner' | 'system' };
};
/** What the interface calls TransitionPage. */
export type TransitionPage = {
  readonly items: readonly Transition[];
  /** Where to go on; never null. */
  readonly nextAfter: string;
};
/** A deployment whose state changed between two times. */
export type Change = {
  readonly deploymentId: string;
  /** Null when there was nothing of it yet. */
  readonly before: State | null;
  readonly after: State;
  /** The change that led there. */
  readonly last: Transition;
};
/** What the interface calls ChangePage. */
export type ChangePage = {
  readonly items: readonly Change[];
  /** Null on the last page. */
  readonly nextCursor: string | null;
  /** How much of the log the page shows. */
  readonly position: string | null;
};
/** How many deployments are in each state. */
export type Counts = {
  readonly pending: number;
  readonly deploying: number;
  readonly ready: number;
  readonly failed: number;
  readonly unknown: number;
  readonly total: number;
};
/** What the interface calls TimeInState. */
export type TimeInState = {
  readonly state: State;
  /** How often it was entered. */
  readonly stays: number;
  /** Deployments that are in it now. */
  readonly open: number;
  /** Until now, ms. */
  readonly totalMs: number;
};
/** What the interface calls TimeInStatePage. */
export type TimeInStatePage = {
  readonly items: readonly TimeInState[];
  /** Until when the stays that have not ended are counted. */
  readonly until: string;
};
/** What the interface calls AttemptCount. */
export type AttemptCount = {
  readonly scope: string;
  /** The outcome, once they have ended. */
  readonly state: Outcome | 'pending' | 'running' | 'unknown';
  readonly attempts: number;
  /** From start to end, of those that have both, ms. */
  readonly meanMs: number | null;
};
/** What the interface calls AttemptStatsPage. */
export type AttemptStatsPage = { readonly items: readonly AttemptCount[] };
/** What the interface calls Unknown. */
export type Unknown = {
  readonly deploymentId: string;
  /** When it was recorded that it is unknown. */
  readonly since: string;
  readonly occurredAt: string;
  /** Since then, ms. */
  readonly ageMs: number;
  readonly attemptId: string | null;
  readonly number: number | null;
  readonly scope: string | null;
  readonly reason: string | null;
  readonly actor: { readonly id: string; readonly kind: 'human' | 'service' | 'runner' | 'system' };
  /** How often it was unknown, this time included. */
  readonly times: number;
  readonly position: string;
};
/** What the interface calls UnknownPage. */
export type UnknownPage = {
  readonly items: readonly Unknown[];
  /** Null on the last page. */
  readonly nextCursor: string | null;
  /** How much of the log the page shows. */
  readonly position: string | null;
};
/** What a heartbeat answers. */
export type Heartbeat = {
  readonly leaseExpiresAt: string;
  /** Whether the runner must stop. */
  readonly cancelRequested: boolean;
};
/** What the interface calls Lifecycle. */
export type Lifecycle = {
  readonly states: readonly State[];
  readonly items: readonly {
    readonly row: string;
    readonly commands: readonly CommandType[];
    readonly when: string;
    readonly from: readonly (State | 'none')[];
    readonly to: readonly (State | 'settled' | 'unchanged')[];
    readonly events: readonly EventType[];
    readonly refuses: readonly string[];
  }[];
};
/** What the interface calls Projection. */
export type Projection = {
  readonly name: string;
  readonly version: number;
  /** The last position folded in. */
  readonly position: string | null;
  /** The log's end. */
  readonly headPosition: string | null;
  readonly lagEvents: number | null;
  readonly lagSeconds: number | null;
  readonly status: 'live' | 'catching_up' | 'rebuilding' | 'degraded' | 'stopped';
  readonly lastError: string | null;
  /** Streams that could not be folded and wait. */
  readonly parked: number;
  /** Streams that somebody decided to leave out. */
  readonly skipped: number;
  readonly rebuild: { readonly done: number; readonly total: number | null } | null;
  /** The process that folds; others stand by. `denials`: how often they asked for its place. */
  readonly owner: {
    readonly name: string;
    readonly since: string;
    readonly isThisProcess: boolean;
    readonly denials: number;
  } | null;
};
/** What the interface calls ProjectionPage. */
export type ProjectionPage = { readonly items: readonly Projection[] };
/** What the interface calls Parked. */
export type Parked = {
  readonly projection: string;
  readonly deploymentId: string;
  /** Of the first event that could not be folded. */
  readonly revision: string;
  readonly position: string;
  readonly problem: string;
  readonly parkedAt: string;
  readonly state: 'waiting' | 'skipped' | 'retrying' | 'folded';
  readonly decidedBy: {
    readonly id: string;
    readonly kind: 'human' | 'service' | 'runner' | 'system';
  } | null;
  readonly decidedAt: string | null;
  readonly reason: string | null;
};
/** What the interface calls ParkedPage. */
export type ParkedPage = { readonly items: readonly Parked[] };
/** An error, as RFC 9457 says. */
export type Problem = {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  /** What happened, why, and what to do next. */
  readonly detail: string;
  readonly instance: string;
  readonly code: string;
  readonly requestId: string;
  /** Of the deployment, where it exists. */
  readonly state?: State;
  readonly allowed?: readonly CommandType[];
  /** Of its newest event. */
  readonly revision?: string;
  readonly errors?: readonly { readonly pointer: string; readonly message: string }[];
};
