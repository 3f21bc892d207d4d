/**
 * The rules about one attempt: start, heartbeat, end, cancel, loss. Rows 5 to 19 of `TRANSITIONS`.
 */
import type { CommandOf } from './command.js';
import {
  accept,
  alreadyStarted,
  isUnknown,
  no,
  notStarted,
  refuse,
  terminal,
  unchanged,
  type Case,
  type Circumstances,
  type Decision,
} from './decision.js';
import type { Attempt, Deployment } from './deployment.js';
import {
  given,
  resultOf,
  type EventData,
  type Fact,
  type Outcome,
  type Result,
  type State,
} from './event-schema.js';
import { effectivePolicy } from './lease.js';
import type { RowId } from './transitions.js';

/** Commands about one attempt. */
export type AttemptCommandType =
  'StartAttempt' | 'Heartbeat' | 'EndAttempt' | 'CancelAttempt' | 'MarkUnknown';
type AttemptCase<T extends AttemptCommandType> = Case<T> & { readonly attempt: Attempt };

/** Decides a command about an attempt that exists. */
export function decideAttempt(the: AttemptCase<AttemptCommandType>): Decision {
  const { command, deployment, attempt } = the;
  if (deployment.currentAttempt !== attempt) return superseded(command, attempt);
  switch (command.type) {
    case 'StartAttempt':
      return start({ ...the, command });
    case 'Heartbeat':
      return beat({ ...the, command });
    case 'EndAttempt':
      return end({ ...the, command });
    case 'CancelAttempt':
      return cancel({ ...the, command });
    case 'MarkUnknown':
      return lose({ ...the, command });
  }
}

function superseded(command: CommandOf<AttemptCommandType>, attempt: Attempt): Decision {
  const refusal = no(
    'ATTEMPT_SUPERSEDED',
    `attempt ${attempt.attemptId} is number ${String(attempt.number)}, and a newer one was opened: stop its runner`,
  );
  if (command.type !== 'EndAttempt') return refuse(refusal);
  const own = ownResult(attempt);
  if (own !== null && sameResult(own, command)) return unchanged('18');
  if (isRecorded(attempt.staleResults, command)) return refuse(refusal);
  const data = { attemptId: attempt.attemptId, ...resultOf(command) };
  return refuse(refusal, [{ type: 'stale_result_recorded', data }]);
}

function start(the: AttemptCase<'StartAttempt'>): Decision {
  const { command, deployment, attempt } = the;
  switch (phaseOf(attempt)) {
    case 'pending':
      return accept('5', { command, deployment, attempt, cause: [startOf(command)] });
    case 'running':
      return isSameRunner(attempt, command) ? unchanged('5') : refuse(alreadyStarted(attempt));
    case 'lost':
      return revive(the, isSameRunner(attempt, command));
    case 'ended':
    case 'closed':
      return refuse(terminal(attempt));
  }
}

function beat(the: AttemptCase<'Heartbeat'>): Decision {
  const { attempt } = the;
  switch (phaseOf(attempt)) {
    case 'running':
      return unchanged('6');
    case 'pending':
      return refuse(notStarted(attempt));
    case 'lost':
      return attempt.startedAt === null ? refuse(notStarted(attempt)) : revive(the, true);
    case 'ended':
    case 'closed':
      return refuse(terminal(attempt));
  }
}

function revive(
  { command, deployment, attempt, circumstances }: AttemptCase<'StartAttempt' | 'Heartbeat'>,
  sameRunner: boolean,
): Decision {
  if (recordsOnly(deployment, circumstances)) return refuse(isUnknown(deployment));
  const started = attempt.startedAt !== null;
  if (started && !sameRunner) return refuse(alreadyStarted(attempt));
  const recovery: Fact = { type: 'attempt_recovered', data: { attemptId: attempt.attemptId } };
  const cause =
    !started && command.type === 'StartAttempt' ? [recovery, startOf(command)] : [recovery];
  return accept('7', { command, deployment, attempt, cause, recovered: true });
}

function startOf(command: CommandOf<'StartAttempt'>): Fact {
  const { attemptId, runner, leaseTokenHash, leaseMs, meta } = command;
  const data = given<EventData['attempt_start']>({
    attemptId,
    runner,
    leaseTokenHash,
    leaseMs,
    meta,
  });
  return { type: 'attempt_start', data };
}

function end(the: AttemptCase<'EndAttempt'>): Decision {
  const { command, deployment, attempt, circumstances } = the;
  switch (phaseOf(attempt)) {
    case 'pending':
    case 'running':
      return endWith(the, resultOf(command));
    case 'lost':
      return recordsOnly(deployment, circumstances)
        ? recordLate('16', the)
        : endWith(the, resultOf(command));
    case 'closed':
      return recordLate('17', the);
    case 'ended': {
      const own = ownResult(attempt);
      if (own !== null && sameResult(own, command)) return unchanged('19');
      return refuse(terminal(attempt), lateRecord(the));
    }
  }
}

/** What an end leads to: rows 8 to 12; null where it would be refused, since nothing was started. */
function endingOf(attempt: Attempt, outcome: Outcome): { row: RowId; to: State } | null {
  const settled = attempt.openedFrom.state;
  if (attempt.startedAt === null) {
    if (outcome === 'succeeded') return null;
    if (outcome === 'cancelled') return { row: '12', to: settled };
    const goesBack = settled === 'unknown' || attempt.kind === 'maintenance';
    return { row: '11', to: goesBack ? settled : 'failed' };
  }
  if (attempt.kind === 'maintenance') return { row: '10m', to: settled };
  if (outcome !== 'succeeded') return { row: '10', to: 'failed' };
  return attempt.kind === 'deploy' ? { row: '8', to: 'ready' } : { row: '9', to: 'pending' };
}

