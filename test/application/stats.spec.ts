import { it as prop } from '@fast-check/jest';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { QueryBus } from '@nestjs/cqrs';
import { readEvent } from '../../src/application/fold.js';
import { STATES } from '../../src/domain/event-schema.js';
import { GetAttemptStats, GetTimeInState, ListUnknowns } from '../../src/index.js';
import type { Row } from '../../src/ports/read-models.js';
import type { PlacedEvent, Projection } from '../../src/projections/projection.js';
import { stays, type StaysRow } from '../../src/projections/stays.js';
import { unknowns, type UnknownRow } from '../../src/projections/unknowns.js';
import { itemsOf, startApi, type TestApi } from '../support/api.js';
import { lateLogs } from '../support/random-log.js';

type Changed = PlacedEvent & { readonly type: 'state_transition' };
type Events = readonly PlacedEvent[];

function eventsOf(log: Parameters<typeof readEvent>[0][]): Events {
  return log.flatMap((record) => {
    const parsed = readEvent(record)?.parsed;
    return parsed?.ok === true ? [parsed.event] : [];
  });
}

function folded<R extends Row>(projection: Projection<R>, events: Events): ReadonlyMap<string, R> {
  const rows = new Map<string, R>();
  for (const event of events) {
    const key = projection.keyOf(event)?.join(' ');
    if (key !== undefined) rows.set(key, projection.evolve(rows.get(key) ?? null, event));
  }
  return rows;
}

const changesOf = (events: Events, deploymentId: string): readonly Changed[] =>
  events.filter(
    (event): event is Changed =>
      event.type === 'state_transition' && event.deploymentId === deploymentId,
  );
const msOf = ({ metadata }: PlacedEvent): number => Date.parse(metadata.occurredAt);

/** What the state was at each minute, by the last change in log order that had happened. */
function minutesIn(changes: readonly Changed[], until: number): Record<string, number> {
  const sums = Object.fromEntries(STATES.map((state) => [state, 0]));
  const begin = Math.min(...changes.map(msOf));
  for (let at = begin; at < until; at += 60_000) {
    const state = changes.filter((change) => msOf(change) <= at).at(-1)?.data.to ?? 'pending';
    sums[state] = (sums[state] ?? 0) + 60_000;
  }
  return sums;
}

describe('the time in each state', () => {
  prop.prop([lateLogs({ commandsMax: 40 })], { numRuns: 200 })(
    'is the time at which the fleet was in it, as known now',
    (log) => {
      const events = eventsOf([...log]);
      for (const [deploymentId, row] of folded<StaysRow>(stays, events)) {
        const changes = changesOf(events, deploymentId);
        const until = Math.max(...changes.map(msOf));
        const total = (state: (typeof STATES)[number]): number =>
          row[`${state}Ms`] + (row.state === state ? until - row.sinceMs : 0);
        expect(Object.fromEntries(STATES.map((state) => [state, total(state)]))).toEqual(
          minutesIn(changes, until),
        );
        // A stay that a later change overtook has not been.
        const real = changes.filter((change, n) =>
          changes.slice(n + 1).every((later) => msOf(later) >= msOf(change)),
        );
        for (const state of STATES) {
          expect(row[`${state}Stays`]).toBe(real.filter(({ data }) => data.to === state).length);
        }
      }
    },
    60_000,
  );

  it('counts from the oldest stay that is remembered when a result comes later than that', () => {
    const at = (minute: number): string => new Date(minute * 60_000).toISOString();
    const change = (minute: number, to: 'ready' | 'failed' | 'deploying'): Changed =>
      ({
        type: 'state_transition',
        deploymentId: 'web',
        data: { to },
        metadata: { occurredAt: at(minute) },
      }) as Changed;
    const changes = Array.from({ length: 20 }, (_, n) =>
      change(n + 1, n % 2 === 0 ? 'deploying' : 'ready'),
    );
    const row = folded<StaysRow>(stays, [...changes, change(2, 'failed')]).get('web');
    expect(row).toMatchObject({ state: 'failed', sinceMs: 12 * 60_000, failedStays: 1 });
    expect(row?.before).toHaveLength(1);
  });
});

prop.prop([lateLogs({ commandsMax: 40 })], { numRuns: 100 })(
  'a deployment is an open unknown from the last change to unknown until it changes again',
  (log) => {
    const events = eventsOf([...log]);
    const rows = folded<UnknownRow>(unknowns, events);
    for (const deploymentId of new Set(events.map((event) => event.deploymentId))) {
      const changes = changesOf(events, deploymentId);
      const lost = changes.filter(({ data }) => data.to === 'unknown');
      const row = rows.get(deploymentId);
      expect(row?.times ?? 0).toBe(lost.length);
      expect(row?.isOpen ?? false).toBe(changes.at(-1)?.data.to === 'unknown');
      expect(row?.position).toBe(lost.at(-1)?.position);
    }
  },
  60_000,
);

