import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { MemoryAuditJournal } from '../../src/adapters/memory/audit-journal.js';
import { MemoryEventStore } from '../../src/adapters/memory/event-store.js';
import { MemoryLeases } from '../../src/adapters/memory/leases.js';
import {
  ArchiveDeployment,
  CancelAttempt,
  CreateDeployment,
  EndAttempt,
  Heartbeat,
  MarkUnknown,
  OpenAttempt,
  ResolveUnknown,
  StartAttempt,
  UpdateDeployment,
  type BusCommand,
  type CommandName,
  type Receipt,
} from '../../src/application/commands.js';
import { CommandPath } from '../../src/application/handle.js';
import { LeaseWatch } from '../../src/application/lease-watch.js';
import { Refused } from '../../src/application/refused.js';
import type { DeploymentId, State } from '../../src/domain/event-schema.js';
import type { EventStore, RecordedEvent, StreamRange } from '../../src/ports/event-store.js';
import { FakeClock } from '../support/fake-clock.js';
import { newLog } from '../support/log-under-test.js';
import { eventsOf } from '../support/stored-events.js';

const defaults = { heartbeatMs: 30_000, leaseMs: 90_000, startTimeoutMs: 90_000 };
const alice = { id: 'alice', kind: 'human' } as const;
const web = { deploymentId: 'web' };
const first = { ...web, attemptId: 'a1' };

let store: EventStore;
let dispose: () => Promise<void>;
let clock: FakeClock;
let journal: MemoryAuditJournal;
let path: CommandPath;

function pathOn(events: EventStore): CommandPath {
  const leases = new LeaseWatch(clock, new MemoryLeases());
  const scopes = new Map([
    ['full', 'deploy'],
    ['teardown', 'teardown'],
  ] as const);
  leases.start();
  return new CommandPath({ store: events, leases, journal, clock, scopes, defaults });
}

beforeEach(async () => {
  ({ store, dispose } = await newLog());
  clock = new FakeClock();
  journal = new MemoryAuditJournal();
  path = pathOn(store);
});
afterEach(() => dispose());

const create = (commandId?: string) =>
  path.execute(
    'CreateDeployment',
    CreateDeployment.of({ ...web, ...(commandId && { commandId }) }),
  );
const open = () => path.execute('OpenAttempt', OpenAttempt.of(first));
const start = () =>
  path.execute('StartAttempt', StartAttempt.of({ ...first, runner: { id: 'r' } }));

/** The log in memory, which notes how many events each page held that was read. */
class CountedStore extends MemoryEventStore {
  readonly pages: number[] = [];

  override async *read(
    stream: string,
    range?: StreamRange,
  ): AsyncGenerator<readonly RecordedEvent[]> {
    for await (const page of super.read(stream, range)) {
      this.pages.push(page.length);
      yield page;
    }
  }
}

async function codeOf(answer: Promise<unknown>): Promise<string> {
  try {
    await answer;
  } catch (error) {
    if (error instanceof Refused) return error.code;
    throw error;
  }
  return 'ACCEPTED';
}

async function events(): Promise<string[]> {
  return (await eventsOf(store.read('deployment-web'))).map(({ type }) => type);
}

describe('a receipt', () => {
  test('tells the state, the place in the log and the events that were written', async () => {
    const receipt = await create('key');
    expect(receipt).toMatchObject({
      deploymentId: 'web',
      state: 'pending',
      revision: 1n,
      position: await store.head(),
      changed: true,
      replayed: false,
    });
    expect(receipt.events.map(({ type, revision }) => [type, revision])).toEqual([
      ['deployment_created', 0n],
      ['state_transition', 1n],
    ]);
  });

  test('of a start says when the lease ends', async () => {
    await create();
    await open();
    const receipt = await start();
    expect(receipt).toMatchObject({ attemptId: 'a1', number: 1, state: 'deploying' });
    expect(receipt.leaseExpiresAt).toBe('2026-01-01T00:01:30.000Z');
  });
});

