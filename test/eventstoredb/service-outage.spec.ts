import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { shipslog } from '../support/command-line.js';
import { ServerProcess } from '../support/eventstoredb/server-process.js';
import { ask, type Answer, type ProblemBody, type ReceiptBody } from '../support/http.js';
import {
  cleanUp,
  launched,
  plainEnvironment,
  programs,
  startService,
  temporaryFolder,
  type Service,
} from '../support/service.js';

/* The service and its log are processes of their own; the log goes away and comes back. */

jest.setTimeout(120_000);

const READS = [
  '/v1/deployments/web',
  '/v1/deployments',
  '/v1/deployments/web/attempts',
  '/v1/deployments/web/attempts/a1',
  '/v1/transitions',
  '/v1/counts',
];
/** Half a second for a look at the log, and what a busy machine takes. */
const READ_MS_MAX = 2_000;

let log: string;
let server: ServerProcess;
let service: Service;

beforeAll(async () => {
  const folder = await temporaryFolder();
  log = join(folder, 'server.log');
  server = await ServerProcess.start({ log });
  service = await startService({ folder, settings: { SHIPSLOG_EVENT_STORE: server.url } });
  await create('web');
  await ask(service.url, 'POST /v1/deployments/web/attempts', { body: { attemptId: 'a1' } });
});
afterAll(async () => {
  await cleanUp();
  await server.kill();
});

const create = (deploymentId: string): Promise<Answer<ProblemBody>> =>
  ask(service.url, 'POST /v1/deployments', { body: { deploymentId } });

/** For how long a read says that it is old; null when it does not. */
async function staleOf(path: string): Promise<number | null> {
  const { status, headers } = await ask(service.url, `GET ${path}`);
  expect(status).toBe(200);
  const stale = headers.get('shipslog-stale');
  return stale === null ? null : Number(stale);
}

/** What the service says of its log, as a person and as a monitoring system hear it. */
async function health(): Promise<{
  readonly status: number;
  readonly told: Json;
  readonly metrics: Json;
}> {
  const ready = await ask<{ readonly store: Json }>(service.url, 'GET /health/ready');
  const { body } = await ask<string>(service.url, 'GET /metrics');
  const series = body.matchAll(/^shipslog_log_(\w+)\{log="eventstoredb"\} (.*)$/gm);
  const metrics = Object.fromEntries([...series].map(([, name, value]) => [name!, Number(value)]));
  return { status: ready.status, told: ready.body.store, metrics };
}
type Json = Readonly<Record<string, unknown>>;

async function untilStaleIs(wanted: (stale: number | null) => boolean): Promise<void> {
  while (!wanted(await staleOf('/v1/deployments/web')));
}

interface Outage {
  readonly id: string;
  /** What commands are told meanwhile. */
  readonly code: RegExp;
  readonly goAway: () => Promise<void> | void;
  readonly comeBack: () => Promise<void> | void;
}
const OUTAGES: readonly Outage[] = [
  {
    id: 'killed',
    code: /^STORE_UNAVAILABLE$/,
    goAway: () => server.kill(),
    comeBack: async () => {
      server = await ServerProcess.start({ log, port: server.port });
    },
  },
  {
    id: 'frozen',
    // What was sent and not answered may still be written.
    code: /^(STORE_UNAVAILABLE|OUTCOME_UNKNOWN)$/,
    goAway: () => server.freeze(),
    comeBack: () => server.continue(),
  },
];

