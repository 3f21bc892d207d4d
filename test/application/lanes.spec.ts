import { beforeEach, describe, expect, test } from '@jest/globals';
import { MemoryAuditJournal } from '../../src/adapters/memory/audit-journal.js';
import { MemoryLeases } from '../../src/adapters/memory/leases.js';
import {
  CreateDeployment,
  Heartbeat,
  OpenAttempt,
  StartAttempt,
  UpdateDeployment,
  type Receipt,
} from '../../src/application/commands.js';
import { CommandPath } from '../../src/application/handle.js';
import { LeaseWatch } from '../../src/application/lease-watch.js';
import { isFault } from '../../src/ports/faults.js';
import { FakeClock } from '../support/fake-clock.js';
import { FlakyStore } from '../support/flaky-store.js';

const DEADLINE_MS = 300;
const web = { deploymentId: 'web' };

let clock: FakeClock;
let leases: LeaseWatch;
beforeEach(() => {
  clock = new FakeClock();
});

function pathOn(store: FlakyStore): CommandPath {
  leases = new LeaseWatch(clock, new MemoryLeases());
  return new CommandPath({
    store,
    leases,
    journal: new MemoryAuditJournal(),
    clock,
    scopes: new Map([['full', 'deploy']]),
    defaults: { heartbeatMs: 30_000, leaseMs: 90_000, startTimeoutMs: 90_000 },
    deadlineMs: DEADLINE_MS,
  });
}

function setUp(exclusive: boolean): { store: FlakyStore; path: CommandPath } {
  const store = new FlakyStore({ exclusive });
  return { store, path: pathOn(store) };
}

const create = (path: CommandPath) => path.execute('CreateDeployment', CreateDeployment.of(web));
const rename = (path: CommandPath, name: string, commandId = name) =>
  path.execute('UpdateDeployment', UpdateDeployment.of({ ...web, name, commandId }));

async function names(store: FlakyStore): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const page of store.read('deployment-web')) {
    for (const { type, data } of page) {
      if (type === 'deployment_updated') found.push((JSON.parse(data) as { name: string }).name);
    }
  }
  return found;
}

/** Moves the clock on until all answers are there. */
async function answersOf<T>(commands: readonly Promise<T>[]): Promise<PromiseSettledResult<T>[]> {
  let left = 1;
  const settled = Promise.allSettled(commands).finally(() => (left -= 1));
  while (left > 0) await clock.advance(10);
  return settled;
}

async function settle(commands: readonly Promise<Receipt>[]): Promise<string[]> {
  const settled = await answersOf(commands);
  return settled.map((one) =>
    one.status === 'fulfilled' ? 'accepted' : isFault(one.reason) ? one.reason.code : 'defect',
  );
}

