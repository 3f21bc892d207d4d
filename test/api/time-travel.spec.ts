import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { QueryBus } from '@nestjs/cqrs';
import { CountByStateAt, ListChanges, ListDeploymentsAt } from '../../src/index.js';
import { AS_HUMAN, itemsOf, startApi, type Answered, type TestApi } from '../support/api.js';

/*
 * web is lost at 12:00, and at 13:00 a late result says that it has succeeded at 11:50; a minute here is a
 * second of the story. db is created at 12:40 and stays pending.
 */
const at = (time: string): string => {
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  return new Date(
    Date.parse('2026-01-01T00:00:00.000Z') + ((hours - 11) * 60 + minutes) * 1000,
  ).toISOString();
};

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
  const until = (time: string): Promise<void> =>
    api.clock.advance(Date.parse(at(time)) - Date.parse(api.clock.now()));
  const web = await api.running('web', 'a1', { runner: { id: 'r1' } });
  await until('12:00');
  await api.post(`${web}/attempts/a1/unknown`, { cause: 'orphaned' }, AS_HUMAN);
  await until('12:40');
  await api.post('/v1/deployments', { deploymentId: 'db' });
  await until('13:00');
  const end = { outcome: 'succeeded', exitCode: 0, occurredAt: at('11:50') };
  await api.post(`${web}/attempts/a1/end`, end);
});
afterAll(() => api.close());

const problemOf = ({ status, json }: Answered): unknown => [status, json['code'], json['errors']];

describe('the fleet at a time', () => {
  it.each([
    ['happened, as known now: the late result counts when it happened', { at: '11:55' }, 'ready'],
    ['happened, as known before the late result', { at: '11:55', asOf: '12:30' }, 'deploying'],
    ['happened later, as known now', { at: '12:30' }, 'ready'],
    ['was known then', { asOf: '12:30' }, 'unknown'],
    ['happened before the result, as known now', { at: '11:45' }, 'deploying'],
  ] as [string, Record<string, string>, string][])('is what %s', async (_, times, state) => {
    const query = Object.entries(times).map(([name, time]) => `${name}=${at(time)}`);
    const listed = await api.get(`/v1/deployments?${query.join('&')}`);
    expect(listed.status).toBe(200);
    expect(itemsOf(listed).map((item) => [item['deploymentId'], item['state']])).toEqual([
      ['web', state],
    ]);
    const counts = await api.get(`/v1/counts?${query.join('&')}`);
    expect(counts.json).toMatchObject({ [state]: 1, total: 1 });
    const moment = Object.fromEntries(
      Object.entries(times).map(([name, time]) => [name, at(time)]),
    );
    const bus = api.app.get(QueryBus, { strict: false });
    const page = await bus.execute(ListDeploymentsAt.of(moment));
    expect(page.items).toMatchObject([{ deploymentId: 'web', state }]);
    expect(await bus.execute(CountByStateAt.of(moment))).toMatchObject({ [state]: 1, total: 1 });
  });

  it('tells of each deployment the change that led there', async () => {
    const [web] = itemsOf(await api.get(`/v1/deployments?at=${at('11:55')}`));
    expect(web).toEqual({
      deploymentId: 'web',
      state: 'ready',
      since: at('11:50'),
      recordedAt: at('13:00'),
      reason: null,
      trigger: 'EndAttempt',
      attemptId: 'a1',
      number: 1,
      scope: 'full',
      exitCode: 0,
      code: null,
      recovered: true,
      actor: { kind: 'service', id: 'anonymous' },
      revision: '8',
      position: expect.stringMatching(/^\d+$/),
    });
  });

  it('is empty before the first change, and comes in pages', async () => {
    const empty = await api.get('/v1/deployments?at=2020-01-01T00:00:00Z');
    expect(empty.json).toMatchObject({ items: [], nextCursor: null });
    const first = await api.get(`/v1/deployments?at=${at('13:00')}&limit=1`);
    expect(itemsOf(first)).toMatchObject([{ deploymentId: 'web' }]);
    const cursor = String(first.json['nextCursor']);
    const second = await api.get(`/v1/deployments?at=${at('13:00')}&limit=1&cursor=${cursor}`);
    expect(itemsOf(second)).toMatchObject([{ deploymentId: 'db', state: 'pending' }]);
    expect(second.json['nextCursor']).toBeNull();
    const pending = await api.get(`/v1/deployments?at=${at('13:00')}&state=pending`);
    expect(itemsOf(pending)).toMatchObject([{ deploymentId: 'db' }]);
  });

  it('is not chosen by what a deployment is declared to be today', async () => {
    for (const query of ['environment=live', 'label=a:b', 'q=web', 'archived=include']) {
      const refused = await api.get(`/v1/deployments?at=${at('12:00')}&${query}`);
      const pointer = `/${query.split('=')[0] ?? ''}`;
      const message = 'must not be given with at or asOf: of past times only the state is kept';
      expect(problemOf(refused)).toEqual([400, 'INVALID_QUERY', [{ pointer, message }]]);
    }
    const counts = await api.get(`/v1/counts?asOf=${at('12:00')}&archived=include`);
    expect(counts.json['code']).toBe('INVALID_QUERY');
    const bad = await api.get('/v1/deployments?at=yesterday');
    expect(problemOf(bad)).toEqual([
      400,
      'INVALID_QUERY',
      [{ pointer: '/at', message: 'must be a date-time like 2026-11-25T13:00:00.000Z' }],
    ]);
  });
});

