import { afterEach, beforeEach, expect, test } from '@jest/globals';
import { MemoryAuditJournal } from '../../src/adapters/memory/audit-journal.js';
import { MemoryLeases } from '../../src/adapters/memory/leases.js';
import { MemoryReadModels } from '../../src/adapters/memory/read-models.js';
import {
  CreateDeployment,
  EndAttempt,
  Heartbeat,
  OpenAttempt,
  StartAttempt,
  type Receipt,
} from '../../src/application/commands.js';
import { CommandPath } from '../../src/application/handle.js';
import { LeaseWatch } from '../../src/application/lease-watch.js';
import { Projector } from '../../src/application/projector.js';
import { Reaper } from '../../src/application/reaper.js';
import type { DeploymentId } from '../../src/domain/event-schema.js';
import type { EventStore } from '../../src/ports/event-store.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { FakeClock, until } from '../support/fake-clock.js';
import { newLog } from '../support/log-under-test.js';

const defaults = { heartbeatMs: 1_000, leaseMs: 10_000, startTimeoutMs: 20_000 };
const first = { deploymentId: 'web', attemptId: 'a1' };

let clock: FakeClock;
let store: EventStore;
let dispose: () => Promise<void>;
let running: { path: CommandPath; projector: Projector; stop: () => Promise<void> };

/** One process: command path, projector and reaper on the shared log. */
async function startProcess(): Promise<typeof running> {
  const readModels = new MemoryReadModels();
  const leases = new LeaseWatch(clock, new MemoryLeases());
  const path = new CommandPath({
    store,
    leases,
    journal: new MemoryAuditJournal(),
    clock,
    scopes: new Map([['full', 'deploy']]),
    defaults,
  });
  const projector = new Projector({
    store,
    readModels,
    projections: PROJECTIONS,
    clock,
    random: () => 0.5,
    owner: 'test',
  });
  const reaper = new Reaper({
    commands: path,
    readModels,
    leases,
    clock,
    defaults,
    intervalMs: 1_000,
  });
  leases.start();
  await projector.start();
  await projector.caughtUp;
  reaper.start();
  return {
    path,
    projector,
    stop: async () => {
      await reaper.stop();
      leases.stop();
      await projector.stop();
    },
  };
}

beforeEach(async () => {
  clock = new FakeClock();
  ({ store, dispose } = await newLog());
  running = await startProcess();
  await running.path.execute('CreateDeployment', CreateDeployment.of({ deploymentId: 'web' }));
  await shown(running.path.execute('OpenAttempt', OpenAttempt.of(first)));
});
afterEach(async () => {
  await running.stop();
  await dispose();
});

/** Waits until the reaper can see what a command has written. */
const shown = async (receipt: Promise<Receipt>) => {
  const { position } = await receipt;
  await until(() => (running.projector.position ?? 0n) >= position);
};
const start = () => shown(running.path.execute('StartAttempt', StartAttempt.of(first)));
const state = async () => (await running.path.read('web' as DeploymentId))?.deployment.state;
const isUnknown = async () => (await state()) === 'unknown';
const losses = async () => {
  const causes: unknown[] = [];
  for await (const page of store.readAll()) {
    for (const { type, data } of page)
      if (type === 'attempt_lost') causes.push((JSON.parse(data) as { cause: string }).cause);
  }
  return causes;
};

test('an attempt that nobody starts in time becomes unknown', async () => {
  await clock.advance(19_000);
  expect(await state()).toBe('pending');
  await clock.advance(3_000);
  await until(isUnknown);
  expect(await losses()).toEqual(['start_timeout']);
});

test('an attempt whose runner falls silent becomes unknown, once', async () => {
  await start();
  await clock.advance(60_000);
  await until(isUnknown);
  expect(await losses()).toEqual(['lease_expired']);
});

test('an attempt with heartbeats is left alone, however long it runs', async () => {
  await start();
  for (let beat = 0; beat < 20; beat += 1) {
    await clock.advance(8_000);
    await running.path.heartbeat(Heartbeat.of(first));
  }
  expect(await state()).toBe('deploying');
});

test('an attempt that has ended is left alone', async () => {
  await start();
  await shown(
    running.path.execute('EndAttempt', EndAttempt.of({ ...first, outcome: 'succeeded' })),
  );
  await clock.advance(60_000);
  expect(await state()).toBe('ready');
});

test('after a restart each attempt has its whole lease again, then becomes unknown', async () => {
  await start();
  await running.stop();
  await clock.advance(600_000);
  running = await startProcess();
  await clock.advance(9_000);
  expect(await state()).toBe('deploying');
  await clock.advance(3_000);
  await until(isUnknown);
});

test('a wall clock that jumps makes nothing unknown', async () => {
  await start();
  for (const jump of [3_600_000, -7_200_000, 30 * 86_400_000, -60 * 86_400_000]) {
    clock.jumpWall(jump);
    await clock.advance(2_000);
  }
  expect(await state()).toBe('deploying');
});

test('a process that was frozen for ten leases hears its runners before it judges them', async () => {
  await start();
  clock.freeze(100_000);
  await clock.advance(1_500);
  expect(await state()).toBe('deploying');
  await running.path.heartbeat(Heartbeat.of(first));
  await clock.advance(8_000);
  expect(await state()).toBe('deploying');
});

test('two reapers on one log leave one event', async () => {
  await start();
  const other = await startProcess();
  await clock.advance(60_000);
  await until(isUnknown);
  await other.stop();
  expect(await losses()).toEqual(['lease_expired']);
});
