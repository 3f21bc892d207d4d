import { describe, it } from '@jest/globals';
import { type State } from '../../src/domain/event-schema.js';
import { RUNNER, SYSTEM, beat, cancel, lose, start } from '../support/commands.js';
import { idOf } from '../support/events.js';
import {
  became,
  by,
  cancelRequested,
  ended,
  lost,
  opened,
  recovered,
  resolved,
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

const about = { attemptId: idOf<never>('a1'), number: 1, scope: 'full' };
const past = { silentTooLong: true };
const record = { policy: { lateResults: 'record' } } as const;

describe('starting an attempt (row 5)', () => {
  const deploying = transition('pending', 'deploying', { trigger: 'StartAttempt', ...about });

  it('leads from pending to deploying and keeps who runs it', () => {
    const runner = {
      id: 'r1',
      host: 'ci-7',
      pid: 42,
      bootId: 'b1',
      startedAt: '2026-01-01T00:00:00.000Z',
    };
    const told = { runner, leaseTokenHash: 'ab', leaseMs: 5000, meta: { build: 7 } };
    given(pending())
      .when(start('a1', told))
      .then([started('a1', told), deploying], { state: 'deploying', everStarted: true });
  });

  it('needs nothing but the attempt', () => {
    given(pending())
      .when(start('a1'))
      .then([started('a1'), deploying]);
  });

  it('says that the target is no longer torn down, if the kind is deploy', () => {
    const attempt = (scope: string) => [...tornDown(), opened(2, { scope })];
    for (const [scope, stillTornDown] of [
      ['full', false],
      ['configure', false],
      ['snapshot', true],
    ] as const) {
      const after = { ...about, attemptId: idOf<never>('a2'), number: 2, scope };
      given(attempt(scope))
        .when(start('a2'))
        .then(
          [
            started('a2'),
            transition('pending', 'deploying', { trigger: 'StartAttempt', ...after }),
          ],
          { tornDown: stillTornDown },
        );
    }
  });

  describe('again', () => {
    const tokened = { leaseTokenHash: 'ab', runner: { id: 'r1' } };
    const startedBy = (told: Parameters<typeof started>[1]) => [
      ...pending(),
      started('a1', told),
      became('deploying'),
    ];

    it('is accepted and writes nothing for the runner of the same token, whatever its id', () => {
      given(startedBy(tokened)).when(start('a1', tokened)).unchanged();
      given(startedBy(tokened))
        .when(start('a1', { leaseTokenHash: 'ab', runner: { id: 'r2' }, leaseMs: 1000 }))
        .unchanged();
      given(startedBy(tokened))
        .when(start('a1', { leaseTokenHash: 'ab' }))
        .unchanged();
    });

    it('is refused without the token, also with the same id', () => {
      for (const other of [
        { runner: { id: 'r1' } },
        { runner: { id: 'r1' }, leaseTokenHash: 'cd' },
      ]) {
        given(startedBy(tokened)).when(start('a1', other)).refused('ATTEMPT_ALREADY_STARTED');
      }
    });

    it('is accepted by runner id where the start carried no token; a token is then ignored', () => {
      const told = { runner: { id: 'r1', host: 'ci-7' } };
      given(startedBy(told))
        .when(start('a1', { runner: { id: 'r1' } }))
        .unchanged();
      given(startedBy(told))
        .when(start('a1', { runner: { id: 'r1' }, leaseTokenHash: 'cd' }))
        .unchanged();
      given(startedBy(told))
        .when(start('a1', { runner: { id: 'r2' } }))
        .refused('ATTEMPT_ALREADY_STARTED');
      given(startedBy(told)).when(start('a1')).refused('ATTEMPT_ALREADY_STARTED');
    });

    it('is refused after a start that named neither token nor runner', () => {
      for (const told of [{}, { runner: { host: 'ci-7' } }]) {
        given(startedBy(told)).when(start('a1', told)).refused('ATTEMPT_ALREADY_STARTED');
        given(startedBy(told)).when(start('a1', tokened)).refused('ATTEMPT_ALREADY_STARTED');
      }
    });

    it.each<[string, readonly Told[]]>([
      ['succeeded', ready()],
      ['failed', failed()],
      ['was cancelled', [...pending(), ended('a1', 'cancelled')]],
      ['was closed by a human', closed('failed')],
      ['was closed before a start', closed('failed', lostPending())],
    ])('is refused when the attempt %s', (_how, history) => {
      given(history)
        .when(start('a1', { runner: { id: 'r1' } }))
        .refused('ATTEMPT_TERMINAL');
    });
  });
});

describe('a heartbeat (row 6)', () => {
  it('of a running attempt is accepted and writes nothing', () => {
    given(running()).when(beat('a1')).unchanged();
    given([...running(), cancelRequested('a1')])
      .when(beat('a1'))
      .unchanged();
  });

  it('carries the token of the start, if there was one; else a token is ignored', () => {
    const tokened = [...pending(), started('a1', { leaseTokenHash: 'ab' }), became('deploying')];
    given(tokened)
      .when(beat('a1', { leaseTokenHash: 'ab' }))
      .unchanged();
    given(tokened).when(beat('a1')).refused('LEASE_TOKEN_MISMATCH');
    given(running())
      .when(beat('a1', { leaseTokenHash: 'cd' }))
      .unchanged();
  });

  it('is refused before a start, also when the attempt was lost before', () => {
    given(pending()).when(beat('a1')).refused('ATTEMPT_NOT_STARTED');
    given(lostPending()).when(beat('a1')).refused('ATTEMPT_NOT_STARTED');
    given(lostPending({ declaration: record }))
      .when(beat('a1'))
      .refused('ATTEMPT_NOT_STARTED');
  });

  it('is refused when the attempt is over', () => {
    const histories = [
      ready(),
      failed(),
      closed('ready'),
      [...pending(), ended('a1', 'failed')],
      closed('ready', lostPending()),
    ];
    for (const history of histories) given(history).when(beat('a1')).refused('ATTEMPT_TERMINAL');
  });
});

describe('coming back from a loss (row 7)', () => {
  const revived = (trigger: string) =>
    transition('unknown', 'deploying', { trigger, ...about, recovered: true });

  it('a heartbeat of a started attempt makes it run again', () => {
    given(lostRunning())
      .when(beat('a1'))
      .then([recovered('a1'), revived('Heartbeat')], { state: 'deploying' });
  });

  it('a start by the same runner makes it run again, without a second start', () => {
    given(lostRunning())
      .when(start('a1', { runner: { id: 'r1' }, leaseMs: 5000 }))
      .then([recovered('a1'), revived('StartAttempt')]);
  });

  it('a start by anybody starts what was lost before its start', () => {
    const runner = { id: 'r9' };
    given(lostPending())
      .when(start('a1', { runner, leaseTokenHash: 'ab' }))
      .then(
        [recovered('a1'), started('a1', { runner, leaseTokenHash: 'ab' }), revived('StartAttempt')],
        { everStarted: true },
      );
    given(lostPending())
      .when(start('a1'))
      .then([recovered('a1'), started('a1'), revived('StartAttempt')]);
  });

  it('another runner’s start is refused', () => {
    given(lostRunning())
      .when(start('a1', { runner: { id: 'r2' } }))
      .refused('ATTEMPT_ALREADY_STARTED');
    given(lostRunning()).when(start('a1')).refused('ATTEMPT_ALREADY_STARTED');
  });

  it('is refused under policy `record`, whoever comes', () => {
    const histories = [lostRunning({ declaration: record }), lostPending({ declaration: record })];
    for (const history of histories) {
      for (const id of ['r1', 'r2']) {
        given(history)
          .when(start('a1', { runner: { id } }))
          .refused('DEPLOYMENT_UNKNOWN_STATE');
      }
    }
    given(lostRunning({ declaration: record }))
      .when(beat('a1'))
      .refused('DEPLOYMENT_UNKNOWN_STATE');
  });

  it('needs the token that the start carried', () => {
    const history = [
      ...pending(),
      started('a1', { leaseTokenHash: 'ab' }),
      became('deploying'),
      lost('a1'),
      became('unknown'),
    ];
    given(history).when(beat('a1')).refused('LEASE_TOKEN_MISMATCH');
    given(history).when(start('a1')).refused('ATTEMPT_ALREADY_STARTED');
    given(history)
      .when(beat('a1', { leaseTokenHash: 'ab' }))
      .then([recovered('a1'), revived('Heartbeat')]);
  });
});

describe('cancelling (rows 12, 13)', () => {
  it('asks a running attempt to stop, and changes no state', () => {
    given(running())
      .when(cancel('a1', { reason: 'not today' }))
      .then([cancelRequested('a1', { reason: 'not today' })], { state: 'deploying' });
    given(running())
      .when(cancel('a1'))
      .then([cancelRequested('a1')]);
  });

  it('again is accepted and writes nothing, also after a loss and a return', () => {
    const asked = [...running(), cancelRequested('a1')];
    given(asked)
      .when(cancel('a1', { reason: 'really' }))
      .unchanged();
    const returned = [lost('a1'), became('unknown'), recovered('a1'), became('deploying')];
    given([...asked, ...returned])
      .when(cancel('a1'))
      .unchanged();
  });

  it('is refused when the attempt is over', () => {
    for (const history of [ready(), failed(), closed('ready'), closed('failed', lostPending())]) {
      given(history).when(cancel('a1')).refused('ATTEMPT_TERMINAL');
    }
  });

  it('is refused when the attempt is lost, started or not, under either policy', () => {
    for (const declaration of [{}, record]) {
      given(lostRunning({ declaration })).when(cancel('a1')).refused('DEPLOYMENT_UNKNOWN_STATE');
      given(lostPending({ declaration })).when(cancel('a1')).refused('DEPLOYMENT_UNKNOWN_STATE');
    }
  });
});

describe('losing an attempt (row 15)', () => {
  const gone = (from: State, reason: string) =>
    transition(from, 'unknown', { trigger: 'MarkUnknown', ...about, reason });
  const startedAt = recordedAt(3);

  it('a lease that is past makes a running attempt unknown', () => {
    given(running())
      .when(lose('a1', 'lease_expired', { actor: SYSTEM }), past)
      .then(
        [
          lost('a1', 'lease_expired', { lastHeartbeatAt: startedAt }),
          gone('deploying', 'lease_expired'),
        ],
        { state: 'unknown', reason: 'lease_expired', settledState: 'pending' },
      );
  });

  it('a start that never came makes a pending attempt unknown', () => {
    given(pending())
      .when(lose('a1', 'start_timeout'), past)
      .then([lost('a1', 'start_timeout'), gone('pending', 'start_timeout')]);
  });

  it('is refused while the time is not past', () => {
    given(running()).when(lose('a1', 'lease_expired')).refused('LEASE_ACTIVE');
    given(pending()).when(lose('a1', 'start_timeout')).refused('LEASE_ACTIVE');
  });

  it('judges a lease only of a running, a start only of a pending attempt', () => {
    given(pending()).when(lose('a1', 'lease_expired'), past).refused('LEASE_ACTIVE');
    given(running()).when(lose('a1', 'start_timeout'), past).refused('LEASE_ACTIVE');
  });

  it.each(['orphaned', 'abandoned', 'operator'] as const)(
    'takes anybody’s word that it is %s, at any time',
    (cause) => {
      for (const actor of [RUNNER, SYSTEM]) {
        given(running())
          .when(lose('a1', cause, { actor, evidence: { pid: 'gone' } }))
          .then([
            lost('a1', cause, { evidence: { pid: 'gone' }, lastHeartbeatAt: startedAt }),
            gone('deploying', cause),
          ]);
        given(pending())
          .when(lose('a1', cause, { actor }))
          .then([lost('a1', cause), gone('pending', cause)]);
      }
    },
  );

  it('tells the last heartbeat where one is known', () => {
    const lastHeartbeatAt = recordedAt(20);
    given(running())
      .when(lose('a1', 'operator'), { lastHeartbeatAt })
      .then([lost('a1', 'operator', { lastHeartbeatAt }), gone('deploying', 'operator')], {
        observedAt: lastHeartbeatAt,
      });
  });

  it('again is accepted and writes nothing, whatever the cause', () => {
    for (const history of [lostRunning(), lostPending()]) {
      given(history).when(lose('a1', 'operator')).unchanged();
      given(history).when(lose('a1', 'lease_expired')).unchanged();
      given(history).when(lose('a1', 'start_timeout'), past).unchanged();
    }
  });

  it('is refused when the attempt is over', () => {
    const histories = [
      ready(),
      failed(),
      closed('ready'),
      [...pending(), by(RUNNER, ended('a1', 'cancelled'))],
      [...lostPending(), ended('a1', 'failed', { late: true }), became('failed')],
      [...lostRunning(), resolved('failed'), became('failed')],
    ];
    for (const history of histories) {
      given(history).when(lose('a1', 'operator')).refused('ATTEMPT_TERMINAL');
      given(history).when(lose('a1', 'lease_expired')).refused('ATTEMPT_TERMINAL');
    }
  });

  it('keeps what it was before the attempt', () => {
    given([...fresh(), opened(1, { settledState: 'ready' })])
      .when(lose('a1', 'abandoned'))
      .then([lost('a1', 'abandoned'), gone('pending', 'abandoned')], { settledState: 'ready' });
  });
});
