/**
 * W1 and W2: commands through the command path and the Nest command bus, beside the raw floor of the same
 * run, which writes exactly the same rows. Then repeats of commands, on histories of several lengths.
 *
 * Run: npm run bench -- command-bus
 */
import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import { join } from 'node:path';
import { MemoryEventStore } from '../src/adapters/memory/event-store.js';
import { COMMANDS, CreateDeployment, UpdateDeployment } from '../src/application/commands.js';
import type { Appended, NewEvent, Revision } from '../src/ports/event-store.js';
import { ShipslogModule, ShipslogRuntime } from '../src/shipslog.module.js';
import { inFolder, measure, median, print, type Figures } from './measure.js';
import { writeRaw, type RecordedAppend } from './raw-sqlite.js';

const DEPLOYMENTS = 500;
const COMMANDS_PER_ROUND = 20_000;
const ROUNDS = 5;

type Execute = (deployment: number, count: number) => Promise<unknown>;

/** About 400 bytes of data in one event. */
const updateOf = (deployment: number, count: number): UpdateDeployment =>
  UpdateDeployment.of({
    deploymentId: `d${String(deployment)}`,
    name: `name ${String(count)}`,
    labels: { note: 'x'.repeat(180), owner: 'platform', commit: String(count).padStart(40, '0') },
    environment: `production-${String(count % 7)}`,
  });

/** Keeps `width` commands in flight; on one deployment, or spread over all. */
async function drive(
  execute: Execute,
  commands: number,
  { width, spread }: { width: number; spread: boolean },
): Promise<number[]> {
  const took: number[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < commands) {
      const count = next++;
      const startedAt = performance.now();
      await execute(spread ? count % DEPLOYMENTS : 0, count);
      took.push(performance.now() - startedAt);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return took;
}

/** Runs a service on a fresh log, its deployments created; the read models follow, or stand still. */
async function withService<T>(
  folder: string,
  readModels: 'follow' | 'stand still',
  use: (execute: { bus: Execute; path: Execute; named: Execute }) => Promise<T>,
): Promise<T> {
  const module = ShipslogModule.forRoot({
    eventStore: `sqlite:${join(folder, `${String(performance.now())}.db`)}`,
    readModels: `sqlite:${join(folder, `${String(performance.now())}-rm.db`)}`,
    roles: ['api', 'projector'],
  });
  const app = await NestFactory.createApplicationContext(module, { logger: false });
  const bus = app.get(CommandBus, { strict: false });
  const { commands, projector } = app.get(ShipslogRuntime, { strict: false });
  if (readModels === 'stand still') await projector.stop();
  for (let n = 0; n < DEPLOYMENTS; n += 1) {
    await bus.execute(CreateDeployment.of({ deploymentId: `d${String(n)}` }));
  }
  try {
    return await use({
      bus: (deployment, count) => bus.execute(updateOf(deployment, count)),
      path: (deployment, count) =>
        commands.execute('UpdateDeployment', updateOf(deployment, count)),
      named: (deployment, count) => {
        const commandId = `command-${String(count)}`;
        const command = Object.assign(updateOf(deployment, count), { commandId });
        return commands.execute('UpdateDeployment', command);
      },
    });
  } finally {
    await app.close();
  }
}

/** The rows that the commands of a round make, recorded on the memory log. */
async function recordAppends(): Promise<readonly RecordedAppend[]> {
  const appends: RecordedAppend[] = [];
  class Recorder extends MemoryEventStore {
    override append(
      stream: string,
      expected: Revision | 'no_stream',
      events: readonly NewEvent[],
    ): Promise<Appended> {
      appends.push({ stream, first: expected === 'no_stream' ? 0 : Number(expected) + 1, events });
      return super.append(stream, expected, events);
    }
  }
  const { CommandPath } = await import('../src/application/handle.js');
  const { LeaseWatch } = await import('../src/application/lease-watch.js');
  const { MemoryLeases } = await import('../src/adapters/memory/leases.js');
  const { MemoryAuditJournal } = await import('../src/adapters/memory/audit-journal.js');
  const { systemClock } = await import('../src/adapters/system-clock.js');
  const path = new CommandPath({
    store: new Recorder(),
    leases: new LeaseWatch(systemClock, new MemoryLeases()),
    journal: new MemoryAuditJournal(),
    clock: systemClock,
    scopes: new Map(),
    defaults: { heartbeatMs: 30_000, leaseMs: 90_000, startTimeoutMs: 90_000 },
  });
  for (let n = 0; n < DEPLOYMENTS; n += 1) {
    await path.execute(
      'CreateDeployment',
      COMMANDS.CreateDeployment.of({ deploymentId: `d${String(n)}` }),
    );
  }
  const created = appends.length;
  await drive((d, c) => path.execute('UpdateDeployment', updateOf(d, c)), COMMANDS_PER_ROUND, {
    width: 1,
    spread: true,
  });
  return appends.slice(created);
}

/** Measures each contender once per round, in turn, and prints medians beside the first, the floor. */
async function compare(
  contenders: Readonly<Record<string, () => Promise<Figures>>>,
): Promise<void> {
  const rounds = new Map<string, Figures[]>(Object.keys(contenders).map((name) => [name, []]));
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, run] of Object.entries(contenders)) rounds.get(name)?.push(await run());
  }
  let floor: Figures | undefined;
  for (const [name, figures] of rounds) {
    print(name, median(figures), floor);
    floor ??= median(figures);
  }
}

