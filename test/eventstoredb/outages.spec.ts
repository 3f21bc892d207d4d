import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { openEventStoreDB } from '../../src/adapters/eventstoredb/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { EventStore } from '../../src/ports/event-store.js';
import { listen } from '../../src/ports/signals.js';
import { Load } from '../support/eventstoredb/load.js';
import type { Member } from '../support/eventstoredb/node.js';
import { ServerProcess } from '../support/eventstoredb/server-process.js';
import type { AppendFault } from '../support/eventstoredb/switchboard.js';
import { newEvents, newStream } from '../support/stored-events.js';

/*
 * Servers that are processes of their own, killed, frozen and stopped for real, under load.
 * EVENTSTOREDB_OUTAGE_MS=30000 keeps the server away for so long, EVENTSTOREDB_FAULTS=100 plays each
 * fault so many times.
 */

const OUTAGE_MS = Number(process.env['EVENTSTOREDB_OUTAGE_MS'] ?? 1_500);
const FAULT_TIMES = Number(process.env['EVENTSTOREDB_FAULTS'] ?? 2);
const FAULTS: readonly AppendFault[] = [
  { fault: 'silence' },
  { fault: 'commit_then_unavailable' },
  { fault: 'commit_then_deadline' },
  { fault: 'deadline' },
  { fault: 'late_reply', delayMs: 250 },
  { fault: 'ok_end', commit: true },
  { fault: 'reset', commit: true },
  { fault: 'internal', commit: true },
  { fault: 'not_ready' },
];
const DEADLINE_MS = 5_000;
const GRACE_MS = 250;
const RECOVERY_MS_MAX = 2_000;
/** From the election of a new leader until every writer has written again. */
const FAILOVER_MS_MAX = 2_500;
const APPEND_TIMEOUT_MS = 2_000;
const START_MS_MAX = 60_000;
const TEST_MS_MAX = START_MS_MAX + 2 * OUTAGE_MS + 20_000 * FAULT_TIMES;
/** How long the other nodes take until one of them leads. */
const ELECTION_MS = 300;

let folder: string;
let log: string;
/** The server that runs just now: each test takes over where the last one left it. */
let server: ServerProcess;
const servers: ServerProcess[] = [];
const stores: EventStore[] = [];
const loads: Load[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shipslog-eventstoredb-'));
  log = join(folder, 'server.log');
  server = await start({ log });
}, START_MS_MAX);
afterEach(async () => {
  for (const load of loads.splice(0)) load.abandon();
  await Promise.all(stores.splice(0).map((store) => store.close()));
});
afterAll(async () => {
  await Promise.all(servers.splice(0).map((each) => each.kill()));
  await rm(folder, { recursive: true, force: true });
});

describe('one server', () => {
  it(
    'killed under load, away for a while, and back with its log: nothing is lost or doubled',
    async () => {
      const store = await open(server.url);
      const load = begin(store, 32);
      await load.more(200);
      await server.kill();
      const before = load.acknowledged.length;
      await sleep(OUTAGE_MS);
      expect(load.acknowledged.length - before).toBeLessThanOrEqual(32);
      expect(Number(store.health().details['appendsInFlight'])).toBeLessThanOrEqual(32);
      await expect(store.append(newStream(), 'no_stream', newEvents())).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
      });
      expect(store.health()).toMatchObject({ reachable: false });
      server = await start({ log, port: server.port });
      const backAtMs = performance.now();
      await load.everyWriter();
      expect(performance.now() - backAtMs).toBeLessThan(RECOVERY_MS_MAX);
      await expectWhole(load, store);
    },
    TEST_MS_MAX,
  );

  it(
    'frozen under load: what it writes when it wakes is found by the repeats',
    async () => {
      const store = await open(server.url, 500);
      const load = begin(store, 32);
      await load.more(100);
      server.freeze();
      await sleep(1_000);
      server.continue();
      const awakeAtMs = performance.now();
      await load.everyWriter();
      expect(performance.now() - awakeAtMs).toBeLessThan(RECOVERY_MS_MAX);
      await expectWhole(load, store);
      expect(Number(store.health().details['unknownOutcomes'])).toBeGreaterThan(0);
    },
    TEST_MS_MAX,
  );

  it(
    'that is not there yet is waited for, which is said once',
    async () => {
      await server.kill();
      const troubles: unknown[] = [];
      const stopListening = listen('trouble', (trouble) => troubles.push(trouble));
      const opening = open(server.url);
      server = await start({ log, port: server.port });
      const store = await opening;
      stopListening();
      expect((await store.append(newStream(), 'no_stream', newEvents())).revision).toBe(0n);
      expect(troubles).toEqual([
        { where: 'eventstoredb', error: expect.objectContaining({ code: 'STORE_UNAVAILABLE' }) },
      ]);
    },
    TEST_MS_MAX,
  );

  it('that never comes is not waited for any more when nobody wants it', async () => {
    const abort = new AbortController();
    const url = 'esdb://127.0.0.1:9?tls=false';
    const opening = openEventStoreDB({ url, clock: systemClock, signal: abort.signal });
    abort.abort();
    await expect(opening).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });
});

