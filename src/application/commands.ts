/**
 * The commands as the bus takes them: one class each, the rules of its members beside them, and the
 * table from which handlers, routes, verbs and documents are made.
 */
import { Command } from '@nestjs/cqrs';
import type { CommandType } from '../domain/command.js';
import {
  ACTOR_KINDS,
  LOSS_CAUSES,
  OUTCOMES,
  ID_PATTERN,
  RESOLUTIONS,
  type Actor,
  type EventType,
  type Instant,
  type JsonObject,
  type Labels,
  type LossCause,
  type Outcome,
  type Policy,
  type PolicyPatch,
  type Resolution,
  type Runner,
  type State,
} from '../domain/event-schema.js';
import { POLICY_BOUNDS } from '../domain/lease.js';
import type { Position, Revision } from '../ports/event-store.js';
import {
  AnyObject,
  DateTime,
  Envelope,
  instanceOf,
  Integer,
  LabelMap,
  Matching,
  Members,
  OneOf,
  Text,
} from './fields.js';

/** What an accepted command answers. */
export interface Receipt {
  readonly deploymentId: string;
  /** The state after the command. */
  readonly state: State;
  /** Of the last event written; of the stream's head when nothing was. */
  readonly revision: Revision;
  readonly position: Position;
  /** Whether the command wrote something. */
  readonly changed: boolean;
  /** Whether this is the answer of an earlier command with the same id. */
  readonly replayed: boolean;
  readonly attemptId?: string;
  readonly number?: number;
  /** Of a start: when the lease ends unless a heartbeat renews it. */
  readonly leaseExpiresAt?: Instant;
  readonly events: readonly {
    readonly id: string;
    readonly type: EventType;
    readonly revision: Revision;
  }[];
}

const ID = new RegExp(ID_PATTERN);
const id = (doc: string, optional = false): PropertyDecorator =>
  Matching({
    doc,
    optional,
    pattern: ID,
    what: 'an id: 1 to 128 letters, digits, or ._:- after the first',
  });
const reason = (doc: string, optional = true): PropertyDecorator =>
  Text({ doc, optional, max: 1_000, lines: true });
const occurred = (): PropertyDecorator =>
  DateTime({ doc: 'When it happened; now, when absent. At most 5 minutes ahead.', optional: true });

/** Members of a class that `of` takes: all that are declared. */
type MembersOf<T> = Pick<T, Extract<keyof T, string>>;

/** What every command carries: its deployment, and who asks, under which id, on which revision. */
abstract class OnDeployment extends Command<Receipt> {
  @id('The deployment.') readonly deploymentId!: string;

  /** Who asks; `service:anonymous` when absent. */
  @Envelope(actorProblem) readonly actor?: Actor;
  /** Makes the command safe to repeat: the same id with the same content answers the same. */
  @Envelope((value) => (isCommandId(value) ? null : 'be 1 to 255 printable ASCII characters'))
  readonly commandId?: string;
  /** The revision that the caller decided on; `*` asks only that the deployment exists. */
  @Envelope((value) => (value === '*' || isRevision(value) ? null : 'be a revision or *'))
  readonly expectedRevision?: Revision | '*';
  /** W3C trace context, kept in the metadata of the events. */
  @Envelope((value) => (typeof value === 'string' && value.length <= 512 ? null : 'be text'))
  readonly traceparent?: string;

  /** Makes a command of its members; they are validated when it is executed. */
  static of<T extends OnDeployment>(this: new () => T, members: MembersOf<T>): T {
    return instanceOf(this, members);
  }
}

abstract class OnAttempt extends OnDeployment {
  @id('The attempt.') readonly attemptId!: string;
}

