/**
 * Measures the read side against its floor in the same run.
 *
 *   node --import @swc-node/register/esm-register bench/projection.ts [--events 100000] [--rounds 5]
 *
 * W4 folds a log into the table `deployments` (and, beside it, into all tables); W5 appends 500 events a
 * second and measures the time from when an append was due until a query sees the event. Each measure is
 * a process of its own; rounds of raw and ours alternate; medians are shown.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { openSqliteEventStore } from '../src/adapters/sqlite/event-store.js';
import { openSqliteReadModels } from '../src/adapters/sqlite/read-models.js';
import { systemClock } from '../src/adapters/system-clock.js';
import { Projector } from '../src/application/projector.js';
import type { Projection } from '../src/projections/projection.js';
import { PROJECTIONS } from '../src/projections/registry.js';
import { eventOf, writeLog, type Locality } from './projection-log.js';
import { RawProjection } from './projection-raw.js';

interface Measured {
  readonly eventsPerSecond: number;
  readonly cpuMicroseconds: number;
  readonly peakMiB: number;
  /** From when an append was due until it was visible. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The read side's share: from the acknowledgement until it was visible. */
  readonly shownP50Ms: number;
  readonly shownP99Ms: number;
}

/** When an append was due, acknowledged and visible. */
interface Times {
  readonly dueAt: number;
  readonly ackedAt: number;
  readonly visibleAt: number;
}

const W5_PER_SECOND = 500;
const W5_SECONDS = 4;

/** Time and CPU since opening has ended: what is loaded and opened once is not what is measured. */
class Stopwatch {
  readonly #startedAtMs = performance.now();
  readonly #cpu = process.cpuUsage();

  stop(events: number, times: readonly Times[] = []): Measured {
    const seconds = (performance.now() - this.#startedAtMs) / 1000;
    const { user, system } = process.cpuUsage(this.#cpu);
    const all = times.map(({ dueAt, visibleAt }) => visibleAt - dueAt);
    const shown = times.map(({ ackedAt, visibleAt }) => visibleAt - ackedAt);
    return {
      eventsPerSecond: Math.round(events / seconds),
      cpuMicroseconds: (user + system) / events,
      peakMiB: Math.round(process.resourceUsage().maxRSS / 1024),
      p50Ms: quantile(all, 0.5),
      p99Ms: quantile(all, 0.99),
      shownP50Ms: quantile(shown, 0.5),
      shownP99Ms: quantile(shown, 0.99),
    };
  }
}

function quantile(values: readonly number[], share: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * share)] ?? 0;
}

const MEASURES: Readonly<Record<string, (folder: string, log: string) => Promise<Measured>>> = {
  'w4 raw': rebuiltRaw,
  'w4 ours': (folder, log) => rebuilt(folder, log, PROJECTIONS.slice(0, 1)),
  'w4 all': (folder, log) => rebuilt(folder, log, PROJECTIONS),
  'w5 raw': followedRaw,
  'w5 ours': followed,
};

async function rebuiltRaw(folder: string, log: string): Promise<Measured> {
  const projection = new RawProjection(log, join(folder, 'raw.db'));
  const watch = new Stopwatch();
  let events = 0;
  for (let n = projection.next(); n > 0; n = projection.next()) {
    events += n;
    await new Promise((resolve) => setImmediate(resolve));
  }
  const measured = watch.stop(events);
  projection.close();
  return measured;
}

async function rebuilt(
  folder: string,
  log: string,
  projections: readonly Projection[],
): Promise<Measured> {
  const service = await opened(log, join(folder, 'ours.db'), projections);
  const watch = new Stopwatch();
  await service.projector.start();
  await service.projector.caughtUp;
  const measured = watch.stop(Number(service.projector.position));
  await service.close();
  return measured;
}

