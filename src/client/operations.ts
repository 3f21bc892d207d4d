/** Made from the OpenAPI document by `npm run client`; a change is made there. */
import type { LossCause, Outcome, Resolution, State } from '../domain/event-schema.js';
import type {
  Receipt,
  Deployment,
  DeploymentPage,
  FleetPage,
  Attempt,
  AttemptPage,
  HistoryPage,
  TransitionPage,
  ChangePage,
  Counts,
  TimeInStatePage,
  AttemptStatsPage,
  UnknownPage,
  Heartbeat,
  Lifecycle,
  Projection,
  ProjectionPage,
  Parked,
  ParkedPage,
} from './answers.js';

/** What each operation takes, and what it answers. */
export interface Operations {
  /** Declares a deployment. */
  readonly createDeployment: {
    readonly takes: {
      readonly body?: {
        /** The deployment. */
        readonly deploymentId?: string;
        /** A name for people; the id, when absent. */
        readonly name?: string;
        /** Where it runs, e.g. production. */
        readonly environment?: string;
        /** Up to 32 labels for selection. */
        readonly labels?: Readonly<Record<string, string>>;
        /** A phrase that a teardown must repeat exactly. */
        readonly confirmPhrase?: string;
        /** Durations and choices; what is absent follows the settings of the service. */
        readonly policy?: {
          /** How often a runner should send a heartbeat, ms; at most half of leaseMs. */
          readonly heartbeatMs?: number;
          /** How long a running attempt may be silent before it is lost, ms. */
          readonly leaseMs?: number;
          /** How long an attempt may wait for its start before it is lost, ms. */
          readonly startTimeoutMs?: number;
          /** Whether a result after a loss decides the state, or is only recorded. */
          readonly lateResults?: 'accept' | 'record';
          /** Whether a deployment that was torn down may be deployed again. */
          readonly afterTeardown?: 'reopen' | 'retire';
        };
      };
    };
    readonly answers: Receipt;
  };
  /** Deployments, newest change first; as they were, where a time is given. */
  readonly listDeployments: {
    readonly takes: {
      /** The state, then where a time is given. */
      readonly state?: State;
      /** The environment. */
      readonly environment?: string;
      /** A label that must be there, `key:value`; several must all be there. */
      readonly label?: readonly string[];
      /** Part of the id or the name, in any case. */
      readonly q?: string;
      /** Whether archived deployments are shown. */
      readonly archived?: 'exclude' | 'include';
      /** Items of a page. */
      readonly limit?: number;
      /** `nextCursor` of the page before. */
      readonly cursor?: string;
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
    };
    readonly answers: DeploymentPage;
  };
  /** Deployments, newest change first; as they were, where a time is given. */
  readonly listDeploymentsAt: {
    readonly takes: {
      /** The state, then where a time is given. */
      readonly state?: State;
      /** The environment. */
      readonly environment?: string;
      /** A label that must be there, `key:value`; several must all be there. */
      readonly label?: readonly string[];
      /** Part of the id or the name, in any case. */
      readonly q?: string;
      /** Whether archived deployments are shown. */
      readonly archived?: 'exclude' | 'include';
      /** As it was at this time, by what is known now: late results count when they happened. */
      readonly at?: string;
      /** Only what was recorded by this time: what was known then. */
      readonly asOf?: string;
      /** Items of a page. */
      readonly limit?: number;
      /** `nextCursor` of the page before. */
      readonly cursor?: string;
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
    };
    readonly answers: FleetPage;
  };
  /** Changes what a deployment is declared to be, by a JSON merge patch: null clears a member, labels are replaced whole, the policy by member. */
  readonly updateDeployment: {
    readonly takes: {
      readonly deploymentId: string;
      readonly body?: {
        /** A name for people; the id, when absent. */
        readonly name?: string | null;
        /** Where it runs, e.g. production. */
        readonly environment?: string | null;
        /** Up to 32 labels for selection. */
        readonly labels?: Readonly<Record<string, string>> | null;
        /** A phrase that a teardown must repeat exactly. */
        readonly confirmPhrase?: string | null;
        /** Durations and choices; what is absent follows the settings of the service. */
        readonly policy?: {
          /** How often a runner should send a heartbeat, ms; at most half of leaseMs. */
          readonly heartbeatMs?: number | null;
          /** How long a running attempt may be silent before it is lost, ms. */
          readonly leaseMs?: number | null;
          /** How long an attempt may wait for its start before it is lost, ms. */
          readonly startTimeoutMs?: number | null;
          /** Whether a result after a loss decides the state, or is only recorded. */
          readonly lateResults?: 'accept' | 'record';
          /** Whether a deployment that was torn down may be deployed again. */
          readonly afterTeardown?: 'reopen' | 'retire';
        } | null;
      };
    };
    readonly answers: Receipt;
  };
  /** One deployment, now or as it was. */
  readonly getDeployment: {
    readonly takes: {
      readonly deploymentId: string;
      /** Where to look: in the read model, or in its stream. */
      readonly consistency?: 'eventual' | 'strong';
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
      /** The state after all events recorded up to this instant. */
      readonly at?: string;
      /** The state after exactly this event. */
      readonly revision?: string;
    };
    readonly answers: Deployment;
  };
  /** Opens an attempt. */
  readonly openAttempt: {
    readonly takes: {
      readonly deploymentId: string;
      readonly body?: {
        /** The attempt; made by the service when absent. */
        readonly attemptId?: string;
        /** What the attempt does: a registered scope. */
        readonly scope?: string;
        /** Goes on from an unknown state; needs a human and is no way to a teardown. */
        readonly acknowledgeUnknown?: {
          /** Why it is right to go on though nobody knows what runs. */
          readonly reason: string;
        };
        /** Of a teardown: the phrase of the deployment. */
        readonly confirmPhrase?: string;
        /** Anything worth keeping with the attempt. */
        readonly meta?: Readonly<Record<string, unknown>>;
      };
    };
    readonly answers: Receipt;
  };
  /** The attempts of a deployment, newest first; all of them when no limit is given. */
  readonly listAttempts: {
    readonly takes: {
      readonly deploymentId: string;
      /** Items of a page. */
      readonly limit?: number;
      /** `nextCursor` of the page before. */
      readonly cursor?: string;
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
    };
    readonly answers: AttemptPage;
  };
  /** Starts an attempt: from now on its runner must be heard of within its lease. */
  readonly startAttempt: {
    readonly takes: {
      readonly deploymentId: string;
      readonly attemptId: string;
      readonly body?: {
        /** A secret made by the runner; heartbeat and end must then carry it. Only its SHA-256 is stored. */
        readonly leaseToken?: string;
        /** Who carries it out. */
        readonly runner?: {
          /** Who runs it; the same id may start it again. */
          readonly id?: string;
          /** Its host. */
          readonly host?: string;
          /** Its process id. */
          readonly pid?: number;
          /** Id of the boot of its host. */
          readonly bootId?: string;
          /** When its process started. */
          readonly startedAt?: string;
        };
        /** The lease of this attempt, ms. */
        readonly leaseMs?: number;
        /** Anything worth keeping with the attempt. */
        readonly meta?: Readonly<Record<string, unknown>>;
        /** When it happened; now, when absent. At most 5 minutes ahead. */
        readonly occurredAt?: string;
      };
    };
    readonly answers: Receipt;
  };
  /** Ends an attempt with its outcome. */
  readonly endAttempt: {
    readonly takes: {
      readonly deploymentId: string;
      readonly attemptId: string;
      readonly body: {
        /** How it ended. */
        readonly outcome: Outcome;
        /** Exit code of its process. */
        readonly exitCode?: number;
        /** A code for machines, e.g. quota_exceeded. */
        readonly code?: string;
        /** What a person should know. */
        readonly reason?: string;
        /** The token of the start, if it gave one. */
        readonly leaseToken?: string;
        /** When it happened; now, when absent. At most 5 minutes ahead. */
        readonly occurredAt?: string;
      };
    };
    readonly answers: Receipt;
  };
  /** Says that nobody knows what an attempt does any more. */
  readonly markUnknown: {
    readonly takes: {
      readonly deploymentId: string;
      readonly attemptId: string;
      readonly body: {
        /** Why; lease_expired and start_timeout only when that time is past. */
        readonly cause: LossCause;
        /** What was seen. */
        readonly evidence?: Readonly<Record<string, unknown>>;
        /** When it happened; now, when absent. At most 5 minutes ahead. */
        readonly occurredAt?: string;
      };
    };
    readonly answers: Receipt;
  };
  /** Asks the runner of an attempt to stop; an attempt that was never started ends at once. */
  readonly cancelAttempt: {
    readonly takes: {
      readonly deploymentId: string;
      readonly attemptId: string;
      readonly body?: {
        /** Why. */
        readonly reason?: string;
      };
    };
    readonly answers: Receipt;
  };
  /** Opens a teardown. */
  readonly openTeardown: {
    readonly takes: {
      readonly deploymentId: string;
      readonly body?: {
        /** The attempt; made by the service when absent. */
        readonly attemptId?: string;
        /** Of a teardown: the phrase of the deployment. */
        readonly confirmPhrase?: string;
        /** Anything worth keeping with the attempt. */
        readonly meta?: Readonly<Record<string, unknown>>;
      };
    };
    readonly answers: Receipt;
  };
  /** A human says what an unknown deployment is. */
  readonly resolveUnknown: {
    readonly takes: {
      readonly deploymentId: string;
      readonly body: {
        /** What it is. */
        readonly as: Resolution;
        /** How you know. */
        readonly reason: string;
        /** What was seen. */
        readonly evidence?: Readonly<Record<string, unknown>>;
      };
    };
    readonly answers: Receipt;
  };
  /** Takes a deployment out of lists and counts; its history stays readable. */
  readonly archiveDeployment: {
    readonly takes: {
      readonly deploymentId: string;
      readonly body?: {
        /** Why. */
        readonly reason?: string;
      };
    };
    readonly answers: Receipt;
  };
  /** One attempt. */
  readonly getAttempt: {
    readonly takes: {
      readonly deploymentId: string;
      readonly attemptId: string;
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
    };
    readonly answers: Attempt;
  };
  /** The events of a deployment as stored. */
  readonly getHistory: {
    readonly takes: {
      readonly deploymentId: string;
      /** The revision after which to go on. */
      readonly after?: string;
      /** Items of a page. */
      readonly limit?: number;
    };
    readonly answers: HistoryPage;
  };
  /** Changes of state across the fleet, in log order. */
  readonly listTransitions: {
    readonly takes: {
      /** The position after which to go on. */
      readonly after?: string;
      /** Items of a page. */
      readonly limit?: number;
      /** Of one deployment. */
      readonly deploymentId?: string;
      /** The state before; none for the first ones. */
      readonly from?: State | 'none';
      /** The state after. */
      readonly to?: State;
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
    };
    readonly answers: TransitionPage;
  };
  /** How many deployments there are in each state, or were, where a time is given. */
  readonly countByState: {
    readonly takes: {
      /** Whether archived deployments are shown. */
      readonly archived?: 'exclude' | 'include';
      /** As it was at this time, by what is known now: late results count when they happened. */
      readonly at?: string;
      /** Only what was recorded by this time: what was known then. */
      readonly asOf?: string;
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
    };
    readonly answers: Counts;
  };
  /** Deployments whose state changed between two times, newest change first. */
  readonly listChanges: {
    readonly takes: {
      /** The time after which a change counts. */
      readonly from: string;
      /** The last time at which a change counts; all that is known, when absent. */
      readonly to?: string;
      /** Only what was recorded by this time: what was known then. */
      readonly asOf?: string;
      /** Items of a page. */
      readonly limit?: number;
      /** `nextCursor` of the page before. */
      readonly cursor?: string;
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
    };
    readonly answers: ChangePage;
  };
  /** How long deployments stayed in each state, by when the changes happened, until now. */
  readonly getTimeInState: {
    readonly takes: {
      /** Of one deployment. */
      readonly deploymentId?: string;
      /** Whether archived deployments are shown. */
      readonly archived?: 'exclude' | 'include';
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
    };
    readonly answers: TimeInStatePage;
  };
  /** How many attempts there are of each scope and outcome, and what they took. */
  readonly getAttemptStats: {
    readonly takes: {
      /** Of one deployment. */
      readonly deploymentId?: string;
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
    };
    readonly answers: AttemptStatsPage;
  };
  /** Deployments of which nobody knows what they are, the longest wait first. */
  readonly listUnknowns: {
    readonly takes: {
      /** Items of a page. */
      readonly limit?: number;
      /** `nextCursor` of the page before. */
      readonly cursor?: string;
      /** Waits until this position is visible, at most 5 s. */
      readonly minPosition?: string;
    };
    readonly answers: UnknownPage;
  };
  /** A sign of life of a runner: extends the lease, and tells whether to stop. */
  readonly heartbeat: {
    readonly takes: {
      readonly deploymentId: string;
      readonly attemptId: string;
      readonly body?: {
        /** The token of the start, if it gave one. */
        readonly leaseToken?: string;
        /** How far it is; shown with the attempt, kept nowhere. */
        readonly progress?: Readonly<Record<string, unknown>>;
      };
    };
    readonly answers: Heartbeat;
  };
  /** The transition table, row by row. */
  readonly getLifecycle: {
    readonly takes: Readonly<Record<string, never>>;
    readonly answers: Lifecycle;
  };
  /** How far each read model is. */
  readonly listProjections: {
    readonly takes: Readonly<Record<string, never>>;
    readonly answers: ProjectionPage;
  };
  /** Builds a read model anew beside the live one, which serves meanwhile. */
  readonly rebuildProjection: {
    readonly takes: { readonly name: string };
    readonly answers: Projection;
  };
  /** The deployments that a read model had to leave out from an event on that it cannot fold. */
  readonly listParked: {
    readonly takes: { readonly name: string };
    readonly answers: ParkedPage;
  };
  /** Tries again to fold a deployment that was left out. */
  readonly retryParked: {
    readonly takes: {
      readonly name: string;
      readonly deploymentId: string;
      readonly body?: {
        /** What was mended. */
        readonly reason?: string;
      };
    };
    readonly answers: Parked;
  };
  /** Leaves a deployment out for good, so that it harms no health. */
  readonly skipParked: {
    readonly takes: {
      readonly name: string;
      readonly deploymentId: string;
      readonly body: {
        /** Why it may be left out. */
        readonly reason: string;
      };
    };
    readonly answers: Parked;
  };
}
/** Method and path of each operation; parameters of the path in braces. */
export const OPERATIONS = {
  createDeployment: { method: 'POST', path: '/v1/deployments' },
  listDeployments: { method: 'GET', path: '/v1/deployments' },
  listDeploymentsAt: { method: 'GET', path: '/v1/deployments' },
  updateDeployment: { method: 'PATCH', path: '/v1/deployments/{deploymentId}' },
  getDeployment: { method: 'GET', path: '/v1/deployments/{deploymentId}' },
  openAttempt: { method: 'POST', path: '/v1/deployments/{deploymentId}/attempts' },
  listAttempts: { method: 'GET', path: '/v1/deployments/{deploymentId}/attempts' },
  startAttempt: {
    method: 'POST',
    path: '/v1/deployments/{deploymentId}/attempts/{attemptId}/start',
  },
  endAttempt: { method: 'POST', path: '/v1/deployments/{deploymentId}/attempts/{attemptId}/end' },
  markUnknown: {
    method: 'POST',
    path: '/v1/deployments/{deploymentId}/attempts/{attemptId}/unknown',
  },
  cancelAttempt: {
    method: 'POST',
    path: '/v1/deployments/{deploymentId}/attempts/{attemptId}/cancel',
  },
  openTeardown: { method: 'POST', path: '/v1/deployments/{deploymentId}/teardown' },
  resolveUnknown: { method: 'POST', path: '/v1/deployments/{deploymentId}/resolution' },
  archiveDeployment: { method: 'POST', path: '/v1/deployments/{deploymentId}/archive' },
  getAttempt: { method: 'GET', path: '/v1/deployments/{deploymentId}/attempts/{attemptId}' },
  getHistory: { method: 'GET', path: '/v1/deployments/{deploymentId}/history' },
  listTransitions: { method: 'GET', path: '/v1/transitions' },
  countByState: { method: 'GET', path: '/v1/counts' },
  listChanges: { method: 'GET', path: '/v1/changes' },
  getTimeInState: { method: 'GET', path: '/v1/stats/time-in-state' },
  getAttemptStats: { method: 'GET', path: '/v1/stats/attempts' },
  listUnknowns: { method: 'GET', path: '/v1/unknowns' },
  heartbeat: {
    method: 'POST',
    path: '/v1/deployments/{deploymentId}/attempts/{attemptId}/heartbeat',
  },
  getLifecycle: { method: 'GET', path: '/v1/lifecycle' },
  listProjections: { method: 'GET', path: '/v1/projections' },
  rebuildProjection: { method: 'POST', path: '/v1/projections/{name}/rebuild' },
  listParked: { method: 'GET', path: '/v1/projections/{name}/parked' },
  retryParked: { method: 'POST', path: '/v1/projections/{name}/parked/{deploymentId}/retry' },
  skipParked: { method: 'POST', path: '/v1/projections/{name}/parked/{deploymentId}/skip' },
} as const satisfies Readonly<
  Record<keyof Operations, { readonly method: string; readonly path: string }>
>;
