import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { COMMAND_TYPES } from '../../src/domain/command.js';
import { TRANSITIONS } from '../../src/domain/transitions.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { itemsOf, membersOf, startApi, type Members, type TestApi } from '../support/api.js';

let api: TestApi;
beforeAll(async () => {
  api = await startApi({ scopes: { snapshot: 'maintenance' } });
});
afterAll(() => api.close());

const idsOf = (items: readonly Members[]): unknown[] => items.map((item) => item['deploymentId']);

describe('GET /v1/deployments/{deploymentId}', () => {
  it('answers what is recorded, and what may be done next', async () => {
    const path = await api.running('one', 'a1', { runner: { id: 'r', host: 'h', pid: 7 } });
    const { status, headers, json } = await api.get(path);
    expect(status).toBe(200);
    expect(headers['etag']).toBe('"4"');
    expect(json).toEqual({
      deploymentId: 'one',
      name: 'one',
      environment: null,
      labels: {},
      policy: {
        heartbeatMs: 30_000,
        leaseMs: 90_000,
        startTimeoutMs: 90_000,
        lateResults: 'accept',
        afterTeardown: 'reopen',
      },
      state: 'deploying',
      reason: null,
      since: '2026-01-01T00:00:00.000Z',
      settledState: 'pending',
      tornDown: false,
      archived: false,
      attention: null,
      currentAttempt: expect.objectContaining({ attemptId: 'a1', number: 1, state: 'running' }),
      lastReadyAttempt: null,
      revision: '4',
      position: expect.stringMatching(/^\d+$/),
      observedAt: '2026-01-01T00:00:00.000Z',
      allowed: expect.any(Array),
    });
    const allowed = json['allowed'] as readonly string[];
    expect(allowed).not.toContain('CreateDeployment');
    expect(COMMAND_TYPES).toEqual(expect.arrayContaining([...allowed]));
  });

  it('answers the same from the read model, from the stream, and by HEAD without a body', async () => {
    const path = await api.running('same');
    const eventual = await api.get(path);
    expect((await api.get(`${path}?consistency=strong`)).json).toEqual(eventual.json);
    const head = await api.ask('HEAD', path);
    expect([head.status, head.text, head.headers['etag']]).toEqual([200, '', '"4"']);
  });

  it('answers 304 to whoever has that revision already', async () => {
    const path = await api.running('known');
    for (const tag of ['"4"', 'W/"4"', '"1", "4"', '*']) {
      const answer = await api.get(path, { 'if-none-match': tag });
      expect([answer.status, answer.text, answer.headers['etag']]).toEqual([304, '', '"4"']);
    }
    expect((await api.get(path, { 'if-none-match': '"3"' })).status).toBe(200);
    expect((await api.get(path, { 'if-none-match': '4' })).json['code']).toBe('INVALID_HEADER');
  });

  it('goes back to any revision, and to any time', async () => {
    const path = await api.running('past');
    const then = api.clock.now();
    await api.clock.advance(60_000);
    await api.post(`${path}/attempts/a1/end`, { outcome: 'succeeded' });

    const at4 = await api.get(`${path}?revision=4`);
    expect(at4.json).toMatchObject({ state: 'deploying', revision: '4' });
    expect(at4.headers['etag']).toBe('"4"');
    expect((await api.get(`${path}?revision=1`)).json).toMatchObject({ currentAttempt: null });
    expect((await api.get(`${path}?at=${then}`)).json).toEqual(at4.json);
    const offset = then.replace('T00:00:00.000Z', 'T02:00:00+02:00');
    expect((await api.get(`${path}?at=${offset}`)).json).toEqual(at4.json);
    expect((await api.get(`${path}?at=2030-01-01T00:00:00Z`)).json['state']).toBe('ready');

    const before = await api.get(`${path}?at=2020-01-01T00:00:00Z`);
    expect([before.status, before.json['code']]).toEqual([404, 'DEPLOYMENT_NOT_FOUND']);
    for (const revision of ['99', '9'.repeat(40)]) {
      const beyond = await api.get(`${path}?revision=${revision}`);
      expect(beyond.status).toBe(404);
      expect(beyond.json).toMatchObject({ code: 'REVISION_NOT_FOUND', revision: '6' });
    }
    const both = await api.get(`${path}?revision=1&at=${then}`);
    expect([both.status, both.json['code']]).toEqual([400, 'INVALID_QUERY']);
  });

  it('waits for a position, and gives up after five seconds', async () => {
    const path = await api.running('waiting');
    const { json } = await api.get(path);
    expect((await api.get(`${path}?minPosition=${String(json['position'])}`)).status).toBe(200);
    const late = api.get(`${path}?minPosition=1000000`);
    await new Promise((next) => setImmediate(next));
    await api.clock.advance(5_000);
    const { status, json: problem } = await late;
    expect([status, problem['code']]).toEqual([504, 'NOT_YET_VISIBLE']);
  });
});

