import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  ask,
  historyOf,
  type EventBody,
  type ProblemBody,
  type ReceiptBody,
} from '../support/http.js';
import {
  cleanUp,
  launched,
  startService,
  temporaryFolder,
  type Ending,
  type Service,
} from '../support/service.js';

/*
 * The whole way, as a team would go it: real scripts, a real runner for each, the real service.
 * The tests build on one another, in the order of the story.
 */

/** As short as the bounds allow, so that a lost runner is noticed while the test watches. */
const POLICY = { leaseMs: 1_000, heartbeatMs: 200 };
const HUMAN = { 'x-shipslog-actor': 'human:alice' };
const STORY_MS_MAX = 60_000;

const SCRIPTS = {
  api: 'echo deployed > api.out\n',
  web: 'echo half of it > web.out\nexit 7\n',
  // Ends only by force.
  jobs: 'echo running > jobs.out\nwhile :; do sleep 1; done\n',
} as const;
type Name = keyof typeof SCRIPTS;
const NAMES = Object.keys(SCRIPTS) as Name[];

interface Runner {
  readonly ended: Promise<Ending>;
  kill(): void;
}
interface DeploymentBody {
  readonly state: string;
  readonly reason: string | null;
  readonly since: string;
  readonly tornDown: boolean;
  readonly revision: string;
  readonly position: string;
  readonly allowed: readonly string[];
  readonly currentAttempt: AttemptBody | null;
}
interface AttemptBody {
  readonly attemptId: string;
  readonly number: number;
  readonly scope: string;
  readonly state: string;
  readonly exitCode: number | null;
  readonly resolved: { readonly as: string } | null;
}

describe('three scripts as deployments', () => {
  let folder: string;
  let service: Service;
  let settings: Readonly<Record<string, string>>;

  beforeAll(async () => {
    folder = await temporaryFolder();
    settings = { SHIPSLOG_REAPER_INTERVAL_MS: '50' };
    service = await startService({ folder, settings });
  }, STORY_MS_MAX);
  afterAll(cleanUp);

  it(
    'end as ready, as failed with exit code 7, and, killed with -9, as unknown by the lease',
    async () => {
      for (const name of NAMES) {
        await writeFile(join(folder, `${name}.sh`), SCRIPTS[name]);
        await expectOk('POST /v1/deployments', {
          deploymentId: name,
          environment: 'staging',
          policy: POLICY,
        });
        await expectOk(`POST /v1/deployments/${name}/attempts`, { attemptId: 'first' });
      }
      const runners = new Map(NAMES.map((name) => [name, run(name, 'first', `${name}.sh`)]));

      expect(await runners.get('api')!.ended).toBe(0);
      expect(await runners.get('web')!.ended).toBe(0);
      await until(() => existsSync(join(folder, 'jobs.out')));
      runners.get('jobs')!.kill();
      expect(await runners.get('jobs')!.ended).toBe('SIGKILL');

      expect(await deployment('api')).toMatchObject({
        state: 'ready',
        currentAttempt: { state: 'succeeded', exitCode: 0 },
      });
      expect(await deployment('web')).toMatchObject({
        state: 'failed',
        currentAttempt: { state: 'failed', exitCode: 7 },
      });
      await until(async () => (await deployment('jobs')).state !== 'deploying');
      expect(await deployment('jobs')).toMatchObject({
        state: 'unknown',
        reason: 'lease_expired',
        currentAttempt: { state: 'unknown', exitCode: null },
      });
    },
    STORY_MS_MAX,
  );

  it('refuses to tear the unknown one down, and says what leads out', async () => {
    const refused = await ask<ProblemBody>(service.url, 'POST /v1/deployments/jobs/teardown');
    expect(refused.status).toBe(409);
    expect(refused.body).toMatchObject({ code: 'DEPLOYMENT_UNKNOWN_STATE', state: 'unknown' });
    expect(refused.body.allowed).toContain('ResolveUnknown');
  });

  it('lets a human resolve it, on the revision that was looked at, and nobody else', async () => {
    const { revision } = await deployment('jobs');
    const body = { as: 'failed', reason: 'the host was killed; nothing serves' };
    const resolve = (headers: Record<string, string>) =>
      ask<ProblemBody & ReceiptBody>(service.url, 'POST /v1/deployments/jobs/resolution', {
        body,
        headers,
      });
    const current = { 'if-match': `"${revision}"` };
    expect(await resolve(HUMAN)).toMatchObject({
      status: 428,
      body: { code: 'PRECONDITION_REQUIRED' },
    });
    expect(await resolve(current)).toMatchObject({ status: 403, body: { code: 'HUMAN_REQUIRED' } });
    expect(await resolve({ ...HUMAN, 'if-match': '"0"' })).toMatchObject({
      status: 412,
      body: { code: 'REVISION_MISMATCH' },
    });
    expect(await resolve({ ...HUMAN, ...current })).toMatchObject({
      status: 200,
      body: { state: 'failed', changed: true },
    });
  });

  it(
    'tears all three down',
    async () => {
      await writeFile(join(folder, 'teardown.sh'), 'exit 0\n');
      await Promise.all(
        NAMES.map(async (name) => {
          await expectOk(`POST /v1/deployments/${name}/teardown`, { attemptId: 'down' });
          expect(await run(name, 'down', 'teardown.sh').ended).toBe(0);
          expect(await deployment(name)).toMatchObject({ state: 'pending', tornDown: true });
        }),
      );
    },
    STORY_MS_MAX,
  );

  it('reads back as the log says when it is folded by hand', async () => {
    for (const name of NAMES) await expectAgreement(name);
    const { body: counts } = await ask(service.url, 'GET /v1/counts');
    expect(counts).toEqual({
      pending: 3,
      deploying: 0,
      ready: 0,
      failed: 0,
      unknown: 0,
      total: 3,
    });
    expect((await historyOf(service.url, 'jobs')).map(({ type }) => type)).toEqual([
      ...['deployment_created', 'state_transition', 'attempt_opened', 'attempt_start'],
      ...['state_transition', 'attempt_lost', 'state_transition', 'unknown_resolved'],
      ...['state_transition', 'attempt_opened', 'state_transition', 'attempt_start'],
      ...['state_transition', 'attempt_end', 'state_transition'],
    ]);
  });

  it(
    'reads back the same after a restart without its read models',
    async () => {
      const before = await Promise.all(NAMES.map(deployment));
      expect(await service.end('SIGTERM')).toBe(0);
      for (const end of ['', '-wal', '-shm']) {
        await rm(join(folder, `read-models.db${end}`), { force: true });
      }
      service = await startService({ folder, settings });
      await until(async () => (await ask(service.url, 'GET /health/ready')).status === 200);
      expect(await Promise.all(NAMES.map(deployment))).toEqual(before);
      for (const name of NAMES) await expectAgreement(name);
    },
    STORY_MS_MAX,
  );

  function run(name: Name, attemptId: string, script: string): Runner {
    const attempt = `${service.url}/v1/deployments/${name}/attempts/${attemptId}`;
    const program = resolve('test/support/run-script.mjs');
    const args = [program, attempt, String(POLICY.heartbeatMs), script];
    // A group of its own, so that -9 takes the runner and its script at once.
    const { child, ended } = launched(
      spawn(process.execPath, args, { cwd: folder, detached: true, stdio: 'ignore' }),
      { group: true },
    );
    return { ended, kill: () => process.kill(-child.pid!, 'SIGKILL') };
  }

  async function expectOk(line: string, body: object): Promise<void> {
    const answer = await ask(service.url, line, { body });
    expect({ line, answer }).toMatchObject({ answer: { body: { changed: true } } });
  }

  async function deployment(name: Name): Promise<DeploymentBody> {
    const { body } = await ask<DeploymentBody>(service.url, `GET /v1/deployments/${name}`);
    return body;
  }

  /** State, attempts and changes as the service tells them, against the history folded here. */
  async function expectAgreement(name: Name): Promise<void> {
    const events = await historyOf(service.url, name);
    const folded = foldByHand(events);
    const { state, reason, since, tornDown, revision, position } = await deployment(name);
    expect({ state, reason, since, tornDown, revision, position }).toEqual(folded.deployment);

    const attempts = await ask<{ items: readonly AttemptBody[] }>(
      service.url,
      `GET /v1/deployments/${name}/attempts`,
    );
    expect(
      attempts.body.items.map(({ attemptId, number, scope, state: of, exitCode, resolved }) => {
        return { attemptId, number, scope, state: of, exitCode, as: resolved?.as ?? null };
      }),
    ).toEqual([...folded.attempts.values()].reverse());

    const transitions = await ask<{ items: readonly { from: string | null; to: string }[] }>(
      service.url,
      `GET /v1/transitions?deploymentId=${name}`,
    );
    expect(transitions.body.items.map(({ from, to }) => [from, to])).toEqual(folded.transitions);
    expect(events.map((event) => event.revision)).toEqual(events.map((_, index) => String(index)));
  }
});

