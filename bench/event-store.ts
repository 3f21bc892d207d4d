/**
 * W1, W2 and W3 on the port: appends and loads of the SQLite event store, beside the raw floor of the same
 * run: the same rows and the same driver on one thread, without any check.
 *
 * Run: npm run bench -- event-store   (with `million` behind it also the opening of a long log)
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { openDatabase } from '../src/adapters/sqlite/driver.js';
import { EVENT_COLUMNS, EVENT_LOG } from '../src/adapters/sqlite/event-log.js';
import { openSqliteEventStore } from '../src/adapters/sqlite/event-store.js';
import { systemClock } from '../src/adapters/system-clock.js';
import type { EventStore, NewEvent } from '../src/ports/event-store.js';
import { inFolder, measure, median, print, type Figures } from './measure.js';
import { writeRaw, type RecordedAppend } from './raw-sqlite.js';

const ROUNDS = 7;
const STREAMS = 500;

async function benchAppends(
  newFile: () => string,
  { width, appends }: { readonly width: number; readonly appends: number },
): Promise<void> {
  const rounds: Record<'raw' | 'ours', Figures[]> = { raw: [], ours: [] };
  let groups = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const work = appendsOf(appends);
    rounds.raw.push(await measureRaw(newFile(), work, width));
    await withStore(newFile(), async (store) => {
      await warmUp(store);
      const before = groupsOf(store);
      rounds.ours.push(await measure(() => appendAll(store, work, width)));
      groups = groupsOf(store) - before;
    });
  }
  const [raw, ours] = [median(rounds.raw), median(rounds.ours)];
  print(`raw, ${String(width)} appends a commit`, raw);
  print(`ours, ${String(width)} in flight`, ours, raw);
  const [p99, commits] = [ours.p99Ms / raw.p99Ms, groups / appends];
  say(`  p99 ${p99.toFixed(2)} × the floor's, ${commits.toFixed(3)} commits an append`);
}

/** Writes as fast as the driver can. Opening and closing the file is not counted. */
async function measureRaw(
  file: string,
  work: readonly RecordedAppend[],
  width: number,
): Promise<Figures> {
  let groups: number[] = [];
  const figures = await measure(() => {
    groups = writeRaw(file, work, width);
    return groups.flatMap((ms) => Array<number>(width).fill(ms));
  });
  const ms = groups.reduce((sum, took) => sum + took, 0);
  return { ...figures, perSecond: (work.length / ms) * 1_000 };
}

/** W2: 64 appends to one stream, each building on the one before, sent at once. */
async function benchOneStream(newFile: () => string): Promise<void> {
  const rounds: Record<'raw' | 'ours', Figures[]> = { raw: [], ours: [] };
  for (let round = 0; round < ROUNDS; round++) {
    const work = appendsOf(6_400, 1);
    rounds.raw.push(await measure(() => writeRaw(newFile(), work, 64)));
    await withStore(newFile(), async (store) => {
      await warmUp(store);
      rounds.ours.push(
        await measure(async () => {
          const took: number[] = [];
          for (let from = 0; from < work.length; from += 64) {
            const startedAt = performance.now();
            await Promise.all(work.slice(from, from + 64).map((append) => write(store, append)));
            took.push(performance.now() - startedAt);
          }
          return took;
        }),
      );
    });
  }
  const [raw, ours] = [median(rounds.raw), median(rounds.ours)];
  print('raw, 64 appends to one stream in one commit', raw);
  print('ours, 64 appends to one stream at once', ours, raw);
}

async function benchLoads(file: string): Promise<void> {
  await withStore(file, async (store) => {
    for (const length of [10, 100, 1_000]) {
      const count = Math.ceil(10_000 / length);
      const streams = Array.from(
        { length: count },
        (_, n) => `load-${String(length)}-${String(n)}`,
      );
      await Promise.all(streams.map((stream) => fill(store, stream, length)));
    }
    const raw = rawLoads(file);
    for (const length of [10, 100, 1_000]) {
      const count = Math.ceil(10_000 / length);
      const rounds: Record<'raw' | 'ours', Figures[]> = { raw: [], ours: [] };
      for (let round = 0; round < ROUNDS; round++) {
        const streams = Array.from(
          { length: 3 * count },
          (_, n) => `load-${String(length)}-${String(n % count)}`,
        );
        rounds.raw.push(
          await measure(() => streams.map((stream) => timed(() => raw(stream, length)))),
        );
        rounds.ours.push(
          await measure(async () => {
            const took: number[] = [];
            for (const stream of streams) {
              const startedAt = performance.now();
              let parsed = 0;
              for await (const page of store.read(stream)) {
                for (const { data } of page) if (JSON.parse(data) !== null) parsed += 1;
              }
              if (parsed !== length) throw new Error('not the whole stream was read');
              took.push(performance.now() - startedAt);
            }
            return took;
          }),
        );
      }
      const [floor, ours] = [median(rounds.raw), median(rounds.ours)];
      print(`raw, load and parse ${String(length)} events`, floor);
      print(`ours, load and parse ${String(length)} events`, ours, floor);
    }
  });
}

