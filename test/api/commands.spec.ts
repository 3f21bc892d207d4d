import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { uuidV5 } from '../../src/application/ids.js';
import { AS_HUMAN, itemsOf, startApi, type TestApi } from '../support/api.js';

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
});
afterAll(() => api.close());

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

describe('POST /v1/deployments', () => {
  it('creates: 201, a receipt, its path, its revision as entity tag', async () => {
    const answer = await api.post('/v1/deployments', { deploymentId: 'web', environment: 'live' });
    expect(answer.status).toBe(201);
    expect(answer.headers).toMatchObject({
      location: '/v1/deployments/web',
      etag: '"1"',
      'content-type': 'application/json; charset=utf-8',
    });
    expect(answer.json).toEqual({
      deploymentId: 'web',
      state: 'pending',
      revision: '1',
      position: expect.stringMatching(/^[1-9]\d*$/),
      changed: true,
      replayed: false,
      events: [
        { id: expect.any(String), type: 'deployment_created', revision: '0' },
        { id: expect.any(String), type: 'state_transition', revision: '1' },
      ],
    });
  });

  it('answers the same content again with 200, and writes nothing', async () => {
    await api.post('/v1/deployments', { deploymentId: 'twice', labels: { a: 'b' } });
    const again = await api.post('/v1/deployments', { deploymentId: 'twice', labels: { a: 'b' } });
    expect(again.status).toBe(200);
    expect(again.json).toMatchObject({
      changed: false,
      replayed: false,
      revision: '1',
      events: [],
    });
    expect(again.headers['location']).toBeUndefined();
    const other = await api.post('/v1/deployments', { deploymentId: 'twice', labels: { a: 'c' } });
    expect(other.status).toBe(409);
    expect(other.json).toMatchObject({
      code: 'DEPLOYMENT_EXISTS',
      state: 'pending',
      revision: '1',
    });
  });

  it('gives an id of its own: from the key where there is one, else a new one', async () => {
    const none = await api.post('/v1/deployments');
    expect(none.status).toBe(201);
    expect(none.json['deploymentId']).toMatch(UUID_V7);
    const keyed = await api.post('/v1/deployments', {}, { 'idempotency-key': 'first of May' });
    expect(keyed.json['deploymentId']).toBe(uuidV5('first of May'));
    const again = await api.post('/v1/deployments', {}, { 'idempotency-key': 'first of May' });
    expect(again.status).toBe(201);
    expect(again.json).toEqual({ ...keyed.json, replayed: true });
  });

  it('names it by its id where no name is given', async () => {
    await api.post('/v1/deployments', { deploymentId: 'nameless' });
    const { json } = await api.get('/v1/deployments/nameless');
    expect(json['name']).toBe('nameless');
  });
});

describe('PATCH /v1/deployments/{deploymentId}', () => {
  it('merges: null clears, labels are replaced whole, the policy by member', async () => {
    const url = '/v1/deployments/patched';
    await api.post('/v1/deployments', {
      deploymentId: 'patched',
      name: 'Old',
      environment: 'live',
      labels: { a: '1', b: '2' },
      policy: { leaseMs: 5_000, lateResults: 'record' },
    });
    const body = { name: null, environment: null, labels: { c: '3' }, policy: { leaseMs: null } };
    const patched = await api.ask('PATCH', url, { body });
    expect(patched.status).toBe(200);
    expect(patched.headers['etag']).toBe('"2"');
    const { json } = await api.get(url);
    expect(json).toMatchObject({ name: 'patched', environment: null, labels: { c: '3' } });
    expect(json['policy']).toMatchObject({ leaseMs: 90_000, lateResults: 'record' });
    const again = await api.ask('PATCH', url, { body });
    expect(again.status).toBe(200);
    expect(again.json).toMatchObject({ changed: false, revision: '2' });
  });
});