describe('GET /v1/deployments', () => {
  let list: TestApi;
  beforeAll(async () => {
    list = await startApi();
    for (const n of [1, 2, 3, 4, 5]) {
      await list.post('/v1/deployments', {
        deploymentId: `d${n}`,
        name: n % 2 === 0 ? `Even 100%_${n}` : `Odd ${n}`,
        environment: n < 3 ? 'test' : 'live',
        labels: { team: n < 4 ? 'a:b' : 'c', n: String(n) },
      });
    }
    await list.post('/v1/deployments/d1/archive');
    await list.running('d9');
  });
  afterAll(() => list.close());

  it('lists the newest change first, page by page, without what is archived', async () => {
    const first = await list.get('/v1/deployments?limit=2');
    expect(idsOf(itemsOf(first))).toEqual(['d9', 'd5']);
    expect(first.json['position']).toMatch(/^\d+$/);
    const second = await list.get(
      `/v1/deployments?limit=2&cursor=${String(first.json['nextCursor'])}`,
    );
    expect(idsOf(itemsOf(second))).toEqual(['d4', 'd3']);
    const third = await list.get(
      `/v1/deployments?limit=2&cursor=${String(second.json['nextCursor'])}`,
    );
    expect(idsOf(itemsOf(third))).toEqual(['d2']);
    expect(third.json['nextCursor']).toBeNull();
    expect(itemsOf(await list.get('/v1/deployments?archived=include'))).toHaveLength(6);
    expect(itemsOf(first)[1]).toEqual((await list.get('/v1/deployments/d5')).json);
  });

  it.each([
    ['state=deploying', ['d9']],
    ['environment=live', ['d5', 'd4', 'd3']],
    ['label=team:a:b', ['d3', 'd2']],
    ['label=team:a:b&label=n:3', ['d3']],
    ['q=EVEN', ['d4', 'd2']],
    ['q=100%25_4', ['d4']],
    ['q=%25', ['d4', 'd2']],
    ['q=D5', ['d5']],
    ['q=', ['d9', 'd5', 'd4', 'd3', 'd2']],
    ['environment=live&q=odd+3', ['d3']],
    ['state=failed', []],
  ])('finds by %s', async (query, ids) => {
    const answer = await list.get(`/v1/deployments?${query}`);
    expect([answer.status, idsOf(itemsOf(answer))]).toEqual([200, ids]);
  });

  it('counts by state, without what is archived', async () => {
    const counts = { pending: 4, deploying: 1, ready: 0, failed: 0, unknown: 0, total: 5 };
    expect((await list.get('/v1/counts')).json).toEqual(counts);
    expect((await list.get('/v1/counts?archived=include')).json).toMatchObject({ total: 6 });
  });
});

describe('attempts', () => {
  it('are listed newest first, all of them or in pages', async () => {
    const path = await api.running('many');
    for (const n of [2, 3]) {
      await api.post(`${path}/attempts/a${n - 1}/end`, { outcome: 'failed', exitCode: 1 });
      await api.post(`${path}/attempts`, { attemptId: `a${n}`, scope: 'snapshot' });
      await api.post(`${path}/attempts/a${n}/start`);
    }
    const all = await api.get(`${path}/attempts`);
    expect(itemsOf(all).map(({ attemptId }) => attemptId)).toEqual(['a3', 'a2', 'a1']);
    expect(all.json['nextCursor']).toBeNull();
    const page = await api.get(`${path}/attempts?limit=2`);
    const rest = await api.get(
      `${path}/attempts?limit=2&cursor=${String(page.json['nextCursor'])}`,
    );
    expect(itemsOf(rest).map(({ attemptId }) => attemptId)).toEqual(['a1']);
    expect((await api.get(`${path}/attempts/a1`)).json).toEqual(itemsOf(all)[2]);
    expect((await api.get(`${path}/attempts/a3`)).json).toMatchObject({
      deploymentId: 'many',
      number: 3,
      scope: 'snapshot',
      kind: 'maintenance',
      state: 'running',
    });
  });
});

