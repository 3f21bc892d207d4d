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
import { Fault } from '../../src/ports/faults.js';
import type { Leases } from '../../src/ports/leases.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { FakeClock, settled, until } from '../support/fake-clock.js';
import { newLog } from '../support/log-under-test.js';

const defaults = { heartbeatMs: 1_000, leaseMs: 10_000, startTimeoutMs: 20_000 };
const first = { deploymentId: 'web', attemptId: 'a1' };

let clock: FakeClock;
let store: EventStore;
let dispose: () => Promise<void>;
let running: { path: CommandPath; projector: Projector; stop: () => Promise<void> };

/** The database of signs of life and read models. */
let beats: Leases;
let isAway: boolean;
let isCut: boolean;

/** A store that is out of reach while the database is away. */
function inDatabase<T extends object>(whole: T): T {
  return new Proxy(whole, {
    get: (target, name): unknown => {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      return (...values: unknown[]): unknown =>
        isAway
          ? Promise.reject(new Fault('STORE_UNAVAILABLE'))
          : Reflect.apply(member, target, values);
    },
  });
}

/** The log as the command path reaches it. */
function cuttable(whole: EventStore): EventStore {
  return new Proxy(whole, {
    get: (target, name): unknown => {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      return (...values: unknown[]): unknown => {
        if (isCut) throw new Fault('STORE_UNAVAILABLE');
        return Reflect.apply(member, target, values);
      };
    },
  });
}

/** One process: command path, projector and, where it reaps, reaper on the shared log. */
async function startProcess({ intervalMs = 1_000, reaps = true } = {}): Promise<typeof running> {
  const reached = cuttable(store);
  const readModels = inDatabase(new MemoryReadModels());
  const leases = new LeaseWatch(clock, beats);
  const path = new CommandPath({
    store: reached,
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
    intervalMs,
  });
  leases.start();
  await projector.start();
  await projector.caughtUp;
  if (reaps) reaper.start();
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
  beats = inDatabase(new MemoryLeases());
  isAway = false;
  isCut = false;
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
const shown = async (receipt: Promise<Receipt>, waits = true) => {
  const { position } = await receipt;
  if (waits) await until(() => (running.projector.position ?? 0n) >= position);
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

test('a database that was away for longer than a lease costs no runner its attempt', async () => {
  await start();
  await clock.advance(3_000);
  isAway = true;
  for (let beat = 0; beat < 6; beat += 1) {
    await clock.advance(4_000);
    await expect(running.path.heartbeat(Heartbeat.of(first))).rejects.toBeInstanceOf(Fault);
  }
  isAway = false;
  await clock.advance(4_000);
  await running.path.heartbeat(Heartbeat.of(first));
  expect(await losses()).toEqual([]);
  await clock.advance(60_000);
  await until(isUnknown);
});

test('a database that was away between two rounds costs no runner its attempt, wherever it beats', async () => {
  await running.stop();
  running = await startProcess({ intervalMs: 60_000 });
  await start();
  const other = await startProcess({ reaps: false });
  const beat = () => other.path.heartbeat(Heartbeat.of(first));
  for (let n = 0; n < 14; n += 1) {
    await clock.advance(4_000);
    await beat();
  }
  await clock.advance(4_500); // The round of a minute has seen the last beat.
  isAway = true;
  for (let n = 0; n < 14; n += 1) {
    await clock.advance(4_000);
    await expect(beat()).rejects.toBeInstanceOf(Fault);
  }
  isAway = false;
  await clock.advance(4_000); // The next one comes before the next beat.
  await settled(50);
  expect(await losses()).toEqual([]);
  await beat();
  await clock.advance(120_000);
  await until(isUnknown);
  await other.stop();
});

test('a log that was away for longer than a lease costs no runner its attempt, wherever it beats', async () => {
  await start();
  const other = await startProcess();
  isCut = true;
  for (let beat = 0; beat < 6; beat += 1) {
    await clock.advance(4_000);
    await expect(other.path.heartbeat(Heartbeat.of(first))).rejects.toBeInstanceOf(Fault);
  }
  isCut = false;
  await clock.advance(4_000);
  await other.path.heartbeat(Heartbeat.of(first));
  expect(await losses()).toEqual([]);
  await clock.advance(60_000);
  await until(isUnknown);
  await other.stop();
});

test('a beat that counts from one again, since its attempt was forgotten meanwhile, is heard', async () => {
  const [one, two] = [new LeaseWatch(clock, beats), new LeaseWatch(clock, beats)];
  await one.beat(first, clock.now());
  await two.refresh([first]);
  await clock.advance(400);
  await one.drop(first);
  await one.beat(first, clock.now());
  await two.refresh([first]);
  expect(two.silentMs(first, 'running')).toBe(0);
});

test('what could not be forgotten at once is forgotten by the next round', async () => {
  await start();
  isAway = true;
  await shown(
    running.path.execute('EndAttempt', EndAttempt.of({ ...first, outcome: 'succeeded' })),
    false,
  );
  isAway = false;
  await clock.advance(8_000);
  expect(await beats.read([first])).toEqual([null]);
});

test('what a process has noted that ended before is forgotten by the reaper', async () => {
  await beats.beat({ ...first, attemptId: 'ended' }, clock.now());
  const other = await startProcess();
  await clock.advance(2_000);
  expect(await beats.read([{ ...first, attemptId: 'ended' }])).toEqual([null]);
  await other.stop();
});

test('a process that hears of attempts and reaps none keeps few of them in mind', async () => {
  const watch = new LeaseWatch(clock, beats, { forgets: true });
  for (let n = 0; n <= 10_000; n += 1) {
    await watch.beat({ deploymentId: 'web', attemptId: String(n) }, clock.now());
  }
  expect(watch.lastBeat({ deploymentId: 'web', attemptId: '0' })).toBeNull();
  expect(watch.lastBeat({ deploymentId: 'web', attemptId: '1' })).not.toBeNull();
});

test('two reapers on one log leave one event', async () => {
  await start();
  const other = await startProcess();
  await clock.advance(60_000);
  await until(isUnknown);
  await other.stop();
  expect(await losses()).toEqual(['lease_expired']);
});