describe('a life over HTTP', () => {
  it('opens with 201, starts, hears, ends', async () => {
    await api.post('/v1/deployments', { deploymentId: 'life' });
    const path = '/v1/deployments/life';
    const opened = await api.post(`${path}/attempts`, { attemptId: 'a1', meta: { by: 'ci' } });
    expect(opened.status).toBe(201);
    expect(opened.headers['location']).toBe(`${path}/attempts/a1`);
    expect(opened.json).toMatchObject({ attemptId: 'a1', number: 1, state: 'pending' });

    const token = 'a secret of the runner';
    const started = await api.post(`${path}/attempts/a1/start`, { leaseToken: token });
    expect(started.status).toBe(200);
    expect(started.json).toMatchObject({ state: 'deploying', leaseExpiresAt: expect.any(String) });

    const beat = await api.post(`${path}/attempts/a1/heartbeat`, {
      leaseToken: token,
      progress: { done: 3 },
    });
    expect(beat.status).toBe(200);
    expect(beat.json).toEqual({ leaseExpiresAt: expect.any(String), cancelRequested: false });
    expect((await api.get(`${path}/attempts/a1`)).json['progress']).toEqual({ done: 3 });

    const stolen = await api.post(`${path}/attempts/a1/end`, {
      outcome: 'failed',
      leaseToken: 'not the token of it',
    });
    expect(stolen.status).toBe(403);
    expect(stolen.json).toMatchObject({ code: 'LEASE_TOKEN_MISMATCH', state: 'deploying' });

    const ended = await api.post(`${path}/attempts/a1/end`, {
      outcome: 'succeeded',
      exitCode: 0,
      leaseToken: token,
    });
    expect(ended.status).toBe(200);
    expect(ended.json).toMatchObject({ state: 'ready', number: 1, changed: true });
    expect(JSON.stringify(await api.get(`${path}/history`))).not.toContain(token);
  });

  it('opens without a body, under an id of its own', async () => {
    await api.post('/v1/deployments', { deploymentId: 'bodyless' });
    const opened = await api.post('/v1/deployments/bodyless/attempts');
    expect(opened.status).toBe(201);
    expect(opened.json['attemptId']).toMatch(UUID_V7);
    const started = await api.post(`${opened.headers['location'] ?? ''}/start`);
    expect(started.status).toBe(200);
  });

  it('cancels with 202, and with 200 once nothing is left to ask for', async () => {
    const path = await api.running('cancelled');
    const asked = await api.post(`${path}/attempts/a1/cancel`, { reason: 'wrong version' });
    expect(asked.status).toBe(202);
    const again = await api.post(`${path}/attempts/a1/cancel`);
    expect(again.status).toBe(200);
    expect(again.json).toMatchObject({ changed: false, attemptId: 'a1' });
    const beat = await api.post(`${path}/attempts/a1/heartbeat`);
    expect(beat.json['cancelRequested']).toBe(true);
  });

  it('refuses a teardown while unknown, resolves as a human, tears down with 202', async () => {
    const path = await api.lost('fleet');
    const refused = await api.post(`${path}/teardown`);
    expect(refused.status).toBe(409);
    expect(refused.json).toMatchObject({
      code: 'DEPLOYMENT_UNKNOWN_STATE',
      state: 'unknown',
      allowed: expect.arrayContaining(['ResolveUnknown']),
    });
    const { headers } = await api.get(path);
    const etag = headers['etag'] ?? '';
    const body = { as: 'failed', reason: 'the host is gone' };
    const robot = await api.post(`${path}/resolution`, body, { 'if-match': etag });
    expect(robot.status).toBe(403);
    expect(robot.json['code']).toBe('HUMAN_REQUIRED');
    const resolved = await api.post(`${path}/resolution`, body, { 'if-match': etag, ...AS_HUMAN });
    expect(resolved.status).toBe(200);
    expect(resolved.json).toMatchObject({ state: 'failed', changed: true });
    const opened = await api.post(`${path}/teardown`, { attemptId: 'down' });
    expect(opened.status).toBe(202);
    expect(opened.json).toMatchObject({ attemptId: 'down', number: 2, state: 'pending' });
    expect((await api.get(`${path}/attempts/down`)).json['kind']).toBe('teardown');
  });

  it('archives, keeps the history, and answers 410 from then on', async () => {
    await api.post('/v1/deployments', { deploymentId: 'old' });
    const archived = await api.post('/v1/deployments/old/archive', { reason: 'replaced' });
    expect(archived.status).toBe(200);
    const late = await api.post('/v1/deployments/old/attempts');
    expect(late.status).toBe(410);
    expect(late.json).toMatchObject({ code: 'DEPLOYMENT_ARCHIVED', state: 'pending', allowed: [] });
    expect(itemsOf(await api.get('/v1/deployments/old/history'))).toHaveLength(3);
  });

  it('marks as unknown by somebody’s word, and takes the late result', async () => {
    const path = await api.running('gone');
    const lost = await api.post(`${path}/attempts/a1/unknown`, {
      cause: 'abandoned',
      evidence: { seenBy: 'cron' },
    });
    expect(lost.status).toBe(200);
    expect(lost.json['state']).toBe('unknown');
    const early = await api.post(`${path}/attempts/a1/unknown`, { cause: 'lease_expired' });
    expect(early.json).toMatchObject({ changed: false });
    const late = await api.post(`${path}/attempts/a1/end`, { outcome: 'succeeded' });
    expect(late.json).toMatchObject({ state: 'ready', changed: true });
  });

  it('refuses a heartbeat of an older attempt: its runner must stop', async () => {
    const path = await api.running('newer');
    await api.post(`${path}/attempts/a1/end`, { outcome: 'failed' });
    await api.post(`${path}/attempts`, { attemptId: 'a2' });
    const beat = await api.post(`${path}/attempts/a1/heartbeat`);
    expect(beat.status).toBe(409);
    expect(beat.json['code']).toBe('ATTEMPT_SUPERSEDED');
  });
});

