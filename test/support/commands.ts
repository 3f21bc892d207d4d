import type { CommandOf, CommandType } from '../../src/domain/command.js';
import type { Circumstances } from '../../src/domain/decision.js';
import type {
  Actor,
  AttemptId,
  DeploymentId,
  LossCause,
  Outcome,
  Resolution,
  ScopeKind,
} from '../../src/domain/event-schema.js';
import { idOf } from './events.js';

/** The deployment of which the specs of the domain speak. */
export const SHOP = idOf<DeploymentId>('shop');
export const HUMAN: Actor = { id: 'alice', kind: 'human' };
export const SERVICE: Actor = { id: 'ci', kind: 'service' };
export const RUNNER: Actor = { id: 'runner-1', kind: 'runner' };
export const SYSTEM: Actor = { id: 'reaper', kind: 'system' };

/** The revision at which every deployment of the specs stands. */
export const REVISION = 41n;

/** Scopes that the specs register, one more than what is built in. */
export const KINDS: Readonly<Record<string, ScopeKind>> = {
  full: 'deploy',
  configure: 'deploy',
  teardown: 'teardown',
  snapshot: 'maintenance',
};

/** What the service knows beside the history, unless a test says otherwise. */
export const CIRCUMSTANCES: Circumstances = {
  revision: REVISION,
  kindOf: (scope) => KINDS[scope],
  defaults: { heartbeatMs: 30_000, leaseMs: 90_000, startTimeoutMs: 90_000 },
  silentTooLong: false,
};

type Spare<T extends CommandType, K extends string = never> = Partial<
  Omit<CommandOf<T>, 'type' | 'attemptId' | K>
>;
const about = (attemptId: string) =>
  ({ deploymentId: SHOP, actor: SERVICE, attemptId: idOf<AttemptId>(attemptId) }) as const;
const ask = { deploymentId: SHOP, actor: SERVICE } as const;

/*
 * One function for each command: what a test is about comes first, the rest in the last argument.
 * By a service, except where only a human may ask.
 */

export const create = (more: Spare<'CreateDeployment'> = {}): CommandOf<'CreateDeployment'> => ({
  ...ask,
  type: 'CreateDeployment',
  ...more,
});

export const update = (more: Spare<'UpdateDeployment'>): CommandOf<'UpdateDeployment'> => ({
  ...ask,
  type: 'UpdateDeployment',
  ...more,
});

export const open = (
  attemptId: string,
  more: Spare<'OpenAttempt'> = {},
): CommandOf<'OpenAttempt'> => ({
  ...about(attemptId),
  type: 'OpenAttempt',
  scope: 'full',
  ...more,
});

/** As a human opens an attempt on a deployment of which nobody knows the state. */
export const acknowledge = (
  attemptId: string,
  more: Spare<'OpenAttempt'> = {},
): CommandOf<'OpenAttempt'> =>
  open(attemptId, { actor: HUMAN, acknowledgeUnknown: { reason: 'looked at it' }, ...more });

export const start = (
  attemptId: string,
  more: Spare<'StartAttempt'> = {},
): CommandOf<'StartAttempt'> => ({ ...about(attemptId), type: 'StartAttempt', ...more });

export const beat = (attemptId: string, more: Spare<'Heartbeat'> = {}): CommandOf<'Heartbeat'> => ({
  ...about(attemptId),
  type: 'Heartbeat',
  ...more,
});

export const end = (
  attemptId: string,
  outcome: Outcome,
  more: Spare<'EndAttempt', 'outcome'> = {},
): CommandOf<'EndAttempt'> => ({ ...about(attemptId), type: 'EndAttempt', outcome, ...more });

export const cancel = (
  attemptId: string,
  more: Spare<'CancelAttempt'> = {},
): CommandOf<'CancelAttempt'> => ({ ...about(attemptId), type: 'CancelAttempt', ...more });

export const lose = (
  attemptId: string,
  cause: LossCause,
  more: Spare<'MarkUnknown', 'cause'> = {},
): CommandOf<'MarkUnknown'> => ({ ...about(attemptId), type: 'MarkUnknown', cause, ...more });

export const resolve = (
  as: Resolution,
  more: Spare<'ResolveUnknown', 'as'> = {},
): CommandOf<'ResolveUnknown'> => ({
  ...ask,
  type: 'ResolveUnknown',
  actor: HUMAN,
  expectedRevision: REVISION,
  as,
  reason: 'looked at it',
  ...more,
});

export const archive = (more: Spare<'ArchiveDeployment'> = {}): CommandOf<'ArchiveDeployment'> => ({
  ...ask,
  type: 'ArchiveDeployment',
  ...more,
});
