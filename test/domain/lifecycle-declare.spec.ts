import { describe, it } from '@jest/globals';
import type { DeploymentCommand } from '../../src/domain/command.js';
import {
  REVISION,
  SHOP,
  acknowledge,
  archive,
  beat,
  cancel,
  create,
  end,
  lose,
  open,
  resolve,
  start,
  update,
} from '../support/commands.js';
import { idOf } from '../support/events.js';
import {
  archived,
  became,
  created,
  ended,
  lateResult,
  opened,
  resolved,
  started,
  transition,
  updated,
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

describe('creating a deployment (row 1)', () => {
  const first = transition(null, 'pending', { trigger: 'CreateDeployment' });

  it('makes it pending, named by its id', () => {
    given([])
      .when(create())
      .then([created({ name: SHOP }), first], { state: 'pending', name: SHOP, settledState: null });
  });

  it('keeps what was declared as it was given, without defaults', () => {
    const declaration = {
      name: 'The shop',
      environment: 'production',
      labels: { team: 'web' },
      confirmPhrase: 'tear the shop down',
      policy: { leaseMs: 60_000 },
    };
    given([])
      .when(create(declaration))
      .then([created(declaration), first], { policy: { leaseMs: 60_000 } });
  });

  it('accepts the same content again and writes nothing', () => {
    given(fresh()).when(create()).unchanged();
    given(fresh())
      .when(create({ name: SHOP, labels: {}, policy: {} }))
      .unchanged();
    const declaration = { labels: { a: '1', b: '2' }, environment: 'test' };
    const again = { labels: { b: '2', a: '1' }, environment: 'test' };
    given(fresh({ declaration })).when(create(again)).unchanged();
  });

  it('compares policies after defaults', () => {
    const policy = { leaseMs: 90_000, lateResults: 'accept', afterTeardown: 'reopen' } as const;
    given(fresh()).when(create({ policy })).unchanged();
    given(fresh({ declaration: { policy } }))
      .when(create())
      .unchanged();
    given(fresh({ declaration: { policy: { leaseMs: 30_000 } } }))
      .when(create({ policy: { leaseMs: 30_000, heartbeatMs: 10_000 } }))
      .unchanged();
  });

  it('compares with what was said at the creation, not with what stands now', () => {
    const renamed = [...fresh(), updated({ name: 'Renamed' })];
    given(renamed).when(create()).unchanged();
    given(renamed)
      .when(create({ name: 'Renamed' }))
      .refused('DEPLOYMENT_EXISTS');
  });

  it.each<[string, Parameters<typeof create>[0]]>([
    ['name', { name: 'Other' }],
    ['environment', { environment: 'test' }],
    ['labels', { labels: { a: '1' } }],
    ['confirm phrase', { confirmPhrase: 'yes' }],
    ['policy', { policy: { lateResults: 'record' } }],
  ])('refuses another %s for an id that is used', (_member, declaration) => {
    given(fresh()).when(create(declaration)).refused('DEPLOYMENT_EXISTS');
  });

  it('refuses heartbeats that are rarer than twice a lease', () => {
    const policy = (heartbeatMs: number, leaseMs?: number) => ({
      policy: { heartbeatMs, ...(leaseMs !== undefined && { leaseMs }) },
    });
    given([])
      .when(create(policy(45_001)))
      .refused('INVALID_BODY');
    given([])
      .when(create(policy(501, 1000)))
      .refused('INVALID_BODY');
    given([])
      .when(create(policy(500, 1000)))
      .then([created(policy(500, 1000)), first]);
  });
});

describe('updating a deployment (row 21)', () => {
  const declaration = {
    environment: 'test',
    labels: { team: 'web' },
    confirmPhrase: 'yes',
    policy: { leaseMs: 60_000, lateResults: 'record' },
  } as const;
  const declared = fresh({ declaration });

  it('writes only the members that change, in any state', () => {
    for (const history of [declared, running({ declaration }), lostRunning({ declaration })]) {
      const { state } = given(history).deployment;
      given(history)
        .when(update({ name: 'Shop', environment: 'test', labels: { team: 'web' } }))
        .then([updated({ name: 'Shop' })], { state, name: 'Shop' });
    }
  });

  it('clears by null, and a cleared name is the id again', () => {
    given(declared)
      .when(update({ environment: null, confirmPhrase: null, labels: null, policy: null }))
      .then([updated({ environment: null, labels: null, confirmPhrase: null, policy: null })], {
        environment: null,
        labels: {},
        confirmPhrase: null,
        policy: {},
      });
    given([...declared, updated({ name: 'Shop' })])
      .when(update({ name: null }))
      .then([updated({ name: null })], { name: SHOP });
  });

  it('replaces labels whole', () => {
    given(declared)
      .when(update({ labels: { tier: 'one' } }))
      .then([updated({ labels: { tier: 'one' } })], { labels: { tier: 'one' } });
  });

  it('changes a policy by member', () => {
    given(declared)
      .when(
        update({
          policy: {
            leaseMs: 60_000,
            heartbeatMs: null,
            lateResults: null,
            afterTeardown: 'retire',
          },
        }),
      )
      .then([updated({ policy: { lateResults: null, afterTeardown: 'retire' } })], {
        policy: { leaseMs: 60_000, afterTeardown: 'retire' },
      });
  });

  it.each<[string, Parameters<typeof update>[0]]>([
    ['nothing', {}],
    ['what stands', { ...declaration, labels: { team: 'web' }, name: SHOP }],
    ['a name that is cleared already', { name: null }],
    ['an empty change of policy', { policy: {} }],
    ['a member of policy that is cleared already', { policy: { heartbeatMs: null } }],
  ])('accepts %s and writes nothing', (_what, patch) => {
    given(declared).when(update(patch)).unchanged();
  });

  it('accepts clearing what is empty and writes nothing', () => {
    const patch = { environment: null, labels: null, confirmPhrase: null, policy: null };
    given(fresh()).when(update(patch)).unchanged();
  });

  it('refuses heartbeats that would be rarer than twice a lease, given or standing', () => {
    given(declared)
      .when(update({ policy: { heartbeatMs: 30_001 } }))
      .refused('INVALID_BODY');
    given(fresh({ declaration: { policy: { heartbeatMs: 30_000 } } }))
      .when(update({ policy: { leaseMs: 59_999 } }))
      .refused('INVALID_BODY');
  });

  it('changes a name also where new settings do not fit the policy that stands', () => {
    const defaults = { heartbeatMs: 10_000, leaseMs: 30_000, startTimeoutMs: 30_000 };
    given(fresh({ declaration: { policy: { heartbeatMs: 40_000 } } }))
      .when(update({ name: 'Shop' }), { defaults })
      .then([updated({ name: 'Shop' })]);
  });
});

describe('archiving a deployment (row 22)', () => {
  const done = archived({ reason: 'moved away' });

  it.each<[string, readonly Told[]]>([
    ['that was only created', fresh()],
    ['that is torn down', tornDown()],
    ['whose only attempt never started', [...pending(), ended('a1', 'cancelled')]],
    ['whose set-up failed', [...pending(), ended('a1', 'failed'), became('failed')]],
    ['that a human found torn down', closed('torn_down')],
  ])('archives one %s', (_which, history) => {
    const { state } = given(history).deployment;
    given(history)
      .when(archive({ reason: 'moved away' }))
      .then([done], { archived: true, state });
  });

  it('needs no reason', () => {
    given(fresh()).when(archive()).then([archived()], { archived: true });
  });

  it('accepts it again and writes nothing', () => {
    given([...fresh(), archived()])
      .when(archive({ reason: 'again' }))
      .unchanged();
  });

  it.each<[string, readonly Told[]]>([
    ['pending', pending()],
    ['running', running()],
    ['pending on a torn down deployment', [...tornDown(), opened(2)]],
  ])('refuses while an attempt is %s', (_how, history) => {
    given(history).when(archive()).refused('ATTEMPT_IN_PROGRESS');
  });

  it('refuses while unknown, or while evidence asks for attention', () => {
    given(lostPending()).when(archive()).refused('DEPLOYMENT_UNKNOWN_STATE');
    given([...closed('torn_down'), lateResult('a1', 'succeeded', { conflict: true })])
      .when(archive())
      .refused('DEPLOYMENT_UNKNOWN_STATE');
  });

  it.each<[string, readonly Told[]]>([
    ['ready', ready()],
    ['failed after a start', failed()],
    ['reopened after a teardown', [...tornDown(), ...deployedAgain()]],
    [
      'found ready though nothing was ever started',
      [...lostPending(), resolved('ready'), became('ready')],
    ],
  ])('refuses one that is %s: it may still run', (_how, history) => {
    given(history).when(archive()).refused('DEPLOYMENT_NOT_TORN_DOWN');
  });

  function deployedAgain(): readonly Told[] {
    return [opened(2), started('a2'), became('deploying'), ended('a2', 'failed'), became('failed')];
  }
});

describe('the order in which a command is checked', () => {
  const gone = [...failed(), archived()];
  const everyCommand: readonly DeploymentCommand[] = [
    create(),
    update({ name: 'Shop' }),
    open('a9'),
    start('a1'),
    beat('a1'),
    end('a1', 'succeeded'),
    cancel('a1'),
    lose('a1', 'operator'),
    resolve('ready'),
    archive(),
  ];
  const everyOther = everyCommand.filter(({ type }) => type !== 'CreateDeployment');
  const aboutAttempts = [
    start('a9'),
    beat('a9'),
    end('a9', 'succeeded'),
    cancel('a9'),
    lose('a9', 'operator'),
  ];

  it('asks for a revision to resolve before all else', () => {
    for (const expectedRevision of [undefined, '*'] as const) {
      const { expectedRevision: _given, ...bare } = resolve('ready');
      const command = { ...bare, ...(expectedRevision !== undefined && { expectedRevision }) };
      for (const history of [[], gone, fresh(), lostRunning()]) {
        given(history).when(command).refused('PRECONDITION_REQUIRED');
      }
    }
  });

  it.each(everyOther)('finds no deployment for $type', (command) => {
    given([]).when(command).refused('DEPLOYMENT_NOT_FOUND');
    given([])
      .when({ ...command, expectedRevision: 7n })
      .refused('DEPLOYMENT_NOT_FOUND');
  });

  it.each(aboutAttempts)('finds no attempt for $type, also on an archived one', (command) => {
    for (const history of [fresh(), lostRunning(), gone]) {
      given(history)
        .when({ ...command, expectedRevision: 7n })
        .refused('ATTEMPT_NOT_FOUND');
    }
  });

  it.each(everyCommand.filter(({ type }) => type !== 'ArchiveDeployment'))(
    'answers $type on an archived deployment only by that',
    (command) => {
      const token = { leaseTokenHash: 'ab' };
      const withToken = [...fresh(), opened(1), started('a1', token), ended('a1', 'succeeded')];
      for (const history of [gone, [...withToken, archived()]]) {
        given(history)
          .when({ ...command, expectedRevision: 7n })
          .refused('DEPLOYMENT_ARCHIVED');
      }
    },
  );

  it('looks at the lease token before the revision', () => {
    const history = [...pending(), started('a1', { leaseTokenHash: 'ab' }), became('deploying')];
    for (const command of [beat('a1'), end('a1', 'succeeded', { leaseTokenHash: 'cd' })]) {
      given(history)
        .when({ ...command, expectedRevision: 7n })
        .refused('LEASE_TOKEN_MISMATCH');
    }
  });

  it('looks at the token of an attempt that has ended, was lost, closed or superseded, too', () => {
    const begun = [...pending(), started('a1', { leaseTokenHash: 'ab' }), became('deploying')];
    const over = [...begun, ended('a1', 'succeeded'), became('ready')];
    for (const history of [over, [...over, opened(2, { settledState: 'ready' })]]) {
      given(history).when(end('a1', 'succeeded')).refused('LEASE_TOKEN_MISMATCH');
      given(history)
        .when(beat('a1', { leaseTokenHash: 'cd' }))
        .refused('LEASE_TOKEN_MISMATCH');
    }
  });

  it.each(everyCommand)('refuses $type on another revision before any guard', (command) => {
    for (const history of [fresh(), pending(), lostRunning(), ready()]) {
      if ('attemptId' in command && history.length === 2 && command.type !== 'OpenAttempt')
        continue;
      for (const expectedRevision of [REVISION - 1n, REVISION + 1n, 0n]) {
        given(history)
          .when({ ...command, expectedRevision })
          .refused('REVISION_MISMATCH');
      }
    }
  });

  it('refuses to create on a revision that cannot be', () => {
    given([])
      .when(create({ expectedRevision: 0n }), { revision: -1n })
      .refused('REVISION_MISMATCH');
    given([])
      .when(create({ expectedRevision: '*' }), { revision: -1n })
      .refused('REVISION_MISMATCH');
  });

  it('looks at the revision also where nothing would be written', () => {
    given([...fresh(), archived()])
      .when(archive({ expectedRevision: 7n }))
      .refused('REVISION_MISMATCH');
  });

  it('goes on with the current revision, and with any for `*`', () => {
    for (const expectedRevision of [REVISION, '*'] as const) {
      given(fresh())
        .when(update({ name: 'Shop', expectedRevision }))
        .then([updated({ name: 'Shop' })]);
    }
  });

  it('takes anybody for everything but the two decisions of a human', () => {
    given(lostRunning()).when(acknowledge('a2')).then(acknowledged());
    for (const kind of ['service', 'runner', 'system'] as const) {
      const actor = { id: 'x', kind };
      given(lostRunning()).when(acknowledge('a2', { actor })).refused('HUMAN_REQUIRED');
      given(lostRunning()).when(resolve('failed', { actor })).refused('HUMAN_REQUIRED');
      given(fresh()).when(archive({ actor })).then([archived()]);
    }
  });

  function acknowledged(): readonly Told[] {
    const reason = 'looked at it';
    return [
      opened(2, { settledState: 'unknown', acknowledged: { reason } }),
      transition('unknown', 'pending', {
        trigger: 'OpenAttempt',
        attemptId: idOf('a2'),
        number: 2,
        scope: 'full',
        reason,
      }),
    ];
  }
});