async function opened(log: string, file: string, projections: readonly Projection[]) {
  const store = await openSqliteEventStore({ file: log, clock: systemClock });
  const readModels = openSqliteReadModels(file);
  const options = {
    store,
    readModels,
    projections,
    clock: systemClock,
    random: Math.random,
    owner: 'bench',
  };
  const projector = new Projector(options);
  const close = async (): Promise<void> => {
    await projector.stop();
    await readModels.close();
    await store.close();
  };
  return { store, projector, close };
}

/** An append that is due: which one, and since when. */
type Due = readonly [n: number, dueAt: number];

/**
 * Hands over appends at an even rate, whether or not earlier ones have ended, with the moment when each
 * was due: a program that is late with its calls does not look fast for it.
 */
async function atRate(append: (due: readonly Due[]) => void): Promise<void> {
  const startedAt = performance.now();
  const total = W5_PER_SECOND * W5_SECONDS;
  for (let n = 0; n < total; await new Promise((resolve) => setTimeout(resolve, 1))) {
    const until = Math.min(total, ((performance.now() - startedAt) * W5_PER_SECOND) / 1000);
    const due: Due[] = [];
    for (; n < until; n++) due.push([n, startedAt + (n * 1000) / W5_PER_SECOND]);
    if (due.length > 0) append(due);
  }
}

/** One thread, one commit for all that is due, one batch of the projection right after it. */
async function followedRaw(folder: string): Promise<Measured> {
  const projection = new RawProjection(join(folder, 'log.db'), join(folder, 'read-models.db'));
  const insert = projection.log.prepare(
    'insert into events (stream, revision, event_id, type, data, metadata) values (?, ?, ?, ?, ?, ?)',
  );
  const watch = new Stopwatch();
  const times: Times[] = [];
  await atRate((due) => {
    projection.log.exec('begin immediate');
    for (const [n] of due) {
      const { stream, revision, type, data, metadata } = eventOf(n % 100, Math.floor(n / 100));
      const id = Buffer.alloc(16);
      id.writeUInt32BE(n, 12);
      insert.run(stream, revision, id, type, data, metadata);
    }
    projection.log.exec('commit');
    const ackedAt = performance.now();
    projection.next();
    const visibleAt = performance.now();
    for (const [, dueAt] of due) times.push({ dueAt, ackedAt, visibleAt });
  });
  const measured = watch.stop(times.length, times);
  projection.close();
  return measured;
}

