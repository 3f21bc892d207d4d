import { describe, it } from '@jest/globals';
import type { State } from '../../src/domain/event-schema.js';
import { HUMAN, acknowledge, open } from '../support/commands.js';
import { idOf } from '../support/events.js';
import {
  became,
  by,
  created,
  ended,
  lateResult,
  lost,
  opened,
  started,
  transition,
  type Told,
  recordedAt,
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

const retire = { policy: { afterTeardown: 'retire' } } as const;
const reason = 'looked at it';

/** The change of state that opening attempt `a<number>` makes. */
const reopened = (from: State, number: number, more: { scope?: string; reason?: string } = {}) =>
  transition(from, 'pending', {
    trigger: 'OpenAttempt',
    attemptId: idOf(`a${number}`),
    number,
    scope: 'full',
    ...more,
  });

describe('opening an attempt (row 2)', () => {
  it('opens the first one without a change of state', () => {
    given(fresh())
      .when(open('a1'))
      .then([opened(1)], { state: 'pending', settledState: 'pending' });
  });

  it.each<[State, readonly Told[]]>([
    ['ready', ready()],
    ['failed', failed()],
  ])('leads a deployment that is %s to pending and keeps what it was', (state, history) => {
    given(history)
      .when(open('a2', { scope: 'configure' }))
      .then(
        [
          opened(2, { scope: 'configure', settledState: state }),
          reopened(state, 2, { scope: 'configure' }),
        ],
        { state: 'pending', settledState: state },
      );
  });

  it('tells the kind of a scope that the service registered', () => {
    given(fresh())
      .when(open('a1', { scope: 'snapshot' }))
      .then([opened(1, { scope: 'snapshot', kind: 'maintenance' })]);
  });

  it('keeps what the caller notes', () => {
    given(fresh())
      .when(open('a1', { meta: { commit: 'c0ffee' } }))
      .then([opened(1, { meta: { commit: 'c0ffee' } })]);
  });

  it('ignores an acknowledgement, and a confirm phrase, where none is asked for', () => {
    given(ready())
      .when(acknowledge('a2', { confirmPhrase: 'anything' }))
      .then([opened(2, { settledState: 'ready' }), reopened('ready', 2)]);
  });

  it('reopens what was torn down', () => {
    given(tornDown())
      .when(open('a2'))
      .then([opened(2)], { state: 'pending', tornDown: true });
  });

  it('opens after a human closed the last attempt', () => {
    given(closed('failed'))
      .when(open('a2'))
      .then([opened(2, { settledState: 'failed' }), reopened('failed', 2)]);
  });

  it('is a human’s answer to a call for attention, and no answer by a service', () => {
    const contradicted = [...closed('failed'), lateResult('a1', 'succeeded', { conflict: true })];
    const events = [opened(2, { settledState: 'failed' }), reopened('failed', 2)];
    given(contradicted)
      .when(open('a2', { actor: HUMAN }))
      .then(events, { attention: null });
    given(contradicted)
      .when(open('a2'))
      .then(events, {
        attention: {
          kind: 'conflicting_result',
          attemptId: idOf('a1'),
          outcome: 'succeeded',
          at: recordedAt(contradicted.length - 1),
        },
      });
  });

  describe('is refused', () => {
    it('for a scope that is not registered, before all other guards', () => {
      given(pending())
        .when(open('a1', { scope: 'nap' }))
        .refused('SCOPE_UNSUPPORTED');
      given(lostRunning())
        .when(acknowledge('a1', { scope: 'nap' }))
        .refused('SCOPE_UNSUPPORTED');
    });

    it('for the id of the current or an earlier attempt', () => {
      const history = [...tornDown({ declaration: retire }), opened(2, { scope: 'teardown' })];
      given(history).when(open('a1')).refused('ATTEMPT_EXISTS');
      given(history).when(open('a2')).refused('ATTEMPT_EXISTS');
      given(lostRunning()).when(acknowledge('a1')).refused('ATTEMPT_EXISTS');
    });

    it('after a teardown under policy `retire`, also while an attempt is active or it is unknown', () => {
      const retired = tornDown({ declaration: retire });
      const again = [...retired, opened(2, { scope: 'teardown' })];
      for (const scope of ['full', 'configure', 'snapshot']) {
        for (const history of [retired, again, [...again, lost('a2'), became('unknown')]]) {
          given(history).when(acknowledge('a9', { scope })).refused('DEPLOYMENT_TORN_DOWN');
        }
      }
    });

    it('while an attempt is pending or running', () => {
      for (const scope of ['full', 'teardown', 'snapshot']) {
        given(pending()).when(acknowledge('a2', { scope })).refused('ATTEMPT_IN_PROGRESS');
        given(running()).when(acknowledge('a2', { scope })).refused('ATTEMPT_IN_PROGRESS');
      }
    });

    it('while unknown', () => {
      for (const history of [lostPending(), lostRunning()]) {
        given(history).when(open('a2')).refused('DEPLOYMENT_UNKNOWN_STATE');
        given(history)
          .when(open('a2', { actor: HUMAN }))
          .refused('DEPLOYMENT_UNKNOWN_STATE');
      }
    });
  });
});

describe('opening an attempt on what is unknown (row 3)', () => {
  const acknowledged = { settledState: 'unknown', acknowledged: { reason } } as const;

  it('takes a human’s acknowledgement, and says why', () => {
    for (const history of [lostPending(), lostRunning()]) {
      given(history)
        .when(acknowledge('a2'))
        .then([opened(2, acknowledged), reopened('unknown', 2, { reason })], {
          state: 'pending',
          settledState: 'unknown',
          reason,
        });
    }
  });

  it('opens maintenance likewise', () => {
    const scope = 'snapshot';
    given(lostRunning())
      .when(acknowledge('a2', { scope }))
      .then([opened(2, { scope, ...acknowledged }), reopened('unknown', 2, { scope, reason })]);
  });

  it('refuses a teardown before it looks at who asks', () => {
    given(lostRunning())
      .when(acknowledge('a2', { scope: 'teardown' }))
      .refused('DEPLOYMENT_UNKNOWN_STATE');
    given(lostRunning())
      .when(open('a2', { scope: 'teardown', acknowledgeUnknown: { reason } }))
      .refused('DEPLOYMENT_UNKNOWN_STATE');
  });

  it('refuses anybody but a human', () => {
    given(lostRunning())
      .when(open('a2', { acknowledgeUnknown: { reason } }))
      .refused('HUMAN_REQUIRED');
  });

  it('is unknown again when the acknowledged attempt never started: no teardown opens', () => {
    const history = [
      ...lostRunning(),
      by(HUMAN, opened(2, acknowledged)),
      became('pending'),
      ended('a2', 'cancelled'),
      became('unknown'),
    ];
    given(history)
      .when(open('a3', { scope: 'teardown', actor: HUMAN }))
      .refused('DEPLOYMENT_UNKNOWN_STATE');
    given(history)
      .when(acknowledge('a3'))
      .then([opened(3, acknowledged), reopened('unknown', 3, { reason })]);
  });
});

describe('opening a teardown (row 4)', () => {
  const scope = 'teardown';
  const confirmPhrase = 'tear the shop down';
  const declaration = { confirmPhrase };

  it.each<[State, readonly Told[]]>([
    ['ready', ready()],
    ['failed', failed()],
  ])('opens on a deployment that is %s', (state, history) => {
    given(history)
      .when(open('a2', { scope }))
      .then([opened(2, { scope, settledState: state }), reopened(state, 2, { scope })]);
  });

  it('opens on a deployment that was only created', () => {
    given(fresh())
      .when(open('a1', { scope }))
      .then([opened(1, { scope })]);
  });

  it('takes the confirm phrase exactly', () => {
    given(fresh({ declaration }))
      .when(open('a1', { scope, confirmPhrase }))
      .then([opened(1, { scope })]);
    for (const phrase of ['', 'Tear the shop down', ` ${confirmPhrase}`, `${confirmPhrase}\n`]) {
      given(fresh({ declaration }))
        .when(open('a1', { scope, confirmPhrase: phrase }))
        .refused('TEARDOWN_CONFIRM_MISMATCH');
    }
    given(fresh({ declaration })).when(open('a1', { scope })).refused('TEARDOWN_CONFIRM_MISMATCH');
  });

  it('looks at the phrase after the guards of every attempt', () => {
    given(pending({ declaration })).when(open('a1', { scope })).refused('ATTEMPT_EXISTS');
    given(pending({ declaration })).when(open('a2', { scope })).refused('ATTEMPT_IN_PROGRESS');
    given(lostRunning({ declaration }))
      .when(open('a2', { scope }))
      .refused('DEPLOYMENT_UNKNOWN_STATE');
  });

  it('never opens while unknown, whatever is given', () => {
    for (const history of [lostPending({ declaration }), lostRunning({ declaration })]) {
      given(history)
        .when(acknowledge('a2', { scope, confirmPhrase }))
        .refused('DEPLOYMENT_UNKNOWN_STATE');
    }
  });

  it('is accepted and writes nothing where it is torn down and pending already', () => {
    given(tornDown()).when(open('a2', { scope })).unchanged();
    given(tornDown({ declaration: retire }))
      .when(open('a2', { scope }))
      .unchanged();
    given(closed('torn_down')).when(open('a2', { scope })).unchanged();
  });

  it('wants the phrase also where it would write nothing', () => {
    given(tornDown({ declaration }))
      .when(open('a2', { scope }))
      .refused('TEARDOWN_CONFIRM_MISMATCH');
  });

  it('opens again where a set-up failed after the teardown, also under policy `retire`', () => {
    const setUpFailed = [opened(2), ended('a2', 'failed'), became('failed')];
    for (const declared of [{}, retire]) {
      given([...tornDown({ declaration: declared }), ...setUpFailed])
        .when(open('a3', { scope }))
        .then([opened(3, { scope, settledState: 'failed' }), reopened('failed', 3, { scope })]);
    }
  });

  it('opens where a deploy ran after the teardown', () => {
    const deployed = [opened(2), started('a2'), became('deploying'), ended('a2', 'succeeded')];
    given([created(), became('pending'), ...tornDown().slice(2), ...deployed, became('ready')])
      .when(open('a3', { scope }))
      .then([opened(3, { scope, settledState: 'ready' }), reopened('ready', 3, { scope })]);
  });
});
