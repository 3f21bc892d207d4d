import { describe, it } from '@jest/globals';
import { type State } from '../../src/domain/event-schema.js';
import { resolve } from '../support/commands.js';
import { idOf } from '../support/events.js';
import {
  became,
  ended,
  lateResult,
  lost,
  opened,
  resolved,
  started,
  transition,
  type Told,
} from '../support/facts.js';
import { given } from '../support/given.js';
import {
  closed,
  failed,
  fresh,
  lostPending,
  lostRunning,
  pending,
  ready,
  running,
  tornDown,
} from '../support/histories.js';

const about = { attemptId: idOf<never>('a1'), number: 1, scope: 'full' };

describe('resolving (row 20)', () => {
  const resolution = (from: State, to: State, more: object = {}) =>
    transition(from, to, {
      trigger: 'ResolveUnknown',
      ...about,
      reason: 'looked at it',
      ...more,
    });
  const word = (as: 'ready' | 'failed' | 'torn_down', attemptId = 'a1') =>
    resolved(as, { attemptId: idOf(attemptId) });

  it('as ready makes it ready by the attempt that was started', () => {
    given(lostRunning())
      .when(resolve('ready', { evidence: { url: 'answers' } }))
      .then(
        [
          resolved('ready', { attemptId: idOf('a1'), evidence: { url: 'answers' } }),
          resolution('unknown', 'ready'),
        ],
        { state: 'ready', lastReadyAttempt: idOf('a1'), settledState: null, tornDown: false },
      );
  });

  it.each<[string, readonly Told[]]>([
    ['was never started', [opened(2, { settledState: 'ready' }), lost('a2'), became('unknown')]],
    [
      'was a teardown',
      [opened(2, { scope: 'teardown' }), started('a2'), lost('a2'), became('unknown')],
    ],
    [
      'was maintenance',
      [opened(2, { scope: 'snapshot' }), started('a2'), lost('a2'), became('unknown')],
    ],
  ])('as ready keeps who made it ready last where the attempt %s', (_how, events) => {
    const history = [...ready(), ...events];
    const { currentAttempt } = given(history).deployment;
    const { attemptId, number, scope } = currentAttempt!;
    given(history)
      .when(resolve('ready'))
      .then([word('ready', 'a2'), resolution('unknown', 'ready', { attemptId, number, scope })], {
        lastReadyAttempt: idOf('a1'),
        tornDown: false,
      });
  });

  it('as failed makes it failed', () => {
    given(lostPending())
      .when(resolve('failed'))
      .then([word('failed'), resolution('unknown', 'failed')], {
        state: 'failed',
        settledState: null,
        tornDown: false,
        lastReadyAttempt: null,
      });
  });

  it('as failed or ready says that it is not torn down', () => {
    const history = [...tornDown(), opened(2), lost('a2'), became('unknown')];
    for (const as of ['ready', 'failed'] as const) {
      given(history)
        .when(resolve(as))
        .then([word(as, 'a2'), resolution('unknown', as, { attemptId: idOf('a2'), number: 2 })], {
          tornDown: false,
          lastReadyAttempt: null,
        });
    }
  });

  it('as torn down makes it pending and torn down', () => {
    const history = [...ready(), opened(2), started('a2'), lost('a2'), became('unknown')];
    given(history)
      .when(resolve('torn_down'))
      .then(
        [
          word('torn_down', 'a2'),
          resolution('unknown', 'pending', { attemptId: idOf('a2'), number: 2 }),
        ],
        { state: 'pending', tornDown: true, lastReadyAttempt: null, settledState: null },
      );
  });

  it('is possible without a lost attempt: an acknowledged one was cancelled', () => {
    const history = [
      ...lostRunning(),
      opened(2, { settledState: 'unknown' }),
      became('pending'),
      ended('a2', 'cancelled'),
      became('unknown'),
    ];
    given(history)
      .when(resolve('ready'))
      .then(
        [word('ready', 'a2'), resolution('unknown', 'ready', { attemptId: idOf('a2'), number: 2 })],
        { state: 'ready', lastReadyAttempt: null },
      );
  });

  describe('after evidence contradicted a human', () => {
    const contradicted = [...closed('failed'), lateResult('a1', 'succeeded', { conflict: true })];

    it('clears the call for attention, with a change of state', () => {
      given(contradicted)
        .when(resolve('ready'))
        .then([word('ready'), resolution('failed', 'ready')], {
          state: 'ready',
          attention: null,
          lastReadyAttempt: idOf('a1'),
        });
    });

    it('clears it also where the state is what it was already', () => {
      given(contradicted)
        .when(resolve('failed'))
        .then([word('failed')], { state: 'failed', attention: null });
    });

    it('waits for the end of an attempt that a service opened meanwhile', () => {
      const again = [...contradicted, opened(2, { settledState: 'failed' }), became('pending')];
      given(again).when(resolve('ready')).refused('ATTEMPT_IN_PROGRESS');
      const over = [...again, ended('a2', 'cancelled'), became('failed')];
      given(over)
        .when(resolve('failed'))
        .then([word('failed', 'a2')], { attention: null });
    });
  });

  it('is refused where there is nothing to resolve, whoever asks', () => {
    const histories = [
      fresh(),
      pending(),
      running(),
      ready(),
      failed(),
      tornDown(),
      closed('failed'),
    ];
    for (const history of histories) {
      given(history).when(resolve('ready')).refused('DEPLOYMENT_NOT_UNKNOWN');
      given(history)
        .when(resolve('ready', { actor: { id: 'ci', kind: 'service' } }))
        .refused('DEPLOYMENT_NOT_UNKNOWN');
    }
  });
});
