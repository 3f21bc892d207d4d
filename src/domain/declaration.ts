/** What a deployment is declared to be: how declarations change and compare. */
import {
  given,
  type Declaration,
  type DeclarationPatch,
  type Labels,
  type Policy,
  type PolicyPatch,
} from './event-schema.js';
import { effectivePolicy, type PolicyDefaults } from './lease.js';

/** The declared members of a deployment, as they stand. */
interface Declared {
  readonly deploymentId: string;
  readonly name: string;
  readonly environment: string | null;
  readonly labels: Labels;
  readonly confirmPhrase: string | null;
  readonly policy: Policy;
}

/** The members of a change that differ from what stands; an empty object when nothing does. */
export function changedMembers(stands: Declared, patch: DeclarationPatch): DeclarationPatch {
  const { name, environment, labels, confirmPhrase, policy } = patch;
  const named = name === null ? stands.deploymentId : name;
  const relabelled = labels !== undefined && !sameMembers(labels ?? {}, stands.labels);
  return given<DeclarationPatch>({
    name: named === stands.name ? undefined : name,
    environment: environment === stands.environment ? undefined : environment,
    labels: relabelled ? labels : undefined,
    confirmPhrase: confirmPhrase === stands.confirmPhrase ? undefined : confirmPhrase,
    policy: changedPolicyMembers(stands.policy, policy),
  });
}

function changedPolicyMembers(
  policy: Policy,
  patch: PolicyPatch | null | undefined,
): PolicyPatch | null | undefined {
  if (patch === undefined || sameMembers(mergedPolicy(policy, patch), policy)) return undefined;
  if (patch === null) return null;
  const stands: Readonly<Record<string, unknown>> = { ...policy };
  const changed = Object.entries(patch).filter(
    ([member, value]) => value !== (stands[member] ?? null),
  );
  return Object.fromEntries(changed);
}

/** Whether two declarations say the same once defaults are applied. */
export function sameDeclaration(a: Declaration, b: Declaration, defaults: PolicyDefaults): boolean {
  const rulesOf = ({ policy = {} }: Declaration): Policy => effectivePolicy(policy, defaults);
  return (
    a.name === b.name &&
    a.environment === b.environment &&
    a.confirmPhrase === b.confirmPhrase &&
    sameMembers(a.labels ?? {}, b.labels ?? {}) &&
    sameMembers(rulesOf(a), rulesOf(b))
  );
}

/** Whether two flat objects have the same members, in any order. */
function sameMembers<T extends object>(a: T, b: T): boolean {
  const names = Object.keys(a) as (keyof T)[];
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && a[name] === b[name])
  );
}

/** The policy after a change by member: null clears a member, or, given for the whole, all. */
export function mergedPolicy(policy: Policy, patch: PolicyPatch | null | undefined): Policy {
  if (patch === undefined) return policy;
  if (patch === null) return {};
  const merged = Object.entries({ ...policy, ...patch }).filter(([, value]) => value !== null);
  return Object.fromEntries(merged);
}
