/** What the rules answer, and how an answer is put together from a row of `TRANSITIONS`. */
import type { CommandOf, CommandType, DeploymentCommand } from './command.js';
import type { Attempt, Deployment } from './deployment.js';
import {
  given,
  type AttemptId,
  type EventData,
  type Fact,
  type Instant,
  type Result,
  type ScopeKind,
  type State,
} from './event-schema.js';
import type { PolicyDefaults } from './lease.js';
import type { MemberProblem, Refusal, RefusalCode } from './refusals.js';
import { transitionOf, type RowId } from './transitions.js';

/** What the rules need to know beside the fold; the shell looks it up. */
export interface Circumstances {
  /** Revision of the stream's last event; -1 before the first. */
  readonly revision: bigint;
  /** Kind of a registered scope; undefined for one that is not. */
  readonly kindOf: (scope: string) => ScopeKind | undefined;
  readonly defaults: PolicyDefaults;
  /** Whether the current attempt was silent for its whole lease (or start timeout, while pending). */
  readonly silentTooLong: boolean;
  /** When its runner was last heard of by a heartbeat, where that is known. */
  readonly lastHeartbeatAt?: Instant;
}

/** What the rules answer. A refusal changes no state; at most it leaves the one record of rows 18, 19. */
export type Decision =
  | { readonly ok: true; readonly row: RowId; readonly events: readonly Fact[] }
  | { readonly ok: false; readonly refusal: Refusal; readonly record: readonly Fact[] };

/** A command with all that it is decided on. */
export interface Case<T extends CommandType> {
  readonly command: CommandOf<T>;
  readonly deployment: Deployment;
  readonly circumstances: Circumstances;
}

/** What `accept` makes events of. */
interface Acceptance {
  readonly command: DeploymentCommand;
  readonly deployment: Deployment;
  /** The events that say why; the change of state follows them. */
  readonly cause: readonly Fact[];
  readonly attempt?:
    { readonly attemptId: AttemptId; readonly number: number; readonly scope: string } | undefined;
  /** Where the row leads, for a row that leads to several places. */
  readonly to?: State;
  readonly reason?: string | undefined;
  readonly result?: Result;
  readonly recovered?: boolean;
}

/** Accepts by a row: the causes, then one `state_transition` if and only if the state changes. */
export function accept(row: RowId, acceptance: Acceptance): Decision {
  const { command, deployment, cause, attempt, reason, result, recovered } = acceptance;
  const from = deployment.created === null ? null : deployment.state;
  const to = targetOf(row, acceptance);
  if (to === from) return { ok: true, row, events: cause };
  const data = given<EventData['state_transition']>({
    deploymentId: deployment.deploymentId,
    from,
    to,
    trigger: command.type,
    attemptId: attempt?.attemptId,
    number: attempt?.number,
    scope: attempt?.scope,
    reason,
    exitCode: result?.exitCode,
    code: result?.code,
    recovered: recovered === true ? true : undefined,
  });
  return { ok: true, row, events: [...cause, { type: 'state_transition', data }] };
}

function targetOf(row: RowId, { to, deployment }: Acceptance): State {
  const [target] = transitionOf(row).to;
  if (to !== undefined) return to;
  return target === undefined || target === 'unchanged' || target === 'settled'
    ? deployment.state
    : target;
}

/** Accepts without writing: what is asked for is so already. */
export function unchanged(row: RowId): Decision {
  return { ok: true, row, events: [] };
}

/** Refuses; `record` is what rows 18 and 19 leave in the stream. */
export function refuse(refusal: Refusal, record: readonly Fact[] = []): Decision {
  return { ok: false, refusal, record };
}

/** Refuses for the content of the command, member by member. */
export function invalidBody(errors: readonly MemberProblem[]): Refusal {
  const detail = errors
    .map(({ pointer, message }) => `${pointer || 'the body'}: ${message}`)
    .join('; ');
  return { code: 'INVALID_BODY', detail, errors };
}

/** A refusal by code, with what a person should know. */
export function no(code: RefusalCode, detail: string): Refusal {
  return { code, detail };
}

/** Says that the deployment is unknown, since when and why, and what leads out of it. */
export function isUnknown({ deploymentId, since, reason, observedAt }: Deployment): Refusal {
  const heard = observedAt === null ? '' : `, last heard of at ${observedAt}`;
  return no(
    'DEPLOYMENT_UNKNOWN_STATE',
    `deployment ${deploymentId} needs a decision: unknown or contradicted since ${String(since)} (${reason ?? 'no reason given'}${heard}); a human resolves it as ready, failed or torn_down, with a reason`,
  );
}

/** Says that an attempt is under way. */
export function inProgress({ deploymentId }: Deployment, { attemptId, state }: Attempt): Refusal {
  return no(
    'ATTEMPT_IN_PROGRESS',
    `attempt ${attemptId} of ${deploymentId} is ${state}; end it, cancel it or mark it unknown first`,
  );
}

/** Refuses since the attempt has ended or was closed. */
export function terminal({ attemptId, state, resolved }: Attempt): Refusal {
  const how =
    resolved === null
      ? `has ended (${state})`
      : `was closed by ${resolved.by.id} as ${resolved.as}`;
  return no('ATTEMPT_TERMINAL', `attempt ${attemptId} ${how}; open a new one`);
}

/** Refuses since the attempt never started. */
export function notStarted({ attemptId }: Attempt): Refusal {
  return no('ATTEMPT_NOT_STARTED', `attempt ${attemptId} was not started; start it first`);
}

/** Refuses since somebody else runs the attempt. */
export function alreadyStarted({ attemptId, runner }: Attempt): Refusal {
  return no(
    'ATTEMPT_ALREADY_STARTED',
    `attempt ${attemptId} was started by ${runner?.id ?? 'another runner'}; this runner must stop`,
  );
}
