import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeFolder } from '../../src/adapters/folders.js';
import { assertOurs, openDatabase, pragma } from '../../src/adapters/sqlite/driver.js';
import { refuseEmptyFile } from '../../src/adapters/sqlite/empty-file.js';
import { EVENT_LOG, NO_REVISION } from '../../src/adapters/sqlite/event-log.js';
import { HeadFile } from '../../src/adapters/sqlite/head-file.js';
import { LogReader } from '../../src/adapters/sqlite/log-reader.js';
import { LogWriter } from '../../src/adapters/sqlite/log-writer.js';
import type { RecordedEvent } from '../../src/ports/event-store.js';
import type { LogProcessLine, LogProcessOptions } from '../support/log-process.js';
import {
  bySectors,
  EVERYTHING,
  NOTHING,
  PowerCutDisk,
  type Fate,
} from '../support/power-cut-disk.js';
import { seeded } from '../support/seeded.js';
import { cleanUp, temporaryFolder } from '../support/service.js';
import { eventsOf, newEvents } from '../support/stored-events.js';
import { trace, tracing, type Step } from '../support/traced.js';

/*
 * The power is cut while a process writes the log: what it writes, syncs, renames and says is recorded in
 * order, and at many moments a disk is made that holds what was durable by then, and of the rest nothing,
 * a part, or pieces of chance. The log must open on it and hold all that was told before.
 *
 * A life is one process on one log. It ends as it likes, by a kill (the next one goes on with what the
 * kernel holds, durable or not), by a sync that fails (the same, but the kernel will not write it any more),
 * or by a power cut (the next one goes on with what is left).
 * POWERCUT_LIVES says how many (npm run test:powercut: 60), POWERCUT_SEED repeats the
 * chances of a run that failed.
 */

const LIVES = Number(process.env['POWERCUT_LIVES'] ?? 5);
const SEED = Number(process.env['POWERCUT_SEED'] ?? 20_261_129);
/** Moments of each life at which the power is cut, about: half of them just after something was told. */
const CUTS = 80;
/** Then a new log is begun, every other time from a backup. */
const LIVES_OF_A_LOG = 4;
const LIFE_MS_MAX = 60_000;

/** Disks after a cut are looked at and thrown away; the process writes to a real one. */
const IN_MEMORY = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
const CARELESS = { synchronous: 'off', acceptLoss: false, pagesMax: null } as const;
const FILE = join('data', 'events.db');
const NODE = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  '--import',
  new URL('../../scripts/typescript-loader.mjs', import.meta.url).href,
  fileURLToPath(new URL('../support/log-process.ts', import.meta.url)),
];

type Work = Omit<LogProcessOptions, 'then'>;
const GROUPS: Work = { writers: 16, appends: 6, events: 3, length: 2_000 };
/** So many that the write-ahead log is copied into the file and begun anew. */
const CROWD: Work = { writers: 80, appends: 30, length: 100 };
/** In turn, and so are the endings. The second one only looks at what there is. */
const WORK: readonly Work[] = [
  { writers: 1, appends: 10 },
  { writers: 0, appends: 0 },
  GROUPS,
  CROWD,
  { writers: 3, appends: 4, events: 2, length: 60_000 },
];
const ENDINGS = ['kill', 'cut', 'fail', 'end'] as const;
type Ending = (typeof ENDINGS)[number];

/** What a process has said, and so what must be there after the cut. */
class Told {
  readonly ids = new Set<string>();
  /** Events of the log when it was last opened, from when on its end is known; null before the first time. */
  atOpening: number | null = null;
  #rest = '';

  /** Takes what is said, in pieces that may be parts of lines. True when a line has ended. */
  hear(text: string): boolean {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#take(JSON.parse(line) as LogProcessLine);
    return lines.length > 0;
  }

  /** The process is gone; what it has said of a line was not heard. */
  hearNoMore(): void {
    this.#rest = '';
  }

  #take(line: LogProcessLine): void {
    if (line.type === 'read') this.atOpening = line.ids.length;
    if ('ids' in line) line.ids.forEach((id) => this.ids.add(id));
    else if (!['opened', 'closed'].includes(line.type)) throw new Error(JSON.stringify(line));
  }
}

/** A log from its beginning, over the lives of several processes. */
class Log {
  readonly told = new Told();
  cuts = 0;
  /** Cuts after which something was wrong. */
  readonly problems: object[] = [];
  #folder: string;
  #disk: PowerCutDisk;