describe('the history', () => {
  it('is told as stored, page by page', async () => {
    const path = await api.running('told');
    const all = await api.get(`${path}/history`);
    expect(itemsOf(all).map(({ type, revision }) => [revision, type])).toEqual([
      ['0', 'deployment_created'],
      ['1', 'state_transition'],
      ['2', 'attempt_opened'],
      ['3', 'attempt_start'],
      ['4', 'state_transition'],
    ]);
    expect(all.json['nextAfter']).toBe('4');
    expect(Object.keys(itemsOf(all)[0] ?? {})).toEqual([
      'id',
      'type',
      'deploymentId',
      'revision',
      'position',
      'recordedAt',
      'data',
      'metadata',
    ]);
    const page = await api.get(`${path}/history?after=start&limit=3`);
    expect(itemsOf(page)).toEqual(itemsOf(all).slice(0, 3));
    const rest = await api.get(`${path}/history?after=${String(page.json['nextAfter'])}`);
    expect(itemsOf(rest)).toEqual(itemsOf(all).slice(3));
    const end = await api.get(`${path}/history?after=4`);
    expect(end.json).toEqual({ items: [], nextAfter: '4' });
  });

  it('comes as lines, all of them, to whoever accepts lines', async () => {
    const path = await api.running('lines');
    for (let n = 0; n < 230; n += 1) {
      await api.ask('PATCH', path, { body: { labels: { n: String(n) } } });
    }
    const lines = await api.get(`${path}/history`, { accept: 'application/x-ndjson' });
    expect(lines.headers['content-type']).toMatch(/^application\/x-ndjson/);
    const events = lines.text.trimEnd().split('\n').map(membersOf);
    expect(events.map(({ revision }) => revision)).toEqual(
      Array.from({ length: 235 }, (_, n) => String(n)),
    );
    const { json } = await api.get(`${path}/history?limit=200`);
    expect(events.slice(0, 200)).toEqual(json['items']);
    const some = await api.get(`${path}/history?after=230&limit=2`, {
      accept: 'application/json;q=0.5, application/x-ndjson',
    });
    expect(some.text.trimEnd().split('\n').map(membersOf)).toEqual(events.slice(231, 233));
    const missing = await api.get('/v1/deployments/nobody/history', {
      accept: 'application/x-ndjson',
    });
    expect(missing.json['code']).toBe('DEPLOYMENT_NOT_FOUND');
  });
});

describe('GET /v1/transitions', () => {
  it('tells changes of state in log order, by deployment and by states', async () => {
    const path = await api.running('moved');
    await api.post(`${path}/attempts/a1/end`, { outcome: 'failed', exitCode: 7, code: 'quota' });
    const of = '/v1/transitions?deploymentId=moved';
    const all = itemsOf(await api.get(of));
    expect(all.map(({ from, to, trigger }) => [from, to, trigger])).toEqual([
      [null, 'pending', 'CreateDeployment'],
      ['pending', 'deploying', 'StartAttempt'],
      ['deploying', 'failed', 'EndAttempt'],
    ]);
    expect(all[2]).toEqual({
      position: expect.stringMatching(/^\d+$/),
      recordedAt: api.clock.now(),
      occurredAt: api.clock.now(),
      deploymentId: 'moved',
      revision: '6',
      from: 'deploying',
      to: 'failed',
      trigger: 'EndAttempt',
      attemptId: 'a1',
      number: 1,
      scope: 'full',
      reason: 'quota',
      exitCode: 7,
      code: 'quota',
      recovered: false,
      actor: { id: 'anonymous', kind: 'service' },
    });
    expect(itemsOf(await api.get(`${of}&from=none`))).toEqual(all.slice(0, 1));
    expect(itemsOf(await api.get(`${of}&to=failed`))).toEqual(all.slice(2));
    const page = await api.get(`${of}&limit=2`);
    expect(page.json['nextAfter']).toBe(all[1]?.['position']);
    const rest = await api.get(`${of}&after=${String(page.json['nextAfter'])}`);
    expect(itemsOf(rest)).toEqual(all.slice(2));
    const end = await api.get(`/v1/transitions?after=${'9'.repeat(18)}`);
    expect(end.json).toEqual({ items: [], nextAfter: '9'.repeat(18) });
  });
});

