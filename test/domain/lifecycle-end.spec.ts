import { describe, it } from '@jest/globals';
import { OUTCOMES, type Outcome, type State } from '../../src/domain/event-schema.js';
import { cancel, end } from '../support/commands.js';
import { idOf } from '../support/events.js';
import {
  became,
  cancelRequested,
  created,
  ended,
  lost,
  opened,
  started,
  transition,
} from '../support/facts.js';
import { given } from '../support/given.js';
import { lostPending, pending, ready, running, tornDown } from '../support/histories.js';

const about = { attemptId: idOf<never>('a1'), number: 1, scope: 'full' };
const endOf = (from: State, to: State, more: object = {}) =>
  transition(from, to, { trigger: 'EndAttempt', ...about, ...more });

describe('the end of a running attempt (rows 8 to 10m, 14)', () => {
  it.each(['full', 'configure'])('success of `%s` makes it ready', (scope) => {
    given(running({ scope }))
      .when(end('a1', 'succeeded', { exitCode: 0 }))
      .then(
        [
          ended('a1', 'succeeded', { exitCode: 0 }),
          endOf('deploying', 'ready', { scope, exitCode: 0 }),
        ],
        { state: 'ready', lastReadyAttempt: idOf('a1'), settledState: null },
      );
  });

  it('success of a teardown makes it pending and torn down', () => {
    given([...ready(), opened(2, { scope: 'teardown' }), started('a2'), became('deploying')])
      .when(end('a2', 'succeeded'))
      .then(
        [
          ended('a2', 'succeeded'),
          transition('deploying', 'pending', {
            trigger: 'EndAttempt',
            attemptId: idOf('a2'),
            number: 2,
            scope: 'teardown',
          }),
        ],
        { state: 'pending', tornDown: true, lastReadyAttempt: null, settledState: null },
      );
  });

  it.each(
    ['full', 'teardown'].flatMap((scope) =>
      (['failed', 'cancelled'] as const).map((outcome) => [scope, outcome] as const),
    ),
  )('`%s` that %s leaves it failed', (scope, outcome) => {
    given(running({ scope }))
      .when(end('a1', outcome, { exitCode: 3, code: 'E_QUOTA', reason: 'no quota left' }))
      .then(
        [
          ended('a1', outcome, { exitCode: 3, code: 'E_QUOTA', reason: 'no quota left' }),
          endOf('deploying', 'failed', {
            scope,
            reason: 'no quota left',
            exitCode: 3,
            code: 'E_QUOTA',
          }),
        ],
        { state: 'failed', tornDown: false, settledState: null, reason: 'no quota left' },
      );
  });

  it('a failure keeps what was ready last', () => {
    given([...ready(), opened(2, { settledState: 'ready' }), started('a2'), became('deploying')])
      .when(end('a2', 'failed'))
      .then(
        [
          ended('a2', 'failed'),
          transition('deploying', 'failed', {
            trigger: 'EndAttempt',
            attemptId: idOf('a2'),
            number: 2,
            scope: 'full',
          }),
        ],
        { lastReadyAttempt: idOf('a1') },
      );
  });

  it('the code is the reason where none is given', () => {
    given(running())
      .when(end('a1', 'failed', { code: 'E_QUOTA' }))
      .then(
        [
          ended('a1', 'failed', { code: 'E_QUOTA' }),
          endOf('deploying', 'failed', { reason: 'E_QUOTA', code: 'E_QUOTA' }),
        ],
        { reason: 'E_QUOTA' },
      );
  });

  it('keeps an exit code that the outcome does not fit', () => {
    given(running())
      .when(end('a1', 'succeeded', { exitCode: -1 }))
      .then([
        ended('a1', 'succeeded', { exitCode: -1 }),
        endOf('deploying', 'ready', { exitCode: -1 }),
      ]);
  });

  it.each(
    (['pending', 'ready', 'failed', 'unknown'] as const).flatMap((settled) =>
      OUTCOMES.map((outcome) => [outcome, settled] as const),
    ),
  )('maintenance that %s says nothing: it is %s again', (outcome, settledState) => {
    const scope = 'snapshot';
    const history = [
      created(),
      became('pending'),
      opened(1, { scope, settledState }),
      started('a1'),
      became('deploying'),
    ];
    given(history)
      .when(end('a1', outcome))
      .then([ended('a1', outcome), endOf('deploying', settledState, { scope })], {
        state: settledState,
        settledState: null,
        lastReadyAttempt: null,
      });
  });

  it.each<[string, State]>([
    ['full', 'ready'],
    ['teardown', 'pending'],
    ['snapshot', 'pending'],
  ])(
    'success of `%s` after a request to cancel stands, and says that it was too late',
    (scope, to) => {
      given([...running({ scope }), cancelRequested('a1')])
        .when(end('a1', 'succeeded'))
        .then([
          ended('a1', 'succeeded', { cancelTooLate: true }),
          endOf('deploying', to, { scope }),
        ]);
    },
  );

  it('a failure after a request to cancel was not too late', () => {
    for (const outcome of ['failed', 'cancelled'] as const) {
      given([...running(), cancelRequested('a1')])
        .when(end('a1', outcome))
        .then([ended('a1', outcome), endOf('deploying', 'failed')]);
    }
  });

  it('carries the token of the start, if there was one; else a token is ignored', () => {
    const tokened = [...pending(), started('a1', { leaseTokenHash: 'ab' }), became('deploying')];
    const events = [ended('a1', 'succeeded'), endOf('deploying', 'ready')];
    given(tokened).when(end('a1', 'succeeded')).refused('LEASE_TOKEN_MISMATCH');
    given(tokened)
      .when(end('a1', 'succeeded', { leaseTokenHash: 'ab' }))
      .then(events);
    given(running())
      .when(end('a1', 'succeeded', { leaseTokenHash: 'cd' }))
      .then(events);
  });
});

