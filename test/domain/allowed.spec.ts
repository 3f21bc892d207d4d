import { describe, expect, it } from '@jest/globals';
import {
  COMMAND_TYPES,
  type CommandType,
  type DeploymentCommand,
} from '../../src/domain/command.js';
import { allowedCommands, decide } from '../../src/domain/decide.js';
import type { Deployment } from '../../src/domain/deployment.js';
import { LOSS_CAUSES, OUTCOMES, RESOLUTIONS } from '../../src/domain/event-schema.js';
import {
  CIRCUMSTANCES,
  HUMAN,
  KINDS,
  SERVICE,
  acknowledge,
  archive,
  cancel,
  end,
  lose,
  open,
  resolve,
  start,
  update,
} from '../support/commands.js';
import { explore } from '../support/explore.js';
import {
  archived,
  became,
  ended,
  foldOf,
  lateResult,
  opened,
  started,
  type Told,
} from '../support/facts.js';
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

const { defaults } = CIRCUMSTANCES;
const record = { declaration: { policy: { lateResults: 'record' } } } as const;
const retire = { declaration: { policy: { afterTeardown: 'retire' } } } as const;

/** Commands with every body that could make a difference, by every kind of actor. */
function bodiesFor(deployment: Deployment): readonly DeploymentCommand[] {
  const { currentAttempt, confirmPhrase } = deployment;
  const phrase = confirmPhrase === null ? {} : { confirmPhrase };
  const attemptIds = [currentAttempt, deployment.earlierAttempts?.attempt].flatMap((attempt) =>
    attempt ? [attempt.attemptId] : [],
  );
  const proofs = [{}, { leaseTokenHash: 'ab' }, { runner: { id: 'r1' } }];
  return [HUMAN, SERVICE].flatMap((actor) => [
    update({ actor, environment: 'somewhere else' }),
    ...RESOLUTIONS.map((as) => resolve(as, { actor })),
    archive({ actor }),
    ...Object.keys(KINDS).flatMap((scope) => [
      open('a9', { actor, scope, ...phrase }),
      acknowledge('a9', { actor, scope, ...phrase }),
    ]),
    ...attemptIds.flatMap((id) => [
      ...proofs.map((proof) => start(id, { actor, ...proof })),
      ...proofs.flatMap((proof) =>
        OUTCOMES.flatMap((outcome) =>
          [{}, { exitCode: -7 }].map((code) => end(id, outcome, { actor, ...proof, ...code })),
        ),
      ),
      cancel(id, { actor }),
      ...LOSS_CAUSES.map((cause) => lose(id, cause, { actor })),
    ]),
  ]);
}

/** The commands of which some body is accepted and writes, found by trying them all. */
function foundByTrying(deployment: Deployment): readonly CommandType[] {
  const writing = new Set<CommandType>();
  for (const command of bodiesFor(deployment)) {
    for (const silentTooLong of [true, false]) {
      if (writing.has(command.type)) continue;
      const decision = decide(command, deployment, { ...CIRCUMSTANCES, silentTooLong });
      if (decision.ok && decision.events.length > 0) writing.add(command.type);
    }
  }
  return COMMAND_TYPES.filter((type) => writing.has(type));
}

