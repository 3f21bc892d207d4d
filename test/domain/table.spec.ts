import { describe, expect, it } from '@jest/globals';
import { COMMAND_TYPES, type CommandType } from '../../src/domain/command.js';
import { REFUSALS, type RefusalCode } from '../../src/domain/refusals.js';
import {
  TRANSITIONS,
  transitionOf,
  type RowId,
  type Transition,
} from '../../src/domain/transitions.js';
import { explore } from '../support/explore.js';
import type { Step } from '../support/rules.js';

const ROWS: readonly Transition[] = TRANSITIONS;

/** Refusals by which a command may be refused before its rows are looked at. */
const BEFORE_ALL_ROWS: readonly RefusalCode[] = [
  'INVALID_BODY',
  'PRECONDITION_REQUIRED',
  'DEPLOYMENT_NOT_FOUND',
  'ATTEMPT_NOT_FOUND',
  'DEPLOYMENT_ARCHIVED',
  'LEASE_TOKEN_MISMATCH',
  'REVISION_MISMATCH',
];

/** What the table says, sentence by sentence; `none` and the targets are the table's words. */
const CLAIMS = ROWS.flatMap(({ row, commands, from, to, events }) => [
  ...commands.map((command) => `${row} ${command}`),
  ...events.map((event) => `${row} writes ${event}`),
  // A row that writes nothing leads nowhere.
  ...(events.length === 0 ? [] : from.map((state) => `${row} from ${state}`)),
  ...(events.length === 0 ? [] : to.map((target) => `${row} to ${target}`)),
]);
const REFUSALS_CLAIMED = new Set([
  ...ROWS.flatMap(({ commands, refuses }) => commands.flatMap((type) => refused(type, refuses))),
  ...COMMAND_TYPES.flatMap((type) => refused(type, BEFORE_ALL_ROWS)),
]);

function refused(type: CommandType, codes: readonly RefusalCode[]): readonly string[] {
  return codes.map((code) => `${type} refused ${code}`);
}

/** The row by which an answer was given; null for a refusal that is no row of its own. */
function rowOf({ decision, events }: Step): RowId | null {
  if (decision.ok) return decision.row;
  if (decision.refusal.code === 'ATTEMPT_SUPERSEDED') return '18';
  return events.length > 0 ? '19' : null;
}

/** What a step shows, in the sentences of the table. */
function shown(step: Step): readonly string[] {
  const { before, command, decision, events } = step;
  const refusal = decision.ok ? [] : refused(command.type, [decision.refusal.code]);
  const row = rowOf(step);
  if (row === null) return refusal;
  const asked = [...refusal, `${row} ${command.type}`];
  if (events.length === 0) return asked;
  const from = before.deployment.created === null ? 'none' : before.deployment.state;
  const causes = events.filter(({ type }) => type !== 'state_transition');
  return [
    ...asked,
    ...causes.map(({ type }) => `${row} writes ${type}`),
    `${row} from ${from}`,
    ...targetsOf(row, step).map((to) => `${row} to ${to}`),
  ];
}

/** Which of the targets of its row a step reached; the state itself where it is none of them. */
function targetsOf(row: RowId, { before, after }: Step): readonly string[] {
  const [from, { state }] = [before.deployment, after.deployment];
  const reached = new Set<string>([
    state,
    ...(state === from.settledState ? ['settled'] : []),
    ...(state === from.state && from.created !== null ? ['unchanged'] : []),
  ]);
  const targets = transitionOf(row).to.filter((target) => reached.has(target));
  return targets.length === 0 ? [state] : targets;
}

describe('the table of the lifecycle', () => {
  const seen = new Set<string>();
  const { states, steps } = explore({
    attemptsMax: 2,
    scopes: ['full', 'teardown', 'snapshot', 'nap'],
    policies: [{ lateResults: 'accept' }, { lateResults: 'record', afterTeardown: 'retire' }],
    tokens: false,
    visit: (step) => {
      for (const sentence of shown(step)) seen.add(sentence);
    },
  });

  it('holds in every state that commands can lead to', () => {
    expect(states.length).toBeGreaterThan(15_000);
    expect(steps).toBeGreaterThan(500_000);
    const claims = new Set([...CLAIMS, ...REFUSALS_CLAIMED]);
    expect([...seen].filter((sentence) => !claims.has(sentence))).toEqual([]);
  });

  it('claims nothing that does not happen', () => {
    expect(CLAIMS.filter((claim) => !seen.has(claim))).toEqual([]);
  });

  it('names no refusal that never comes', () => {
    const idle = ROWS.flatMap(({ row, commands, refuses }) =>
      refuses
        .filter((code) => !commands.some((type) => seen.has(`${type} refused ${code}`)))
        .map((code) => `${row} ${code}`),
    );
    expect(idle).toEqual([]);
  });

  it('has the rows of the documentation, in its order', () => {
    const numbers = '1 2 3 4 5 6 7 8 9 10 10m 11 12 13 14 15 16 17 18 19 20 21 22';
    expect(ROWS.map(({ row }) => row)).toEqual(numbers.split(' '));
  });

  it('refuses only by codes that have a meaning', () => {
    for (const code of ROWS.flatMap(({ refuses }) => refuses))
      expect(REFUSALS[code]).toMatch(/\.$/);
  });
});
