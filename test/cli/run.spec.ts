import { access, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Client } from '../../src/client/client.js';
import type { Attempt, Deployment } from '../../src/client/answers.js';
import { pause } from '../../src/client/pause.js';
import { openProxy, type Proxy } from '../support/proxy.js';
import { startRunner, type Runner } from '../support/runner.js';
import {
  cleanUp,
  startService,
  temporaryFolder,
  type Ending,
  type Service,
} from '../support/service.js';

/** Programs are compiled when they start, and the machine may be busy. */
jest.setTimeout(60_000);

/** Short, so that a loss takes no time; long enough for a busy machine. */
const LEASE_MS = 1_500;
const POLICY = { leaseMs: LEASE_MS, heartbeatMs: 200 };
const SETTINGS = { SHIPSLOG_REAPER_INTERVAL_MS: '50' };

describe('shipslog run', () => {
  let folder: string;
  let service: Service;
  let proxy: Proxy;
  let count = 0;
  /** As an operator, who is never cut off. */
  let operator: Client;

  beforeAll(async () => {
    folder = await temporaryFolder();
    service = await startService({ folder, settings: SETTINGS });
    operator = new Client({ url: service.url, actor: 'human:alice' });
    proxy = await openProxy(service.url);
  });
  afterEach(() => proxy.mend());
  afterAll(async () => {
    await proxy.close();
    await cleanUp();
  });

  const fresh = async (): Promise<string> => {
    const deploymentId = `d${(count += 1)}`;
    await operator.call('createDeployment', { body: { deploymentId, policy: POLICY } });
    return deploymentId;
  };
  const start = (args: readonly string[]): Promise<Runner> =>
    startRunner({ args, folder, url: proxy.url });
  const run = (
    deploymentId: string,
    script: string,
    ...flags: readonly string[]
  ): Promise<Runner> =>
    start(['run', '--deployment', deploymentId, ...flags, '--', 'sh', '-c', script]);
  const deployment = (deploymentId: string): Promise<Deployment> =>
    operator.call('getDeployment', { deploymentId, consistency: 'strong' });
  const attempt = async (deploymentId: string): Promise<Attempt> =>
    (await deployment(deploymentId)).currentAttempt!;
  /** Waits until the deployment is as wanted; the test's own time limit ends the wait. */
  const until = async (
    deploymentId: string,
    isWanted: (deployment: Deployment) => boolean,
  ): Promise<Deployment> => {
    for (;;) {
      const now = await deployment(deploymentId);
      if (isWanted(now)) return now;
      await pause(20);
    }
  };

  it.each<readonly [string, number, string, object]>([
    ['exit 0', 0, 'ready', { state: 'succeeded', exitCode: 0 }],
    ['exit 7', 7, 'failed', { state: 'failed', exitCode: 7 }],
    ['kill -9 $$', 137, 'failed', { state: 'failed', exitCode: 137, code: 'SIGKILL' }],
    ['kill -TERM $$', 143, 'failed', { state: 'failed', exitCode: 143, code: 'SIGTERM' }],
  ])('passes the end of its command on: %s', async (...row) => {
    const [script, code, state, told] = row;
    const id = await fresh();
    const runner = await run(id, script);
    expect(await runner.ended).toBe(code);
    expect(await deployment(id)).toMatchObject({ state, currentAttempt: told });
    expect(await readdir(join(folder, 'spool'))).toEqual([]);
  });

  it('says like a shell that a command could not be started', async () => {
    const id = await fresh();
    const file = join(folder, 'not-executable');
    await writeFile(file, 'echo no');
    const go = (command: string) => start(['run', '--deployment', id, '--', command]);
    expect(await ended(go('no-such-command'))).toBe(127);
    expect(await attempt(id)).toMatchObject({ state: 'failed', code: 'command_not_started' });
    expect(await ended(go(file))).toBe(126);
  });

  it('gives the command its output, and names the attempt to it', async () => {
    const id = await fresh();
    const runner = await run(
      id,
      'echo "out $SHIPSLOG_DEPLOYMENT_ID $SHIPSLOG_ATTEMPT_ID"; echo err >&2',
    );
    await runner.ended;
    const { attemptId, runner: who } = await attempt(id);
    expect(runner.said()).toContain(`out ${id} ${attemptId}\n`);
    expect(runner.said()).toContain('err\n');
    expect(who).toMatchObject({ id: expect.stringContaining('@'), pid: expect.any(Number) });
  });

  it('creates the deployment when it is told to, and takes the scope', async () => {
    const id = `created-${(count += 1)}`;
    const refused = await run(id, 'exit 0');
    expect(await refused.ended).toBe(5);
    expect(refused.said()).toMatch(/no deployment .* is recorded/);
    const flags = ['--create', '--label', 'team=shop', '--scope', 'configure'];
    expect(await ended(run(id, 'exit 0', ...flags))).toBe(0);
    expect(await ended(run(id, 'exit 0', ...flags))).toBe(0);
    expect(await deployment(id)).toMatchObject({
      labels: { team: 'shop' },
      currentAttempt: { number: 2, scope: 'configure' },
    });
  });

  it('tells what happens as lines of JSON', async () => {
    const id = await fresh();
    const runner = await run(id, 'exit 3', '--json');
    await runner.ended;
    const lines = runner
      .said()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
    expect(lines).toEqual([
      { event: 'started', deploymentId: id, attemptId: expect.any(String), number: 1 },
      expect.objectContaining({ event: 'ended', state: 'failed', outcome: 'failed', exitCode: 3 }),
    ]);
  });

  it('keeps the attempt alive for longer than its lease', async () => {
    const id = await fresh();
    const runner = await run(id, `sleep ${(LEASE_MS * 1.5) / 1000}`);
    await runner.saying(/started/);
    expect(await runner.ended).toBe(0);
    expect(await attempt(id)).toMatchObject({ state: 'succeeded', recovered: false });
  });

  it('stops the command and all that it started when it is cancelled', async () => {
    const id = await fresh();
    const script = `trap 'echo cleaning up; exit 5' TERM; sleep 97.${count} & sleep 98.${count}; echo no`;
    const runner = await run(id, script);
    await runner.saying(/started/);
    const { attemptId } = await attempt(id);
    const body = { reason: 'wrong version' };
    await operator.call('cancelAttempt', { deploymentId: id, attemptId, body });
    expect(await runner.ended).toBe(5);
    expect(runner.said()).toContain('cleaning up\n');
    expect(await deployment(id)).toMatchObject({
      state: 'failed',
      currentAttempt: { state: 'cancelled', exitCode: 5, cancelRequested: true },
    });
    expect(await processesLike(`sleep 9[78]\\.${count}`)).toEqual([]);
  });

  it('kills what does not stop within the grace', async () => {
    const id = await fresh();
    const runner = await run(
      id,
      `trap '' TERM; while :; do sleep 99.${count}; done`,
      '--grace',
      '300ms',
    );
    await runner.saying(/started/);
    const { attemptId } = await attempt(id);
    await operator.call('cancelAttempt', { deploymentId: id, attemptId });
    expect(await runner.ended).toBe(137);
    expect(await attempt(id)).toMatchObject({ state: 'cancelled', code: 'SIGKILL' });
    expect(await processesLike(`sleep 99\\.${count}`)).toEqual([]);
  });

  it('stops within one heartbeat when it is superseded', async () => {
    const id = await fresh();
    const runner = await run(id, 'sleep 100', '--grace', '1s');
    await runner.saying(/started/);
    const { attemptId } = await attempt(id);
    await operator.call('markUnknown', {
      deploymentId: id,
      attemptId,
      body: { cause: 'operator' },
    });
    // The heartbeat may have revived it already: then it is lost once more.
    await operator.call('openAttempt', {
      deploymentId: id,
      body: { attemptId: 'newer', acknowledgeUnknown: { reason: 'the runner is gone' } },
    });
    expect(await runner.ended).toBe(143);
    expect(runner.said()).toMatch(/newer one was opened.*the command is stopped/);
    expect(await attempt(id)).toMatchObject({ attemptId: 'newer', state: 'pending' });
  });

  it('stops when a human has closed the attempt', async () => {
    const id = await fresh();
    await operator.call('updateDeployment', {
      deploymentId: id,
      body: { policy: { lateResults: 'record' } },
    });
    const runner = await run(id, 'sleep 100', '--grace', '1s');
    await runner.saying(/started/);
    const { attemptId } = await attempt(id);
    await operator.call('markUnknown', {
      deploymentId: id,
      attemptId,
      body: { cause: 'operator' },
    });
    const { revision } = await deployment(id);
    const body = { as: 'failed', reason: 'looked at it' } as const;
    await operator.call('resolveUnknown', { deploymentId: id, body }, { ifMatch: revision });
    expect(await runner.ended).toBe(143);
    expect(await deployment(id)).toMatchObject({ state: 'failed', attention: null });
  });

  it('lets one of two runners start an attempt; the other never runs its command', async () => {
    const id = await fresh();
    const flags = ['--attempt', 'shared'];
    const marks = ['one', 'two'].map((name) => join(folder, `${id}-${name}`));
    const starts = marks.map((mark) => run(id, `touch ${mark}; sleep 1`, ...flags));
    const runners = await Promise.all(starts);
    const codes = await Promise.all(runners.map(({ ended }) => ended));
    expect(codes.toSorted()).toEqual([0, 6]);
    const ran = await Promise.all(
      marks.map((mark) =>
        access(mark).then(
          () => true,
          () => false,
        ),
      ),
    );
    expect(ran).toEqual(codes.map((code) => code === 0));
    expect(await deployment(id)).toMatchObject({ state: 'ready', currentAttempt: { number: 1 } });
  });

  it('is refused while another attempt runs, and runs nothing', async () => {
    const id = await fresh();
    await operator.call('openAttempt', { deploymentId: id });
    const runner = await run(id, 'echo it ran');
    expect(await runner.ended).toBe(3);
    expect(runner.said()).toMatch(/next: .*shipslog cancel/);
    expect(runner.said()).not.toContain('it ran');
  });

  it('becomes unknown when it is killed, and not before its lease is past', async () => {
    const id = await fresh();
    const runner = await run(id, 'sleep 4');
    await runner.saying(/started/);
    runner.child.kill('SIGKILL');
    await runner.exited;
    expect((await deployment(id)).state).toBe('deploying');
    const lost = await until(id, ({ state }) => state !== 'deploying');
    expect(lost).toMatchObject({ state: 'unknown', currentAttempt: { cause: 'lease_expired' } });
  });

  it('passes a signal that was sent to it on to the command', async () => {
    const id = await fresh();
    const runner = await run(id, `trap 'exit 9' TERM; echo here; while :; do sleep 0.05; done`);
    await runner.saying(/here/);
    runner.child.kill('SIGTERM');
    expect(await runner.ended).toBe(9);
    expect(await attempt(id)).toMatchObject({ state: 'failed', exitCode: 9 });
  });

  it('goes on while the service is out of reach for longer than the lease, and is recovered', async () => {
    const id = await fresh();
    const gate = join(folder, `${id}-gate`);
    const runner = await run(id, `until [ -e ${gate} ]; do sleep 0.05; done`);
    await runner.saying(/started/);
    proxy.cut();
    await until(id, ({ state }) => state === 'unknown');
    proxy.mend();
    await until(id, ({ state }) => state === 'deploying');
    await writeFile(gate, '');
    expect(await runner.ended).toBe(0);
    expect(runner.said()).toMatch(/the command goes on.*\n.*the service is back/);
    expect(await deployment(id)).toMatchObject({
      state: 'ready',
      currentAttempt: { state: 'succeeded', recovered: true },
    });
  });

  it('tells the end again until the service has it, with the time at which it happened', async () => {
    const id = await fresh();
    const gate = join(folder, `${id}-gate`);
    const runner = await run(id, `until [ -e ${gate} ]; do sleep 0.05; done; exit 4`);
    await runner.saying(/started/);
    proxy.cut();
    await writeFile(gate, '');
    await runner.saying(/the end is kept, and told again/);
    const { since } = await until(id, ({ state }) => state === 'unknown');
    proxy.mend();
    expect(await runner.ended).toBe(4);
    const { state, currentAttempt } = await deployment(id);
    expect({ state, currentAttempt }).toMatchObject({
      state: 'failed',
      currentAttempt: { state: 'failed', exitCode: 4, recovered: true },
    });
    expect(currentAttempt!.endedAt! < since!).toBe(true);
    expect(await readdir(join(folder, 'spool'))).toEqual([]);
  });

  it.each<readonly [NodeJS.Signals, number | NodeJS.Signals]>([
    ['SIGINT', 4],
    ['SIGKILL', 'SIGKILL'],
  ])('leaves the end to flush when %s ends it before', async (signal, ending) => {
    const id = await fresh();
    const gate = join(folder, `${id}-gate`);
    const runner = await run(id, `until [ -e ${gate} ]; do sleep 0.05; done; exit 4`);
    await runner.saying(/started/);
    proxy.cut();
    await writeFile(gate, '');
    await runner.saying(/the end is kept, and told again/);
    runner.child.kill(signal);
    expect(await runner.ended).toBe(ending);
    const early = await start(['flush']);
    expect(await early.ended).toBe(8);
    proxy.mend();
    const flush = await start(['flush']);
    expect(await flush.ended).toBe(0);
    expect(flush.said()).toMatch(new RegExp(`^${id} \\S+ \\(failed\\): delivered, failed\n$`));
    expect(await attempt(id)).toMatchObject({ state: 'failed', exitCode: 4 });
    expect(await ended(start(['flush']))).toBe(0);
  });

  it('tells an end that an earlier run has kept before it opens its own attempt', async () => {
    const id = await fresh();
    const first = await run(id, 'sleep 0.5', '--end-timeout', '100ms');
    await first.saying(/started/);
    proxy.cut();
    expect(await first.ended).toBe(0);
    expect(first.said()).toMatch(/the next shipslog run tells it/);
    proxy.mend();
    expect(await ended(run(id, 'exit 0'))).toBe(0);
    const { items } = await operator.call('listAttempts', { deploymentId: id, limit: 2 });
    expect(items.map(({ state }) => state)).toEqual(['succeeded', 'succeeded']);
  });

  it('runs nothing when the service cannot be reached at first', async () => {
    proxy.cut();
    const runner = await run('web', 'echo it ran', '--start-timeout', '300ms');
    expect(await runner.ended).toBe(8);
    expect(runner.said()).toMatch(/cannot reach the service/);
    expect(runner.said()).not.toContain('it ran');
  });

  it('ends at once when it is interrupted before the command runs', async () => {
    const id = await fresh();
    proxy.cut();
    const runner = await run(id, 'echo it ran');
    await runner.saying(/trying again for 30 s/);
    runner.child.kill('SIGINT');
    expect(await runner.ended).toBe(130);
    expect(runner.said()).not.toContain('it ran');
  });

  it('survives the death of the service in the middle', async () => {
    const place = await temporaryFolder();
    const first = await startService({ folder: place, settings: SETTINGS });
    const { port } = new URL(first.url);
    const gate = join(place, 'gate');
    const flags = ['run', '--deployment', 'web', '--create', '--lease-ms', '3s'];
    const script = `until [ -e ${gate} ]; do sleep 0.05; done`;
    const runner = await startRunner({
      args: [...flags, '--', 'sh', '-c', script],
      folder: place,
      url: first.url,
    });
    await runner.saying(/started/);
    await first.end('SIGKILL');
    const second = await startService({
      folder: place,
      settings: { ...SETTINGS, SHIPSLOG_PORT: port },
    });
    await writeFile(gate, '');
    expect(await runner.ended).toBe(0);
    const client = new Client({ url: second.url });
    const web = await client.call('getDeployment', { deploymentId: 'web', consistency: 'strong' });
    expect(web).toMatchObject({ state: 'ready', currentAttempt: { number: 1 } });
  });
});

/** How a runner ended. */
async function ended(runner: Promise<Runner>): Promise<Ending> {
  return (await runner).ended;
}

/** Pids of processes whose command line looks like this. */
async function processesLike(pattern: string): Promise<readonly string[]> {
  const { execFile } = await import('node:child_process');
  return new Promise((resolve) => {
    execFile('pgrep', ['-f', pattern], (_error, stdout) => {
      resolve(stdout.split('\n').filter((line) => line !== ''));
    });
  });
}
