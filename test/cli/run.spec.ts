import { access, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Client } from '../../src/client/client.js';
import type { Attempt, Deployment } from '../../src/client/answers.js';
import { pause } from '../../src/client/pause.js';
import type { ServiceError } from '../../src/client/service-error.js';
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
const LEASE_MS = 2_000;
const POLICY = { leaseMs: LEASE_MS, heartbeatMs: 200 };
const SETTINGS = { SHIPSLOG_REAPER_INTERVAL_MS: '50' };

/** One deployment with a way of its own to the service, and a spool of its own. */
interface Case {
  readonly id: string;
  readonly folder: string;
  readonly proxy: Proxy;
  /** Starts the command line. */
  readonly start: (args: readonly string[], spool?: string) => Promise<Runner>;
  /** Runs a script as an attempt of the deployment. */
  readonly run: (script: string, ...flags: readonly string[]) => Promise<Runner>;
  readonly deployment: () => Promise<Deployment>;
  readonly attempt: () => Promise<Attempt>;
  /** Waits until the deployment is as wanted; the test's own time limit ends the wait. */
  readonly until: (isWanted: (deployment: Deployment) => boolean) => Promise<Deployment>;
  /** A script that waits until the gate is opened. */
  readonly waiting: string;
  readonly openGate: () => Promise<void>;
}

