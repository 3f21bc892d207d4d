import { describe, expect, it } from '@jest/globals';
import { evolve, unrecorded, type Attempt } from '../../src/domain/deployment.js';
import type { DeploymentEvent } from '../../src/domain/event-schema.js';
import { HUMAN, SERVICE, SHOP } from '../support/commands.js';
import { idOf } from '../support/events.js';
import {
  archived,
  became,
  by,
  cancelRequested,
  created,
  ended,
  lateResult,
  lost,
  opened,
  recovered,
  resolved,
  staleResult,
  started,
  transition,
  updated,
  type Told,
  eventOf,
  foldOf,
  occurredAt,
  recordedAt,
  toldMetadata,
} from '../support/facts.js';
import { closed, fresh, lostRunning, pending, ready, running } from '../support/histories.js';

/** The current attempt after a history. */
const attemptAfter = (facts: readonly Told[]): Attempt => foldOf(facts).currentAttempt!;

describe('a deployment, attribute by attribute', () => {
  it('is nothing but its id before the first event', () => {
    expect(unrecorded(SHOP)).toEqual({
      deploymentId: 'shop',
      created: null,
      name: 'shop',
      environment: null,
      labels: {},
      confirmPhrase: null,
      policy: {},
      state: 'pending',
      reason: null,
      since: null,
      settledState: null,
      tornDown: false,
      lastReadyAttempt: null,
      attention: null,
      archived: false,
      everStarted: false,
      observedAt: null,
      currentAttempt: null,
      earlierAttempts: null,
    });
  });

  it('has the reason and the time of its last change of state, and of no other event', () => {
    const history = [
      ...pending(),
      lost('a1', 'start_timeout'),
      transition('pending', 'unknown', { trigger: 'MarkUnknown', reason: 'start_timeout' }),
    ];
    const at = recordedAt(history.length - 1);
    const later = [...history, updated({ name: 'Shop' }), lateResult('a1', 'failed')];
    expect(foldOf(later)).toMatchObject({ reason: 'start_timeout', since: at });
    expect(foldOf([...later, became('ready')])).toMatchObject({
      reason: null,
      since: recordedAt(later.length),
    });
  });

  it('shows the attempt opened last as the current one, ended or not', () => {
    expect(foldOf(fresh()).currentAttempt).toBeNull();
    const two = [...ready(), opened(2), ended('a2', 'cancelled')];
    expect(attemptAfter(two)).toMatchObject({ attemptId: 'a2', number: 2, state: 'cancelled' });
    expect(foldOf(two).earlierAttempts).toMatchObject({
      attempt: { attemptId: 'a1', state: 'succeeded' },
      earlier: null,
    });
  });

  it('keeps the settled state until its attempt has ended or is resolved', () => {
    const begun = [...fresh(), opened(1, { settledState: 'ready' }), started('a1')];
    for (const events of [
      [],
      [cancelRequested('a1')],
      [lost('a1')],
      [lost('a1'), lateResult('a1', 'failed')],
      [lost('a1'), recovered('a1')],
    ]) {
      expect(foldOf([...begun, ...events]).settledState).toBe('ready');
    }
    expect(foldOf([...begun, ended('a1', 'failed')]).settledState).toBeNull();
    expect(foldOf([...begun, lost('a1'), resolved('failed')]).settledState).toBeNull();
  });

  it('names the last attempt that made it ready; none after a teardown', () => {
    const second = [...ready(), opened(2), started('a2')];
    const teardown = [...ready(), opened(2, { scope: 'teardown' }), started('a2')];
    const snapshot = [...ready(), opened(2, { scope: 'snapshot' }), started('a2')];
    for (const [history, attemptId] of [
      [[...second, ended('a2', 'succeeded')], 'a2'],
      [[...second, ended('a2', 'failed')], 'a1'],
      [[...second, ended('a2', 'cancelled')], 'a1'],
      [[...teardown, ended('a2', 'failed')], 'a1'],
      [[...snapshot, ended('a2', 'succeeded')], 'a1'],
      [[...teardown, ended('a2', 'succeeded')], null],
      [[...second, lost('a2'), resolved('torn_down')], null],
      [[...second, lost('a2'), resolved('failed')], 'a1'],
      [[...second, lost('a2'), resolved('ready')], 'a2'],
      [[...teardown, lost('a2'), resolved('ready')], 'a1'],
      [[...ready(), opened(2), lost('a2'), resolved('ready')], 'a1'],
    ] as const) {
      expect(foldOf(history).lastReadyAttempt).toBe(attemptId);
    }
  });

  it('is torn down from a teardown’s success, or a human’s word, to the next deploy’s start', () => {
    const torn = [...ready(), opened(2, { scope: 'teardown' }), started('a2')];
    const done = [...torn, ended('a2', 'succeeded'), became('pending')];
    for (const [history, tornDown] of [
      [torn, false],
      [[...torn, ended('a2', 'failed')], false],
      [[...torn, lost('a2')], false],
      [[...torn, lost('a2'), resolved('torn_down')], true],
      [done, true],
      [[...done, opened(3)], true],
      [[...done, opened(3), ended('a3', 'failed'), became('failed')], true],
      [[...done, opened(3), started('a3')], false],
      [[...done, opened(3, { scope: 'snapshot' }), started('a3')], true],
      [[...done, opened(3), lost('a3'), resolved('ready')], false],
      [[...done, opened(3), lost('a3'), resolved('failed')], false],
    ] as const) {
      expect(foldOf(history).tornDown).toBe(tornDown);
    }
  });

  it('calls for attention where evidence contradicts a human, until a human answers', () => {
    const history = [...closed('failed'), lateResult('a1', 'succeeded', { conflict: true })];
    const attention = {
      kind: 'conflicting_result',
      attemptId: 'a1',
      outcome: 'succeeded',
      at: recordedAt(history.length - 1),
    };
    expect(foldOf(history).attention).toEqual(attention);
    expect(foldOf([...history, by(SERVICE, opened(2))]).attention).toEqual(attention);
    expect(foldOf([...history, by(HUMAN, opened(2))]).attention).toBeNull();
    expect(foldOf([...history, by(HUMAN, resolved('ready'))]).attention).toBeNull();
    expect(foldOf([...closed('failed'), lateResult('a1', 'failed')]).attention).toBeNull();
  });

  it('tells when the current attempt’s runner was last heard of', () => {
    expect(foldOf(fresh()).observedAt).toBeNull();
    expect(foldOf(pending()).observedAt).toBe(occurredAt(2));
    expect(foldOf(running()).observedAt).toBe(recordedAt(3));
    expect(foldOf([...running(), cancelRequested('a1')]).observedAt).toBe(recordedAt(3));
    const heard = { lastHeartbeatAt: recordedAt(30) };
    const silent = [...running(), lost('a1', 'lease_expired', heard), became('unknown')];
    expect(foldOf(silent).observedAt).toBe(recordedAt(30));
    expect(foldOf(lostRunning()).observedAt).toBe(recordedAt(3));
    expect(foldOf([...lostRunning(), recovered('a1')]).observedAt).toBe(recordedAt(7));
    expect(foldOf([...running(), ended('a1', 'failed')]).observedAt).toBe(recordedAt(5));
    expect(foldOf([...running(), ended('a1', 'failed'), opened(2)]).observedAt).toBe(occurredAt(6));
  });

  it('remembers whether anything ever started, and that it is archived', () => {
    expect(foldOf([...pending(), ended('a1', 'cancelled')]).everStarted).toBe(false);
    expect(foldOf(ready()).everStarted).toBe(true);
    expect(foldOf([...fresh(), archived()]).archived).toBe(true);
  });
});