function endWith(
  { command, deployment, attempt }: AttemptCase<'EndAttempt' | 'CancelAttempt'>,
  result: Result,
): Decision {
  const ending = endingOf(attempt, result.outcome);
  if (ending === null) return refuse(notStarted(attempt));
  const late = phaseOf(attempt) === 'lost';
  const tooLate = attempt.cancelRequested && result.outcome === 'succeeded';
  const data = {
    attemptId: attempt.attemptId,
    ...result,
    ...(late && { late: true as const }),
    ...(tooLate && { cancelTooLate: true as const }),
  };
  const row = late && attempt.startedAt !== null ? '16' : tooLate ? '14' : ending.row;
  return accept(row, {
    command,
    deployment,
    attempt,
    to: ending.to,
    cause: [{ type: 'attempt_end', data }],
    reason: result.reason ?? result.code,
    result,
    recovered: late,
  });
}

function recordLate(row: '16' | '17', the: AttemptCase<'EndAttempt'>): Decision {
  return { ok: true, row, events: lateRecord(the) };
}

function lateRecord(the: AttemptCase<'EndAttempt'>): readonly Fact[] {
  const { command, attempt } = the;
  if (isRecorded(attempt.lateResults, command)) return [];
  const data = {
    attemptId: attempt.attemptId,
    ...resultOf(command),
    ...(contradicts(the) && { conflict: true as const }),
  };
  return [{ type: 'late_result_recorded', data }];
}

/** Whether a result says otherwise than the human who closed the attempt. */
function contradicts({
  command,
  deployment,
  attempt,
  circumstances,
}: AttemptCase<'EndAttempt'>): boolean {
  const { resolved, kind } = attempt;
  const ending = endingOf(attempt, command.outcome);
  if (resolved === null || kind === 'maintenance' || recordsOnly(deployment, circumstances))
    return false;
  if (ending === null || ending.to === 'unknown') return false;
  const tornDown = ending.row === '9' || (ending.row === '12' && attempt.openedFrom.tornDown);
  return resolved.as === 'torn_down'
    ? !(ending.to === 'pending' && tornDown)
    : resolved.as !== ending.to;
}

function cancel(the: AttemptCase<'CancelAttempt'>): Decision {
  const { command, deployment, attempt } = the;
  switch (phaseOf(attempt)) {
    case 'pending':
      return endWith(the, given<Result>({ outcome: 'cancelled', reason: command.reason }));
    case 'running': {
      if (attempt.cancelRequested) return unchanged('13');
      const data = given<EventData['cancel_requested']>({
        attemptId: attempt.attemptId,
        reason: command.reason,
      });
      return accept('13', {
        command,
        deployment,
        attempt,
        cause: [{ type: 'cancel_requested', data }],
      });
    }
    case 'lost':
      return refuse(isUnknown(deployment));
    case 'ended':
    case 'closed':
      return refuse(terminal(attempt));
  }
}

function lose({
  command,
  deployment,
  attempt,
  circumstances,
}: AttemptCase<'MarkUnknown'>): Decision {
  const { cause, evidence } = command;
  const phase = phaseOf(attempt);
  if (phase === 'ended' || phase === 'closed') return refuse(terminal(attempt));
  if (phase === 'lost') return unchanged('15');
  const judgedWhile = { lease_expired: 'running', start_timeout: 'pending' }[cause as string];
  if (judgedWhile !== undefined && (phase !== judgedWhile || !circumstances.silentTooLong)) {
    return refuse(
      no(
        'LEASE_ACTIVE',
        `attempt ${attempt.attemptId} is ${phase} and its time is not past; to give it up all the same, use the cause abandoned, orphaned or operator`,
      ),
    );
  }
  const heard = attempt.startedAt === null ? undefined : (deployment.observedAt ?? undefined);
  const data = given<EventData['attempt_lost']>({
    attemptId: attempt.attemptId,
    cause,
    evidence,
    lastHeartbeatAt: circumstances.lastHeartbeatAt ?? heard,
  });
  return accept('15', {
    command,
    deployment,
    attempt,
    reason: cause,
    cause: [{ type: 'attempt_lost', data }],
  });
}

type Phase = 'pending' | 'running' | 'lost' | 'ended' | 'closed';

function phaseOf(attempt: Attempt): Phase {
  switch (attempt.state) {
    case 'pending':
    case 'running':
      return attempt.state;
    case 'unknown':
      return attempt.resolved === null ? 'lost' : 'closed';
    case 'succeeded':
    case 'failed':
    case 'cancelled':
      return 'ended';
  }
}

function recordsOnly(deployment: Deployment, { defaults }: Circumstances): boolean {
  return effectivePolicy(deployment.policy, defaults).lateResults === 'record';
}

function isSameRunner(attempt: Attempt, command: CommandOf<'StartAttempt' | 'Heartbeat'>): boolean {
  if (attempt.leaseTokenHash !== null) return attempt.leaseTokenHash === command.leaseTokenHash;
  const id = attempt.runner?.id;
  return id !== undefined && command.type === 'StartAttempt' && command.runner?.id === id;
}

function ownResult({ state, exitCode }: Attempt): Result | null {
  const ended = state === 'succeeded' || state === 'failed' || state === 'cancelled';
  return ended ? given<Result>({ outcome: state, exitCode: exitCode ?? undefined }) : null;
}

function sameResult(a: Result, b: Result): boolean {
  const bothTell = a.exitCode !== undefined && b.exitCode !== undefined;
  return a.outcome === b.outcome && (!bothTell || a.exitCode === b.exitCode);
}

function isRecorded(results: readonly Result[], result: Result): boolean {
  return results.some((recorded) => sameResult(recorded, result));
}
