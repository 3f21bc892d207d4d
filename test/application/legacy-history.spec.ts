import { fc, it as property } from '@fast-check/jest';
import { describe, expect, it, jest } from '@jest/globals';
import { derive, type Derived, type LegacyContext } from '../../src/application/legacy-history.js';
import type { LegacyAttempt, LegacyDeployment } from '../../src/application/legacy-rows.js';
import { evolve, unrecorded } from '../../src/domain/deployment.js';
import { parseEvent, type AttemptId, type DeploymentId } from '../../src/domain/event-schema.js';
import { illegalBecause, unsettledBecause } from '../../src/domain/history.js';
import { CIRCUMSTANCES } from '../support/commands.js';
import { idOf } from '../support/events.js';

jest.setTimeout(120_000);

const NOW = '2026-01-01T00:00:00.000Z';
const SHOP: LegacyDeployment = {
  deploymentId: idOf<DeploymentId>('shop'),
  createdAt: '2024-01-01T00:00:00.000Z',
};
const { kindOf, defaults } = CIRCUMSTANCES;
const CONTEXT: LegacyContext = {
  ...{ now: NOW, kindOf, defaults, knowsStarts: true },
  operator: { id: 'alice', kind: 'human' },
  acknowledgeUnknown: 'the table shows that work went on',
};

/** A time of the second of January 2024. */
const at = (hours: number, minutes = 0): string =>
  new Date(Date.UTC(2024, 0, 2, hours, minutes)).toISOString();
const attempt = (id: string, members: Partial<LegacyAttempt> = {}): LegacyAttempt => ({
  ...{ attemptId: idOf<AttemptId>(id), scope: 'full', meaning: null },
  ...members,
});
/** An attempt that ran for ten minutes from an hour on. */
const ran = (id: string, hour: number, members: Partial<LegacyAttempt> = {}): LegacyAttempt =>
  attempt(id, {
    ...{ openedAt: at(hour), startedAt: at(hour, 1), endedAt: at(hour, 11), exitCode: 0 },
    ...members,
  });
/** Without these members. */
const without = (row: LegacyAttempt, ...names: readonly string[]): LegacyAttempt => ({
  ...{ attemptId: row.attemptId, scope: row.scope },
  ...Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name))),
});

type Right = Extract<Derived, { ok: true }>;
function derived(attempts: readonly LegacyAttempt[], context = CONTEXT, row = SHOP): Right {
  const found = derive(row, attempts, context);
  if (!found.ok) throw new Error(found.detail);
  return found;
}
/** Where the state went, with the times of the rows. */
const pathOf = ({ commands }: Right): readonly string[] =>
  commands.flat().flatMap(({ event: { type, data, metadata } }) => {
    if (type !== 'state_transition') return [];
    return [`${data.to} ${metadata.occurredAt.slice(11, 16)}${data.recovered ? '' : ' !'}`];
  });
const whyOf = ({ verdicts }: Right): readonly (string | null)[] =>
  [...verdicts.values()].map(({ why }) => why);