async function followed(folder: string): Promise<Measured> {
  const file = join(folder, 'read-models.db');
  const { store, projector, close } = await opened(join(folder, 'log.db'), file, PROJECTIONS);
  await projector.start();
  const watch = new Stopwatch();
  const times: Times[] = [];
  const visible: Promise<void>[] = [];
  const append = async ([n, dueAt]: Due): Promise<void> => {
    const { stream, revision, type, data, metadata } = eventOf(n % 100, Math.floor(n / 100));
    const id = `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
    const expected = revision === 0 ? 'no_stream' : BigInt(revision - 1);
    const { position } = await store.append(stream, expected, [{ id, type, data, metadata }]);
    const ackedAt = performance.now();
    await projector.waitFor(position, 5000);
    times.push({ dueAt, ackedAt, visibleAt: performance.now() });
  };
  await atRate((due) => visible.push(...due.map(append)));
  await Promise.all(visible);
  const measured = watch.stop(times.length, times);
  await close();
  return measured;
}

/** The same measure, in a process of its own and on files of its own. */
function measureApart(what: string, log = ''): Measured {
  const folder = mkdtempSync(join(tmpdir(), 'shipslog-bench-'));
  const loader = ['--import', '@swc-node/register/esm-register'];
  const child = spawnSync(
    process.execPath,
    [...loader, fileURLToPath(import.meta.url), '--measure', what, folder, log],
    { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  );
  rmSync(folder, { recursive: true });
  return JSON.parse(child.stdout) as Measured;
}

function median(all: readonly Measured[], of: keyof Measured): number {
  return all.map((one) => one[of]).sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0;
}

function line(name: string, figures: readonly string[]): void {
  console.log(`${name.padEnd(34)} ${figures.join('   ')}`);
}

function benchRebuild(folder: string, rounds: number, events: number): void {
  for (const locality of ['in work', 'scattered'] satisfies Locality[]) {
    const log = join(folder, `${locality.replace(' ', '-')}-${String(events)}.db`);
    writeLog(log, events, locality);
    const found: Record<string, Measured[]> = { 'w4 raw': [], 'w4 ours': [], 'w4 all': [] };
    for (let n = 0; n < rounds; n++) {
      for (const [what, all] of Object.entries(found)) all.push(measureApart(what, log));
    }
    console.log(`\nW4 rebuild of ${String(events)} events, ${locality}`);
    const raw = median(found['w4 raw'] ?? [], 'eventsPerSecond');
    const rawCpu = median(found['w4 raw'] ?? [], 'cpuMicroseconds');
    for (const [what, all] of Object.entries(found)) {
      const [rate, cpu] = [median(all, 'eventsPerSecond'), median(all, 'cpuMicroseconds')];
      line(what, [
        `${String(rate)} events/s`,
        `${cpu.toFixed(1)} µs CPU/event`,
        `${String(median(all, 'peakMiB'))} MiB peak`,
        `ratio ${(rate / raw).toFixed(2)} (CPU ${(rawCpu / cpu).toFixed(2)})`,
      ]);
    }
    rmSync(log);
  }
}

function benchFollow(rounds: number): void {
  const found: Record<string, Measured[]> = { 'w5 raw': [], 'w5 ours': [] };
  for (let n = 0; n < rounds; n++) {
    for (const [what, all] of Object.entries(found)) all.push(measureApart(what));
  }
  console.log(`\nW5 append to visible, ${String(W5_PER_SECOND)} a second`);
  const raw = found['w5 raw'] ?? [];
  const shown = (all: readonly Measured[]): string =>
    `${median(all, 'shownP50Ms').toFixed(2)} / ${median(all, 'shownP99Ms').toFixed(2)} ms`;
  for (const [what, all] of Object.entries(found)) {
    const [p50, p99] = [median(all, 'p50Ms'), median(all, 'p99Ms')];
    const ratio = (of: 'p50Ms' | 'p99Ms'): string => (median(all, of) / median(raw, of)).toFixed(2);
    line(what, [
      `p50 ${p50.toFixed(2)} ms`,
      `p99 ${p99.toFixed(2)} ms`,
      `${median(all, 'cpuMicroseconds').toFixed(0)} µs CPU/event`,
      `ratio p50 ${ratio('p50Ms')}, p99 ${ratio('p99Ms')}`,
      `acknowledged to visible p50 / p99 ${shown(all)}`,
    ]);
  }
}

function benchMemory(folder: string, events: number): void {
  console.log('\nW4 peak memory of a rebuild of all tables');
  const peaks = [events, events * 10].map((count) => {
    const log = join(folder, `memory-${String(count)}.db`);
    writeLog(log, count, 'in work');
    const { peakMiB } = measureApart('w4 all', log);
    rmSync(log);
    line(`${String(count)} events`, [`${String(peakMiB)} MiB`]);
    return peakMiB;
  });
  line('ratio', [((peaks[1] ?? 0) / (peaks[0] ?? 1)).toFixed(2)]);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    measure: { type: 'boolean', default: false },
    events: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '5' },
    memory: { type: 'boolean', default: false },
  },
});
if (values.measure) {
  const [what = '', folder = '', log = ''] = positionals;
  process.stdout.write(JSON.stringify(await MEASURES[what]?.(folder, log)));
} else {
  const folder = mkdtempSync(join(tmpdir(), 'shipslog-bench-'));
  const [rounds, events] = [Number(values.rounds), Number(values.events)];
  benchFollow(rounds);
  benchRebuild(folder, rounds, events);
  if (values.memory) benchMemory(folder, events);
  rmSync(folder, { recursive: true });
}
