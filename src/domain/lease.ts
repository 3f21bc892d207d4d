import type { Policy } from './event-schema.js';
import type { MemberProblem } from './refusals.js';

const SECOND = 1_000;
const DAY = 86_400 * SECOND;

/** Bounds of the durations of a policy, in milliseconds, inclusive. */
export const POLICY_BOUNDS = {
  heartbeatMs: { min: 100, max: DAY / 2 },
  leaseMs: { min: SECOND, max: DAY },
  startTimeoutMs: { min: SECOND, max: 7 * DAY },
} as const;

/** What the service's settings say for deployments whose policy is silent. Milliseconds. */
export interface PolicyDefaults {
  readonly heartbeatMs: number;
  readonly leaseMs: number;
  readonly startTimeoutMs: number;
}
/** A policy with every member decided. */
export type EffectivePolicy = Required<Policy>;

/** The policy that rules: what is given, else the defaults. */
export function effectivePolicy(policy: Policy, defaults: PolicyDefaults): EffectivePolicy {
  const leaseMs = policy.leaseMs ?? defaults.leaseMs;
  return {
    heartbeatMs: policy.heartbeatMs ?? Math.min(defaults.heartbeatMs, Math.floor(leaseMs / 3)),
    leaseMs,
    startTimeoutMs: policy.startTimeoutMs ?? defaults.startTimeoutMs,
    lateResults: policy.lateResults ?? 'accept',
    afterTeardown: policy.afterTeardown ?? 'reopen',
  };
}

/** What is wrong with a policy as a whole; bounds of single members are checked where they come in. */
export function policyProblems(policy: Policy, defaults: PolicyDefaults): readonly MemberProblem[] {
  const { heartbeatMs, leaseMs } = effectivePolicy(policy, defaults);
  if (heartbeatMs <= leaseMs / 2) return [];
  const message = `must be at most half of leaseMs (${String(leaseMs)}), so that one lost heartbeat is no loss`;
  return [{ pointer: '/policy/heartbeatMs', message }];
}

/** How long an active attempt may stay silent: its lease once it runs, the start timeout before. */
export function silenceLimitMs(
  attempt: { readonly state: string; readonly leaseMs: number | null },
  policy: EffectivePolicy,
): number {
  return attempt.state === 'pending' ? policy.startTimeoutMs : (attempt.leaseMs ?? policy.leaseMs);
}