  private constructor(
    folder: string,
    private readonly random: () => number,
  ) {
    this.#folder = folder;
    this.#disk = new PowerCutDisk(folder);
  }

  static async begin(random: () => number): Promise<Log> {
    return new Log(await realpath(await temporaryFolder()), random);
  }

  /** Begins with a backup of three events that was put in the place of a log; it is in no WAL mode. */
  static async restore(random: () => number): Promise<Log> {
    const folder = await realpath(await temporaryFolder());
    const original = join(await temporaryFolder(), 'events.db');
    const writer = LogWriter.open({ path: original, ...CARELESS });
    const events = newEvents(3, { metadata: '{"events":3}' });
    writer.append([{ stream: 'restored', expected: NO_REVISION, events }]);
    writer.close();
    await mkdir(join(folder, dirname(FILE)));
    const database = openDatabase(original, { kind: EVENT_LOG, readOnly: true });
    database.exec(`VACUUM INTO '${join(folder, FILE)}'`);
    database.close();
    const log = new Log(folder, random);
    for (const { id } of events) log.told.ids.add(id);
    return log;
  }

  /** Lets a process work on the log and cuts its power at many moments. */
  async live(work: Work, ending: Ending = 'end'): Promise<void> {
    const steps = await this.#record({ reads: true, then: 'close', ...work });
    const end = this.#endOf(steps, ending);
    const says = steps.filter(({ type }) => type === 'say').length;
    for (const [index, step] of steps.slice(0, end).entries()) {
      this.#disk.take(step);
      const isTold = step.type === 'say' && this.told.hear(step.text);
      const share = CUTS / 2 / (isTold ? says : end);
      if (this.random() < share) await this.#cut({ index, of: steps.length, ending, work });
    }
    const last = steps[end];
    if (ending === 'fail' && last?.type === 'sync-started') {
      this.#disk.take({ type: 'sync-failed', fd: last.fd });
    }
    await this.#goOn(ending);
  }

  /** Runs the process to its end and makes sure that nothing escaped the record. */
  async #record(options: LogProcessOptions): Promise<readonly Step[]> {
    const folder = this.#folder;
    const command = [...NODE, join(folder, FILE), JSON.stringify(options)];
    const recorded = new PowerCutDisk(folder);
    const { ending, said, steps } = await trace(command, { folder });
    expect({ ending, said }).toEqual({ ending: 0, said: '' });
    for (const step of steps) recorded.take(step);
    const copy = await realpath(await temporaryFolder());
    recorded.leave(copy, EVERYTHING);
    expect(await digestsBelow(copy)).toEqual(await digestsBelow(folder));
    await rm(copy, { recursive: true });
    return steps;
  }

  /** A step before which the process ends, most often one that waits for the write-ahead log. */
  #endOf(steps: readonly Step[], ending: Ending): number {
    if (ending === 'end') return steps.length;
    const paths = new Map<number, string>();
    const isAny = ending !== 'fail' && this.random() < 0.3;
    const among = [...steps.entries()].flatMap(([index, step]) => {
      if (step.type === 'open') paths.set(step.fd, step.path);
      const isWaiting = step.type === 'sync-started' && paths.get(step.fd)?.endsWith('-wal');
      return isAny || isWaiting ? index : [];
    });
    return among[Math.floor(this.random() * among.length)] ?? steps.length;
  }

  #fate(): Fate {
    const chance = this.random();
    if (chance < 0.4) return NOTHING;
    return chance < 0.7 ? bySectors(this.random) : this.#disk.inOrder(this.random);
  }

  async #cut(where: object): Promise<void> {
    const fate = this.#fate();
    const folder = await mkdtemp(join(IN_MEMORY, 'shipslog-test-'));
    try {
      this.#disk.leave(folder, fate);
      const problem = await problemOf(join(folder, FILE), this.told);
      if (problem !== null) this.problems.push({ problem, left: fate.name, ...where });
    } finally {
      await rm(folder, { recursive: true });
    }
    this.cuts += 1;
  }

  /** Makes the folder that the next process finds. */
  async #goOn(ending: Ending): Promise<void> {
    const folder = await realpath(await temporaryFolder());
    this.#disk.leave(folder, ending === 'cut' ? this.#fate() : EVERYTHING);
    await rm(this.#folder, { recursive: true });
    this.#folder = folder;
    if (ending === 'cut') this.#disk = new PowerCutDisk(folder);
    else this.#disk.restart(folder);
    this.told.hearNoMore();
  }
}

