import { describe, expect, it } from '@jest/globals';
import { OUTCOMES, type Outcome, type State } from '../../src/domain/event-schema.js';
import { end } from '../support/commands.js';
import { idOf } from '../support/events.js';
import {
  became,
  cancelRequested,
  created,
  ended,
  lateResult,
  lost,
  opened,
  recovered,
  resolved,
  started,
  transition,
  updated,
  type Told,
  recordedAt,
} from '../support/facts.js';
import { given } from '../support/given.js';
import {
  closed,
  failed,
  lostPending,
  lostRunning,
  pending,
  running,
  tornDown,
} from '../support/histories.js';

const about = { attemptId: idOf<never>('a1'), number: 1, scope: 'full' };
const record = { policy: { lateResults: 'record' } } as const;
const endOf = (from: State, to: State, more: object = {}) =>
  transition(from, to, { trigger: 'EndAttempt', ...about, ...more });

describe('the end of a lost attempt (row 16)', () => {
  const late = { late: true } as const;

  it.each<[Outcome, string, State]>([
    ['succeeded', 'full', 'ready'],
    ['failed', 'full', 'failed'],
    ['cancelled', 'full', 'failed'],
    ['succeeded', 'teardown', 'pending'],
    ['failed', 'teardown', 'failed'],
    ['cancelled', 'teardown', 'failed'],
    ['succeeded', 'snapshot', 'pending'],
    ['failed', 'snapshot', 'pending'],
    ['cancelled', 'snapshot', 'pending'],
  ])('%s `%s` is accepted, late, and makes it %s', (outcome, scope, to) => {
    given(lostRunning({ scope }))
      .when(end('a1', outcome, { exitCode: 5 }))
      .then(
        [
          ended('a1', outcome, { exitCode: 5, ...late }),
          endOf('unknown', to, { scope, exitCode: 5, recovered: true }),
        ],
        {
          state: to,
          settledState: null,
          tornDown: scope === 'teardown' && outcome === 'succeeded',
        },
      );
  });

  it('is too late for a cancellation, too', () => {
    const history = [...running(), cancelRequested('a1'), lost('a1'), became('unknown')];
    given(history)
      .when(end('a1', 'succeeded'))
      .then([
        ended('a1', 'succeeded', { ...late, cancelTooLate: true }),
        endOf('unknown', 'ready', { recovered: true }),
      ]);
  });

  it('of maintenance on what was unknown leaves it unknown', () => {
    const history = [
      created(),
      became('pending'),
      opened(1, { scope: 'snapshot', settledState: 'unknown' }),
      started('a1'),
      became('deploying'),
      lost('a1'),
      became('unknown'),
    ];
    given(history)
      .when(end('a1', 'succeeded'))
      .then([ended('a1', 'succeeded', late)], { state: 'unknown', settledState: null });
  });

  it('after it came back is an end like any other', () => {
    given([...lostRunning(), recovered('a1'), became('deploying')])
      .when(end('a1', 'succeeded'))
      .then([ended('a1', 'succeeded'), endOf('deploying', 'ready')]);
  });

  describe('under policy `record`', () => {
    const histories = [lostRunning({ declaration: record }), lostPending({ declaration: record })];

    it('is recorded and leaves it unknown, started or not', () => {
      for (const history of histories) {
        for (const outcome of OUTCOMES) {
          given(history)
            .when(end('a1', outcome, { exitCode: 5, code: 'E', reason: 'told late' }))
            .then([lateResult('a1', outcome, { exitCode: 5, code: 'E', reason: 'told late' })], {
              state: 'unknown',
              settledState: 'pending',
              attention: null,
            });
        }
      }
    });

    it('is recorded once per result', () => {
      for (const history of histories) {
        const recorded = [...history, lateResult('a1', 'succeeded', { exitCode: 0 })];
        for (const same of [{}, { exitCode: 0 }, { exitCode: 0, reason: 'again' }]) {
          given(recorded)
            .when(end('a1', 'succeeded', same))
            .unchanged();
        }
        given(recorded)
          .when(end('a1', 'succeeded', { exitCode: 1 }))
          .then([lateResult('a1', 'succeeded', { exitCode: 1 })]);
        given(recorded)
          .when(end('a1', 'failed', { exitCode: 0 }))
          .then([lateResult('a1', 'failed', { exitCode: 0 })]);
      }
    });

    it('counts from when the policy is asked, not from the loss', () => {
      given([
        ...lostRunning({ declaration: record }),
        updated({ policy: { lateResults: 'accept' } }),
      ])
        .when(end('a1', 'succeeded'))
        .then([ended('a1', 'succeeded', late), endOf('unknown', 'ready', { recovered: true })]);
      given([...lostRunning(), updated({ policy: { lateResults: 'record' } })])
        .when(end('a1', 'succeeded'))
        .then([lateResult('a1', 'succeeded')]);
    });
  });
});