describe('a process', () => {
  it(
    'that met every fault holds no more memory than before',
    async () => {
      const store = await open(server.url, 150);
      const meet = async (times: number): Promise<void> => {
        for (const play of FAULTS) {
          await server.order({ order: 'plan', plan: { on: 'append', play, times } });
          for (let n = 0; n < times; n += 1) await appendOnce(store);
        }
      };
      await meet(FAULT_TIMES);
      const before = heapAfterCollection();
      await meet(FAULT_TIMES);
      expect(heapAfterCollection() / before).toBeLessThan(1.05);
    },
    TEST_MS_MAX,
  );

  it(
    'that appended does not end by itself with the client, and does when the store is closed',
    async () => {
      const naive = `
        const client = EventStoreDBClient.connectionString('${server.url}');
        await client.appendToStream('a', jsonEvent({ type: 't', data: {} }));`;
      const ours = `
        const store = await openEventStoreDB({ url: '${server.url}', clock: systemClock });
        await store.append('deployment-b', 'no_stream', [
          { id: crypto.randomUUID(), type: 't', data: '{}', metadata: '{}' }]);
        const following = store.subscribe()[Symbol.asyncIterator]();
        await following.next();
        await store.close();`;
      expect(await Promise.all([endOf('naive', naive), endOf('ours', ours)])).toEqual([
        'still running',
        'exit 0',
      ]);
    },
    TEST_MS_MAX,
  );
});

describe('the leader of a cluster, under 64 writers', () => {
  it.each<[string, number, (leader: ServerProcess) => Promise<void> | void]>([
    ['killed', 0, (leader) => leader.kill()],
    ['stopped as an operator stops it', 0, (leader) => leader.terminate()],
    ['frozen', 0, (leader) => leader.freeze()],
    ['frozen, and the other one still sends writers to it', 2_500, (leader) => leader.freeze()],
  ])(
    '%s: nothing is lost or doubled, and soon after the election all write again',
    async (_, unnoticedMs, strike) => {
      const leader = server;
      const next = await start({ log, isFollower: true });
      const members = (leading: ServerProcess, alive: readonly ServerProcess[]): Member[] =>
        [leader, next].map((node) => ({
          ...node.endPoint,
          state: node === leading ? 'leader' : 'follower',
          isAlive: alive.includes(node),
        }));
      const both = members(leader, [leader, next]);
      await leader.order({ order: 'tell', members: both });
      await next.order({ order: 'follow', leader: leader.endPoint, members: both });
      const hosts = [leader, next].map(({ port }) => `127.0.0.1:${String(port)}`).join(',');
      const store = await open(`esdb://${hosts}?tls=false`);
      const load = begin(store, 64);
      await load.more(300);
      await strike(leader);
      await sleep(unnoticedMs);
      await next.order({ order: 'follow', leader: null, members: members(leader, [next]) });
      await sleep(ELECTION_MS);
      await next.order({ order: 'lead', members: members(next, [next]) });
      server = next;
      const electedAtMs = performance.now();
      await load.everyWriter();
      // Who was just sent to the frozen one has to find out for himself.
      const found = unnoticedMs > 0 ? APPEND_TIMEOUT_MS : 0;
      expect(performance.now() - electedAtMs).toBeLessThan(FAILOVER_MS_MAX + found);
      await expectWhole(load, store);
    },
    TEST_MS_MAX,
  );
});

async function start(options: Parameters<typeof ServerProcess.start>[0]): Promise<ServerProcess> {
  const started = await ServerProcess.start(options);
  servers.push(started);
  return started;
}

async function open(url: string, appendTimeoutMs = APPEND_TIMEOUT_MS): Promise<EventStore> {
  const store = await openEventStoreDB({ url, clock: systemClock, appendTimeoutMs });
  stores.push(store);
  return store;
}

function begin(store: EventStore, writers: number): Load {
  const load = new Load({ store, writers, deadlineMs: DEADLINE_MS });
  loads.push(load);
  return load;
}

async function expectWhole(load: Load, store: EventStore): Promise<void> {
  await load.stop();
  const { lost, doubled } = await load.compare(store);
  expect({ lost, doubled }).toEqual({ lost: [], doubled: [] });
  expect(load.slowestMs).toBeLessThan(DEADLINE_MS + GRACE_MS);
  expect(load.answers.get('defect')).toBeUndefined();
}

/** Appends as the command path does: the same events at the same revision, until there is an answer. */
async function appendOnce(store: EventStore): Promise<void> {
  const [stream, events] = [newStream(), newEvents()];
  while (true) {
    const answer = await store.append(stream, 'no_stream', events).catch(() => null);
    if (answer !== null) return;
    await sleep(5);
  }
}

function heapAfterCollection(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  return process.memoryUsage().heapUsed;
}

/** Runs a program that says when it has done its work; how it has ended a second after that. */
async function endOf(name: string, body: string): Promise<string> {
  const file = join(folder, `${name}.ts`);
  await writeFile(
    file,
    `import { EventStoreDBClient, jsonEvent } from '${resolve('node_modules/@eventstore/db-client/dist/index.js')}';
     import { openEventStoreDB } from '${resolve('src/adapters/eventstoredb/event-store.ts')}';
     import { systemClock } from '${resolve('src/adapters/system-clock.ts')}';
     ${body}
     process.stdout.write('done');`,
  );
  const child = spawn(process.execPath, ['--import', '@swc-node/register/esm-register', file]);
  const exited = once(child, 'exit') as Promise<[number | null]>;
  await Promise.race([once(child.stdout, 'data'), exited]);
  const end = await Promise.race([
    exited.then(([code]) => `exit ${String(code)}`),
    sleep(1_000, 'still running'),
  ]);
  child.kill('SIGKILL');
  await exited;
  return end;
}
