import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { BODY_BYTES_MAX } from '../../src/api/body.js';
import { REFUSALS } from '../../src/domain/refusals.js';
import { Fault, type FaultCode } from '../../src/ports/faults.js';
import { listen, type Signals } from '../../src/ports/signals.js';
import { AS_HUMAN, startApi, type Answered, type Members, type TestApi } from '../support/api.js';

let api: TestApi;
let shop: string;
beforeAll(async () => {
  api = await startApi();
  shop = await api.running('shop');
});
afterAll(() => api.close());

/** Checks the form of a problem, and answers its code and members. */
function problem(answer: Answered): Members & { readonly code: string } {
  expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8');
  expect(answer.json).toMatchObject({
    type: expect.stringMatching(/^urn:shipslog:problem:[a-z_]+$/),
    title: expect.any(String),
    status: answer.status,
    detail: expect.any(String),
    instance: expect.any(String),
    code: expect.stringMatching(/^[A-Z_]+$/),
    requestId: answer.headers['x-request-id'],
  });
  expect(answer.text).not.toMatch(/node_modules|\.[jt]s:\d/);
  return answer.json as Members & { code: string };
}

const codeOf = (answer: Answered): [number, string] => [answer.status, problem(answer).code];

describe('a problem', () => {
  it('tells what happened, and the deployment as it stands', async () => {
    const answer = await api.post(`${shop}/attempts`, { attemptId: 'a2' });
    expect(problem(answer)).toEqual({
      type: 'urn:shipslog:problem:attempt_in_progress',
      title: REFUSALS.ATTEMPT_IN_PROGRESS,
      status: 409,
      detail: expect.stringContaining('a1'),
      instance: '/v1/deployments/shop/attempts',
      code: 'ATTEMPT_IN_PROGRESS',
      state: 'deploying',
      allowed: expect.arrayContaining(['EndAttempt']),
      revision: '4',
      requestId: answer.headers['x-request-id'],
    });
  });

  it('has no standing where there is no deployment', async () => {
    const answer = await api.post('/v1/deployments/nobody/attempts');
    expect(codeOf(answer)).toEqual([404, 'DEPLOYMENT_NOT_FOUND']);
    expect(answer.json).not.toHaveProperty('state');
    expect(answer.json).not.toHaveProperty('allowed');
  });

  it('carries the id that the caller gave to the request, if it can be echoed', async () => {
    const named = await api.get('/nope', { 'x-request-id': 'req:42' });
    expect(named.json['requestId']).toBe('req:42');
    const odd = await api.get('/nope', { 'x-request-id': '<script>' });
    expect(problem(odd)['requestId']).not.toContain('<');
  });

  it('points at every wrong member of a body', async () => {
    const answer = await api.post('/v1/deployments', {
      deploymentId: 'no spaces',
      name: '   ',
      labels: { ok: 1 },
      policy: { leaseMs: 10 },
      extra: true,
    });
    expect(codeOf(answer)).toEqual([400, 'INVALID_BODY']);
    const errors = answer.json['errors'] as readonly Members[];
    expect(errors.map(({ pointer }) => pointer).sort()).toEqual([
      '/deploymentId',
      '/extra',
      '/labels',
      '/name',
      '/policy/leaseMs',
    ]);
    for (const { message } of errors) expect(message).toMatch(/^(must|is) /);
  });
});

