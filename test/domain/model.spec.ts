import { describe, expect, it } from '@jest/globals';
import { explore, type Reach } from '../support/explore.js';
import { brokenRule, type Step } from '../support/rules.js';

/** Fails with what led to the step, as far as one look tells. */
function keepsTheRules(step: Step): void {
  const problem = brokenRule(step);
  if (problem === null) return;
  const { before, command, events } = step;
  throw new Error(`${problem}\n${JSON.stringify({ before, command, events }, null, 2)}`);
}

/** The states and steps of a reach, and every state of a deployment and row that it came by. */
function visited(reach: Omit<Reach, 'visit'>) {
  const rows = new Set<string>();
  const { states, steps } = explore({
    ...reach,
    visit: (step) => {
      keepsTheRules(step);
      if (step.decision.ok && step.events.length > 0) rows.add(step.decision.row);
    },
  });
  return {
    states: states.length,
    steps,
    rows: [...rows].sort((a, b) => parseFloat(a) - parseFloat(b)),
    found: new Set(states.map(({ state }) => state)).size,
  };
}

describe('in every state that commands can lead to, all rules hold', () => {
  it('with three attempts to deploy or tear down', () => {
    const { states, steps, found } = visited({
      attemptsMax: 3,
      scopes: ['full', 'teardown'],
      policies: [{}],
      tokens: false,
    });
    expect(found).toBe(5);
    expect(states).toBeGreaterThan(25_000);
    expect(steps).toBeGreaterThan(700_000);
  });

  it('with two attempts of every kind, lease tokens, and policies that change at any time', () => {
    const { states, steps, rows } = visited({
      attemptsMax: 2,
      scopes: ['full', 'teardown', 'snapshot'],
      policies: [{ lateResults: 'accept' }, { lateResults: 'record', afterTeardown: 'retire' }],
      tokens: true,
    });
    expect(states).toBeGreaterThan(25_000);
    expect(steps).toBeGreaterThan(800_000);
    const written = '1 2 3 4 5 7 8 9 10 10m 11 12 13 14 15 16 17 20 21 22';
    expect(rows).toEqual(written.split(' '));
  });
});
