import type { Row, Table } from '../ports/read-models.js';

/** A member of a row, or of an object in a json column (`deployment.policy.leaseMs`), that differs. */
export interface MemberDifference {
  readonly member: string;
  readonly expected: unknown;
  readonly found: unknown;
}

/** Differences listed of one row. */
const MEMBERS_MAX = 20;

/**
 * The members in which a stored row is not as it should be, at most `max`; none when it is right.
 * In json columns a member without a value and one that is absent are the same, as they are in JSON.
 */
export function membersThatDiffer(
  table: Table,
  { expected, found }: { readonly expected: Row; readonly found: Row },
  max = MEMBERS_MAX,
): readonly MemberDifference[] {
  const differences: MemberDifference[] = [];
  for (const [member, { type }] of Object.entries(table.columns)) {
    if (differences.length >= max) break;
    const pair = { member, expected: expected[member], found: found[member] };
    if (type === 'json') compareJson(pair, differences, max);
    else if (pair.expected !== pair.found) differences.push(pair);
  }
  return differences;
}

function compareJson(pair: MemberDifference, into: MemberDifference[], max: number): void {
  const { member, expected, found } = pair;
  if (expected === found || into.length >= max) return;
  if (
    !isComposite(expected) ||
    !isComposite(found) ||
    Array.isArray(expected) !== Array.isArray(found)
  ) {
    into.push(pair);
    return;
  }
  for (const name of new Set([...Object.keys(expected), ...Object.keys(found)])) {
    compareJson(
      { member: `${member}.${name}`, expected: expected[name], found: found[name] },
      into,
      max,
    );
  }
}

function isComposite(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