describe.each(OUTAGES)('a log that was $id', ({ id, code, goAway, comeBack }) => {
  it('is fresh before', async () => {
    await untilStaleIs((stale) => stale === null);
    for (const path of READS) expect([path, await staleOf(path)]).toEqual([path, null]);
    const { status, told, metrics } = await health();
    expect({ status, told }).toMatchObject({
      status: 200,
      told: { reachable: true, problem: null, leaderKnown: true, subscriptionLag: 0 },
    });
    const { lastAppendAt, reconnects, unknownOutcomes } = told;
    expect(metrics).toEqual({
      reachable: 1,
      leader_known: 1,
      subscription_lag_bytes: 0,
      last_append_timestamp_seconds: Date.parse(String(lastAppendAt)) / 1_000,
      reconnects_total: reconnects,
      unknown_outcomes_total: unknownOutcomes,
    });
  });

  it('leaves reads going on, marked with how old they are; commands are told to come back', async () => {
    await goAway();
    await untilStaleIs((stale) => stale !== null);
    for (const path of READS) {
      const beganAtMs = performance.now();
      expect([path, await staleOf(path)]).toEqual([path, expect.any(Number)]);
      expect(performance.now() - beganAtMs).toBeLessThan(READ_MS_MAX);
    }
    const listed = await shipslog(['count', '--url', service.url]);
    expect(listed).toMatchObject({
      code: 0,
      err: expect.stringMatching(/up to .* old: the log is out of reach/),
    });
    const refused = await create(id);
    expect(refused.status).toBe(503);
    expect(refused.body.code).toMatch(code);
    expect(refused.headers.get('retry-after')).toMatch(/^\d+$/);
    while ((await health()).status === 200);
    const { told, metrics } = await health();
    expect(told).toMatchObject({ reachable: false, problem: expect.stringContaining('reach') });
    expect(metrics).toMatchObject({ reachable: 0 });
    const strong = await ask(service.url, 'GET /v1/deployments/web?consistency=strong');
    expect([200, 503]).toContain(strong.status);
    expect(strong.headers.has('shipslog-stale')).toBe(false);
  });

  it('is written to and read afresh when it is back, without a restart of the service', async () => {
    await comeBack();
    await untilStaleIs((stale) => stale === null);
    const headers = { 'idempotency-key': id };
    let [status, position] = [0, ''];
    while (![200, 201].includes(status)) {
      const answer = await ask<ReceiptBody>(service.url, 'POST /v1/deployments', {
        body: { deploymentId: `after-${id}` },
        headers,
      });
      ({ status } = answer);
      ({ position } = answer.body);
      expect([200, 201, 503]).toContain(status);
    }
    // Who follows the log may need a moment longer than who writes to it.
    const seen = `GET /v1/deployments/after-${id}?minPosition=${position}`;
    expect((await ask(service.url, seen)).status).toBe(200);
    const { told } = await health();
    expect(told).toMatchObject({ reachable: true, leaderKnown: true });
    expect(told['reconnects']).toBeGreaterThan(0);
  });
});

describe('an address that can not be right', () => {
  it.each(['main.js', 'cli/main.js serve', 'cli/main.js replay'])(
    'ends %s with 2, in one line that names the setting and shows no secret',
    async (line) => {
      const [program = '', ...args] = line.split(' ');
      const env = {
        ...plainEnvironment(),
        SHIPSLOG_EVENT_STORE: 'esdb://ops:secret@db?tls=maybe',
      };
      const path = join(await programs(), 'dist', program);
      const { ended, said } = launched(spawn(process.execPath, [path, ...args], { env }));
      expect(await ended).toBe(2);
      expect(said()).toMatch(
        /^shipslog: SHIPSLOG_EVENT_STORE is not right: .*tls is true or false\n$/,
      );
      expect(said()).not.toContain('secret');
    },
  );
});

describe('a log that is not there yet', () => {
  it('is waited for by a service, which says so once', async () => {
    const gone = await ServerProcess.start();
    await gone.kill();
    const env = {
      ...plainEnvironment(),
      SHIPSLOG_PORT: '0',
      SHIPSLOG_EVENT_STORE: gone.url,
      SHIPSLOG_READ_MODELS: 'memory:',
    };
    const stdio = ['ignore', 'pipe', 'pipe'] as const;
    const path = join(await programs(), 'dist/main.js');
    const child = spawn(process.execPath, [path], { env, stdio: [...stdio] });
    const { said, ended } = launched(child);
    const outOfReach = /is out of reach/;
    const told = (wanted: RegExp): Promise<unknown> =>
      new Promise<void>((found) => {
        const look = (): void => {
          if (wanted.test(said())) found();
        };
        child.stdout.on('data', look);
        child.stderr.on('data', look);
      });
    expect(await Promise.race([ended, told(outOfReach)])).toBeUndefined();
    const back = await ServerProcess.start({ port: gone.port });
    expect(await Promise.race([ended, told(/http:\/\/127\.0\.0\.1:[1-9]/)])).toBeUndefined();
    expect(said().match(/"msg":"trouble/g)).toHaveLength(1);
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
    await back.kill();
  });

  it.each(['replay', 'verify', 'export', 'rebuild'])(
    'ends %s with 8, and says what to look at',
    async (verb) => {
      const env = { ...plainEnvironment(), SHIPSLOG_EVENT_STORE: 'esdb://127.0.0.1:9?tls=false' };
      const path = join(await programs(), 'dist/cli/main.js');
      const { ended, said } = launched(spawn(process.execPath, [path, verb], { env }));
      expect(await ended).toBe(8);
      expect(said()).toMatch(/^shipslog: EventStoreDB at .* is out of reach: .*\nnext: .*doctor/);
    },
  );
});

describe('the doctor', () => {
  it('finds a log in EventStoreDB that is well', async () => {
    const environment = { SHIPSLOG_EVENT_STORE: server.url, SHIPSLOG_READ_MODELS: 'memory:' };
    const { out } = await shipslog(['doctor', '--json', '--url', service.url], { environment });
    const findings = JSON.parse(out) as readonly { about: string; level: string }[];
    expect(findings.find(({ about }) => about === 'log')).toMatchObject({ level: 'ok' });
  });
});