describe('an attempt, attribute by attribute', () => {
  it('is pending when opened', () => {
    const history = [...ready(), opened(2, { scope: 'snapshot', meta: { a: 1 } })];
    expect(attemptAfter(history)).toEqual({
      attemptId: 'a2',
      number: 2,
      scope: 'snapshot',
      kind: 'maintenance',
      state: 'pending',
      exitCode: null,
      code: null,
      reason: null,
      cause: null,
      cancelRequested: false,
      recovered: false,
      resolved: null,
      runner: null,
      leaseTokenHash: null,
      leaseMs: null,
      openedAt: occurredAt(history.length - 1),
      startedAt: null,
      endedAt: null,
      openedFrom: { state: 'pending', tornDown: false },
      lateResults: [],
      staleResults: [],
      meta: { a: 1 },
    });
  });

  it('runs from its start, by whom the start told', () => {
    const runner = { id: 'r1', host: 'ci-7' };
    const told = { runner, leaseTokenHash: 'ab', leaseMs: 5000, meta: { b: 2 } };
    const history = [...fresh(), opened(1, { meta: { a: 1 } }), started('a1', told)];
    expect(attemptAfter(history)).toMatchObject({
      state: 'running',
      runner,
      leaseTokenHash: 'ab',
      leaseMs: 5000,
      startedAt: occurredAt(3),
      meta: { a: 1, b: 2 },
    });
  });

  it('has null where its start, or its end, told nothing', () => {
    expect(attemptAfter([...pending(), started('a1')])).toMatchObject({
      runner: null,
      leaseTokenHash: null,
      leaseMs: null,
      meta: null,
    });
    expect(attemptAfter([...running(), ended('a1', 'failed')])).toMatchObject({
      exitCode: null,
      code: null,
      reason: null,
    });
  });

  it('ends as its result says', () => {
    for (const outcome of ['succeeded', 'failed', 'cancelled'] as const) {
      const result = { exitCode: 3, code: 'E', reason: 'so it was' };
      expect(attemptAfter([...running(), ended('a1', outcome, result)])).toMatchObject({
        state: outcome,
        ...result,
        endedAt: occurredAt(5),
        recovered: false,
      });
    }
  });

  it('keeps a request to cancel for good', () => {
    const asked = [...running(), cancelRequested('a1')];
    for (const events of [
      [],
      [ended('a1', 'succeeded', { cancelTooLate: true })],
      [lost('a1')],
      [lost('a1'), recovered('a1')],
      [lost('a1'), resolved('failed')],
    ]) {
      expect(attemptAfter([...asked, ...events]).cancelRequested).toBe(true);
    }
  });

  it('is unknown when lost, and keeps the cause after it came back or ended', () => {
    const gone = [...running(), lost('a1', 'orphaned')];
    expect(attemptAfter(gone)).toMatchObject({
      state: 'unknown',
      cause: 'orphaned',
      endedAt: null,
    });
    expect(attemptAfter([...gone, recovered('a1')])).toMatchObject({
      state: 'running',
      cause: 'orphaned',
      recovered: true,
    });
    expect(attemptAfter([...gone, ended('a1', 'failed', { late: true })])).toMatchObject({
      state: 'failed',
      cause: 'orphaned',
      recovered: true,
    });
    expect(attemptAfter([...gone, recovered('a1'), lost('a1', 'operator')])).toMatchObject({
      state: 'unknown',
      cause: 'operator',
      recovered: true,
    });
  });

  it('stays unknown when a human closes it, who is named; the last word counts', () => {
    const history = [...lostRunning(), by(HUMAN, resolved('failed', { attemptId: idOf('a1') }))];
    const word = { as: 'failed', by: HUMAN, at: recordedAt(history.length - 1) };
    expect(attemptAfter(history)).toMatchObject({ state: 'unknown', resolved: word });
    const bob = { id: 'bob', kind: 'human' } as const;
    const again = [...history, became('failed'), by(bob, resolved('ready'))];
    expect(attemptAfter(again)).toMatchObject({
      state: 'unknown',
      resolved: { as: 'ready', by: bob, at: recordedAt(again.length - 1) },
    });
  });

  it('is not closed by a word about what it did not lose', () => {
    const over = [...running(), ended('a1', 'failed'), became('unknown')];
    expect(attemptAfter([...over, resolved('ready')])).toMatchObject({
      state: 'failed',
      resolved: null,
    });
  });

  it('gathers results that came late, and those that came when it was not the current one', () => {
    const late = [...closed('failed'), lateResult('a1', 'succeeded', { exitCode: 0 })];
    expect(attemptAfter(late)).toMatchObject({
      state: 'unknown',
      lateResults: [{ outcome: 'succeeded', exitCode: 0 }],
    });
    const history = [...ready(), opened(2), opened(3), staleResult('a1', 'failed', { code: 'E' })];
    const { currentAttempt, earlierAttempts } = foldOf(history);
    expect(currentAttempt?.staleResults).toEqual([]);
    expect(earlierAttempts?.attempt).toMatchObject({ attemptId: 'a2', staleResults: [] });
    expect(earlierAttempts?.earlier?.attempt).toMatchObject({
      attemptId: 'a1',
      state: 'succeeded',
      staleResults: [{ outcome: 'failed', code: 'E' }],
    });
  });

  it('remembers what it was opened on', () => {
    const torn = [created(), resolved('torn_down'), became('pending')];
    const history = [...torn, opened(1), started('a1'), ended('a1', 'succeeded'), became('ready')];
    expect(attemptAfter(history).openedFrom).toEqual({ state: 'pending', tornDown: true });
    expect(attemptAfter([...history, opened(2, { settledState: 'ready' })]).openedFrom).toEqual({
      state: 'ready',
      tornDown: false,
    });
  });
});

describe('folding', () => {
  const events = (facts: readonly Told[]): DeploymentEvent[] =>
    facts.map((fact, n) => eventOf(fact, toldMetadata(n, fact.by)));

  it('leaves what it was given as it was', () => {
    const before = foldOf(lostRunning());
    const copy = structuredClone(before);
    for (const event of events([...closed('ready'), opened(2), staleResult('a1', 'failed')])) {
      evolve(before, event);
    }
    expect(before).toEqual(copy);
  });

  it('records a stale result at the far end of 50,000 attempts', () => {
    let deployment = foldOf(fresh());
    for (let number = 1; number <= 50_000; number++) {
      deployment = evolve(deployment, eventOf(opened(number), toldMetadata(1)));
    }
    deployment = evolve(deployment, eventOf(staleResult('a1', 'failed'), toldMetadata(2)));
    let chain = deployment.earlierAttempts;
    while (chain !== null && chain.earlier !== null) chain = chain.earlier;
    expect(chain?.attempt).toMatchObject({
      attemptId: 'a1',
      staleResults: [{ outcome: 'failed' }],
    });
  });
});