describe.each([
  ['a store that others write too', false],
  ['a store of which this process is the only writer', true],
])('on %s', (_, exclusive) => {
  test.each(['written, then unknown', 'not written, then unknown', 'written later'] as const)(
    'an append that is %s is repeated with the same ids and has one effect',
    async (trouble) => {
      const { store, path } = setUp(exclusive);
      await create(path);
      store.next(trouble, trouble);
      expect(await settle([rename(path, 'one')])).toEqual(['accepted']);
      expect(await names(store)).toEqual(['one']);
    },
  );

  test('an outcome that stays unknown is told as such, never guessed', async () => {
    const { store, path } = setUp(exclusive);
    await create(path);
    store.next(...Array<'not written, then unknown'>(20).fill('not written, then unknown'));
    expect(await settle([rename(path, 'one')])).toEqual(['OUTCOME_UNKNOWN']);
    store.next();
  });

  test('a retry after an unknown outcome finds what was written', async () => {
    const { store, path } = setUp(exclusive);
    await create(path);
    store.next('written, then unknown', ...Array<'unavailable'>(20).fill('unavailable'));
    expect(await settle([rename(path, 'one')])).toEqual(['OUTCOME_UNKNOWN']);
    while ((await settle([rename(path, 'two')]))[0] !== 'accepted');
    expect(await rename(path, 'one')).toMatchObject({ replayed: true });
    expect(await names(store)).toEqual(['one', 'two']);
  });

  test('commands after a failed one are decided again, and none is lost or doubled', async () => {
    const { store, path } = setUp(exclusive);
    await create(path);
    store.next('unavailable');
    const all = ['a', 'b', 'c', 'd'].map((name) => rename(path, name));
    expect(await settle(all)).toEqual(['STORE_UNAVAILABLE', 'accepted', 'accepted', 'accepted']);
    expect((await names(store)).sort()).toEqual(['b', 'c', 'd']);
  });

  test('every acknowledged command of a burst with trouble is in the log once, every other not at all', async () => {
    const { store, path } = setUp(exclusive);
    await create(path);
    for (let round = 0; round < 20; round += 1) {
      store.next(
        'unavailable',
        'written, then unknown',
        'not written, then unknown',
        'written later',
      );
      const burst = Array.from({ length: 8 }, (__, n) => `r${String(round)}n${String(n)}`);
      const answers = await settle(burst.map((name) => rename(path, name)));
      const written = new Set(await names(store));
      for (const [index, name] of burst.entries()) {
        if (answers[index] !== 'OUTCOME_UNKNOWN')
          expect([name, written.has(name)]).toEqual([name, answers[index] === 'accepted']);
      }
    }
    const all = await names(store);
    expect(new Set(all).size).toBe(all.length);
  });
});

test('where this process is the only writer, a burst on one deployment is sent without waiting', async () => {
  const { store, path } = setUp(true);
  await create(path);
  store.appends = 0;
  const burst = Array.from({ length: 64 }, (_, n) => rename(path, `n${String(n)}`));
  await Promise.resolve();
  await Promise.resolve();
  expect(store.appends).toBeGreaterThan(32);
  expect(new Set((await Promise.all(burst)).map(({ revision }) => revision)).size).toBe(64);
});

test('a command that was in flight when a later one failed is still found by its id', async () => {
  const { store, path } = setUp(true);
  await create(path);
  store.next('slow', 'unavailable');
  const [slow, failing] = [rename(path, 'slow'), rename(path, 'failing')];
  expect(await settle([slow, failing])).toEqual(['accepted', 'STORE_UNAVAILABLE']);
  expect(await rename(path, 'slow')).toMatchObject({ replayed: true });
  expect(await rename(path, 'after')).toMatchObject({ changed: true });
  expect(await names(store)).toEqual(['slow', 'after']);
});

test('another command under the same id, sent to another process at once, is refused', async () => {
  const { store, path } = setUp(false);
  await create(path);
  const other = pathOn(store);
  const answers = await answersOf([rename(path, 'a', 'key'), rename(other, 'b', 'key')]);
  expect(answers.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  expect(await names(store)).toHaveLength(1);
});

test('an attempt that is given no id gets the same one wherever its command arrives', async () => {
  const { store, path } = setUp(false);
  await create(path);
  const open = (at: CommandPath) =>
    at.execute('OpenAttempt', OpenAttempt.of({ ...web, commandId: 'key' }));
  const [here, there] = [open(path), open(pathOn(store))];
  expect(await settle([here, there])).toEqual(['accepted', 'accepted']);
  expect((await here).attemptId).toBe((await there).attemptId);
});

test('a heartbeat counts though the log is out of reach', async () => {
  const { store, path } = setUp(false);
  const first = { ...web, attemptId: 'a1' };
  await create(path);
  await path.execute('OpenAttempt', OpenAttempt.of(first));
  await path.execute('StartAttempt', StartAttempt.of(first));
  store.isUnreachable = true;
  await expect(
    path.heartbeat(Heartbeat.of({ ...first, progress: { step: 2 } })),
  ).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  expect(leases.lastBeat(first)?.progress).toEqual({ step: 2 });
});
