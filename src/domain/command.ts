/** Commands about one deployment, as the rules take them: validated, with the caller named. */
import type {
  Actor,
  AttemptId,
  Declaration,
  DeclarationPatch,
  DeploymentId,
  JsonObject,
  LossCause,
  Resolution,
  Result,
  Runner,
} from './event-schema.js';

/** Commands that decide about one deployment. `Heartbeat` comes by its own route, not by the bus. */
export const COMMAND_TYPES = [
  'CreateDeployment',
  'UpdateDeployment',
  'OpenAttempt',
  'StartAttempt',
  'Heartbeat',
  'EndAttempt',
  'CancelAttempt',
  'MarkUnknown',
  'ResolveUnknown',
  'ArchiveDeployment',
] as const;
export type CommandType = (typeof COMMAND_TYPES)[number];

/** What every command carries. */
interface Common {
  readonly deploymentId: DeploymentId;
  readonly actor: Actor;
  /** The revision the caller decided on; `*` asks only that the deployment exists. */
  readonly expectedRevision?: bigint | '*';
}
interface OfAttempt {
  readonly attemptId: AttemptId;
}
/** The members of each command, validated. */
export interface CommandData {
  CreateDeployment: Partial<Declaration>;
  UpdateDeployment: DeclarationPatch;
  OpenAttempt: OfAttempt & {
    readonly scope: string;
    readonly acknowledgeUnknown?: { readonly reason: string };
    readonly confirmPhrase?: string;
    readonly meta?: JsonObject;
  };
  StartAttempt: OfAttempt & {
    readonly leaseTokenHash?: string;
    readonly runner?: Runner;
    readonly leaseMs?: number;
    readonly meta?: JsonObject;
  };
  Heartbeat: OfAttempt & { readonly leaseTokenHash?: string };
  EndAttempt: OfAttempt & Result & { readonly leaseTokenHash?: string };
  CancelAttempt: OfAttempt & { readonly reason?: string };
  MarkUnknown: OfAttempt & { readonly cause: LossCause; readonly evidence?: JsonObject };
  ResolveUnknown: {
    readonly as: Resolution;
    readonly reason: string;
    readonly evidence?: JsonObject;
  };
  ArchiveDeployment: { readonly reason?: string };
}
/** A validated command of one type. */
export type CommandOf<T extends CommandType> = T extends CommandType
  ? { readonly type: T } & Common & CommandData[T]
  : never;
/** A validated command of any type. */
export type DeploymentCommand = CommandOf<CommandType>;
