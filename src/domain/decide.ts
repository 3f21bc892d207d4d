/**
 * The rules: which events a command makes of a deployment, or why it is refused.
 *
 * Pure and total: every pair of command and deployment has an answer. Guards stand in the order of
 * `TRANSITIONS`; what a row does to the state is looked up there.
 */
import {
  COMMAND_TYPES,
  type CommandOf,
  type CommandType,
  type DeploymentCommand,
} from './command.js';
import {
  accept,
  inProgress,
  invalidBody,
  isUnknown,
  no,
  refuse,
  unchanged,
  type Case,
  type Circumstances,
  type Decision,
} from './decision.js';
import { decideAttempt } from './decide-attempt.js';
import { changedMembers, mergedPolicy, sameDeclaration } from './declaration.js';
import { findAttempt, isActive, type Attempt, type Deployment } from './deployment.js';
import {
  OUTCOMES,
  given,
  type AttemptId,
  type Declaration,
  type EventData,
  type ScopeKind,
} from './event-schema.js';
import { policyProblems } from './lease.js';
import type { Refusal } from './refusals.js';

/** Decides one command. See `TRANSITIONS` for the rows, and `REFUSALS` for the ways of saying no. */
export function decide(
  command: DeploymentCommand,
  deployment: Deployment,
  circumstances: Circumstances,
): Decision {
  const attempt = 'attemptId' in command ? findAttempt(deployment, command.attemptId) : null;
  const refused =
    preconditionMissing(command) ??
    notFound(command, deployment, attempt) ??
    notOpenToCommands(command, deployment) ??
    tokenMismatch(command, attempt) ??
    notCurrent(command, deployment, circumstances.revision);
  if (refused !== null) return refuse(refused);
  const on = { deployment, circumstances };
  switch (command.type) {
    case 'CreateDeployment':
      return create({ command, ...on });
    case 'UpdateDeployment':
      return update({ command, ...on });
    case 'OpenAttempt':
      return open({ command, attempt, ...on });
    case 'ResolveUnknown':
      return resolve({ command, ...on });
    case 'ArchiveDeployment':
      return archive({ command, ...on });
    case 'StartAttempt':
    case 'Heartbeat':
    case 'EndAttempt':
    case 'CancelAttempt':
    case 'MarkUnknown':
      return decideAttempt({ command, attempt: found(attempt), ...on });
  }
}

/** Resolving needs a revision: two people must not both decide on what they saw. Checked before all else. */
export function preconditionMissing(command: DeploymentCommand): Refusal | null {
  return command.type === 'ResolveUnknown' && typeof command.expectedRevision !== 'bigint'
    ? no(
        'PRECONDITION_REQUIRED',
        'resolving needs the revision that you looked at: read the deployment, then send its revision (If-Match)',
      )
    : null;
}

function notFound(
  command: DeploymentCommand,
  { created, deploymentId: id }: Deployment,
  attempt: Attempt | null,
): Refusal | null {
  if (created === null) {
    return command.type === 'CreateDeployment'
      ? null
      : no('DEPLOYMENT_NOT_FOUND', `no deployment ${id} is recorded; create it first`);
  }
  return 'attemptId' in command && command.type !== 'OpenAttempt' && attempt === null
    ? no('ATTEMPT_NOT_FOUND', `deployment ${id} has no attempt ${command.attemptId}`)
    : null;
}

function notOpenToCommands(
  { type }: DeploymentCommand,
  { archived, deploymentId: id }: Deployment,
): Refusal | null {
  return archived && type !== 'ArchiveDeployment'
    ? no('DEPLOYMENT_ARCHIVED', `deployment ${id} is archived; its history stays readable`)
    : null;
}

function tokenMismatch(command: DeploymentCommand, attempt: Attempt | null): Refusal | null {
  if (command.type !== 'EndAttempt' && command.type !== 'Heartbeat') return null;
  const token = attempt?.leaseTokenHash ?? null;
  return token === null || command.leaseTokenHash === token
    ? null
    : no(
        'LEASE_TOKEN_MISMATCH',
        `attempt ${command.attemptId} was started with another lease token`,
      );
}

function notCurrent(
  { expectedRevision: expected }: DeploymentCommand,
  { created, deploymentId }: Deployment,
  revision: bigint,
): Refusal | null {
  if (expected === undefined || (expected === '*' ? created !== null : expected === revision))
    return null;
  return created === null
    ? no('REVISION_MISMATCH', `no deployment ${deploymentId} is recorded, so it has no revision`)
    : no(
        'REVISION_MISMATCH',
        `the command was decided on revision ${String(expected)}, but ${deploymentId} is at ${String(revision)}: look again`,
      );
}

function found(attempt: Attempt | null): Attempt {
  if (attempt === null) throw new Error('an attempt that is not found was refused before');
  return attempt;
}