/** Digests of all files but the index of the write-ahead log, which is mapped, and made anew at each start. */
async function digestsBelow(folder: string): Promise<Record<string, string>> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile() && !entry.name.endsWith('-shm'));
  const digests = files.map(async ({ name, parentPath }) => {
    const content = await readFile(join(parentPath, name));
    return [relative(folder, join(parentPath, name)), hash('sha256', content)] as const;
  });
  return Object.fromEntries((await Promise.all(digests)).sort());
}

/** Opens a log that a power cut has left and looks for what must be there; what is wrong, in words. */
async function problemOf(file: string, told: Told): Promise<string | null> {
  try {
    // As openSqliteEventStore does, which the next process of the log opens it by.
    makeFolder(dirname(file));
    refuseEmptyFile(file, EVENT_LOG);
    assertOurs(file, EVENT_LOG);
    const head = HeadFile.read(`${file}-head`);
    const writer = LogWriter.open({ path: file, ...CARELESS });
    const reader = new LogReader(file);
    const events = await eventsOf(reader.log({}, Number.MAX_SAFE_INTEGER));
    reader.close();
    const request = { stream: 'after the cut', expected: NO_REVISION, events: newEvents() };
    const [outcome] = writer.append([request]);
    writer.close();
    const positions = [...events.keys(), events.length].map((index) => index + 1);
    const found = [...events.map(({ position }) => Number(position)), outcome?.position];
    if (String(found) !== String(positions)) return `positions ${String(found)}`;
    return headProblem(head, told) ?? problemIn(events, told) ?? damageIn(file);
  } catch (error) {
    return String(error);
  }
}

/** Where the log ends is known from the moment it was opened, as it was then or better. */
function headProblem(head: ReturnType<typeof HeadFile.read>, { atOpening }: Told): string | null {
  if (atOpening === null) return null;
  if (typeof head === 'string') return `the file that tells where the log ends is ${head}`;
  return head.position >= atOpening ? null : `the log is known to end at ${head.position}`;
}