describe('the service about itself', () => {
  it('tells its lifecycle as data and as a picture', async () => {
    const { json } = await api.get('/v1/lifecycle');
    expect(json['items']).toEqual(JSON.parse(JSON.stringify(TRANSITIONS)));
    const svg = await api.get('/v1/lifecycle.svg');
    expect(svg.headers['content-type']).toMatch(/^image\/svg\+xml/);
    expect(svg.text).toMatch(/^<svg [^]*unknown[^]*<\/svg>\n$/);
  });

  it('tells how far its read models are, and builds one anew on request', async () => {
    const listed = itemsOf(await api.get('/v1/projections'));
    expect(listed.map(({ name }) => name)).toEqual(PROJECTIONS.map(({ name }) => name));
    expect(listed[0]).toMatchObject({
      position: expect.stringMatching(/^\d+$/),
      lagEvents: 0,
      lagSeconds: 0,
      status: 'live',
      lastError: null,
    });
    const odd = { 'idempotency-key': '', 'if-match': 'x' };
    const rebuild = await api.post('/v1/projections/attempts/rebuild', {}, odd);
    expect(rebuild.status).toBe(202);
    expect(rebuild.json).toMatchObject({ name: 'attempts', status: 'rebuilding' });
    await api.runtime.projector.rebuild('attempts')?.finished;
    const unknown = await api.post('/v1/projections/nothing/rebuild');
    expect([unknown.status, unknown.json['code']]).toEqual([404, 'PROJECTION_NOT_FOUND']);
  });

  it('is live, and ready with the reasons', async () => {
    expect((await api.get('/health/live')).json).toEqual({ status: 'live' });
    const ready = await api.get('/health/ready');
    expect(ready.status).toBe(200);
    expect(ready.json).toMatchObject({ status: 'ready', reasons: [], store: { reachable: true } });
    expect(ready.json['projections']).toHaveLength(PROJECTIONS.length);
  });

  it('keeps the limits of its server', () => {
    expect(api.app.getHttpServer()).toMatchObject({
      headersTimeout: 5_000,
      requestTimeout: 10_000,
      maxHeadersCount: 100,
      maxRequestsPerSocket: 1_000,
      maxConnections: 12_000,
    });
  });

  it('counts what it does, without ids', async () => {
    await api.running('counted');
    const { text, headers } = await api.get('/metrics');
    expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
    expect(text).toMatch(
      /shipslog_commands_total\{command="CreateDeployment",result="accepted"\} \d+/,
    );
    expect(text).toMatch(/shipslog_transitions_total\{from="none",to="pending"\} \d+/);
    expect(text).toMatch(/shipslog_deployments\{state="deploying"\} [1-9]/);
    expect(text).toMatch(/shipslog_projection_lag_events\{projection="deployments"\} 0/);
    expect(text).toMatch(
      /shipslog_http_request_duration_seconds_count\{[^}]*route="\/v1\/deployments\/:deploymentId"/,
    );
    expect(text).not.toContain('counted');
    const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
    expect(names.filter((name) => !(name ?? '').startsWith('shipslog_'))).toEqual([]);
  });

  it('shows its documents from local files, under a policy without inline code', async () => {
    const page = await api.get('/docs', { accept: 'text/html,application/xhtml+xml,*/*;q=0.8' });
    expect(page.headers['content-type']).toMatch(/^text\/html/);
    expect(page.headers['content-security-policy']).toMatch(
      /^default-src 'none'; script-src 'self';/,
    );
    expect(page.text).not.toMatch(/https?:\/\/|<style|<script>|style="|onload/);
    const links = [...page.text.matchAll(/(?:src|href)="(docs\/[^"]+)"/g)].map(([, link]) => link);
    expect(links).toHaveLength(4);
    for (const link of links) {
      const file = await api.get(`/${link ?? ''}`);
      expect([file.status, file.text.length > 100]).toEqual([200, true]);
    }
    expect((await api.get('/docs/package.json')).json['code']).toBe('ROUTE_NOT_FOUND');
    expect((await api.get('/docs/..%2f..%2fpackage.json')).json['code']).toBe('ROUTE_NOT_FOUND');
    const start = await api.get('/');
    expect([start.status, start.headers['location']]).toEqual([302, 'docs']);
  });
});