describe('members of a body', () => {
  it('are told in a sentence, as a body that has none', async () => {
    const { json } = await api.post('/v1/deployments', ['no object']);
    expect(json['detail']).toMatch(/^the body: must be a JSON object/);
  });
  it('that may be absent may not be null where null has no meaning', async () => {
    for (const name of ['deploymentId', 'name', 'policy']) {
      const answer = await api.post('/v1/deployments', { [name]: null });
      expect(codeOf(answer)).toEqual([400, 'INVALID_BODY']);
      expect(answer.json['errors']).toMatchObject([{ pointer: `/${name}` }]);
    }
  });

  it.each(['actor', 'commandId', 'expectedRevision', 'traceparent', 'deploymentId', 'attemptId'])(
    '%s cannot be smuggled in where the path or a header tells it',
    async (name) => {
      const answer = await api.post(`${shop}/attempts/a1/end`, { outcome: 'failed', [name]: '1' });
      expect(codeOf(answer)).toEqual([400, 'INVALID_BODY']);
      expect(answer.json['errors']).toEqual([{ pointer: `/${name}`, message: expect.any(String) }]);
    },
  );

  it('type names no command', async () => {
    const answer = await api.post(`${shop}/attempts/a1/cancel`, { type: 'ArchiveDeployment' });
    expect(codeOf(answer)).toEqual([400, 'INVALID_BODY']);
  });

  it.each(['scope', 'acknowledgeUnknown'])('%s is not taken by a teardown', async (name) => {
    const body = { [name]: name === 'scope' ? 'full' : { reason: 'why not' } };
    expect(codeOf(await api.post(`${shop}/teardown`, body, AS_HUMAN))).toEqual([
      400,
      'INVALID_BODY',
    ]);
  });

  it('are checked on heartbeats and rebuilds, too', async () => {
    const beat = `${shop}/attempts/a1/heartbeat`;
    expect(codeOf(await api.post(beat, { note: 'x' }))).toEqual([400, 'INVALID_BODY']);
    expect(codeOf(await api.post(beat, { leaseToken: 'short' }))).toEqual([400, 'INVALID_BODY']);
    expect(codeOf(await api.post(beat, { progress: [] }))).toEqual([400, 'INVALID_BODY']);
    const rebuild = '/v1/projections/attempts/rebuild';
    expect(codeOf(await api.post(rebuild, { now: true }))).toEqual([400, 'INVALID_BODY']);
  });
});

describe('a body', () => {
  const at = (): string => `${shop}/attempts/a1/cancel`;

  it.each([
    ['no object', '[]'],
    ['no JSON', '{'],
    ['a name twice', '{"reason":"a","reason":"b"}'],
    ['a prototype', '{"__proto__":{"reason":"x"}}'],
    ['80 KB of brackets', `{"reason":${'['.repeat(60_000)}`],
    ['half a surrogate pair', '{"reason":"\\ud800"}'],
    ['a NUL', '{"reason":"\\u0000"}'],
    ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0x80, 0x22, 0x7d])],
  ])('with %s is refused', async (_, body) => {
    expect(codeOf(await api.ask('POST', at(), { body }))).toEqual([400, 'INVALID_BODY']);
  });

  it('of more than 64 KiB is refused', async () => {
    const fits = `{"reason":"${'x'.repeat(BODY_BYTES_MAX - 13)}"}`;
    expect(codeOf(await api.post(at(), fits))).toEqual([400, 'INVALID_BODY']);
    expect(codeOf(await api.post(at(), `${fits} `))).toEqual([413, 'BODY_TOO_LARGE']);
    expect(codeOf(await api.post(at(), '['.repeat(80_000)))).toEqual([413, 'BODY_TOO_LARGE']);
  });

  it.each([
    'text/plain',
    'application/x-www-form-urlencoded',
    'application/jsonx',
    'json',
    '',
    'application/json, text/plain',
  ])('of type %j is refused', async (type) => {
    const answer = await api.post(at(), '{}', { 'content-type': type });
    expect(codeOf(answer)).toEqual([415, 'UNSUPPORTED_MEDIA_TYPE']);
  });

  it.each(['application/json; charset=utf-8', 'Application/JSON', 'application/json;odd="x y"'])(
    'of type %j is read',
    async (type) => {
      const headers = { 'content-type': type };
      expect(
        (await api.post('/v1/deployments', '{"deploymentId":"typed"}', headers)).status,
      ).toBeLessThan(300);
    },
  );

  it.each(['text/plain', 'application/json'])('of no bytes may be called %s', async (type) => {
    const headers = { 'content-type': type, 'content-length': '0' };
    expect((await api.post('/v1/deployments', undefined, headers)).status).toBe(201);
  });
});

