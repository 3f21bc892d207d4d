/**
 * The EventStoreDB adapter beside the bare client, in one run against one server: appends, loads, reading
 * and following the log, the command path, and the projector.
 *
 *   node --import @swc-node/register/esm-register bench/eventstoredb.ts [--rounds 5]
 *
 * The server is the test server in a process of its own, whose own speed says nothing; EVENTSTOREDB_URL
 * names a real one. What counts are the ratios, and the CPU of this process for each unit of work.
 */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import { randomUUID } from 'node:crypto';
import { parseArgs } from 'node:util';
import {
  EventStoreDBClient,
  jsonEvent,
  START,
  streamNameFilter,
  type JSONEventData,
} from '@eventstore/db-client';
import { MemoryReadModels } from '../src/adapters/memory/read-models.js';
import { openEventStoreDB } from '../src/adapters/eventstoredb/event-store.js';
import { systemClock } from '../src/adapters/system-clock.js';
import { CreateDeployment, UpdateDeployment } from '../src/application/commands.js';
import { Projector } from '../src/application/projector.js';
import { STREAM_PREFIX, type EventStore, type NewEvent } from '../src/ports/event-store.js';
import { PROJECTIONS } from '../src/projections/registry.js';
import { ShipslogModule, ShipslogRuntime } from '../src/shipslog.module.js';
import { ServerProcess } from '../test/support/eventstoredb/server-process.js';
import { measure, median, print, type Figures } from './measure.js';
import { eventOf } from './projection-log.js';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' } } });
const ROUNDS = Number(values.rounds);
const APPENDS = { 1: 500, 64: 4_000, 256: 8_000 } as const;
const STREAM_LENGTH = 20;
const LOADS = 400;
/** Deployments whose whole lives are followed and projected, ten events each. */
const LIVES = 1_500;
const EVENTS_OF_A_LIFE = 10;

/** Ways to do the work, and the bare client's, which they are compared with. */
type Works = Readonly<Record<string, () => Promise<readonly number[]>>> & {
  readonly bare: () => Promise<readonly number[]>;
};

async function main(): Promise<void> {
  await withServer(benchCatchUp);
  await withServer(async (sides) => {
    for (const width of [1, 64, 256] as const) await benchAppends(sides, width);
    await benchLoads(sides);
  });
  // The process has one client for appends on a server: the service's is the only one here.
  await withServer(benchCommands);
}

interface Sides {
  readonly address: string;
  readonly client: EventStoreDBClient;
  readonly store: EventStore;
}

/** Each part has a test server of its own, so that it meets no events of another part. */
async function withServer(bench: (sides: Sides) => Promise<void>): Promise<void> {
  const url = process.env['EVENTSTOREDB_URL'];
  const server = url === undefined ? await ServerProcess.start() : null;
  const address = url ?? server?.url ?? '';
  const client = EventStoreDBClient.connectionString(address);
  const store = await openEventStoreDB({ url: address, clock: systemClock });
  try {
    await bench({ address, client, store });
  } finally {
    await store.close();
    await client.dispose();
    await server?.kill();
  }
}

/** Interleaves rounds of all, so that a noisy moment hits all. */
async function compare(name: string, works: Works): Promise<void> {
  const rounds = new Map<string, Figures[]>(Object.keys(works).map((work) => [work, []]));
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [work, run] of Object.entries(works)) {
      const figures = await measure(run);
      // The first round warms up.
      if (round > 0) rounds.get(work)?.push(figures);
    }
  }
  const bare = median(rounds.get('bare') ?? []);
  print(`${name}, bare client`, bare);
  for (const [work, all] of rounds) {
    if (work !== 'bare') print(`${name}, ${work}`, median(all), bare);
  }
}

async function benchAppends({ client, store }: Sides, width: 1 | 64 | 256): Promise<void> {
  const count = APPENDS[width];
  await compare(`append, ${String(width)} in flight`, {
    bare: () => drive({ width, count }, (stream, n) => bareAppend(client, stream, n)),
    ours: () => drive({ width, count }, (stream, n) => ourAppend(store, stream, n)),
  });
}

/** Commands on deployments that are known: one append each, and no read. */
async function benchCommands({ address, client }: Sides): Promise<void> {
  const module = ShipslogModule.forRoot({
    eventStore: address,
    readModels: 'memory:',
  });
  const app = await NestFactory.createApplicationContext(module, { logger: false });
  const bus = app.get(CommandBus, { strict: false });
  const { commands, projector } = app.get(ShipslogRuntime, { strict: false });
  // What folding costs has a row of its own.
  await projector.stop();
  const ids = Array.from({ length: 256 }, () => randomUUID());
  for (const deploymentId of ids) await bus.execute(CreateDeployment.of({ deploymentId }));
  let names = 0;
  const update = (worker: number): UpdateDeployment =>
    UpdateDeployment.of({
      deploymentId: ids[worker] ?? '',
      name: `name ${String((names += 1))}`,
      labels: { note: 'x'.repeat(180), owner: 'platform' },
    });
  for (const width of [1, 64, 256] as const) {
    const load = { width, count: APPENDS[width] };
    await compare(`commands, ${String(width)} in flight`, {
      bare: () => drive(load, (stream, n) => bareAppend(client, stream, n)),
      path: () =>
        drive(load, (_, _n, worker) => commands.execute('UpdateDeployment', update(worker))),
      bus: () => drive(load, (_, _n, worker) => bus.execute(update(worker))),
    });
  }
  await app.close();
}