/** Members of a policy; in an update each may be null, which goes back to the default. */
function policyClass(optional: true | 'nullable'): new () => object {
  class PolicyMembers {
    @Integer({
      doc: 'How often a runner should send a heartbeat, ms; at most half of leaseMs.',
      optional,
      ...POLICY_BOUNDS.heartbeatMs,
    })
    readonly heartbeatMs?: number;
    @Integer({
      doc: 'How long a running attempt may be silent before it is lost, ms.',
      optional,
      ...POLICY_BOUNDS.leaseMs,
    })
    readonly leaseMs?: number;
    @Integer({
      doc: 'How long an attempt may wait for its start before it is lost, ms.',
      optional,
      ...POLICY_BOUNDS.startTimeoutMs,
    })
    readonly startTimeoutMs?: number;
    @OneOf(['accept', 'record'], {
      doc: 'Whether a result after a loss decides the state, or is only recorded.',
      optional,
    })
    readonly lateResults?: 'accept' | 'record';
    @OneOf(['reopen', 'retire'], {
      doc: 'Whether a deployment that was torn down may be deployed again.',
      optional,
    })
    readonly afterTeardown?: 'reopen' | 'retire';
  }
  return PolicyMembers;
}

const DOC = {
  name: 'A name for people; the id, when absent.',
  environment: 'Where it runs, e.g. production.',
  labels: 'Up to 32 labels for selection.',
  confirmPhrase: 'A phrase that a teardown must repeat exactly.',
  policy: 'Durations and choices; what is absent follows the settings of the service.',
} as const;

/** Declares a deployment. The same content again is accepted and writes nothing. */
export class CreateDeployment extends OnDeployment {
  @Text({ doc: DOC.name, max: 200, notBlank: true, optional: true }) readonly name?: string;
  @Text({ doc: DOC.environment, max: 64, optional: true }) readonly environment?: string;
  @LabelMap({ doc: DOC.labels, optional: true }) readonly labels?: Labels;
  @Text({ doc: DOC.confirmPhrase, max: 200, optional: true }) readonly confirmPhrase?: string;
  @Members(policyClass(true), { doc: DOC.policy, optional: true }) readonly policy?: Policy;
}

/** Changes what a deployment is declared to be. Null clears a member; labels are replaced whole. */
export class UpdateDeployment extends OnDeployment {
  @Text({ doc: DOC.name, max: 200, notBlank: true, optional: 'nullable' })
  readonly name?: string | null;
  @Text({ doc: DOC.environment, max: 64, optional: 'nullable' })
  readonly environment?: string | null;
  @LabelMap({ doc: DOC.labels, optional: 'nullable' }) readonly labels?: Labels | null;
  @Text({ doc: DOC.confirmPhrase, max: 200, optional: 'nullable' })
  readonly confirmPhrase?: string | null;
  @Members(policyClass('nullable'), { doc: DOC.policy, optional: 'nullable' })
  readonly policy?: PolicyPatch | null;
}

class Acknowledgement {
  @reason('Why it is right to go on though nobody knows what runs.', false)
  readonly reason!: string;
}

/** Opens an attempt; with a scope of kind teardown, the teardown. */
export class OpenAttempt extends OnDeployment {
  @id('The attempt; made by the service when absent.', true) readonly attemptId?: string;
  @Text({
    doc: 'What the attempt does: a registered scope.',
    max: 64,
    optional: true,
    default: 'full',
  })
  readonly scope?: string;
  @Members(Acknowledgement, {
    doc: 'Goes on from an unknown state; needs a human and is no way to a teardown.',
    optional: true,
  })
  readonly acknowledgeUnknown?: { readonly reason: string };
  @Text({ doc: 'Of a teardown: the phrase of the deployment.', max: 200, optional: true })
  readonly confirmPhrase?: string;
  @AnyObject({ doc: 'Anything worth keeping with the attempt.', optional: true })
  readonly meta?: JsonObject;
}

class RunnerMembers {
  @Text({ doc: 'Who runs it; the same id may start it again.', max: 128, optional: true })
  readonly id?: string;
  @Text({ doc: 'Its host.', max: 255, optional: true }) readonly host?: string;
  @Integer({ doc: 'Its process id.', min: 0, max: Number.MAX_SAFE_INTEGER, optional: true })
  readonly pid?: number;
  @Text({ doc: 'Id of the boot of its host.', max: 64, optional: true }) readonly bootId?: string;
  @DateTime({ doc: 'When its process started.', optional: true }) readonly startedAt?: Instant;
}

const leaseToken = (doc: string): PropertyDecorator =>
  Text({ doc, min: 16, max: 128, optional: true });