const appends = await recordAppends();
const bytes = appends.reduce(
  (sum, { events }) => sum + events.reduce((s, e) => s + e.data.length + e.metadata.length, 0),
  0,
);
process.stdout.write(
  `${String(appends.length)} commands a round, ${String(Math.round(bytes / appends.length))} bytes of events each\n`,
);

for (const width of [1, 64]) {
  const commands = width === 1 ? COMMANDS_PER_ROUND / 4 : COMMANDS_PER_ROUND;
  process.stdout.write(`\nW1, ${String(width)} in flight\n`);
  await inFolder(async (folder) => {
    let file = 0;
    const service =
      (kind: 'bus' | 'path', readModels: 'follow' | 'stand still') => (): Promise<Figures> =>
        withService(folder, readModels, (execute) =>
          measure(() => drive(execute[kind], commands, { width, spread: true })),
        );
    await compare({
      [`raw, ${String(width)} per commit`]: () =>
        measure(() => {
          const groups = writeRaw(
            join(folder, `raw${String(file++)}.db`),
            appends.slice(0, commands),
            width,
          );
          return groups.flatMap((ms) => Array<number>(width).fill(ms)).slice(0, commands);
        }),
      'command path': service('path', 'stand still'),
      'command bus': service('bus', 'stand still'),
      'command bus, read models following': service('bus', 'follow'),
    });
  });
}

process.stdout.write('\nW2, 64 commands on one deployment\n');
await inFolder(async (folder) => {
  let file = 0;
  const onOne = appends
    .slice(0, 64)
    .map(({ events }, index) => ({ stream: 'deployment-d0', first: index, events }));
  await compare({
    'raw, 64 in one commit': () =>
      measure(() => {
        const [ms = 0] = writeRaw(join(folder, `raw${String(file++)}.db`), onOne, 64);
        return Array<number>(64).fill(ms);
      }),
    'command bus': () =>
      withService(folder, 'stand still', async ({ bus }) => {
        await drive(bus, 640, { width: 64, spread: false });
        return measure(() => drive((d, c) => bus(d, c + 1_000), 64, { width: 64, spread: false }));
      }),
  });
});

process.stdout.write('\nRepeats of commands of one deployment, from all over its history\n');
for (const commands of [100, 10_000, 50_000]) {
  await inFolder((folder) =>
    withService(folder, 'stand still', async ({ named }) => {
      await drive(named, commands, { width: 64, spread: false });
      const repeat: Execute = (deployment, n) =>
        named(deployment, Math.floor((n * commands) / 1_000));
      const figures = await measure(() => drive(repeat, 1_000, { width: 1, spread: false }));
      print(`${String(commands)} events`, figures);
    }),
  );
}