async function benchLoads({ client, store }: Sides): Promise<void> {
  const stream = `${STREAM_PREFIX}${randomUUID()}`;
  await store.append(
    stream,
    'no_stream',
    Array.from({ length: STREAM_LENGTH }, (_, n) => newEvent(n)),
  );
  const repeated = async (load: () => Promise<number>): Promise<readonly number[]> => {
    const took: number[] = [];
    for (let n = 0; n < LOADS; n += 1) {
      const startedAt = performance.now();
      if ((await load()) !== STREAM_LENGTH) throw new Error('the stream is not whole');
      took.push(performance.now() - startedAt);
    }
    return took;
  };
  await compare(`load of a stream of ${String(STREAM_LENGTH)}`, {
    bare: () =>
      repeated(async () => {
        let read = 0;
        for await (const { event } of client.readStream(stream))
          read += event === undefined ? 0 : 1;
        return read;
      }),
    ours: () =>
      repeated(async () => {
        let read = 0;
        for await (const page of store.read(stream)) read += page.length;
        return read;
      }),
  });
}

async function benchCatchUp({ client, store }: Sides): Promise<void> {
  const before = (await store.head()) ?? 0n;
  await writeLives(store);
  const count = LIVES * EVENTS_OF_A_LIFE;
  const from = { commit: before, prepare: before };
  const bareSubscription = (): Promise<readonly number[]> =>
    new Promise((resolve, reject) => {
      let seen = 0;
      const filter = streamNameFilter({ prefixes: [STREAM_PREFIX] });
      const subscription = client.subscribeToAll({
        fromPosition: before === 0n ? START : from,
        filter,
      });
      subscription.on('error', reject);
      subscription.on('data', () => {
        seen += 1;
        if (seen === count)
          void subscription.unsubscribe().then(() => resolve(Array(count).fill(0)));
      });
    });
  await compare('follow the log', {
    bare: bareSubscription,
    ours: async () => {
      let seen = 0;
      for await (const { events } of store.subscribe({ after: before })) {
        seen += events.length;
        if (seen === count) break;
      }
      return Array<number>(count).fill(0);
    },
  });
  await compare('read the log', {
    bare: async () => {
      const read = client.readAll({ fromPosition: before === 0n ? START : from });
      for await (const { event } of read) if (event === undefined) throw new Error('no event');
      return Array<number>(count).fill(0);
    },
    ours: async () => {
      for await (const page of store.readAll({ after: before }))
        if (page.length === 0) throw new Error('no page');
      return Array<number>(count).fill(0);
    },
  });
  if (before !== 0n) {
    process.stdout.write('projector: left out, the log holds events of others\n');
    return;
  }
  for (const projections of [PROJECTIONS.slice(0, 1), PROJECTIONS]) {
    await compare(`projector, ${String(projections.length)} tables in memory`, {
      bare: bareSubscription,
      ours: async () => {
        const projector = new Projector({
          store,
          readModels: new MemoryReadModels(),
          projections,
          clock: systemClock,
          random: Math.random,
          owner: 'bench',
        });
        await projector.start();
        await projector.caughtUp;
        await projector.stop();
        return Array<number>(count).fill(0);
      },
    });
  }
}

async function writeLives(store: EventStore): Promise<void> {
  for (let deployment = 0; deployment < LIVES; deployment += 1) {
    const events = Array.from({ length: EVENTS_OF_A_LIFE }, (_, n) => eventOf(deployment, n));
    await store.append(
      `${STREAM_PREFIX}${randomUUID()}`,
      'no_stream',
      events.map(({ type, data, metadata }) => ({ id: randomUUID(), type, data, metadata })),
    );
  }
}

/** Keeps so many appends in flight, each worker on a stream of its own. */
async function drive(
  { width, count }: { readonly width: number; readonly count: number },
  append: (stream: string, n: number, worker: number) => Promise<unknown>,
): Promise<readonly number[]> {
  const took: number[] = [];
  let begun = 0;
  const work = async (_: unknown, worker: number): Promise<void> => {
    const stream = `${STREAM_PREFIX}${randomUUID()}`;
    for (let n = 0; begun < count; n += 1) {
      begun += 1;
      const startedAt = performance.now();
      await append(stream, n, worker);
      took.push(performance.now() - startedAt);
    }
  };
  await Promise.all(Array.from({ length: width }, work));
  return took;
}

const DATA = { deploymentId: 'web', note: 'x'.repeat(370) };
const METADATA = { commandId: 'c', correlationId: 'y'.repeat(160) };
const [DATA_TEXT, METADATA_TEXT] = [JSON.stringify(DATA), JSON.stringify(METADATA)];

function newEvent(n: number): NewEvent {
  return { id: randomUUID(), type: `event_${String(n)}`, data: DATA_TEXT, metadata: METADATA_TEXT };
}

function ourAppend(store: EventStore, stream: string, n: number): Promise<unknown> {
  return store.append(stream, n === 0 ? 'no_stream' : BigInt(n - 1), [newEvent(n)]);
}

function bareAppend(client: EventStoreDBClient, stream: string, n: number): Promise<unknown> {
  const event: JSONEventData = jsonEvent({
    type: `event_${String(n)}`,
    data: DATA,
    metadata: METADATA,
  });
  return client.appendToStream(stream, event, {
    expectedRevision: n === 0 ? 'no_stream' : BigInt(n - 1),
  });
}

await main();
