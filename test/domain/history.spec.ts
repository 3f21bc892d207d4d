import { describe, expect, it } from '@jest/globals';
import { evolve, unrecorded, type Deployment } from '../../src/domain/deployment.js';
import { illegalBecause, unsettledBecause } from '../../src/domain/history.js';
import { SHOP } from '../support/commands.js';
import { metadataOf, idOf } from '../support/events.js';
import { explore } from '../support/explore.js';
import {
  became,
  created,
  ended,
  eventOf,
  lost,
  opened,
  resolved,
  started,
  transition,
} from '../support/facts.js';
import type { Told } from '../support/facts.js';
import { fresh, lostRunning, pending, ready, running, tornDown } from '../support/histories.js';
import type { Step } from '../support/rules.js';

/** A transition as `became` tells it, going on from where the deployment stands. */
function goingOn(told: Told, { since, state }: Deployment): Told {
  if (told.type !== 'state_transition' || told.data.trigger !== 'Told') return told;
  return { ...told, data: { ...told.data, from: since === null ? null : state } };
}

/** The first thing that is wrong with a history: with one of its events, or with where it ends. */
function problemOf(history: readonly Told[]): string | null {
  let deployment = unrecorded(SHOP);
  for (const told of history) {
    const event = eventOf(goingOn(told, deployment), metadataOf());
    const problem = illegalBecause(deployment, event);
    if (problem !== null) return `${told.type}: ${problem}`;
    deployment = evolve(deployment, event);
  }
  return unsettledBecause(deployment);
}

describe('a history', () => {
  it('that the rules have made is legal, whatever was asked of them', () => {
    const isLegal = ({ before, events, after }: Step): void => {
      let deployment: Deployment = before.deployment;
      for (const fact of events) {
        const event = eventOf(fact, metadataOf());
        const problem = illegalBecause(deployment, event);
        if (problem !== null) throw new Error(`${fact.type}: ${problem}`);
        deployment = evolve(deployment, event);
      }
      const problem = events.length === 0 ? null : unsettledBecause(after.deployment);
      if (problem !== null) throw new Error(`${JSON.stringify(events)}: ${problem}`);
    };
    const policies = [{ lateResults: 'accept' }, { lateResults: 'record' }] as const;
    const reach = { attemptsMax: 2, scopes: ['full', 'teardown', 'snapshot'], policies };
    expect(explore({ ...reach, tokens: false, visit: isLegal }).steps).toBeGreaterThan(10_000);
  });

  it.each<[string, readonly Told[], string]>([
    ['begins without a creation', [became('pending')], 'nothing precedes deployment_created'],
    ['creates twice', [...fresh(), created()], 'it is created already'],
    ['has no first transition', [created()], 'the first state_transition is missing'],
    ['skips an attempt', [...fresh(), opened(2)], 'attempt a2 has number 2, the next one is 1'],
    ['opens beside a running one', [...running(), opened(2)], 'while a1 is active'],
    ['starts what nobody opened', [...fresh(), started('a1')], 'is not the current one'],
    ['starts twice', [...running(), started('a1')], 'does not wait for a start'],
    ['ends twice', [...ready(), ended('a1', 'failed')], 'attempt a1 ends twice'],
    ['loses what has ended', [...ready(), lost('a1', 'operator')], 'it was not active'],
    ['resolves what is known', [...ready(), resolved('failed')], 'there is nothing to resolve'],
    [
      'goes on from elsewhere',
      [...ready(), transition('failed', 'unknown', { trigger: 'MarkUnknown' })],
      'it goes on from failed, but the state is ready',
    ],
    ['stays where it is', [...ready(), became('ready')], 'it goes from ready to ready'],
    ['lacks the transition after a start', [...pending(), started('a1')], 'the state is pending'],
    [
      'lacks the one after a loss',
      [...running(), lost('a1', 'operator')],
      'an attempt is lost and the state is deploying',
    ],
    ['makes a torn down one ready', [...tornDown(), became('ready')], 'it is torn down and ready'],
    [
      'opens a teardown in unknown',
      [...lostRunning(), opened(2, { scope: 'teardown', settledState: 'unknown' })],
      'a teardown is opened in unknown',
    ],
    [
      'goes on after it was archived',
      [...fresh(), { type: 'deployment_archived', data: {} }, opened(1)],
      'nothing follows deployment_archived',
    ],
    [
      'is about another deployment',
      [
        created(),
        {
          ...became('pending'),
          data: { ...became('pending').data, deploymentId: idOf('other') },
        } as Told,
      ],
      'it is about other',
    ],
  ])('that %s is not', (_, history, problem) => {
    expect(problemOf(history)).toContain(problem);
  });
});