describe('a repeat with the same Idempotency-Key', () => {
  it('has the status and body of the first, and says that it is one', async () => {
    await api.post('/v1/deployments', { deploymentId: 'repeat' });
    const path = '/v1/deployments/repeat';
    const key = { 'idempotency-key': 'open-1' };
    const first = await api.post(`${path}/attempts`, {}, key);
    await api.post(`${path}/attempts/${String(first.json['attemptId'])}/start`);
    const again = await api.post(`${path}/attempts`, {}, key);
    expect(again.status).toBe(201);
    expect(again.json).toEqual({ ...first.json, replayed: true });
    expect(again.headers).toMatchObject({
      'idempotent-replayed': 'true',
      etag: first.headers['etag'],
      location: first.headers['location'],
    });
    expect(first.headers['idempotent-replayed']).toBeUndefined();
  });

  it('is recognised whatever If-Match it carries', async () => {
    const path = await api.running('matchless');
    const key = { 'idempotency-key': 'end' };
    const body = { outcome: 'failed', exitCode: 7 };
    await api.post(`${path}/attempts/a1/end`, body, key);
    const again = await api.post(`${path}/attempts/a1/end`, body, { ...key, 'if-match': '"0"' });
    expect(again.status).toBe(200);
    expect(again.json['replayed']).toBe(true);
  });

  it('is refused with 422 when its content differs', async () => {
    const path = await api.running('differs');
    const key = { 'idempotency-key': 'the end' };
    await api.post(`${path}/attempts/a1/end`, { outcome: 'failed' }, key);
    const other = await api.post(`${path}/attempts/a1/end`, { outcome: 'succeeded' }, key);
    expect(other.status).toBe(422);
    expect(other.json).toMatchObject({ code: 'COMMAND_ID_REUSED', state: 'failed' });
  });

  it('of a refusal that left a record is refused again, and marked', async () => {
    const path = await api.running('refused-twice');
    await api.post(`${path}/attempts/a1/end`, { outcome: 'failed' });
    const key = { 'idempotency-key': 'late' };
    const first = await api.post(`${path}/attempts/a1/end`, { outcome: 'succeeded' }, key);
    const again = await api.post(`${path}/attempts/a1/end`, { outcome: 'succeeded' }, key);
    expect([first.status, again.status]).toEqual([409, 409]);
    expect(again.headers['idempotent-replayed']).toBe('true');
    expect(again.json['code']).toBe(first.json['code']);
    expect(itemsOf(await api.get(`${path}/history?after=6`))).toHaveLength(1);
  });

  it('means nothing to heartbeats, well-formed or not', async () => {
    const path = await api.running('beating');
    const odd = { 'idempotency-key': 'é', 'if-match': 'whatever' };
    expect((await api.post(`${path}/attempts/a1/heartbeat`, {}, odd)).status).toBe(200);
  });
});