describe('what changed between two times', () => {
  const changes = async (query: string): Promise<readonly unknown[]> => {
    const answer = await api.get(`/v1/changes?${query}`);
    expect(answer.status).toBe(200);
    return itemsOf(answer).map(({ deploymentId, before, after }) => [deploymentId, before, after]);
  };

  it('is told with the state before and after, the newest first', async () => {
    expect(await changes(`from=${at('11:10')}&to=${at('13:00')}`)).toEqual([
      ['web', 'deploying', 'ready'],
      ['db', null, 'pending'],
    ]);
    expect(await changes(`from=${at('11:55')}&to=${at('12:30')}`)).toEqual([]);
    expect(await changes(`from=${at('12:10')}`)).toEqual([['db', null, 'pending']]);
    const then = `from=${at('11:55')}&to=${at('12:30')}&asOf=${at('12:30')}`;
    expect(await changes(then)).toEqual([['web', 'deploying', 'unknown']]);
  });

  it('names the last change as the log has it', async () => {
    const answer = await api.get(`/v1/changes?from=${at('11:10')}&limit=1`);
    const [change] = itemsOf(answer);
    const all = itemsOf(await api.get('/v1/transitions?deploymentId=web'));
    expect(change?.['last']).toEqual(all.at(-1));
    const next = await api.get(
      `/v1/changes?from=${at('11:10')}&cursor=${String(answer.json['nextCursor'])}`,
    );
    expect(itemsOf(next)).toMatchObject([{ deploymentId: 'db' }]);
    expect(next.json['nextCursor']).toBeNull();
  });

  it('needs a beginning, and an end after it', async () => {
    expect(problemOf(await api.get('/v1/changes'))).toEqual([
      400,
      'INVALID_QUERY',
      [{ pointer: '/from', message: 'must be given' }],
    ]);
    const backwards = await api.get(`/v1/changes?from=${at('12:00')}&to=${at('11:00')}`);
    expect(problemOf(backwards)).toEqual([
      400,
      'INVALID_QUERY',
      [{ pointer: '/to', message: 'must not be before from' }],
    ]);
  });

  it('is asked by the bus as well, which reads any form of a time', async () => {
    const bus = api.app.get(QueryBus, { strict: false });
    const from = at('11:10').replace('Z', '+00:00');
    const { items } = await bus.execute(ListChanges.of({ from, limit: 1 }));
    expect(items).toMatchObject([{ deploymentId: 'web', before: 'deploying', after: 'ready' }]);
    const wrong = bus.execute(ListChanges.of({ from: 'yesterday' }));
    await expect(wrong).rejects.toMatchObject({ code: 'INVALID_BODY' });
  });
});