function problemIn(events: readonly RecordedEvent[], { ids }: Told): string | null {
  const stored = new Set(events.map(({ id }) => id));
  const missing = [...ids].filter((id) => !stored.has(id)).length;
  if (missing > 0) return `${missing} of ${ids.size} events that were told are missing`;
  if (stored.size < events.length) return 'an event is there twice';
  const streams = new Map<string, RecordedEvent[]>();
  for (const event of events) {
    const stream = streams.get(event.stream) ?? [];
    if (Number(event.revision) !== stream.length) return `${event.stream} has a gap`;
    streams.set(event.stream, [...stream, event]);
  }
  const isPart = (stream: readonly RecordedEvent[]): boolean => {
    const { events: together } = JSON.parse(stream[0]!.metadata) as { readonly events: number };
    return stream.length % together !== 0;
  };
  return [...streams.values()].some(isPart) ? 'a part of an append is there' : null;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

function damageIn(file: string): string | null {
  const database = openDatabase(file, { kind: EVENT_LOG, readOnly: true });
  const said = pragma(database, 'PRAGMA integrity_check');
  database.close();
  return said === 'ok' ? null : String(said);
}

describe('the disk that a power cut leaves', () => {
  const FD = 7;
  let folder = '';
  beforeEach(async () => {
    folder = await temporaryFolder();
  });
  afterEach(cleanUp);

  const step = (type: 'sync-started' | 'sync-ended'): Step => ({ type, fd: FD, thread: '1' });
  const sync = [step('sync-started'), step('sync-ended')];
  const open = (name: string): Step => {
    return { type: 'open', fd: FD, path: join(folder, name), creates: true, empties: false };
  };
  const syncFolder = (): Step[] => [open(''), ...sync];
  const write = (text: string, at = 0): Step => {
    return { type: 'write', fd: FD, at, bytes: Buffer.from(text) };
  };
  /** What is in each file after these steps and a cut. */
  const left = async (steps: readonly Step[], fate: Fate = NOTHING) => {
    const disk = new PowerCutDisk(folder);
    for (const each of steps) disk.take(each);
    const target = await temporaryFolder();
    disk.leave(target, fate);
    const names = await readdir(target);
    const texts = await Promise.all(names.map((name) => readFile(join(target, name), 'utf8')));
    return Object.fromEntries(names.map((name, index) => [name, texts[index]]));
  };

  it('holds what was synced, under names that were', async () => {
    const steps = [open('a'), write('first'), ...sync, write('FIR'), open('b'), ...sync];
    expect(await left(steps)).toEqual({});
    expect(await left([...steps, ...syncFolder()])).toEqual({ a: 'first', b: '' });
    expect(await left(steps, EVERYTHING)).toEqual({ a: 'FIRst', b: '' });
  });

  it('holds what was there before a write that came after the start of a sync', async () => {
    const steps = [...syncFolder(), open('a'), ...syncFolder(), open('a'), write('old'), ...sync];
    const late = [step('sync-started'), write('new'), step('sync-ended')];
    expect(await left([...steps, ...late])).toEqual({ a: 'old' });
  });

  it('holds a file under its old name until the folder was synced', async () => {
    const rename: Step = { type: 'rename', path: join(folder, 'a'), to: join(folder, 'b') };
    const steps = [open('a'), write('text'), ...sync, ...syncFolder(), rename];
    expect(await left(steps)).toEqual({ a: 'text' });
    expect(await left([...steps, ...syncFolder()])).toEqual({ b: 'text' });
  });

  it('lacks what a failed sync has dropped, until that is written again', async () => {
    const steps = [open('a'), ...syncFolder(), open('a'), write('text')];
    const failed: Step[] = [...steps, { type: 'sync-failed', fd: FD }, ...sync];
    expect(await left(failed, EVERYTHING)).toEqual({ a: 'text' });
    expect(await left(failed)).toEqual({ a: '\0'.repeat(4) });
    expect(await left([...failed, write('text'), ...sync])).toEqual({ a: 'text' });
  });

  it('holds each sector as it was at some moment, by chance', async () => {
    const text = (letter: string): string => letter.repeat(8192);
    const steps = [open('a'), write(text('a')), ...sync, ...syncFolder(), open('a')];
    const random = seeded(SEED);
    const seen = new Set<string>();
    for (let n = 0; n < 40; n += 1) {
      const all = [...steps, write(text('b')), write(text('c'), 256)];
      const { a = '' } = await left(all, bySectors(random));
      for (let at = 0; at < 8192; at += 512) seen.add(a.slice(at, at + 512));
    }
    const sectors = ['a', 'b', 'c'].map((letter) => letter.repeat(512));
    expect(seen).toEqual(new Set([...sectors, 'b'.repeat(256) + 'c'.repeat(256)]));
  });
});

const traced = tracing();

describe('a power cut', () => {
  afterAll(cleanUp);

  traced(
    `loses nothing that was acknowledged or read, in ${LIVES} lives`,
    async () => {
      const random = seeded(SEED);
      const logs: Log[] = [];
      for (let life = 0; life < LIVES; life += 1) {
        if (life % LIVES_OF_A_LOG === 0) {
          logs.push(await (logs.length % 2 === 0 ? Log.begin(random) : Log.restore(random)));
        }
        const log = logs.at(-1)!;
        await log.live(WORK[life % WORK.length]!, ENDINGS[life % ENDINGS.length]);
        const where = `life ${life}; repeat with POWERCUT_SEED=${SEED} POWERCUT_LIVES=${life + 1}`;
        expect({ where, problems: log.problems }).toEqual({ where, problems: [] });
      }
      const cuts = sum(logs.map((log) => log.cuts));
      const told = sum(logs.map((log) => log.told.ids.size));
      process.stderr.write(`${LIVES} lives, ${cuts} power cuts: ${told} events told, 0 lost\n`);
    },
    LIFE_MS_MAX * LIVES,
  );

  traced(
    'does lose something when commits do not wait for the disk, or else all this sees nothing',
    async () => {
      const log = await Log.begin(seeded(SEED));
      await log.live({ ...GROUPS, synchronous: 'normal' });
      const lossy = log.problems.filter((each) => JSON.stringify(each).includes('missing'));
      process.stderr.write(
        `synchronous = normal: ${lossy.length} of ${log.cuts} cuts lost events\n`,
      );
      expect(lossy.length).toBeGreaterThan(log.cuts / 10);
    },
    LIFE_MS_MAX,
  );
});