describe('If-Match', () => {
  it('lets a command through on the revision that it names, or on any', async () => {
    const path = await api.running('matched');
    const { headers } = await api.get(path);
    const fresh = { 'if-match': headers['etag'] ?? '' };
    expect((await api.post(`${path}/attempts/a1/cancel`, {}, fresh)).status).toBe(202);
    const stale = await api.post(`${path}/attempts/a1/end`, { outcome: 'failed' }, fresh);
    expect(stale.status).toBe(412);
    expect(stale.json).toMatchObject({ code: 'REVISION_MISMATCH', revision: '5' });
    const any = await api.post(
      `${path}/attempts/a1/end`,
      { outcome: 'failed' },
      { 'if-match': '*' },
    );
    expect(any.status).toBe(200);
    const future = { 'if-match': `"${'9'.repeat(40)}"` };
    expect((await api.post(`${path}/attempts`, {}, future)).status).toBe(412);
  });

  it('is required to resolve, as a revision', async () => {
    const path = await api.lost('resolved');
    const body = { as: 'ready', reason: 'I looked' };
    for (const headers of [AS_HUMAN, { ...AS_HUMAN, 'if-match': '*' }]) {
      const answer = await api.post(`${path}/resolution`, body, headers);
      expect(answer.status).toBe(428);
      expect(answer.json['code']).toBe('PRECONDITION_REQUIRED');
    }
  });
});

describe('who asks, and in which trace', () => {
  it('is kept with the events', async () => {
    const trace = '0af7651916cd43dd8448eb211c80319c';
    await api.post(
      '/v1/deployments',
      { deploymentId: 'traced' },
      {
        'x-shipslog-actor': 'runner:build-7 (eu)',
        traceparent: `00-${trace}-b7ad6b7169203331-01`,
        'idempotency-key': 'k 1',
      },
    );
    const [event] = itemsOf(await api.get('/v1/deployments/traced/history'));
    expect(event?.['metadata']).toMatchObject({
      actor: { id: 'build-7 (eu)', kind: 'runner' },
      correlationId: trace,
      commandId: 'k 1',
    });
  });

  it('is anonymous where nobody is named, and a malformed trace is ignored', async () => {
    await api.post('/v1/deployments', { deploymentId: 'anon' }, { traceparent: '00-zz-01' });
    const [event] = itemsOf(await api.get('/v1/deployments/anon/history'));
    expect(event?.['metadata']).toMatchObject({ actor: { id: 'anonymous', kind: 'service' } });
    expect(event?.['metadata']).not.toHaveProperty('traceparent');
  });

  it('reads a name beyond ASCII as UTF-8', async () => {
    const actor = `human:${Buffer.from('zoë 日本', 'utf8').toString('latin1')}`;
    await api.post('/v1/deployments', { deploymentId: 'zoe' }, { 'x-shipslog-actor': actor });
    const [event] = itemsOf(await api.get('/v1/deployments/zoe/history'));
    expect(event?.['metadata']).toMatchObject({ actor: { id: 'zoë 日本', kind: 'human' } });
  });
});