function rawLoads(file: string): (stream: string, length: number) => void {
  const database = openDatabase(file, { kind: EVENT_LOG, readOnly: true });
  const select = database.prepare(
    `SELECT ${EVENT_COLUMNS} FROM events WHERE stream = ? ORDER BY revision`,
  );
  select.setReturnArrays(true);
  return (stream, length) => {
    let parsed = 0;
    for (const row of select.all(stream) as string[][]) {
      if (JSON.parse(row[5] ?? '') !== null) parsed += 1;
    }
    if (parsed !== length) throw new Error('not the whole stream was read');
  };
}

async function benchOpening(file: string): Promise<void> {
  const million = 1_000_000;
  const store = await openSqliteEventStore({
    file,
    clock: systemClock,
    unsafeSynchronous: 'off',
  });
  for (let from = 0; from < million; from += 50_000) {
    await appendAll(store, appendsOf(50_000, 50_000, String(from)), 256);
  }
  await store.close();
  for (let round = 0; round < 3; round++) {
    const startedAt = performance.now();
    await withStore(file, async (opened) => {
      const ms = performance.now() - startedAt;
      say(`opened a log of ${String(await opened.head())} events in ${ms.toFixed(0)} ms`);
    });
  }
}

async function withStore(file: string, use: (store: EventStore) => Promise<void>): Promise<void> {
  const store = await openSqliteEventStore({ file, clock: systemClock });
  try {
    await use(store);
  } finally {
    await store.close();
  }
}

/** Each store has a thread of its own, whose code is slow until it has run some thousand times. */
async function warmUp(store: EventStore): Promise<void> {
  await appendAll(store, appendsOf(4_000, STREAMS, 'warm'), 64);
  await appendAll(store, appendsOf(1_000, STREAMS, 'warmer'), 1);
}

function groupsOf(store: EventStore): number {
  return Number(store.health().details['groups']);
}

/** Keeps `width` appends in flight until all are done. Shape: milliseconds that each took. */
async function appendAll(
  store: EventStore,
  appends: readonly RecordedAppend[],
  width: number,
): Promise<number[]> {
  const took: number[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let append = appends[next++]; append !== undefined; append = appends[next++]) {
      const startedAt = performance.now();
      await write(store, append);
      took.push(performance.now() - startedAt);
    }
  };
  await Promise.all(Array.from({ length: width }, worker));
  return took;
}

function write(store: EventStore, { stream, first, events }: RecordedAppend): Promise<unknown> {
  return store.append(stream, first === 0 ? 'no_stream' : BigInt(first - 1), events);
}

/** Appends in turn to each of the streams; every fifth has two events, as commands have on average. */
function appendsOf(count: number, streams = STREAMS, prefix = 'deployment'): RecordedAppend[] {
  const lengths = new Map<string, number>();
  return Array.from({ length: count }, (_, index) => {
    const stream = `${prefix}-${String(index % streams)}`;
    const first = lengths.get(stream) ?? 0;
    const events = eventsOf(index % 5 === 0 ? 2 : 1);
    lengths.set(stream, first + events.length);
    return { stream, first, events };
  });
}

const DATA = JSON.stringify({
  attemptId: 'attempt-00000000-0000-0000-0000',
  outcome: 'succeeded',
  exitCode: 0,
  reason: 'r'.repeat(120),
  meta: { commit: 'c'.repeat(40), branch: 'main', note: 'n'.repeat(120) },
});
const METADATA = JSON.stringify({
  schemaVersion: 1,
  commandId: '00000000-0000-0000-0000-000000000000',
  actor: { id: 'service', kind: 'service' },
  occurredAt: '2026-01-01T00:00:00.000Z',
  recordedAt: '2026-01-01T00:00:00.000Z',
});

function eventsOf(count: number): NewEvent[] {
  return Array.from({ length: count }, () => ({
    id: randomUUID(),
    type: 'state_transition',
    data: DATA,
    metadata: METADATA,
  }));
}

async function fill(store: EventStore, stream: string, length: number): Promise<void> {
  for (let first = 0; first < length; first += 100) {
    const events = eventsOf(Math.min(100, length - first));
    await write(store, { stream, first, events });
  }
}

function timed(work: () => void): number {
  const startedAt = performance.now();
  work();
  return performance.now() - startedAt;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

await inFolder(async (folder) => {
  let files = 0;
  const newFile = (): string => join(folder, `${String(files++)}.db`);
  await benchAppends(newFile, { width: 1, appends: 4_000 });
  await benchAppends(newFile, { width: 64, appends: 20_000 });
  await benchAppends(newFile, { width: 256, appends: 20_000 });
  await benchOneStream(newFile);
  await benchLoads(newFile());
  if (process.argv.includes('million')) await benchOpening(newFile());
});