interface FoldedAttempt {
  readonly attemptId: unknown;
  readonly number: unknown;
  readonly scope: unknown;
  state: unknown;
  exitCode: unknown;
  as: unknown;
}

/** A second fold, of a few lines, that shares nothing with the service: what the story must come to. */
function foldByHand(events: readonly EventBody[]) {
  const attempts = new Map<unknown, FoldedAttempt>();
  const transitions: unknown[] = [];
  let [state, reason, since]: unknown[] = [null, null, null];
  for (const { type, data, recordedAt } of events) {
    foldAttempt(attempts, type, data);
    if (type !== 'state_transition') continue;
    expect(data['from']).toBe(state);
    transitions.push([data['from'], data['to']]);
    [state, reason, since] = [data['to'], data['reason'] ?? null, recordedAt];
  }
  const { revision, position } = events.at(-1)!;
  const tornDown = [...attempts.values()].some(
    (attempt) => attempt.scope === 'teardown' && attempt.state === 'succeeded',
  );
  return {
    deployment: { state, reason, since, tornDown, revision, position },
    attempts,
    transitions,
  };
}

function foldAttempt(
  attempts: Map<unknown, FoldedAttempt>,
  type: string,
  data: EventBody['data'],
): void {
  const { attemptId, number, scope } = data;
  const attempt = attempts.get(attemptId)!;
  if (type === 'attempt_opened') {
    const fresh = { state: 'pending', exitCode: null, as: null };
    attempts.set(attemptId, { attemptId, number, scope, ...fresh });
  } else if (type === 'attempt_start') attempt.state = 'running';
  else if (type === 'attempt_lost') attempt.state = 'unknown';
  else if (type === 'unknown_resolved') attempt.as = data['as'];
  else if (type === 'attempt_end') {
    [attempt.state, attempt.exitCode] = [data['outcome'], data['exitCode'] ?? null];
  }
}

/** Looks again and again until it is so; the test's own time limit ends it. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((next) => setTimeout(next, 20));
}