// Most of the time these tests wait for a lease or a process: they do so together.
describe('shipslog run', () => {
  let place: string;
  let service: Service;
  let count = 0;
  const proxies: Proxy[] = [];
  /** As somebody who is never cut off. */
  let operator: Client;

  beforeAll(async () => {
    place = await temporaryFolder();
    service = await startService({ folder: place, settings: SETTINGS });
    operator = new Client({ url: service.url, actor: 'human:alice' });
  });
  afterAll(async () => {
    await Promise.all(proxies.map((proxy) => proxy.close()));
    await cleanUp();
  });

  const newCase = async ({ isDeclared = true } = {}): Promise<Case> => {
    const id = `d${(count += 1)}`;
    const folder = join(place, id);
    await mkdir(folder);
    const proxy = await openProxy(service.url);
    proxies.push(proxy);
    if (isDeclared) {
      await operator.call('createDeployment', { body: { deploymentId: id, policy: POLICY } });
    }
    const start = (args: readonly string[], spool = join(folder, 'spool')): Promise<Runner> =>
      startRunner({ args, folder, url: proxy.url, environment: { SHIPSLOG_SPOOL: spool } });
    const deployment = (): Promise<Deployment> =>
      operator.call('getDeployment', { deploymentId: id, consistency: 'strong' });
    const gate = join(folder, 'gate');
    return {
      id,
      folder,
      proxy,
      start,
      deployment,
      run: (script, ...flags) =>
        start(['run', '--deployment', id, ...flags, '--', 'sh', '-c', script]),
      attempt: async () => (await deployment()).currentAttempt!,
      until: async (isWanted) => {
        for (;;) {
          const now = await deployment();
          if (isWanted(now)) return now;
          await pause(20);
        }
      },
      waiting: `until [ -e ${gate} ]; do sleep 0.05; done`,
      openGate: () => writeFile(gate, ''),
    };
  };

  it.concurrent.each<readonly [string, number, string, object]>([
    ['exit 0', 0, 'ready', { state: 'succeeded', exitCode: 0 }],
    ['exit 7', 7, 'failed', { state: 'failed', exitCode: 7 }],
    ['kill -9 $$', 137, 'failed', { state: 'failed', exitCode: 137, code: 'SIGKILL' }],
    ['kill -TERM $$', 143, 'failed', { state: 'failed', exitCode: 143, code: 'SIGTERM' }],
  ])('passes the end of its command on: %s', async (...row) => {
    const [script, code, state, told] = row;
    const { folder, run, deployment } = await newCase();
    expect(await ended(run(script))).toBe(code);
    expect(await deployment()).toMatchObject({ state, currentAttempt: told });
    expect(await readdir(join(folder, 'spool'))).toEqual([]);
  });

  it.concurrent('says like a shell that a command could not be started', async () => {
    const { id, folder, start, attempt } = await newCase();
    const file = join(folder, 'not-executable');
    await writeFile(file, 'echo no');
    const go = (command: string) => start(['run', '--deployment', id, '--', command]);
    expect(await ended(go('no-such-command'))).toBe(127);
    expect(await attempt()).toMatchObject({ state: 'failed', code: 'command_not_started' });
    expect(await ended(go(file))).toBe(126);
  });

  it.concurrent('gives the command its output, and names the attempt to it', async () => {
    const { id, run, attempt } = await newCase();
    const runner = await run(
      'echo "out $SHIPSLOG_DEPLOYMENT_ID $SHIPSLOG_ATTEMPT_ID"; echo err >&2',
    );
    await runner.ended;
    const { attemptId, runner: who } = await attempt();
    expect(runner.said()).toContain(`out ${id} ${attemptId}\n`);
    expect(runner.said()).toContain('err\n');
    expect(who).toMatchObject({ id: expect.stringContaining('@'), pid: expect.any(Number) });
  });

  it.concurrent('creates the deployment when it is told to, and takes the scope', async () => {
    const { run, deployment } = await newCase({ isDeclared: false });
    const refused = await run('exit 0');
    expect(await refused.ended).toBe(5);
    expect(refused.said()).toMatch(/no deployment .* is recorded/);
    const flags = ['--create', '--label', 'team=shop', '--scope', 'configure'];
    expect(await ended(run('exit 0', ...flags))).toBe(0);
    expect(await ended(run('exit 0', ...flags))).toBe(0);
    expect(await deployment()).toMatchObject({
      labels: { team: 'shop' },
      currentAttempt: { number: 2, scope: 'configure' },
    });
  });

  it.concurrent('names its own flags for what the service does not take', async () => {
    const { run, start } = await newCase({ isDeclared: false });
    const wrong = await run('exit 0', '--create', '--label', 'two words=1', '--attempt', 'a 1');
    expect(await wrong.ended).toBe(2);
    expect(wrong.said()).toMatch(/^shipslog run: INVALID_BODY\n {2}--label must have keys like/);
    const nowhere = await start(['run', '--deployment', 'a b', '--create', '--', 'true']);
    expect(await nowhere.ended).toBe(2);
    expect(nowhere.said()).toMatch(/^shipslog run: INVALID_BODY\n {2}--deployment must be an id/);
  });

  it.concurrent('tells what happens as lines of JSON', async () => {
    const { id, run } = await newCase();
    const runner = await run('exit 3', '--json');
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

  it.concurrent('keeps the attempt alive for longer than its lease', async () => {
    const { run, attempt } = await newCase();
    const runner = await run(`sleep ${(LEASE_MS * 1.5) / 1000}`);
    await runner.saying(/started/);
    expect(await runner.ended).toBe(0);
    expect(await attempt()).toMatchObject({ state: 'succeeded', recovered: false });
  });

  it.concurrent('stops the command and all that it started when it is cancelled', async () => {
    const { id, run, attempt, deployment } = await newCase();
    const runner = await run(
      `trap 'echo cleaning up; exit 5' TERM; sleep 97.${count} & sleep 98.${count}; echo no`,
    );
    await runner.saying(/started/);
    const { attemptId } = await attempt();
    const body = { reason: 'wrong version' };
    await operator.call('cancelAttempt', { deploymentId: id, attemptId, body });
    expect(await runner.ended).toBe(5);
    expect(runner.said()).toContain('cleaning up\n');
    expect(await deployment()).toMatchObject({
      state: 'failed',
      currentAttempt: { state: 'cancelled', exitCode: 5, cancelRequested: true },
    });
    expect(await processesOf(attemptId)).toEqual([]);
  });

  it.concurrent('kills what does not stop within the grace', async () => {
    const { id, run, attempt } = await newCase();
    const runner = await run(`trap '' TERM; while :; do sleep 0.1; done`, '--grace', '300ms');
    await runner.saying(/started/);
    const { attemptId } = await attempt();
    await operator.call('cancelAttempt', { deploymentId: id, attemptId });
    expect(await runner.ended).toBe(137);
    expect(await attempt()).toMatchObject({ state: 'cancelled', code: 'SIGKILL' });
    expect(await processesOf(attemptId)).toEqual([]);
  });

  it.concurrent('stops within one heartbeat when it is superseded', async () => {
    const { id, proxy, run, attempt } = await newCase();
    const runner = await run('exec sleep 100', '--grace', '1s');
    await runner.saying(/started/);
    await supersede(id, await attempt());
    const before = proxy.requests(HEARTBEAT);
    expect(await runner.ended).toBe(143);
    expect(proxy.requests(HEARTBEAT) - before).toBeLessThanOrEqual(1);
    expect(runner.said()).toMatch(/newer one was opened.*the command is stopped/);
    expect(await attempt()).toMatchObject({ attemptId: 'newer', state: 'pending' });
  });

  it.concurrent('stops when a human has closed the attempt', async () => {
    const { id, run, attempt, deployment } = await newCase();
    await operator.call('updateDeployment', {
      deploymentId: id,
      body: { policy: { lateResults: 'record' } },
    });
    const runner = await run('exec sleep 100', '--grace', '1s');
    await runner.saying(/started/);
    const { attemptId } = await attempt();
    const lost = { cause: 'operator' } as const;
    await operator.call('markUnknown', { deploymentId: id, attemptId, body: lost });
    const { revision } = await deployment();
    const body = { as: 'failed', reason: 'looked at it' } as const;
    await operator.call('resolveUnknown', { deploymentId: id, body }, { ifMatch: revision });
    expect(await runner.ended).toBe(143);
    expect(await deployment()).toMatchObject({ state: 'failed', attention: null });
  });

  it.concurrent('lets one of two runners start an attempt; the other runs nothing', async () => {
    const { folder, run, waiting, openGate, deployment } = await newCase();
    const marks = ['one', 'two'].map((name) => join(folder, name));
    const starts = marks.map((mark) => run(`touch ${mark}; ${waiting}`, '--attempt', 'shared'));
    const runners = await Promise.all(starts);
    // The winner still runs when the other one is told so.
    expect(await Promise.race(runners.map(({ ended: end }) => end))).toBe(6);
    await openGate();
    const codes = await Promise.all(runners.map(({ ended: end }) => end));
    expect(codes.toSorted()).toEqual([0, 6]);
    const ran = await Promise.all(marks.map(isThere));
    expect(ran).toEqual(codes.map((code) => code === 0));
    expect(await deployment()).toMatchObject({ state: 'ready', currentAttempt: { number: 1 } });
  });

  it.concurrent('is refused while another attempt runs, and runs nothing', async () => {
    const { id, run } = await newCase();
    await operator.call('openAttempt', { deploymentId: id });
    const runner = await run('echo it ran');
    expect(await runner.ended).toBe(3);
    expect(runner.said()).toMatch(/next: .*shipslog cancel/);
    expect(runner.said()).not.toContain('it ran');
  });

  it.concurrent('becomes unknown when it is killed, and not before its lease is past', async () => {
    const { run, deployment, until } = await newCase();
    const runner = await run('echo "pid $$"; exec sleep 100');
    await runner.saying(/pid \d+\n/);
    runner.child.kill('SIGKILL');
    await runner.exited;
    expect((await deployment()).state).toBe('deploying');
    const lost = await until(({ state }) => state !== 'deploying');
    expect(lost).toMatchObject({ state: 'unknown', currentAttempt: { cause: 'lease_expired' } });
    process.kill(Number(/pid (\d+)/.exec(runner.said())![1]));
  });

  it.concurrent('passes a signal that was sent to it on to the command', async () => {
    const { run, attempt } = await newCase();
    const runner = await run(`trap 'exit 9' TERM; echo here; while :; do sleep 0.05; done`);
    await runner.saying(/here/);
    runner.child.kill('SIGTERM');
    expect(await runner.ended).toBe(9);
    expect(await attempt()).toMatchObject({ state: 'failed', exitCode: 9 });
  });

  it.concurrent(
    'goes on while the service is out of reach for its lease, and recovers',
    async () => {
      const { proxy, run, waiting, openGate, until, deployment } = await newCase();
      const runner = await run(waiting);
      await runner.saying(/started/);
      proxy.cut();
      await until(({ state }) => state === 'unknown');
      proxy.mend();
      await until(({ state }) => state === 'deploying');
      await openGate();
      expect(await runner.ended).toBe(0);
      expect(runner.said()).toMatch(/the command goes on.*\n.*the service is back/);
      expect(await deployment()).toMatchObject({
        state: 'ready',
        currentAttempt: { state: 'succeeded', recovered: true },
      });
    },
  );

  it.concurrent(
    'tells the end until the service has it, with the time at which it was',
    async () => {
      const { folder, proxy, run, waiting, openGate, until, deployment } = await newCase();
      const runner = await run(`${waiting}; exit 4`);
      await runner.saying(/started/);
      proxy.cut();
      await openGate();
      await runner.saying(/the end is kept, and told again/);
      const { since } = await until(({ state }) => state === 'unknown');
      proxy.mend();
      expect(await runner.ended).toBe(4);
      const { state, currentAttempt } = await deployment();
      expect({ state, currentAttempt }).toMatchObject({
        state: 'failed',
        currentAttempt: { state: 'failed', exitCode: 4, recovered: true },
      });
      expect(currentAttempt!.endedAt! < since!).toBe(true);
      expect(await readdir(join(folder, 'spool'))).toEqual([]);
    },
  );

  it.concurrent('tells the end also where it cannot be kept', async () => {
    const { id, folder, proxy, start, waiting, openGate, attempt } = await newCase();
    // Below /proc no folder can be made, and Node's own way to make one never returns.
    const spool = (await isThere('/proc/self')) ? '/proc/nowhere/spool' : '/dev/null/spool';
    const command = ['--', 'sh', '-c', `${waiting}; exit 4`];
    const flags = ['run', '--deployment', id, '--end-timeout', '100ms', ...command];
    const runner = await start(flags, spool);
    await runner.saying(/started/);
    await openGate();
    expect(await runner.ended).toBe(4);
    expect(await attempt()).toMatchObject({ state: 'failed', exitCode: 4 });
    await rm(join(folder, 'gate'));
    const cutOff = await start(flags, spool);
    await cutOff.saying(/started/);
    proxy.cut();
    await openGate();
    expect(await cutOff.ended).toBe(4);
    expect(cutOff.said()).toMatch(/cannot be kept beyond that: E\w+: .*\n.*the end is lost/);
  });

  it.concurrent.each<readonly [NodeJS.Signals, number | NodeJS.Signals]>([
    ['SIGINT', 4],
    ['SIGKILL', 'SIGKILL'],
  ])('leaves the end to flush when %s ends it before', async (signal, ending) => {
    const { id, proxy, start, run, waiting, openGate, attempt } = await newCase();
    const runner = await run(`${waiting}; exit 4`);
    await runner.saying(/started/);
    proxy.cut();
    await openGate();
    await runner.saying(/the end is kept, and told again/);
    runner.child.kill(signal);
    expect(await runner.ended).toBe(ending);
    expect(await ended(start(['flush']))).toBe(8);
    proxy.mend();
    const flush = await start(['flush']);
    expect(await flush.ended).toBe(0);
    expect(flush.said()).toMatch(new RegExp(`^${id} \\S+ \\(failed\\): delivered, failed\n$`));
    expect(await attempt()).toMatchObject({ state: 'failed', exitCode: 4 });
    expect(await ended(start(['flush']))).toBe(0);
  });

  it.concurrent('tells an end that an earlier run has kept before it opens its own', async () => {
    const { id, proxy, run, waiting, openGate } = await newCase();
    const first = await run(waiting, '--end-timeout', '100ms');
    await first.saying(/started/);
    proxy.cut();
    await openGate();
    expect(await first.ended).toBe(0);
    expect(first.said()).toMatch(/the next shipslog run tells it/);
    proxy.mend();
    expect(await ended(run('exit 0'))).toBe(0);
    const { items } = await operator.call('listAttempts', { deploymentId: id, limit: 2 });
    expect(items.map(({ state }) => state)).toEqual(['succeeded', 'succeeded']);
  });

  it.concurrent('runs nothing when the service cannot be reached at first', async () => {
    const { proxy, run } = await newCase();
    proxy.cut();
    const runner = await run('echo it ran', '--start-timeout', '300ms');
    expect(await runner.ended).toBe(8);
    expect(runner.said()).toMatch(/cannot reach the service/);
    expect(runner.said()).not.toContain('it ran');
  });

  it.concurrent('ends at once when it is interrupted before the command runs', async () => {
    const { proxy, run } = await newCase();
    proxy.cut();
    const runner = await run('echo it ran');
    await runner.saying(/trying again for 30 s/);
    runner.child.kill('SIGINT');
    expect(await runner.ended).toBe(130);
    expect(runner.said()).not.toContain('it ran');
  });

  it.concurrent.each(['attempts', 'start'])(
    'takes the attempt back when it is interrupted before it has started: %s',
    async (step) => {
      const { proxy, run, attempt, deployment } = await newCase();
      // The opening arrives, and its answer does not; the start does not arrive.
      const held = proxy.hold(new RegExp(`^POST \\S+/${step} `), { arrives: step === 'attempts' });
      const runner = await run('echo it ran');
      const drop = await held;
      if (step === 'attempts') await openedBy(attempt);
      runner.child.kill('SIGINT');
      drop();
      expect(await runner.ended).toBe(130);
      expect(runner.said()).not.toContain('it ran');
      expect(await deployment()).toMatchObject({
        state: 'pending',
        currentAttempt: { state: 'cancelled', startedAt: null },
      });
    },
  );

  it.concurrent('leaves it to flush to take an attempt back', async () => {
    const { proxy, start, run, attempt } = await newCase();
    const held = proxy.hold(/^POST \S+\/start /);
    const runner = await run('echo it ran');
    await held;
    proxy.cut();
    await runner.saying(/trying again/);
    runner.child.kill('SIGINT');
    expect(await runner.ended).toBe(130);
    expect(await attempt()).toMatchObject({ state: 'pending' });
    proxy.mend();
    expect(await ended(start(['flush']))).toBe(0);
    expect(await attempt()).toMatchObject({ state: 'cancelled', startedAt: null });
  });

  it.concurrent('survives the death of the service in the middle', async () => {
    const folder = await temporaryFolder();
    const first = await startService({ folder, settings: SETTINGS });
    const { port } = new URL(first.url);
    const gate = join(folder, 'gate');
    const flags = ['run', '--deployment', 'web', '--create', '--lease-ms', '3s'];
    const script = `until [ -e ${gate} ]; do sleep 0.05; done`;
    const args = [...flags, '--', 'sh', '-c', script];
    const runner = await startRunner({ args, folder, url: first.url });
    await runner.saying(/started/);
    await first.end('SIGKILL');
    const settings = { ...SETTINGS, SHIPSLOG_PORT: port };
    const second = await startService({ folder, settings });
    await writeFile(gate, '');
    expect(await runner.ended).toBe(0);
    const client = new Client({ url: second.url });
    const web = await client.call('getDeployment', { deploymentId: 'web', consistency: 'strong' });
    expect(web).toMatchObject({ state: 'ready', currentAttempt: { number: 1 } });
  });

  /** Loses the attempt and opens a newer one. A heartbeat in between revives it: then once more. */
  const supersede = async (deploymentId: string, { attemptId }: Attempt): Promise<void> => {
    const lost = { cause: 'operator' } as const;
    const newer = { attemptId: 'newer', acknowledgeUnknown: { reason: 'the runner is gone' } };
    for (let isOpen = false; !isOpen;) {
      await operator.call('markUnknown', { deploymentId, attemptId, body: lost });
      isOpen = await operator.call('openAttempt', { deploymentId, body: newer }).then(
        () => true,
        (error: unknown) => {
          if ((error as ServiceError).code !== 'ATTEMPT_IN_PROGRESS') throw error;
          return false;
        },
      );
    }
  };
});

const HEARTBEAT = /^POST \S+\/heartbeat /;

/** Waits until there is an attempt. */
async function openedBy(attempt: () => Promise<Attempt | null>): Promise<void> {
  while ((await attempt()) === null) await pause(20);
}

async function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** How a runner ended. */
async function ended(runner: Promise<Runner>): Promise<Ending> {
  return (await runner).ended;
}

/** Pids of the processes that an attempt has started and that still run; on Linux. */
async function processesOf(attemptId: string): Promise<readonly string[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found = pids.map(async (pid) => {
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
    return environment.includes(`SHIPSLOG_ATTEMPT_ID=${attemptId}`) ? [pid] : [];
  });
  return (await Promise.all(found)).flat();
}