describe('the same command id', () => {
  test('with the same content gives the first answer again, whatever came after', async () => {
    const receipt = await create('key');
    await open();
    await start();
    expect(await create('key')).toEqual({ ...receipt, replayed: true });
    expect(await events()).toHaveLength(5);
  });

  test('gives the first answer to a process that never saw the command', async () => {
    const receipt = await create('key');
    path = pathOn(store);
    expect(await create('key')).toEqual({ ...receipt, replayed: true });
  });

  test('with other content is refused', async () => {
    await create('key');
    const other = UpdateDeployment.of({ ...web, name: 'Web', commandId: 'key' });
    expect(await codeOf(path.execute('UpdateDeployment', other))).toBe('COMMAND_ID_REUSED');
  });

  test('ignores the order of members of nested objects', async () => {
    await create();
    const opened = OpenAttempt.of({ ...first, meta: { a: 1, b: { c: 2, d: 3 } }, commandId: 'k' });
    const again = OpenAttempt.of({ ...first, meta: { b: { d: 3, c: 2 }, a: 1 }, commandId: 'k' });
    await path.execute('OpenAttempt', opened);
    expect(await path.execute('OpenAttempt', again)).toMatchObject({ replayed: true });
  });

  test('of a refusal that left a record is refused again and leaves no second one', async () => {
    await create();
    await open();
    await start();
    const succeed = EndAttempt.of({ ...first, outcome: 'succeeded' });
    await path.execute('EndAttempt', succeed);
    const fail = () =>
      path.execute('EndAttempt', EndAttempt.of({ ...first, outcome: 'failed', commandId: 'late' }));
    expect(await codeOf(fail())).toBe('ATTEMPT_TERMINAL');
    const recorded = await events();
    expect(recorded.at(-1)).toBe('late_result_recorded');
    expect(await codeOf(fail())).toBe('ATTEMPT_TERMINAL');
    expect(await events()).toEqual(recorded);
  });

  test('gives the first answer again for each command of a whole life, here and in another process', async () => {
    const [second, third] = ['a2', 'a3'].map((attemptId) => ({ ...web, attemptId }));
    const resolved = { as: 'failed', reason: 'seen', actor: alice, expectedRevision: 9n } as const;
    const life: readonly (readonly [CommandName, BusCommand, State])[] = [
      [
        'CreateDeployment',
        CreateDeployment.of({ ...web, policy: { lateResults: 'record' } }),
        'pending',
      ],
      ['OpenAttempt', OpenAttempt.of(first), 'pending'],
      ['StartAttempt', StartAttempt.of(first), 'deploying'],
      ['UpdateDeployment', UpdateDeployment.of({ ...web, name: 'Web' }), 'deploying'],
      ['CancelAttempt', CancelAttempt.of(first), 'deploying'],
      ['MarkUnknown', MarkUnknown.of({ ...first, cause: 'operator' }), 'unknown'],
      // Recorded only, as the policy says, and no refusal.
      ['EndAttempt', EndAttempt.of({ ...first, outcome: 'succeeded' }), 'unknown'],
      ['ResolveUnknown', ResolveUnknown.of({ ...web, ...resolved }), 'failed'],
      ['OpenAttempt', OpenAttempt.of({ ...second!, scope: 'teardown' }), 'pending'],
      ['CancelAttempt', CancelAttempt.of(second!), 'failed'],
      ['OpenAttempt', OpenAttempt.of({ ...third!, scope: 'teardown' }), 'pending'],
      ['StartAttempt', StartAttempt.of(third!), 'deploying'],
      ['EndAttempt', EndAttempt.of({ ...third!, outcome: 'succeeded' }), 'pending'],
      ['ArchiveDeployment', ArchiveDeployment.of({ ...web, reason: 'gone' }), 'pending'],
    ];
    const answers = async (): Promise<Receipt[]> => {
      const receipts: Receipt[] = [];
      for (const [n, [name, command]] of life.entries()) {
        receipts.push(
          await path.execute(name, Object.assign(command, { commandId: `key${String(n)}` })),
        );
      }
      return receipts;
    };
    const firsts = await answers();
    expect(firsts.map(({ state }) => state)).toEqual(life.map(([, , state]) => state));
    const recorded = await events();
    const again = firsts.map((receipt) => ({ ...receipt, replayed: true }));
    expect(await answers()).toEqual(again);
    path = pathOn(store);
    expect(await answers()).toEqual(again);
    expect(await events()).toEqual(recorded);
  });

  test('costs one page of the log, however much came before and after', async () => {
    const counted = new CountedStore();
    path = pathOn(counted);
    await create('first');
    const rename = (n: number) =>
      path.execute(
        'UpdateDeployment',
        UpdateDeployment.of({ ...web, name: `n${String(n)}`, commandId: `key${String(n)}` }),
      );
    for (let n = 0; n < 1500; n += 500) {
      await Promise.all(Array.from({ length: 500 }, (_, k) => rename(n + k)));
    }
    for (const again of [() => create('first'), () => rename(749), () => rename(1499)]) {
      counted.pages.length = 0;
      expect(await again()).toMatchObject({ replayed: true });
      expect(counted.pages).toHaveLength(1);
      expect(counted.pages[0]).toBeLessThanOrEqual(2);
    }
  });

  test('at the same moment has one effect and one answer', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => create('key')));
    expect(answers.filter(({ replayed }) => !replayed)).toHaveLength(1);
    expect(new Set(answers.map(({ position }) => position))).toEqual(new Set([await store.head()]));
    expect(await events()).toHaveLength(2);
  });
});