describe('the end of an attempt that a human closed (row 17)', () => {
  const conflict = { conflict: true } as const;
  const attention = (history: readonly Told[], outcome: Outcome) => ({
    kind: 'conflicting_result' as const,
    attemptId: idOf<never>('a1'),
    outcome,
    at: recordedAt(history.length),
  });

  it.each<[Outcome, string, 'ready' | 'failed' | 'torn_down', boolean]>([
    ['succeeded', 'full', 'ready', false],
    ['succeeded', 'full', 'failed', true],
    ['succeeded', 'full', 'torn_down', true],
    ['failed', 'full', 'ready', true],
    ['failed', 'full', 'failed', false],
    ['failed', 'full', 'torn_down', true],
    ['cancelled', 'full', 'ready', true],
    ['cancelled', 'full', 'failed', false],
    ['succeeded', 'teardown', 'torn_down', false],
    ['succeeded', 'teardown', 'ready', true],
    ['succeeded', 'teardown', 'failed', true],
    ['failed', 'teardown', 'failed', false],
    ['failed', 'teardown', 'torn_down', true],
    ['failed', 'snapshot', 'ready', false],
    ['succeeded', 'snapshot', 'torn_down', false],
    ['cancelled', 'snapshot', 'failed', false],
  ])(
    '%s `%s` against a human’s %s is recorded; contradicted: %p',
    (...[outcome, scope, as, contradicts]) => {
      const history = closed(as, lostRunning({ scope }));
      const { state } = given(history).deployment;
      given(history)
        .when(end('a1', outcome, { exitCode: 5 }))
        .then([lateResult('a1', outcome, { exitCode: 5, ...(contradicts && conflict) })], {
          state,
          attention: contradicts ? attention(history, outcome) : null,
        });
    },
  );

  it('is recorded once per result', () => {
    const recorded = [
      ...closed('failed'),
      lateResult('a1', 'succeeded', { exitCode: 0, ...conflict }),
    ];
    given(recorded).when(end('a1', 'succeeded')).unchanged();
    given(recorded)
      .when(end('a1', 'succeeded', { exitCode: 0 }))
      .unchanged();
    given(recorded)
      .when(end('a1', 'failed'))
      .then([lateResult('a1', 'failed')]);
  });

  it('contradicts nobody where it would have been refused', () => {
    for (const as of ['ready', 'failed', 'torn_down'] as const) {
      given(closed(as, lostPending()))
        .when(end('a1', 'succeeded'))
        .then([lateResult('a1', 'succeeded')], { attention: null });
    }
  });

  it('contradicts nobody where it would have left it unknown', () => {
    const acknowledged = [
      created(),
      became('pending'),
      opened(1, { settledState: 'unknown' }),
      lost('a1'),
      became('unknown'),
    ];
    for (const outcome of ['failed', 'cancelled'] as const) {
      given(closed('ready', acknowledged))
        .when(end('a1', outcome))
        .then([lateResult('a1', outcome)], { attention: null });
    }
    given(closed('failed', lostRunning({ declaration: record })))
      .when(end('a1', 'succeeded'))
      .then([lateResult('a1', 'succeeded')], { attention: null });
  });

  it.each<['failed' | 'cancelled', State, 'ready' | 'failed' | 'torn_down', boolean]>([
    ['failed', 'ready', 'failed', false],
    ['failed', 'ready', 'ready', true],
    ['failed', 'ready', 'torn_down', true],
    ['cancelled', 'ready', 'ready', false],
    ['cancelled', 'ready', 'failed', true],
    ['cancelled', 'failed', 'failed', false],
    ['cancelled', 'failed', 'ready', true],
    ['cancelled', 'pending', 'ready', true],
    ['cancelled', 'pending', 'torn_down', true],
  ])(
    '%s before a start, from %s, against %s; contradicted: %p',
    (...[outcome, settled, as, contradicts]) => {
      const history = closed(as, [
        created(),
        became('pending'),
        opened(1, { settledState: settled }),
        lost('a1'),
        became('unknown'),
      ]);
      given(history)
        .when(end('a1', outcome))
        .then([lateResult('a1', outcome, contradicts ? conflict : {})], {
          attention: contradicts ? attention(history, outcome) : null,
        });
    },
  );

  it('cancelled before a start on what was torn down agrees with a human’s torn down', () => {
    const history = [...tornDown(), opened(2), lost('a2'), became('unknown')];
    given([...history, resolved('torn_down', { attemptId: idOf('a2') }), became('pending')])
      .when(end('a2', 'cancelled'))
      .then([lateResult('a2', 'cancelled')], { attention: null });
  });

  it('is compared with the human’s last word', () => {
    const once = [...closed('failed'), lateResult('a1', 'succeeded', conflict)];
    const twice = [...once, resolved('ready', { attemptId: idOf('a1') }), became('ready')];
    given(twice)
      .when(end('a1', 'failed'))
      .then([lateResult('a1', 'failed', conflict)], { attention: attention(twice, 'failed') });
    given(twice)
      .when(end('a1', 'succeeded', { exitCode: 0 }))
      .unchanged();
  });
});