describe('figures of the fleet', () => {
  let api: TestApi;
  const minute = async (): Promise<void> => api.clock.advance(60_000);
  beforeAll(async () => {
    api = await startApi();
    await api.running('web');
    await minute();
    await api.post('/v1/deployments/web/attempts/a1/end', { outcome: 'succeeded' });
    await api.running('db');
    await minute();
    await api.post('/v1/deployments/db/attempts/a1/unknown', { cause: 'orphaned' });
    await api.post('/v1/deployments', { deploymentId: 'old' });
    await minute();
    await api.lost('cache');
    await api.post('/v1/deployments/old/archive');
    await minute();
  });
  afterAll(() => api.close());

  it('tell how long deployments stayed in each state, the open stays until now', async () => {
    const { json } = await api.get('/v1/stats/time-in-state');
    expect(json).toEqual({
      until: api.clock.now(),
      items: [
        { state: 'pending', stays: 3, open: 0, totalMs: 0 },
        { state: 'deploying', stays: 3, open: 0, totalMs: 120_000 },
        { state: 'ready', stays: 1, open: 1, totalMs: 180_000 },
        { state: 'failed', stays: 0, open: 0, totalMs: 0 },
        { state: 'unknown', stays: 2, open: 2, totalMs: 180_000 },
      ],
    });
    const all = itemsOf(await api.get('/v1/stats/time-in-state?archived=include'));
    expect(all[0]).toEqual({ state: 'pending', stays: 4, open: 1, totalMs: 120_000 });
    const web = itemsOf(await api.get('/v1/stats/time-in-state?deploymentId=web'));
    expect(web[4]).toMatchObject({ state: 'unknown', stays: 0, totalMs: 0 });
  });

  it('count attempts by scope and outcome, and tell what they took', async () => {
    expect(itemsOf(await api.get('/v1/stats/attempts'))).toEqual([
      { scope: 'full', state: 'succeeded', attempts: 1, meanMs: 60_000 },
      { scope: 'full', state: 'unknown', attempts: 2, meanMs: null },
    ]);
    const web = itemsOf(await api.get('/v1/stats/attempts?deploymentId=web'));
    expect(web).toMatchObject([{ state: 'succeeded', attempts: 1 }]);
  });

  it('list what is unknown, the longest wait first, page by page', async () => {
    const first = await api.get('/v1/unknowns?limit=1');
    expect(itemsOf(first)).toMatchObject([
      { deploymentId: 'db', ageMs: 120_000, attemptId: 'a1', reason: 'orphaned', times: 1 },
    ]);
    const second = await api.get(`/v1/unknowns?cursor=${String(first.json['nextCursor'])}`);
    expect(itemsOf(second)).toMatchObject([{ deploymentId: 'cache', ageMs: 60_000 }]);
    expect(second.json['nextCursor']).toBeNull();
  });

  it('of a deployment that there is not are a refusal, and of an archived one its own', async () => {
    for (const path of ['time-in-state', 'attempts']) {
      const { status, json } = await api.get(`/v1/stats/${path}?deploymentId=wbe`);
      expect({ path, status, json }).toMatchObject({
        status: 404,
        json: { code: 'DEPLOYMENT_NOT_FOUND', detail: 'no deployment wbe is recorded' },
      });
    }
    const old = await api.get('/v1/stats/time-in-state?deploymentId=old');
    expect(itemsOf(old)[0]).toEqual({ state: 'pending', stays: 1, open: 1, totalMs: 120_000 });
    const none = await api.get('/v1/stats/time-in-state?deploymentId=old&archived=exclude');
    expect(itemsOf(none)[0]).toMatchObject({ stays: 0, open: 0, totalMs: 0 });
  });

  it('are told by the bus, too', async () => {
    const bus = api.app.get(QueryBus, { strict: false });
    const { items } = await bus.execute(GetTimeInState.of({ deploymentId: 'web' }));
    expect(items[2]).toEqual({ state: 'ready', stays: 1, open: 1, totalMs: 180_000 });
    expect((await bus.execute(GetAttemptStats.of({}))).items).toHaveLength(2);
    expect((await bus.execute(ListUnknowns.of({}))).items).toHaveLength(2);
  });
});