describe('what is allowed', () => {
  it('is what some body gets accepted and written, in every state that commands lead to', () => {
    const { states } = explore({
      attemptsMax: 2,
      scopes: ['full', 'teardown'],
      policies: [{ lateResults: 'accept' }, { lateResults: 'record', afterTeardown: 'retire' }],
      tokens: true,
      visit: () => {},
    });
    let compared = 0;
    const different = states.filter((deployment, n) => {
      // Neighbours in the walk differ little: one in 13 shows all shapes, in less time.
      if (n % 13 !== 0 || deployment.created === null) return false;
      compared++;
      return allowedCommands(deployment, defaults).join() !== foundByTrying(deployment).join();
    });
    expect(compared).toBeGreaterThan(1500);
    expect(different).toEqual([]);
  });

  it.each<[string, readonly Told[], string]>([
    ['nothing is recorded', [], ''],
    ['it was only created', fresh(), 'UpdateDeployment OpenAttempt ArchiveDeployment'],
    [
      'an attempt is pending',
      pending(),
      'UpdateDeployment StartAttempt EndAttempt CancelAttempt MarkUnknown',
    ],
    ['an attempt runs', running(), 'UpdateDeployment EndAttempt CancelAttempt MarkUnknown'],
    [
      'an attempt was lost before its start',
      lostPending(),
      'UpdateDeployment OpenAttempt StartAttempt EndAttempt ResolveUnknown',
    ],
    [
      'an attempt was lost while it ran',
      lostRunning(),
      'UpdateDeployment OpenAttempt StartAttempt EndAttempt ResolveUnknown',
    ],
    [
      'an attempt was lost under policy `record`',
      lostRunning(record),
      'UpdateDeployment OpenAttempt EndAttempt ResolveUnknown',
    ],
    [
      'an attempt was lost whose start named nobody, so that it has no second one',
      [...pending(), started('a1'), ...lostRunning().slice(4)],
      'UpdateDeployment OpenAttempt EndAttempt ResolveUnknown',
    ],
    ['it is ready', ready(), 'UpdateDeployment OpenAttempt'],
    ['it failed', failed(), 'UpdateDeployment OpenAttempt'],
    [
      'nothing ran',
      [...pending(), ended('a1', 'cancelled')],
      'UpdateDeployment OpenAttempt ArchiveDeployment',
    ],
    ['it is torn down', tornDown(), 'UpdateDeployment OpenAttempt ArchiveDeployment'],
    ['it is torn down for good', tornDown(retire), 'UpdateDeployment ArchiveDeployment'],
    ['a human closed the attempt', closed('failed'), 'UpdateDeployment OpenAttempt EndAttempt'],
    [
      'a human closed the attempt as torn down',
      closed('torn_down'),
      'UpdateDeployment OpenAttempt EndAttempt ArchiveDeployment',
    ],
    [
      'all results of a closed attempt are recorded, without exit codes that could differ',
      [
        ...closed('failed'),
        lateResult('a1', 'succeeded', { conflict: true }),
        lateResult('a1', 'failed'),
        lateResult('a1', 'cancelled'),
      ],
      'UpdateDeployment OpenAttempt ResolveUnknown',
    ],
    ['it is archived', [...tornDown(), archived()], ''],
  ])('where %s', (_situation, history, commands) => {
    const allowed = allowedCommands(foldOf(history), defaults);
    expect(allowed.join(' ')).toBe(commands);
  });

  it('knows the lease token and the policy that stands', () => {
    const declaration = { policy: { heartbeatMs: 45_000 } };
    const told = [...tornDown({ declaration }), opened(2), started('a2', { leaseTokenHash: 'ab' })];
    expect(allowedCommands(foldOf(told), { ...defaults, leaseMs: 30_000 })).toEqual([
      'UpdateDeployment',
      'EndAttempt',
      'CancelAttempt',
      'MarkUnknown',
    ]);
  });

  it('knows the confirm phrase where nothing but a teardown can be opened', () => {
    const declaration = { confirmPhrase: 'yes', policy: { afterTeardown: 'retire' } } as const;
    const setUpFailed = [opened(2), ended('a2', 'failed'), became('failed')];
    const told = [...tornDown({ declaration }), ...setUpFailed];
    expect(allowedCommands(foldOf(told), defaults)).toEqual([
      'UpdateDeployment',
      'OpenAttempt',
      'ArchiveDeployment',
    ]);
  });

  it('finds a result that is not recorded among 200,000 that are', () => {
    const lateResults = Array.from({ length: 200_000 }, (_, exitCode) => ({
      outcome: 'failed' as const,
      exitCode,
    }));
    const deployment = foldOf(closed('failed'));
    const flooded = {
      ...deployment,
      currentAttempt: { ...deployment.currentAttempt!, lateResults },
    };
    expect(allowedCommands(flooded, defaults)).toContain('EndAttempt');
  });
});