describe('the end of an attempt that never started (rows 8, 11, 12)', () => {
  const pendingFrom = (settledState: State, scope = 'full') => [
    created(),
    became('pending'),
    opened(1, { scope, settledState }),
  ];

  it('can not be success: it has to start first', () => {
    for (const scope of ['full', 'teardown', 'snapshot']) {
      given(pending({ scope })).when(end('a1', 'succeeded')).refused('ATTEMPT_NOT_STARTED');
      given(lostPending({ scope })).when(end('a1', 'succeeded')).refused('ATTEMPT_NOT_STARTED');
    }
  });

  it.each(
    ['full', 'teardown'].flatMap((scope) =>
      (['pending', 'ready', 'failed'] as const).map((settled) => [scope, settled] as const),
    ),
  )('failed `%s` leaves it failed, though it was %s', (scope, settledState) => {
    given(pendingFrom(settledState, scope))
      .when(end('a1', 'failed', { code: 'E_SETUP' }))
      .then(
        [
          ended('a1', 'failed', { code: 'E_SETUP' }),
          endOf('pending', 'failed', { scope, reason: 'E_SETUP', code: 'E_SETUP' }),
        ],
        { state: 'failed', settledState: null },
      );
  });

  it('failed set-up after a success keeps what was ready last, and a teardown', () => {
    given([...ready(), opened(2, { settledState: 'ready' }), became('pending')])
      .when(end('a2', 'failed'))
      .then(
        [ended('a2', 'failed'), endOf('pending', 'failed', { attemptId: idOf('a2'), number: 2 })],
        { lastReadyAttempt: idOf('a1') },
      );
    given([...tornDown(), opened(2)])
      .when(end('a2', 'failed'))
      .then(
        [ended('a2', 'failed'), endOf('pending', 'failed', { attemptId: idOf('a2'), number: 2 })],
        { tornDown: true },
      );
  });

  it.each<[string, State]>([
    ['full', 'unknown'],
    ['snapshot', 'unknown'],
    ['snapshot', 'ready'],
    ['snapshot', 'failed'],
  ])('failed `%s` leaves it %s, as it was', (scope, settledState) => {
    given(pendingFrom(settledState, scope))
      .when(end('a1', 'failed'))
      .then([ended('a1', 'failed'), endOf('pending', settledState, { scope })], {
        state: settledState,
        settledState: null,
      });
  });

  it('failed maintenance on what was pending changes no state', () => {
    given(pending({ scope: 'snapshot' }))
      .when(end('a1', 'failed'))
      .then([ended('a1', 'failed')], { state: 'pending' });
  });

  it.each(
    ['full', 'teardown', 'snapshot'].flatMap((scope) =>
      (['ready', 'failed', 'unknown'] as const).map((settled) => [scope, settled] as const),
    ),
  )('cancelled `%s` leaves it %s: nothing ran', (scope, settledState) => {
    const history = pendingFrom(settledState, scope);
    given(history)
      .when(end('a1', 'cancelled', { exitCode: 130 }))
      .then(
        [
          ended('a1', 'cancelled', { exitCode: 130 }),
          endOf('pending', settledState, { scope, exitCode: 130 }),
        ],
        { state: settledState, settledState: null },
      );
    given(history)
      .when(cancel('a1', { reason: 'not today' }))
      .then(
        [
          ended('a1', 'cancelled', { reason: 'not today' }),
          endOf('pending', settledState, { trigger: 'CancelAttempt', scope, reason: 'not today' }),
        ],
        { state: settledState, settledState: null },
      );
  });

  it('cancelled on what was pending changes no state', () => {
    given(pending())
      .when(cancel('a1'))
      .then([ended('a1', 'cancelled')], { state: 'pending', settledState: null });
  });

  it.each<[Outcome, string, State, State]>([
    ['failed', 'full', 'ready', 'failed'],
    ['failed', 'snapshot', 'ready', 'ready'],
    ['cancelled', 'full', 'ready', 'ready'],
    ['cancelled', 'teardown', 'failed', 'failed'],
  ])(
    '%s `%s` after it was lost leads from %s to %s, late',
    (...[outcome, scope, settledState, to]) => {
      const history = [...pendingFrom(settledState, scope), lost('a1'), became('unknown')];
      given(history)
        .when(end('a1', outcome))
        .then(
          [ended('a1', outcome, { late: true }), endOf('unknown', to, { scope, recovered: true })],
          { state: to, settledState: null },
        );
    },
  );

  it('after a loss leaves unknown what was unknown before', () => {
    for (const outcome of ['failed', 'cancelled'] as const) {
      given([...pendingFrom('unknown'), lost('a1'), became('unknown')])
        .when(end('a1', outcome))
        .then([ended('a1', outcome, { late: true })], { state: 'unknown', settledState: null });
    }
  });
});
