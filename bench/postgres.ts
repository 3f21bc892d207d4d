/**
 * The read models in PostgreSQL: a table built from the log beside a floor by hand in the same run (W4), and
 * every documented filter at 100,000 deployments, beside SQLite.
 *
 *   node --import @swc-node/register/esm-register bench/postgres.ts
 *     [--events 100000] [--rounds 3] [--deployments 100000] [--plans]
 *
 * The server is one of our own with durable commits, or the one of POSTGRES_URL; it shares the cores. Each
 * measure of W4 is a process of its own (none with `--rounds 0`), whose CPU is shown, on a database of its own. `--plans` prints how
 * each database finds the rows of each filter.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openPostgres } from '../src/adapters/postgres/database.js';
import { postgresReadModels } from '../src/adapters/postgres/read-models.js';
import { openSqliteEventStore } from '../src/adapters/sqlite/event-store.js';
import { systemClock } from '../src/adapters/system-clock.js';
import { Projector } from '../src/application/projector.js';
import type { Projection } from '../src/projections/projection.js';
import { PROJECTIONS } from '../src/projections/registry.js';
import { databaseOn, startPostgres, type TestDatabase } from '../test/support/postgres.js';
import { RawPostgresProjection } from './postgres-raw.js';
import { benchQueries } from './postgres-queries.js';
import { writeLog, type Locality } from './projection-log.js';

interface Measured {
  readonly eventsPerSecond: number;
  readonly cpuMicroseconds: number;
  readonly peakMiB: number;
}
type Measure = (url: string, log: string) => Promise<Measured>;

const MEASURES: Readonly<Record<string, Measure>> = {
  raw: async (url, log) => {
    const projection = new RawPostgresProjection(log, url);
    await projection.open();
    const stop = watch();
    let events = 0;
    for (let n = await projection.next(); n > 0; n = await projection.next()) events += n;
    const measured = stop(events);
    await projection.close();
    return measured;
  },
  'ours, first build': (url, log) => folded(url, log, PROJECTIONS.slice(0, 1)),
  'ours, all tables': (url, log) => folded(url, log, PROJECTIONS),
  'ours, rebuild': rebuilt,
};

async function folded(
  url: string,
  log: string,
  projections: readonly Projection[],
): Promise<Measured> {
  const { projector, close } = await opened(url, log, projections);
  const stop = watch();
  await projector.start();
  await projector.caughtUp;
  const measured = stop(Number(projector.position));
  await close();
  return measured;
}

/** Beside the live table, indexes and the swap included. */
async function rebuilt(url: string, log: string): Promise<Measured> {
  const { projector, close } = await opened(url, log, PROJECTIONS.slice(0, 1));
  await projector.start();
  await projector.caughtUp;
  const stop = watch();
  await projector.rebuild('deployments')?.finished;
  const measured = stop(Number(projector.position));
  await close();
  return measured;
}

async function opened(url: string, log: string, projections: readonly Projection[]) {
  const store = await openSqliteEventStore({ file: log, clock: systemClock });
  const readModels = postgresReadModels(await openPostgres({ url }));
  const options = { store, readModels, projections, clock: systemClock, random: Math.random };
  const projector = new Projector({ ...options, owner: 'bench' });
  const close = async (): Promise<void> => {
    await projector.stop();
    await readModels.close();
    await store.close();
  };
  return { projector, close };
}

/** Time and CPU of this process from now on: what is loaded and opened once is not what is measured. */
function watch(): (events: number) => Measured {
  const startedAtMs = performance.now();
  const cpu = process.cpuUsage();
  return (events) => {
    const seconds = (performance.now() - startedAtMs) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    return {
      eventsPerSecond: Math.round(events / seconds),
      cpuMicroseconds: (user + system) / events,
      peakMiB: Math.round(process.resourceUsage().maxRSS / 1024),
    };
  };
}

/** The same measure, in a process of its own and on a database of its own. */
async function measureApart(what: string, database: TestDatabase, log: string): Promise<Measured> {
  const loader = ['--import', '@swc-node/register/esm-register'];
  const child = spawnSync(
    process.execPath,
    [...loader, fileURLToPath(import.meta.url), '--measure', what, database.url, log],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await database.drop();
  return JSON.parse(child.stdout) as Measured;
}

function median(all: readonly Measured[], of: keyof Measured): number {
  return all.map((one) => one[of]).sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0;
}

async function benchRebuild(adminUrl: string, events: number, rounds: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'shipslog-bench-'));
  for (const locality of ['in work', 'scattered'] satisfies Locality[]) {
    const log = join(folder, `${locality.replace(' ', '-')}.db`);
    writeLog(log, events, locality);
    const found = new Map(Object.keys(MEASURES).map((what): [string, Measured[]] => [what, []]));
    for (let n = 0; n < rounds; n++) {
      for (const [what, all] of found) {
        all.push(await measureApart(what, await databaseOn(adminUrl), log));
      }
    }
    console.log(`\nW4 on PostgreSQL, ${String(events)} events, ${locality}`);
    const floor = median(found.get('raw') ?? [], 'eventsPerSecond');
    for (const [what, all] of found) {
      const rate = median(all, 'eventsPerSecond');
      const figures = [
        `${String(rate)} events/s`,
        `${median(all, 'cpuMicroseconds').toFixed(1)} µs CPU/event`,
        `${String(median(all, 'peakMiB'))} MiB peak`,
        `ratio ${(rate / floor).toFixed(2)}`,
      ];
      console.log(`${what.padEnd(20)} ${figures.join('   ')}`);
    }
  }
  rmSync(folder, { recursive: true });
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    measure: { type: 'string' },
    events: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '3' },
    deployments: { type: 'string', default: '100000' },
    plans: { type: 'boolean', default: false },
  },
});
if (values.measure !== undefined) {
  const [url = '', log = ''] = positionals;
  process.stdout.write(JSON.stringify(await MEASURES[values.measure]?.(url, log)));
} else {
  const external = process.env['POSTGRES_URL'];
  const server = external === undefined ? await startPostgres(['fsync=on']) : null;
  const adminUrl = external ?? server?.urlOf('postgres') ?? '';
  const rounds = Number(values.rounds);
  if (rounds > 0) await benchRebuild(adminUrl, Number(values.events), rounds);
  const database = await databaseOn(adminUrl);
  await benchQueries(database.url, Number(values.deployments), values.plans);
  await database.drop();
  await server?.stop();
}