describe('another end of an attempt that has ended (row 19)', () => {
  it('is accepted and writes nothing where the result is the same', () => {
    for (const same of [{}, { exitCode: 1 }, { exitCode: 1, reason: 'again', code: 'E' }]) {
      given(failed())
        .when(end('a1', 'failed', same))
        .unchanged();
    }
    const withoutCode = [...running(), ended('a1', 'failed'), became('failed')];
    given(withoutCode)
      .when(end('a1', 'failed', { exitCode: 9 }))
      .unchanged();
  });

  it('is refused and recorded where it is another, once per result', () => {
    given(failed())
      .when(end('a1', 'succeeded', { exitCode: 0, reason: 'no, it went well' }))
      .refused('ATTEMPT_TERMINAL', [
        lateResult('a1', 'succeeded', { exitCode: 0, reason: 'no, it went well' }),
      ]);
    given(failed())
      .when(end('a1', 'failed', { exitCode: 2 }))
      .refused('ATTEMPT_TERMINAL', [lateResult('a1', 'failed', { exitCode: 2 })]);
    const recorded = [...failed(), lateResult('a1', 'succeeded', { exitCode: 0 })];
    given(recorded)
      .when(end('a1', 'succeeded', { exitCode: 0 }))
      .refused('ATTEMPT_TERMINAL');
    given(recorded).when(end('a1', 'succeeded')).refused('ATTEMPT_TERMINAL');
    given(recorded)
      .when(end('a1', 'succeeded', { exitCode: 3 }))
      .refused('ATTEMPT_TERMINAL', [lateResult('a1', 'succeeded', { exitCode: 3 })]);
  });

  it('asks for nobody’s attention', () => {
    const { deployment } = given([...failed(), lateResult('a1', 'succeeded')]);
    expect(deployment).toMatchObject({ state: 'failed', attention: null });
  });

  it('is the same for a late end and for a cancellation before a start', () => {
    given([...lostRunning(), ended('a1', 'succeeded', { late: true }), became('ready')])
      .when(end('a1', 'succeeded'))
      .unchanged();
    given([...pending(), ended('a1', 'cancelled')])
      .when(end('a1', 'cancelled'))
      .unchanged();
    given([...pending(), ended('a1', 'cancelled')])
      .when(end('a1', 'failed'))
      .refused('ATTEMPT_TERMINAL', [lateResult('a1', 'failed')]);
  });
});
