import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { itemsOf, startApi, type TestApi } from '../support/api.js';
import { Story } from '../support/events.js';

const AS_HUMAN = { 'x-shipslog-actor': 'human:alice', 'idempotency-key': 'why' };

describe('deployments that a read model had to leave out', () => {
  let api: TestApi;
  const parked = '/v1/projections/deployments/parked';
  beforeAll(async () => {
    api = await startApi();
    const { store } = api.runtime.stores;
    const { position } = await new Story('web').created().poisoned().saveTo(store);
    await api.runtime.projector.waitFor(position, 5000);
  });
  afterAll(() => api.close());

  it('are listed with the event and the problem; health tells of them', async () => {
    expect(itemsOf(await api.get(parked))).toEqual([
      {
        projection: 'deployments',
        deploymentId: 'web',
        revision: '2',
        position: expect.stringMatching(/^\d+$/),
        problem: 'unknown event type "deployment_hexed"',
        parkedAt: api.clock.now(),
        state: 'waiting',
        decidedBy: null,
        decidedAt: null,
        reason: null,
      },
    ]);
    expect((await api.get('/health/ready')).json).toMatchObject({ status: 'degraded' });
  });

  it('are tried again on request, in vain as long as nothing is mended', async () => {
    const tried = await api.post(`${parked}/web/retry`, { reason: 'was it a hiccup?' }, AS_HUMAN);
    expect([tried.status, tried.json['state']]).toEqual([202, 'waiting']);
  });

  it('are left out for good with a reason, and health is well again', async () => {
    for (const { name } of itemsOf(await api.get('/v1/projections'))) {
      const path = `/v1/projections/${String(name)}/parked/web/skip`;
      const skipped = await api.post(path, { reason: 'a test' }, AS_HUMAN);
      expect(skipped.status).toBe(200);
      expect(skipped.json).toMatchObject({
        state: 'skipped',
        reason: 'a test',
        decidedBy: { kind: 'human', id: 'alice' },
        decidedAt: api.clock.now(),
      });
    }
    expect((await api.get('/health/ready')).json).toMatchObject({ status: 'ready', reasons: [] });
    expect(itemsOf(await api.get('/v1/projections'))[0]).toMatchObject({ parked: 0, skipped: 1 });
    expect((await api.get('/metrics')).text).toMatch(
      /shipslog_projection_skipped_streams\{projection="deployments"\} 1/,
    );
    expect(await api.runtime.stores.journal.list({ deploymentId: 'web' })).toContainEqual(
      expect.objectContaining({ command: 'SkipParked', commandId: 'why', code: 'STREAM_SKIPPED' }),
    );
  });

  it.each([
    ['skip without a reason', `${parked}/web/skip`, {}, 400, 'INVALID_BODY'],
    ['skip with more', `${parked}/web/skip`, { reason: 'r', by: 'me' }, 400, 'INVALID_BODY'],
    ['skip what is not parked', `${parked}/api/skip`, { reason: 'r' }, 404, 'PARKED_NOT_FOUND'],
    ['retry what is not parked', `${parked}/%00/retry`, {}, 404, 'PARKED_NOT_FOUND'],
    [
      'an unknown projection',
      '/v1/projections/x/parked/web/retry',
      {},
      404,
      'PROJECTION_NOT_FOUND',
    ],
  ] as const)('refuse %s', async (...[, path, body, status, code]) => {
    const answer = await api.post(path, body, AS_HUMAN);
    expect([answer.status, answer.json['code']]).toEqual([status, code]);
    expect((await api.get('/v1/projections/x/parked')).status).toBe(404);
  });
});