/** Starts an attempt: from now on its runner must be heard of within its lease. */
export class StartAttempt extends OnAttempt {
  @leaseToken(
    'A secret made by the runner; heartbeat and end must then carry it. Only its SHA-256 is stored.',
  )
  readonly leaseToken?: string;
  @Members(RunnerMembers, { doc: 'Who carries it out.', optional: true })
  readonly runner?: Runner;
  @Integer({ doc: 'The lease of this attempt, ms.', optional: true, ...POLICY_BOUNDS.leaseMs })
  readonly leaseMs?: number;
  @AnyObject({ doc: 'Anything worth keeping with the attempt.', optional: true })
  readonly meta?: JsonObject;
  @occurred() readonly occurredAt?: Instant;
}

/** Ends an attempt with its outcome. */
export class EndAttempt extends OnAttempt {
  @OneOf(OUTCOMES, { doc: 'How it ended.' }) readonly outcome!: Outcome;
  @Integer({ doc: 'Exit code of its process.', min: -(2 ** 31), max: 2 ** 31 - 1, optional: true })
  readonly exitCode?: number;
  @Matching({
    doc: 'A code for machines, e.g. quota_exceeded.',
    pattern: /^[A-Za-z0-9_.-]{1,64}$/,
    what: '1 to 64 letters, digits or _.-',
    optional: true,
  })
  readonly code?: string;
  @reason('What a person should know.') readonly reason?: string;
  @leaseToken('The token of the start, if it gave one.') readonly leaseToken?: string;
  @occurred() readonly occurredAt?: Instant;
}

/** Asks the runner of an attempt to stop; an attempt that was never started ends at once. */
export class CancelAttempt extends OnAttempt {
  @reason('Why.') readonly reason?: string;
}

/** Says that nobody knows what an attempt does any more. */
export class MarkUnknown extends OnAttempt {
  @OneOf(LOSS_CAUSES, { doc: 'Why; lease_expired and start_timeout only when that time is past.' })
  readonly cause!: LossCause;
  @AnyObject({ doc: 'What was seen.', optional: true }) readonly evidence?: JsonObject;
  @occurred() readonly occurredAt?: Instant;
}

/** A human says what an unknown deployment is. Needs the revision that was looked at. */
export class ResolveUnknown extends OnDeployment {
  @OneOf(RESOLUTIONS, { doc: 'What it is.' }) readonly as!: Resolution;
  @reason('How you know.', false) readonly reason!: string;
  @AnyObject({ doc: 'What was seen.', optional: true }) readonly evidence?: JsonObject;
}

/** Takes a deployment out of lists; only its history is left. */
export class ArchiveDeployment extends OnDeployment {
  @reason('Why.') readonly reason?: string;
}

/** Every command of the bus. Handlers, routes, verbs and documents are made from this table. */
export const COMMANDS = {
  CreateDeployment,
  UpdateDeployment,
  OpenAttempt,
  StartAttempt,
  EndAttempt,
  CancelAttempt,
  MarkUnknown,
  ResolveUnknown,
  ArchiveDeployment,
} as const satisfies Record<Exclude<CommandType, 'Heartbeat'>, new () => OnDeployment>;

/** Name of a command of the bus. */
export type CommandName = keyof typeof COMMANDS;
/** Any command of the bus. */
export type BusCommand = InstanceType<(typeof COMMANDS)[CommandName]>;

/** A heartbeat: no command of the bus, since it writes nothing unless the attempt was lost. */
export class Heartbeat extends OnAttempt {
  @leaseToken('The token of the start, if it gave one.') readonly leaseToken?: string;
  @AnyObject({ doc: 'How far it is; shown with the attempt, kept nowhere.', optional: true })
  readonly progress?: JsonObject;
}

function isCommandId(value: unknown): boolean {
  return typeof value === 'string' && /^[\x20-\x7e]{1,255}$/.test(value);
}

function isRevision(value: unknown): boolean {
  return typeof value === 'bigint' && value >= 0n;
}

const KINDS: readonly unknown[] = ACTOR_KINDS;

function actorProblem(value: unknown): string | null {
  const { id: actorId, kind } = (value ?? {}) as Partial<Actor>;
  const named = typeof actorId === 'string' && /^[^\p{Cc}]{1,128}$/u.test(actorId);
  return named && KINDS.includes(kind)
    ? null
    : `be {id, kind}, id of 1 to 128 characters, kind one of ${ACTOR_KINDS.join(', ')}`;
}
