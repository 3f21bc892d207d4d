import { describe, expect, it } from '@jest/globals';
import { HUMAN, beat, cancel, end, lose, start } from '../support/commands.js';
import {
  became,
  by,
  ended,
  lateResult,
  lost,
  opened,
  staleResult,
  started,
  type Told,
} from '../support/facts.js';
import { given } from '../support/given.js';
import { closed, failed, lostPending, lostRunning, pending, ready } from '../support/histories.js';

describe('callbacks of an older attempt (row 18)', () => {
  const newer = [opened(2, { settledState: 'failed' }), became('pending')];
  const older: [string, readonly Told[]][] = [
    ['failed', [...failed(), ...newer]],
    ['succeeded', [...ready(), ...newer]],
    ['was cancelled', [...pending(), ended('a1', 'cancelled'), ...newer]],
    [
      'was lost',
      [...lostRunning(), by(HUMAN, opened(2, { settledState: 'unknown' })), became('pending')],
    ],
    [
      'was lost before a start',
      [...lostPending(), by(HUMAN, opened(2, { settledState: 'unknown' }))],
    ],
    ['was closed', [...closed('failed'), ...newer]],
  ];

  it.each(older)('are refused: the runner of what %s must stop', (_how, history) => {
    for (const command of [
      start('a1', { runner: { id: 'r1' } }),
      beat('a1'),
      cancel('a1'),
      lose('a1', 'operator'),
    ]) {
      given(history).when(command).refused('ATTEMPT_SUPERSEDED');
    }
  });

  it.each(older)('leave a record of another end, once per result, where it %s', (_how, history) => {
    const told = { exitCode: 77, code: 'E', reason: 'told late' };
    given(history)
      .when(end('a1', 'failed', told))
      .refused('ATTEMPT_SUPERSEDED', [staleResult('a1', 'failed', told)]);
    for (const same of [{}, { exitCode: 77 }]) {
      given([...history, staleResult('a1', 'failed', told)])
        .when(end('a1', 'failed', { exitCode: 77, ...same }))
        .refused('ATTEMPT_SUPERSEDED');
    }
    given([...history, staleResult('a1', 'failed', told)])
      .when(end('a1', 'failed', { exitCode: 78 }))
      .refused('ATTEMPT_SUPERSEDED', [staleResult('a1', 'failed', { exitCode: 78 })]);
  });

  it('accept an end that equals the attempt’s own, and write nothing', () => {
    const history = [...failed(), ...newer];
    given(history)
      .when(end('a1', 'failed', { exitCode: 1 }))
      .unchanged();
    given(history).when(end('a1', 'failed')).unchanged();
    given(history)
      .when(end('a1', 'failed', { exitCode: 2 }))
      .refused('ATTEMPT_SUPERSEDED', [staleResult('a1', 'failed', { exitCode: 2 })]);
    given(history)
      .when(end('a1', 'succeeded'))
      .refused('ATTEMPT_SUPERSEDED', [staleResult('a1', 'succeeded')]);
  });

  it('do not take a late record for a stale one', () => {
    given([...closed('failed'), lateResult('a1', 'succeeded', { conflict: true }), ...newer])
      .when(end('a1', 'succeeded'))
      .refused('ATTEMPT_SUPERSEDED', [staleResult('a1', 'succeeded')]);
  });

  it('never change the state, whatever the current attempt does', () => {
    const current: [string, readonly Told[]][] = [
      ['deploying', [...newer, started('a2'), became('deploying')]],
      ['ready', [...newer, started('a2'), ended('a2', 'succeeded'), became('ready')]],
      ['unknown', [...newer, started('a2'), lost('a2'), became('unknown')]],
    ];
    for (const [state, events] of current) {
      const history = [...lostRunning(), ...events];
      given(history)
        .when(end('a1', 'succeeded'))
        .refused('ATTEMPT_SUPERSEDED', [staleResult('a1', 'succeeded')]);
      const recorded = given([...history, staleResult('a1', 'succeeded')]).deployment;
      expect(recorded).toMatchObject({ state, currentAttempt: { attemptId: 'a2' } });
    }
  });

  it('reach an attempt that is two or more back', () => {
    const third = opened(3, { settledState: 'failed' });
    given([...failed(), ...newer, ended('a2', 'cancelled'), third])
      .when(end('a1', 'succeeded'))
      .refused('ATTEMPT_SUPERSEDED', [staleResult('a1', 'succeeded')]);
    given([...failed(), ...newer, ended('a2', 'cancelled'), third, staleResult('a1', 'succeeded')])
      .when(end('a1', 'succeeded'))
      .refused('ATTEMPT_SUPERSEDED');
  });
});