describe('the history of a legacy deployment', () => {
  it('is created, opened, started and ended at the times of its rows, and marked recovered', () => {
    const history = derived([ran('1', 10), ran('2', 12, { exitCode: 3, reason: 'disk full' })]);
    expect(pathOf(history)).toEqual([
      ...['pending 00:00', 'deploying 10:01', 'ready 10:11'],
      ...['pending 12:00', 'deploying 12:01', 'failed 12:11'],
    ]);
    expect(whyOf(history)).toEqual([null, null]);
    const { state, currentAttempt, lastReadyAttempt } = history.deployment;
    expect({ state, lastReadyAttempt }).toEqual({ state: 'failed', lastReadyAttempt: '1' });
    expect(currentAttempt).toMatchObject({ number: 2, exitCode: 3, reason: 'disk full' });
    const { event } = history.commands.flat().at(-1)!;
    expect(event.metadata).toMatchObject({
      ...{ commandId: 'legacy:attempts:2:end', recordedAt: NOW },
      actor: { id: 'legacy-import', kind: 'system' },
    });
  });

  it.each<[string, Partial<LegacyAttempt>, string]>([
    ['the exit code, where the status says nothing', { meaning: null, exitCode: 0 }, 'ready'],
    ['the exit code of a failure', { meaning: null, exitCode: 137 }, 'failed'],
    ['the status, where there is no exit code', { meaning: 'succeeded' }, 'ready'],
    ['the status before the exit code', { meaning: 'failed', exitCode: 0 }, 'failed'],
    ['a cancellation', { meaning: 'cancelled' }, 'failed'],
    ['a teardown', { scope: 'teardown', exitCode: 0 }, 'pending'],
    ['maintenance', { scope: 'snapshot', exitCode: 1 }, 'pending'],
  ])('ends by %s', (_, members, state) => {
    const history = derived([{ ...without(ran('1', 10), 'exitCode'), ...members }]);
    expect(history.deployment.state).toBe(state);
    expect(whyOf(history)).toEqual([null]);
  });

  it.each<[string, LegacyAttempt, readonly [string, string]]>([
    ['has no end', without(ran('1', 10), 'endedAt', 'exitCode'), ['no_end', '10:01']],
    ['was never started', attempt('1', { openedAt: at(10) }), ['not_started', '10:00']],
    ['has an outcome and no end', without(ran('1', 10), 'endedAt'), ['no_end_time', '10:01']],
    ['has an end and no outcome', without(ran('1', 10), 'exitCode'), ['no_outcome', '10:11']],
    ['is said to be unknown', ran('1', 10, { meaning: 'unknown' }), ['status_unknown', '10:11']],
    [
      'has a word for it that is not in the map',
      without(ran('1', 10, { status: 'odd' }), 'meaning'),
      ['status_not_mapped', '10:11'],
    ],
    ['ended before it started', ran('1', 10, { endedAt: at(9) }), ['impossible_order', '10:01']],
    [
      'started before it was opened',
      ran('1', 10, { startedAt: at(9) }),
      ['impossible_order', '10:00'],
    ],
    [
      'was opened before its deployment was created',
      ran('1', 10, { openedAt: '2023-12-31T00:00:00.000Z' }),
      ['impossible_order', '00:00'],
    ],
  ])(
    'is unknown since the last time that can be believed, when an attempt %s',
    (_, row, [why, time]) => {
      const history = derived([row]);
      expect(whyOf(history)).toEqual([why]);
      expect(pathOf(history).at(-1)).toBe(`unknown ${time} !`);
      const lost = history.commands
        .flat()
        .map(({ event }) => event)
        .find(({ type }) => type === 'attempt_lost');
      expect(lost?.data).toMatchObject({
        cause: 'orphaned',
        evidence: { why: expect.any(String) },
      });
    },
  );

  it('knows of no start what was not written down, but that a success had one', () => {
    const setUpFailed = derived([without(ran('1', 10, { exitCode: 1 }), 'startedAt')]);
    expect(pathOf(setUpFailed)).toEqual(['pending 00:00', 'failed 10:11']);
    const succeeded = derived([without(ran('1', 10), 'startedAt')]);
    expect(pathOf(succeeded)).toEqual(['pending 00:00', 'deploying 10:00', 'ready 10:11']);
    const noColumn = { ...CONTEXT, knowsStarts: false };
    const failed = derived([without(ran('1', 10, { exitCode: 1 }), 'startedAt')], noColumn);
    expect(pathOf(failed)).toEqual(['pending 00:00', 'deploying 10:00', 'failed 10:11']);
  });

  it('takes times less than a second apart as one that was rounded', () => {
    const rounded = ran('1', 10, { openedAt: '2024-01-02T10:01:00.900Z' });
    expect(whyOf(derived([rounded]))).toEqual([null]);
  });

  it('goes on after an unknown end in the name of whoever imports it, or not at all', () => {
    const rows = [without(ran('1', 10), 'endedAt', 'exitCode'), ran('2', 12)];
    const history = derived(rows);
    expect(history.deployment.state).toBe('ready');
    const opened = history.commands
      .flat()
      .map(({ event }) => event)
      .find(({ type, data }) => type === 'attempt_opened' && data.number === 2);
    expect(opened?.data).toMatchObject({ acknowledged: { reason: CONTEXT.acknowledgeUnknown } });
    expect(opened?.metadata.actor).toEqual(CONTEXT.operator);
    const silent = derive(SHOP, rows, { ...CONTEXT, acknowledgeUnknown: null });
    expect(silent).toMatchObject({
      ...{ ok: false, attemptId: '2' },
      detail: expect.stringContaining('acknowledgeUnknown'),
    });
    const runner = { id: 'ci', kind: 'service' } as const;
    expect(derive(SHOP, rows, { ...CONTEXT, operator: runner })).toMatchObject({
      ...{ ok: false, detail: 'only a human may acknowledge an unknown state' },
    });
  });

  it('opens no teardown in unknown: it is resolved before', () => {
    const rows = [
      without(ran('1', 10), 'endedAt', 'exitCode'),
      ran('2', 12, { scope: 'teardown' }),
    ];
    const history = derived(rows);
    expect(pathOf(history)).toEqual([
      ...['pending 00:00', 'deploying 10:01', 'unknown 10:01 !', 'failed 12:00 !'],
      ...['pending 12:00', 'deploying 12:01', 'pending 12:11'],
    ]);
    expect(history.deployment.tornDown).toBe(true);
  });

  it('writes nothing of a teardown where nothing is left', () => {
    const [one, two] = ['1', '2'].map((id, n) => ran(id, 10 + n, { scope: 'teardown' }));
    expect(derived([one!, two!]).commands).toEqual(derived([one!]).commands);
  });

  it('keeps the end of an attempt that was overtaken, and lets it decide nothing', () => {
    const history = derived([ran('1', 10, { endedAt: at(13), exitCode: 1 }), ran('2', 12)]);
    expect(whyOf(history)).toEqual(['overtaken', null]);
    expect(history.deployment.state).toBe('ready');
    const facts = history.commands.flat().map(({ event }) => event);
    expect(facts.at(-1)).toMatchObject({
      ...{ type: 'stale_result_recorded', data: { attemptId: '1', exitCode: 1 } },
      metadata: { occurredAt: at(13) },
    });
    expect(facts.find(({ type }) => type === 'attempt_lost')).toMatchObject({
      ...{
        data: { cause: 'abandoned', lastHeartbeatAt: at(10, 1) },
        metadata: { occurredAt: at(12) },
      },
    });
  });

  it.each<[string, readonly [LegacyDeployment, readonly LegacyAttempt[]], RegExp]>([
    ['time of its own or of an attempt', [untimed(SHOP), []], /has a time/],
    ['time of an attempt', [SHOP, [attempt('1')]], /no time at all/],
    [
      'scope of that name',
      [SHOP, [ran('1', 10, { scope: 'odd' })]],
      /scope "odd" is not registered/,
    ],
    ['such code', [SHOP, [ran('1', 10, { code: 'no code' })]], /\/code: must/],
    ['such name', [{ ...SHOP, name: 'x'.repeat(201) }, []], /\/name: must have 1 to 200/],
  ])('is refused where there is no %s', (_, [row, attempts], says) => {
    expect(derive(row, attempts, CONTEXT)).toMatchObject({
      ok: false,
      detail: expect.stringMatching(says),
    });
  });

  const hour = fc.integer({ min: -3, max: 20 });
  const time = fc.option(
    hour.map((hours) => at(hours)),
    { nil: undefined },
  );
  const rowOf = fc.record({
    scope: fc.constantFrom('full', 'full', 'configure', 'teardown', 'snapshot'),
    ...{ openedAt: time, startedAt: time, endedAt: time },
    exitCode: fc.option(fc.constantFrom(0, 1), { nil: undefined }),
    meaning: fc.constantFrom(null, null, 'succeeded', 'failed', 'cancelled', 'unknown', undefined),
    status: fc.constantFrom('pending', undefined),
  });
  const rowsOf = fc
    .array(rowOf, { maxLength: 6 })
    .map((rows) =>
      rows.map((row, n) => ({ attemptId: String(n), ...withoutUndefined(row) }) as LegacyAttempt),
    );
  const life = fc.record({ rows: rowsOf, knowsStarts: fc.boolean(), seed: fc.integer() });

  property.prop([life], { numRuns: 2_000 })(
    'is one that the rules have made, whatever the rows say',
    ({ rows, knowsStarts }) => {
      const found = derive(SHOP, rows, { ...CONTEXT, knowsStarts });
      if (!found.ok) {
        expect(found.detail).toBe('it has no time at all');
        return;
      }
      let deployment = unrecorded(SHOP.deploymentId);
      const problems: (string | null)[] = [];
      let last = '';
      for (const command of found.commands) {
        for (const { stored, event } of command) {
          const parsed = parseEvent(stored.type, stored.data, stored.metadata);
          problems.push(parsed.ok ? illegalBecause(deployment, event) : parsed.problem);
          if (event.metadata.occurredAt < last) problems.push(`${event.type} goes back in time`);
          last = event.metadata.occurredAt;
          deployment = evolve(deployment, event);
        }
        problems.push(unsettledBecause(deployment));
      }
      expect(problems.filter((problem) => problem !== null)).toEqual([]);
      expect(deployment).toEqual(found.deployment);
      expect(deployment.currentAttempt?.state).not.toBe('pending');
      expect(deployment.currentAttempt?.state).not.toBe('running');
      expect(found.verdicts.size).toBe(rows.length);
    },
    120_000,
  );

  property.prop([life], { numRuns: 500 })(
    'has the same ids whenever it is derived, and in whatever order its rows come',
    ({ rows, knowsStarts, seed }) => {
      const context = { ...CONTEXT, knowsStarts };
      const one = derive(SHOP, rows, context);
      const order = rows.map((row, n) => ({ row, key: Math.imul(seed + n, 2_654_435_761) >>> 0 }));
      const shuffled = order.sort((a, b) => a.key - b.key).map(({ row }) => row);
      const other = derive(SHOP, shuffled, { ...context, now: '2026-06-01T00:00:00.000Z' });
      const idsOf = (found: Derived): unknown =>
        found.ok && found.commands.flat().map(({ stored }) => stored.id);
      expect(idsOf(other)).toEqual(idsOf(one));
    },
    120_000,
  );
});

function untimed({ deploymentId }: LegacyDeployment): LegacyDeployment {
  return { deploymentId };
}

function withoutUndefined(row: object): object {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== undefined));
}