describe('a path', () => {
  it.each([
    ['GET', '/nope'],
    ['GET', '/v1'],
    ['GET', '/v1/deployments/'],
    ['GET', '/V1/deployments'],
    ['POST', '/v1/deployments//attempts'],
    ['POST', '/v1/deployments/shop/attempts/a1'.replace('a1', 'a1/restart')],
    ['DELETE', '/v1/deployments/shop/attempts/a1/b/c'],
    ['OPTIONS', '/nope'],
  ] as const)('%s %s leads nowhere', async (method, url) => {
    const answer = await api.ask(method, url, method === 'POST' ? { body: 'not read' } : {});
    expect(codeOf(answer)).toEqual([404, 'ROUTE_NOT_FOUND']);
  });

  it.each([
    ['DELETE', '/v1/deployments/shop', 'GET, HEAD, OPTIONS, PATCH'],
    ['PUT', '/v1/deployments', 'GET, HEAD, OPTIONS, POST'],
    ['GET', '/v1/deployments/shop/teardown', 'OPTIONS, POST'],
    ['POST', '/v1/counts?x=1', 'GET, HEAD, OPTIONS'],
    ['PATCH', '/health/live', 'GET, HEAD, OPTIONS'],
    ['PROPFIND', '/docs', 'GET, HEAD, OPTIONS'],
  ])('does not take every method: %s %s', async (method, url, allow) => {
    const answer = await api.ask(method, url);
    expect(codeOf(answer)).toEqual([405, 'METHOD_NOT_ALLOWED']);
    expect(answer.headers['allow']).toBe(allow);
  });

  it('tells its methods on request', async () => {
    const answer = await api.ask('OPTIONS', '/v1/deployments');
    expect([answer.status, answer.text]).toEqual([204, '']);
    expect(answer.headers['allow']).toBe('GET, HEAD, OPTIONS, POST');
  });

  it.each([
    'no%20spaces',
    '-dash',
    'a'.repeat(129),
    '%00',
    '%',
    '%zz',
    '%E0%A4%A',
    'ü',
    'a%2Fb',
    'a%252Fb',
    '__proto__',
    'x'.repeat(5_000),
  ])('with the malformed id %s names no deployment', async (id) => {
    const url = `/v1/deployments/${id}`;
    for (const answer of [
      await api.get(url),
      await api.ask('PATCH', url),
      await api.post(`${url}/attempts`),
      await api.get(`${url}/history`),
    ]) {
      expect(codeOf(answer)).toEqual([404, 'DEPLOYMENT_NOT_FOUND']);
    }
  });

  it('with a malformed attempt names no attempt, of a deployment that stands', async () => {
    for (const answer of [
      await api.get(`${shop}/attempts/-x`),
      await api.post(`${shop}/attempts/a%20b/start`),
      await api.post(`${shop}/attempts/%/heartbeat`),
    ]) {
      expect(codeOf(answer)).toEqual([404, 'ATTEMPT_NOT_FOUND']);
      expect(answer.json).toMatchObject({ state: 'deploying', revision: '4' });
    }
    const nobody = await api.post('/v1/deployments/nobody/attempts/-x/start');
    expect(codeOf(nobody)).toEqual([404, 'DEPLOYMENT_NOT_FOUND']);
  });

  it('with a malformed id is checked in the usual order: body, condition, then names', async () => {
    const resolve = '/v1/deployments/-x/resolution';
    expect(codeOf(await api.post(resolve, { as: 'who knows' }))[0]).toBe(400);
    expect(codeOf(await api.post(resolve, { as: 'ready', reason: 'x' }))[0]).toBe(428);
    const match = { 'if-match': '"0"' };
    expect(codeOf(await api.post(resolve, { as: 'ready', reason: 'x' }, match))[0]).toBe(404);
  });

  it('takes ids with escapes, decoded once', async () => {
    await api.post('/v1/deployments', { deploymentId: 'a:b' });
    expect((await api.get('/v1/deployments/a%3Ab')).json['deploymentId']).toBe('a:b');
  });
});