function create({ command, deployment, circumstances }: Case<'CreateDeployment'>): Decision {
  const { name = command.deploymentId, environment, labels, confirmPhrase, policy } = command;
  const declaration = given<Declaration>({ name, environment, labels, confirmPhrase, policy });
  const { created } = deployment;
  if (created !== null) {
    return sameDeclaration(created, declaration, circumstances.defaults)
      ? unchanged('1')
      : refuse(
          no(
            'DEPLOYMENT_EXISTS',
            `deployment ${command.deploymentId} was declared otherwise; update it, or choose another id`,
          ),
        );
  }
  const problems = policyProblems(declaration.policy ?? {}, circumstances.defaults);
  if (problems.length > 0) return refuse(invalidBody(problems));
  return accept('1', {
    command,
    deployment,
    cause: [{ type: 'deployment_created', data: declaration }],
  });
}

function update({ command, deployment, circumstances }: Case<'UpdateDeployment'>): Decision {
  const patch = changedMembers(deployment, command);
  if (Object.keys(patch).length === 0) return unchanged('21');
  const problems =
    patch.policy === undefined
      ? [] // Settings may have changed under a policy that stands: no reason to refuse a new name.
      : policyProblems(mergedPolicy(deployment.policy, patch.policy), circumstances.defaults);
  if (problems.length > 0) return refuse(invalidBody(problems));
  return accept('21', {
    command,
    deployment,
    cause: [{ type: 'deployment_updated', data: patch }],
  });
}

type Opening = Case<'OpenAttempt'> & { readonly attempt: Attempt | null };

function open(the: Opening): Decision {
  const { command, deployment, circumstances } = the;
  const { scope } = command;
  const kind = circumstances.kindOf(scope);
  if (kind === undefined)
    return refuse(no('SCOPE_UNSUPPORTED', `scope "${scope}" is not registered with this service`));
  const refusal =
    notOpenable(the, kind) ??
    notAcknowledged(deployment, command, kind) ??
    notConfirmed(deployment, command, kind);
  if (refusal !== null) return refuse(refusal);
  return kind === 'teardown' && deployment.tornDown && deployment.state === 'pending'
    ? unchanged('4')
    : acceptOpening(the, kind);
}

function acceptOpening({ command, deployment }: Opening, kind: ScopeKind): Decision {
  const { attemptId, scope, acknowledgeUnknown, meta } = command;
  const unknown = deployment.state === 'unknown';
  const data = given<EventData['attempt_opened']>({
    attemptId,
    number: (deployment.currentAttempt?.number ?? 0) + 1,
    scope,
    kind,
    settledState: deployment.state,
    acknowledged: unknown ? acknowledgeUnknown : undefined,
    meta,
  });
  return accept(unknown ? '3' : kind === 'teardown' ? '4' : '2', {
    command,
    deployment,
    attempt: data,
    reason: data.acknowledged?.reason,
    cause: [{ type: 'attempt_opened', data }],
  });
}

function notOpenable({ command, deployment, attempt }: Opening, kind: ScopeKind): Refusal | null {
  const { deploymentId: id, currentAttempt } = deployment;
  if (attempt !== null) {
    return no(
      'ATTEMPT_EXISTS',
      `deployment ${id} has an attempt ${command.attemptId} already; choose another id`,
    );
  }
  if (deployment.tornDown && kind !== 'teardown' && deployment.policy.afterTeardown === 'retire') {
    return no(
      'DEPLOYMENT_TORN_DOWN',
      `${id} is torn down and its policy retires it; archive it, or change the policy`,
    );
  }
  return currentAttempt !== null && isActive(currentAttempt)
    ? inProgress(deployment, currentAttempt)
    : null;
}

function notAcknowledged(
  deployment: Deployment,
  { acknowledgeUnknown, actor }: CommandOf<'OpenAttempt'>,
  kind: ScopeKind,
): Refusal | null {
  if (deployment.state !== 'unknown') return null;
  if (acknowledgeUnknown === undefined || kind === 'teardown') return isUnknown(deployment);
  return actor.kind === 'human'
    ? null
    : no('HUMAN_REQUIRED', 'only a human may acknowledge an unknown state');
}

function notConfirmed(
  { deploymentId: id, confirmPhrase }: Deployment,
  command: CommandOf<'OpenAttempt'>,
  kind: ScopeKind,
): Refusal | null {
  if (kind !== 'teardown' || confirmPhrase === null) return null;
  return command.confirmPhrase === confirmPhrase
    ? null
    : no('TEARDOWN_CONFIRM_MISMATCH', `tearing ${id} down needs its confirm phrase, exactly`);
}