describe('validation', () => {
  test('names every wrong member by a pointer', async () => {
    const wrong = CreateDeployment.of({
      deploymentId: 'no spaces',
      name: ' ',
      labels: { ok: 'x\u0000' },
      policy: { leaseMs: 5, other: 1 } as never,
    });
    const refusal = await path.execute('CreateDeployment', wrong).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(Refused);
    const { errors = [] } = (refusal as Refused).refusal;
    expect(errors.map(({ pointer }) => pointer).sort()).toEqual([
      '/deploymentId',
      '/labels',
      '/name',
      '/policy/leaseMs',
      '/policy/other',
    ]);
    expect(await events()).toEqual([]);
  });

  test.each([
    '2026-02-30T00:00:00Z',
    '1999-12-31T23:59:59Z',
    '2026-01-01T00:05:01Z',
    '2026-01-01',
    7,
  ])('refuses occurredAt %p', async (occurredAt) => {
    await create();
    await open();
    const at = StartAttempt.of({ ...first, occurredAt: occurredAt as string });
    expect(await codeOf(path.execute('StartAttempt', at))).toBe('INVALID_BODY');
  });
});

describe('concurrent commands', () => {
  test('on one deployment get one revision each', async () => {
    await create();
    const updates = Array.from({ length: 64 }, (_, n) =>
      path.execute('UpdateDeployment', UpdateDeployment.of({ ...web, name: `n${String(n)}` })),
    );
    const revisions = (await Promise.all(updates)).map(({ revision }) => revision);
    expect(new Set(revisions).size).toBe(64);
  });

  test('of two processes are decided on what the other has written', async () => {
    await create();
    const other = pathOn(store);
    const opens = Array.from({ length: 10 }, (_, n) =>
      codeOf(
        [path, other][n % 2]!.execute(
          'OpenAttempt',
          OpenAttempt.of({ ...web, attemptId: `a${String(n)}` }),
        ),
      ),
    );
    const answers = await Promise.all(opens);
    expect(answers.filter((code) => code === 'ACCEPTED')).toHaveLength(1);
    expect(answers.filter((code) => code === 'ATTEMPT_IN_PROGRESS')).toHaveLength(9);
  });

  test('a refusal is never told on a state that another process has left', async () => {
    await create();
    await open();
    await start();
    const other = pathOn(store);
    await other.execute('EndAttempt', EndAttempt.of({ ...first, outcome: 'succeeded' }));
    expect(
      await codeOf(path.execute('OpenAttempt', OpenAttempt.of({ ...web, attemptId: 'a2' }))),
    ).toBe('ACCEPTED');
  });
});

describe('leases', () => {
  beforeEach(async () => {
    await create();
    await open();
    await start();
  });
  const expire = () =>
    codeOf(path.execute('MarkUnknown', MarkUnknown.of({ ...first, cause: 'lease_expired' })));

  test('a lease counts from the last heartbeat', async () => {
    await clock.advance(60_000);
    await path.heartbeat(Heartbeat.of(first));
    await clock.advance(60_000);
    expect(await expire()).toBe('LEASE_ACTIVE');
    await clock.advance(31_000);
    expect(await expire()).toBe('ACCEPTED');
  });

  test('a jump of the wall clock expires nothing', async () => {
    clock.jumpWall(30 * 86_400_000);
    expect(await expire()).toBe('LEASE_ACTIVE');
  });

  test('a process that has just started gives each attempt its whole lease', async () => {
    await clock.advance(300_000);
    path = pathOn(store);
    expect(await expire()).toBe('LEASE_ACTIVE');
    await clock.advance(91_000);
    expect(await expire()).toBe('ACCEPTED');
  });

  test('a heartbeat of a lost attempt revives it', async () => {
    await clock.advance(91_000);
    expect(await expire()).toBe('ACCEPTED');
    await path.heartbeat(Heartbeat.of(first));
    const folded = await path.read('web' as DeploymentId);
    expect(folded?.deployment).toMatchObject({
      state: 'deploying',
      currentAttempt: { recovered: true },
    });
  });
});

describe('refusals', () => {
  test('carry the state, what is allowed and the revision', async () => {
    await create();
    await open();
    const refusal = await open().catch((error: unknown) => error as Refused);
    expect(refusal).toMatchObject({
      code: 'ATTEMPT_EXISTS',
      standing: { state: 'pending', revision: 2n },
    });
    expect((refusal as Refused).standing?.allowed).toContain('StartAttempt');
  });

  test('are in the audit journal, with who asked', async () => {
    await create();
    const resolve = ResolveUnknown.of({
      ...web,
      as: 'ready',
      reason: 'seen',
      actor: alice,
      expectedRevision: 1n,
    });
    expect(await codeOf(path.execute('ResolveUnknown', resolve))).toBe('DEPLOYMENT_NOT_UNKNOWN');
    const [entry] = await journal.list();
    expect(entry).toMatchObject({
      code: 'DEPLOYMENT_NOT_UNKNOWN',
      actor: alice,
      command: 'ResolveUnknown',
    });
  });
});
