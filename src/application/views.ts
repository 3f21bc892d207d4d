import type { CommandType } from '../domain/command.js';
import { allowedCommands } from '../domain/decide.js';
import type { Attempt, Deployment } from '../domain/deployment.js';
import {
  parseEvent,
  type Actor,
  type AttemptId,
  type EventMetadata,
  type Instant,
  type JsonObject,
  type Labels,
  type LossCause,
  type Resolution,
  type Runner,
  type ScopeKind,
  type State,
} from '../domain/event-schema.js';
import { effectivePolicy, type EffectivePolicy, type PolicyDefaults } from '../domain/lease.js';
import {
  STREAM_PREFIX,
  type Position,
  type RecordedEvent,
  type Revision,
} from '../ports/event-store.js';
import type { Beat } from '../ports/leases.js';

/** An attempt as queries answer it. Members without a value are null. */
export interface AttemptView {
  readonly deploymentId: string;
  readonly attemptId: AttemptId;
  readonly number: number;
  readonly scope: string;
  readonly kind: ScopeKind;
  readonly state: Attempt['state'];
  readonly exitCode: number | null;
  readonly code: string | null;
  readonly reason: string | null;
  readonly cause: LossCause | null;
  readonly cancelRequested: boolean;
  readonly recovered: boolean;
  readonly resolved: { readonly as: Resolution; readonly by: Actor; readonly at: Instant } | null;
  readonly runner: Runner | null;
  readonly leaseMs: number | null;
  readonly openedAt: Instant;
  readonly startedAt: Instant | null;
  readonly endedAt: Instant | null;
  readonly meta: JsonObject | null;
  /** When a heartbeat was last heard of by this service; operational, null where none is known. */
  readonly lastHeartbeatAt: Instant | null;
  /** What the last heartbeat told; operational, kept nowhere. */
  readonly progress: JsonObject | null;
}

/** A deployment as queries answer it. Members without a value are null. */
export interface DeploymentView {
  readonly deploymentId: string;
  readonly name: string;
  readonly environment: string | null;
  readonly labels: Labels;
  /** What rules: the policy as given, defaults applied. */
  readonly policy: EffectivePolicy;
  readonly state: State;
  readonly reason: string | null;
  readonly since: Instant | null;
  readonly settledState: State | null;
  readonly tornDown: boolean;
  readonly archived: boolean;
  readonly attention: Deployment['attention'];
  readonly currentAttempt: AttemptView | null;
  readonly lastReadyAttempt: string | null;
  readonly revision: Revision;
  readonly position: Position;
  /** When the current attempt's runner was last heard of. */
  readonly observedAt: Instant | null;
  /** The commands of which some body would be accepted and write something now. */
  readonly allowed: readonly CommandType[];
}

/** An event as histories and streams tell it. */
export interface EventView {
  readonly id: string;
  readonly type: string;
  readonly deploymentId: string;
  readonly revision: Revision;
  readonly position: Position;
  readonly recordedAt: Instant;
  readonly data: JsonObject;
  readonly metadata: EventMetadata;
}

/** Makes the view of a deployment; secrets (phrase, token) stay inside. */
export function deploymentView(
  deployment: Deployment,
  at: { readonly revision: Revision; readonly position: Position },
  context: { readonly defaults: PolicyDefaults; readonly beat: Beat | null },
): DeploymentView {
  const { currentAttempt } = deployment;
  const { defaults, beat } = context;
  const observed = [deployment.observedAt, beat?.at ?? null].filter((instant) => instant !== null);
  return {
    deploymentId: deployment.deploymentId,
    name: deployment.name,
    environment: deployment.environment,
    labels: deployment.labels,
    policy: effectivePolicy(deployment.policy, defaults),
    state: deployment.state,
    reason: deployment.reason,
    since: deployment.since,
    settledState: deployment.settledState,
    tornDown: deployment.tornDown,
    archived: deployment.archived,
    attention: deployment.attention,
    currentAttempt:
      currentAttempt === null ? null : attemptView(deployment.deploymentId, currentAttempt, beat),
    lastReadyAttempt: deployment.lastReadyAttempt,
    revision: at.revision,
    position: at.position,
    observedAt: observed.sort().at(-1) ?? null,
    allowed: allowedCommands(deployment, defaults),
  };
}

/** Makes the view of an attempt. */
export function attemptView(
  deploymentId: string,
  attempt: Attempt,
  beat: Beat | null,
): AttemptView {
  return {
    deploymentId,
    attemptId: attempt.attemptId,
    number: attempt.number,
    scope: attempt.scope,
    kind: attempt.kind,
    state: attempt.state,
    exitCode: attempt.exitCode,
    code: attempt.code,
    reason: attempt.reason,
    cause: attempt.cause,
    cancelRequested: attempt.cancelRequested,
    recovered: attempt.recovered,
    resolved: attempt.resolved,
    runner: attempt.runner,
    leaseMs: attempt.leaseMs,
    openedAt: attempt.openedAt,
    startedAt: attempt.startedAt,
    endedAt: attempt.endedAt,
    meta: attempt.meta,
    lastHeartbeatAt: beat?.at ?? null,
    progress: beat?.progress ?? null,
  };
}

/** Makes the view of a stored event; an event that can not be read is shown as far as it can be. */
export function eventView(recorded: RecordedEvent): EventView {
  const { id, type, stream, revision, position } = recorded;
  const parsed = parseEvent(type, recorded.data, recorded.metadata);
  const { data, metadata } = parsed.ok ? parsed.event : unreadable(recorded, parsed.problem);
  return {
    id,
    type,
    deploymentId: stream.slice(STREAM_PREFIX.length),
    revision,
    position,
    recordedAt: metadata.recordedAt,
    data: data as JsonObject,
    metadata,
  };
}

function unreadable(
  { data, metadata }: RecordedEvent,
  problem: string,
): { data: JsonObject; metadata: EventMetadata } {
  return {
    data: { unreadable: problem, text: data },
    metadata: { ...(jsonOrNull(metadata) as EventMetadata | null) } as EventMetadata,
  };
}

function jsonOrNull(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