function resolve({ command, deployment }: Case<'ResolveUnknown'>): Decision {
  const { as, reason, evidence, actor } = command;
  const attempt = deployment.currentAttempt;
  if (deployment.state !== 'unknown' && deployment.attention === null) {
    return refuse(
      no(
        'DEPLOYMENT_NOT_UNKNOWN',
        `${deployment.deploymentId} is ${deployment.state}: there is nothing to resolve`,
      ),
    );
  }
  if (attempt !== null && isActive(attempt)) return refuse(inProgress(deployment, attempt));
  if (actor.kind !== 'human')
    return refuse(no('HUMAN_REQUIRED', 'only a human may resolve an unknown state'));
  const data = given<EventData['unknown_resolved']>({
    attemptId: attempt?.attemptId,
    as,
    reason,
    evidence,
  });
  return accept('20', {
    command,
    deployment,
    attempt: attempt ?? undefined,
    to: as === 'torn_down' ? 'pending' : as,
    reason,
    cause: [{ type: 'unknown_resolved', data }],
  });
}

function archive({ command, deployment }: Case<'ArchiveDeployment'>): Decision {
  const { deploymentId: id, state, currentAttempt, everStarted, tornDown } = deployment;
  if (deployment.archived) return unchanged('22');
  if (currentAttempt !== null && isActive(currentAttempt))
    return refuse(inProgress(deployment, currentAttempt));
  if (state === 'unknown' || deployment.attention !== null) return refuse(isUnknown(deployment));
  if (!tornDown && (everStarted || state === 'ready')) {
    return refuse(
      no(
        'DEPLOYMENT_NOT_TORN_DOWN',
        `${id} may still run something: tear it down before it is archived`,
      ),
    );
  }
  const data = given<EventData['deployment_archived']>({ reason: command.reason });
  return accept('22', { command, deployment, cause: [{ type: 'deployment_archived', data }] });
}

const HUMAN = { id: 'allowed', kind: 'human' } as const;
/** No caller can have used it: ids have no blanks. */
const FRESH_ID = ' ' as AttemptId;

/**
 * The commands of which some body would be accepted and write something now.
 *
 * Found by asking `decide` itself, so it can not drift from the rules. By the rows alone: any actor,
 * any time. Heartbeats are not commands of the bus and are left out.
 * Shape: in the order of `COMMAND_TYPES`; empty when nothing is recorded.   Cost: about 12 decisions.
 */
export function allowedCommands(
  deployment: Deployment,
  defaults: Circumstances['defaults'],
): readonly CommandType[] {
  if (deployment.created === null) return [];
  const circumstances: Circumstances = {
    revision: 0n,
    kindOf: (scope) => scope as ScopeKind,
    defaults,
    silentTooLong: true,
  };
  const writes = (command: DeploymentCommand): boolean => {
    const decision = decide(command, deployment, circumstances);
    return decision.ok && decision.events.length > 0;
  };
  const probes = probesOf(deployment);
  return COMMAND_TYPES.filter((type) =>
    probes.some((probe) => probe.type === type && writes(probe)),
  );
}

/** One command of each kind that the rules tell apart, as favourable as they can be. */
function probesOf(deployment: Deployment): readonly DeploymentCommand[] {
  const { deploymentId, confirmPhrase, currentAttempt } = deployment;
  const common = { deploymentId, actor: HUMAN, expectedRevision: 0n } as const;
  const opening = {
    ...common,
    type: 'OpenAttempt',
    attemptId: FRESH_ID,
    acknowledgeUnknown: { reason: 'allowed' },
    ...(confirmPhrase !== null && { confirmPhrase }),
  } as const;
  return [
    { ...common, type: 'UpdateDeployment', name: `${deployment.name}~` },
    { ...opening, scope: 'deploy' },
    { ...opening, scope: 'teardown' },
    { ...common, type: 'ResolveUnknown', as: 'failed', reason: 'allowed' },
    { ...common, type: 'ArchiveDeployment' },
    ...(currentAttempt === null ? [] : attemptProbesOf(common, currentAttempt)),
  ];
}

function attemptProbesOf(
  common: Pick<DeploymentCommand, 'deploymentId' | 'actor'>,
  { attemptId, leaseTokenHash, runner, lateResults }: Attempt,
): readonly DeploymentCommand[] {
  const about = { ...common, attemptId, ...(leaseTokenHash !== null && { leaseTokenHash }) };
  // One that no recorded result has; a stack holds not as many arguments as a stream holds records.
  const exitCode = lateResults.reduce(
    (code, result) => Math.max(code, 1 + (result.exitCode ?? 0)),
    1,
  );
  return [
    { ...about, type: 'StartAttempt', ...(runner !== null && { runner }) },
    ...OUTCOMES.map((outcome) => ({ ...about, type: 'EndAttempt', outcome, exitCode }) as const),
    { ...about, type: 'CancelAttempt' },
    { ...about, type: 'MarkUnknown', cause: 'operator' },
  ];
}