describe('a query', () => {
  it.each([
    '/v1/deployments?bogus=1',
    '/v1/deployments?limit=1&limit=2',
    '/v1/deployments?limit=0',
    '/v1/deployments?limit=201',
    '/v1/deployments?limit=1e2',
    '/v1/deployments?limit=%2B5',
    '/v1/deployments?limit=',
    '/v1/deployments?state=Ready',
    '/v1/deployments?state=ready&state=failed',
    '/v1/deployments?label=nocolon',
    '/v1/deployments?label=:v',
    '/v1/deployments?environment=',
    '/v1/deployments?archived=yes',
    '/v1/deployments?cursor=abc',
    '/v1/deployments?cursor=-1',
    '/v1/deployments?q=%00',
    '/v1/deployments?q=%zz',
    '/v1/deployments?q=%ff',
    '/v1/deployments?__proto__=1',
    '/v1/deployments?=1',
    `/v1/deployments?${'label=a:b&'.repeat(40)}`,
    '/v1/deployments/shop?consistency=maybe',
    '/v1/deployments/shop?minPosition=-1',
    '/v1/deployments/shop?minPosition=99999999999999999999',
    '/v1/deployments/shop?at=yesterday',
    '/v1/deployments/shop?at=2026-02-30T00:00:00Z',
    '/v1/deployments/shop?revision=1.5',
    '/v1/deployments/shop?revision=01',
    '/v1/deployments/shop/history?after=end',
    '/v1/deployments/shop/history?after=-1',
    '/v1/deployments/shop/attempts?cursor=x',
    '/v1/transitions?after=99999999999999999999',
    '/v1/transitions?from=nowhere',
    '/v1/transitions?deploymentId=no%20id',
    '/v1/counts?state=ready',
    '/v1/lifecycle?x',
    '/health/live?verbose=1',
    '/docs?x=1',
  ])('%s is refused', async (url) => {
    const answer = await api.get(url);
    expect(codeOf(answer)).toEqual([400, 'INVALID_QUERY']);
    expect(answer.json['errors']).toEqual(
      expect.arrayContaining([
        { pointer: expect.stringMatching(/^\//), message: expect.any(String) },
      ]),
    );
  });

  it('is not taken by commands', async () => {
    expect(codeOf(await api.post(`${shop}/attempts/a1/cancel?reason=x`))).toEqual([
      400,
      'INVALID_QUERY',
    ]);
    expect(codeOf(await api.post(`${shop}/attempts/a1/heartbeat?x=`))).toEqual([
      400,
      'INVALID_QUERY',
    ]);
  });

  it('may be empty', async () => {
    expect((await api.get('/v1/counts?')).status).toBe(200);
  });
});

describe('a header', () => {
  it.each([
    ['idempotency-key', ''],
    ['idempotency-key', 'x'.repeat(256)],
    ['idempotency-key', 'naïve'],
    ['idempotency-key', 'tab\there'],
    ['if-match', '5'],
    ['if-match', 'W/"5"'],
    ['if-match', '"5", "6"'],
    ['if-match', '"-1"'],
    ['if-match', '"05"'],
    ['if-match', '""'],
    ['if-match', ''],
    ['x-shipslog-actor', 'alice'],
    ['x-shipslog-actor', 'human:'],
    ['x-shipslog-actor', 'robot:r2'],
    ['x-shipslog-actor', 'system:reaper'],
    ['x-shipslog-actor', `human:${'x'.repeat(129)}`],
    ['x-shipslog-actor', 'human:a\u0085b'],
  ])('%s of %j is refused, and nothing is done', async (name, value) => {
    const answer = await api.post(
      `${shop}/attempts/a1/end`,
      { outcome: 'failed' },
      { [name]: value },
    );
    expect(codeOf(answer)).toEqual([400, 'INVALID_HEADER']);
    expect((await api.get(shop)).json['revision']).toBe('4');
  });

  it('that is malformed is refused on heartbeats only where it is read', async () => {
    const beat = `${shop}/attempts/a1/heartbeat`;
    const answer = await api.post(beat, {}, { 'x-shipslog-actor': 'nobody' });
    expect(codeOf(answer)).toEqual([400, 'INVALID_HEADER']);
    expect((await api.post(beat, {}, { 'if-match': 'x' })).status).toBe(200);
  });

  it('Accept that excludes what is made is refused, and nothing is done', async () => {
    for (const accept of [
      'text/html',
      'application/xml, text/*',
      'application/json;q=0',
      'application/json;q=0, */*;q=0',
    ]) {
      const answer = await api.post('/v1/deployments', { deploymentId: 'never' }, { accept });
      expect(codeOf(answer)).toEqual([406, 'NOT_ACCEPTABLE']);
    }
    expect(codeOf(await api.get('/v1/lifecycle.svg', { accept: 'application/json' }))[0]).toBe(406);
    expect(codeOf(await api.get('/metrics', { accept: 'application/json' }))[0]).toBe(406);
    expect((await api.get('/v1/deployments/never')).status).toBe(404);
    expect(codeOf(await api.get('/v1/counts', { accept: 'json' }))).toEqual([
      400,
      'INVALID_HEADER',
    ]);
  });

  it.each([
    '*/*',
    'application/*;q=0.1',
    'text/html, application/json;q=0.9',
    'APPLICATION/JSON;v="1"',
    '',
  ])('Accept of %j is served', async (accept) => {
    expect((await api.get('/v1/counts', { accept })).status).toBe(200);
  });

  it.each([
    'evil.example',
    'evil.example:3000',
    '127.0.0.1.evil.example',
    'localhost.evil',
    '10.0.0.7',
    '[::2]',
  ])('Host of %s is not answered', async (host) => {
    expect(codeOf(await api.get('/v1/counts', { host }))).toEqual([421, 'HOST_NOT_ALLOWED']);
  });

  it.each(['localhost', 'LOCALHOST:8080', '127.0.0.1:1', '127.1.2.3', '[::1]:3000'])(
    'Host of %s is answered',
    async (host) => {
      expect((await api.get('/v1/counts', { host })).status).toBe(200);
    },
  );

  it('is sent against sniffing, framing and caching', async () => {
    for (const { headers } of [await api.get('/v1/counts'), await api.get('/nope')]) {
      expect(headers).toMatchObject({
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'x-content-type-options': 'nosniff',
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-store',
        'x-request-id': expect.any(String),
      });
      expect(headers).not.toHaveProperty('access-control-allow-origin');
    }
  });
});

describe('when the world fails', () => {
  let failing: TestApi;
  let told: Signals['trouble'][] = [];
  let stop: () => void;
  beforeAll(async () => {
    failing = await startApi();
    await failing.post('/v1/deployments', { deploymentId: 'web' });
    stop = listen('trouble', (trouble) => told.push(trouble));
  });
  beforeEach(() => {
    told = [];
  });
  afterAll(async () => {
    stop();
    await failing.close();
  });

  /** Makes the next append fail as a store would, and asks for one. */
  async function afterFailure(error: Error): Promise<Answered> {
    const { store } = failing.runtime.stores;
    const { append } = store;
    store.append = () => Promise.reject(error);
    try {
      const answer = failing.post('/v1/deployments/web/attempts');
      await new Promise((next) => setImmediate(next));
      await failing.clock.advance(20_000);
      return await answer;
    } finally {
      store.append = append;
    }
  }

  it.each([
    ['STORE_UNAVAILABLE', 503, '1'],
    ['OUTCOME_UNKNOWN', 503, '1'],
    ['STORE_FULL', 507, undefined],
    ['EVENT_TOO_LARGE', 413, undefined],
  ] as const satisfies [FaultCode, number, string | undefined][])(
    'a fault %s is told as %i',
    async (code, status, retryAfter) => {
      const answer = await afterFailure(new Fault(code, 'cannot open /srv/secret/events.db'));
      expect(codeOf(answer)).toEqual([status, code]);
      expect(answer.headers['retry-after']).toBe(retryAfter);
      if (code.startsWith('STORE_')) expect(answer.text).not.toContain('/srv/secret');
    },
  );

  it('a defect is a 500 that tells nothing, and the log has it', async () => {
    const answer = await afterFailure(new TypeError('secret of the inside'));
    expect(codeOf(answer)).toEqual([500, 'INTERNAL_ERROR']);
    expect(answer.text).not.toContain('secret');
    expect(told).toEqual([
      { where: `http ${String(answer.headers['x-request-id'])}`, error: expect.any(TypeError) },
    ]);
    expect((await failing.post('/v1/deployments/web/attempts')).status).toBe(201);
  });

  it('readiness says which part is the matter', async () => {
    const { store } = failing.runtime.stores;
    const { health } = store;
    store.health = () => ({ reachable: false, problem: 'the disk is gone', details: {} });
    const gone = await failing.get('/health/ready');
    store.health = () => ({ reachable: true, problem: 'the disk is full', details: {} });
    const full = await failing.get('/health/ready');
    store.health = health;
    expect([gone.status, gone.json['status']]).toEqual([503, 'unavailable']);
    expect(gone.json['reasons']).toEqual([{ part: 'store', problem: 'the disk is gone' }]);
    expect([full.status, full.json['status']]).toEqual([200, 'degraded']);
  });
});
