import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { openSqliteEventStore } from '../../src/adapters/sqlite/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { LogProcessLine, LogProcessOptions } from '../support/log-process.js';
import { eventsOf, idsOf, newEvents } from '../support/stored-events.js';

const HERE = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const NODE = [
  process.execPath,
  '--disable-warning=ExperimentalWarning',
  '--import',
  new URL('../../scripts/typescript-loader.mjs', import.meta.url).href,
  HERE('../support/log-process.ts'),
];
/** Several processes start one after the other, on a machine that does other things too. */
const LONG_MS = 60_000;

let folder = '';
let file = '';
const running = new Set<ChildProcess>();
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'shipslog-'));
  file = join(folder, 'events.db');
});
afterEach(() => {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
  rmSync(folder, { recursive: true });
});

interface Owner {
  readonly child: ChildProcess;
  readonly lines: LogProcessLine[];
  /** Resolves when a line of this type has come so many times. */
  readonly until: (type: LogProcessLine['type'], count?: number) => Promise<void>;
  /** Resolves with the exit code when it has ended and every line was read. */
  readonly ended: Promise<number | null>;
}

/** Starts a process that owns the log; `shell` wraps its command, which it gets as its arguments. */
function start(options: LogProcessOptions, { shell = 'exec "$@"', to = file } = {}): Owner {
  const command = [...NODE, to, JSON.stringify(options)];
  const child = spawn('sh', ['-c', shell, 'sh', ...command], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  running.add(child);
  const lines: LogProcessLine[] = [];
  const waiting = new Set<() => void>();
  const reader = createInterface(child.stdout);
  reader.on('line', (line) => {
    lines.push(JSON.parse(line) as LogProcessLine);
    for (const look of waiting) look();
  });
  const ended = Promise.all([once(child, 'exit'), once(reader, 'close')]).then(
    ([[code]]) => code as number | null,
  );
  const until = (type: LogProcessLine['type'], count = 1): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (lines.filter((line) => line.type === type).length >= count) resolve();
      };
      waiting.add(look);
      look();
      void ended.then(() => reject(new Error(`ended without ${type}: ${JSON.stringify(lines)}`)));
    });
  return { child, lines, until, ended };
}

function acknowledged({ lines }: Owner): string[] {
  return lines.flatMap((line) => (line.type === 'acknowledged' ? line.ids : []));
}

async function storedIds(): Promise<string[]> {
  const store = await openSqliteEventStore({ file, clock: systemClock });
  const ids = idsOf(await eventsOf(store.readAll()));
  await store.close();
  return ids;
}

describe('a process that owns the log', () => {
  it(
    'keeps every other one out, by any name of the file, even while it is frozen, until it dies',
    async () => {
      const owner = start({ writers: 1, appends: 1, then: 'wait' });
      await owner.until('acknowledged');
      const link = join(folder, 'link.db');
      symlinkSync(file, link);
      mkdirSync(join(folder, 'elsewhere'));
      symlinkSync(folder, join(folder, 'elsewhere', 'folder'));
      const names = [file, link, join(folder, 'elsewhere', 'folder', 'events.db')];
      const owned = expect.objectContaining({
        code: 'STORE_OWNED',
        message: expect.stringContaining(
          `store is owned by pid ${owner.child.pid} on ${hostname()}`,
        ),
      });
      for (const name of names) {
        await expect(openSqliteEventStore({ file: name, clock: systemClock })).rejects.toEqual(
          owned,
        );
      }
      owner.child.kill('SIGSTOP');
      await expect(openSqliteEventStore({ file, clock: systemClock })).rejects.toEqual(owned);
      owner.child.kill('SIGCONT');
      owner.child.kill('SIGKILL');
      await owner.ended;
      expect(await storedIds()).toEqual(acknowledged(owner));
    },
    LONG_MS,
  );

  it(
    'loses nothing that it acknowledged when it is killed',
    async () => {
      const known: string[] = [];
      for (const count of [1, 40, 300]) {
        const owner = start({ writers: 16, appends: 1_000_000, then: 'wait' });
        await owner.until('acknowledged', count);
        owner.child.kill('SIGKILL');
        await owner.ended;
        known.push(...acknowledged(owner));
      }
      const stored = await storedIds();
      expect(new Set(stored).size).toBe(stored.length);
      expect(known.filter((id) => !stored.includes(id))).toEqual([]);
    },
    LONG_MS,
  );

  it(
    'ends by itself when the log is closed, or when it has nothing more to do',
    async () => {
      const closing = start({ writers: 2, appends: 2, then: 'close' });
      expect(await closing.ended).toBe(0);
      expect(closing.lines.at(-1)).toEqual({ type: 'closed' });
      const leaving = start({ writers: 2, appends: 2, then: 'end' });
      expect(await leaving.ended).toBe(0);
      expect((await storedIds()).sort()).toEqual(
        [...acknowledged(closing), ...acknowledged(leaving)].sort(),
      );
    },
    LONG_MS,
  );
});

describe('a disk that fails', () => {
  it(
    'stops the log at once, and reopening has everything that was acknowledged',
    async () => {
      // The kernel refuses to let any file grow beyond 2 to 4 MiB: writes fail with EFBIG.
      const shell = 'ulimit -f 4096; exec "$@"';
      const owner = start({ writers: 16, appends: 1_000_000, then: 'close' }, { shell });
      expect(await owner.ended).toBe(74);
      const types = owner.lines.map(({ type }) => type);
      const failed = types.findIndex((type) => type === 'refused' || type === 'fatal');
      expect(types.slice(failed)).not.toContain('acknowledged');
      const codes = owner.lines.flatMap((line) => (line.type === 'refused' ? line.code : []));
      expect(codes).toContain('OUTCOME_UNKNOWN');
      expect(new Set([...codes, 'STORE_UNAVAILABLE'])).toEqual(
        new Set(['OUTCOME_UNKNOWN', 'STORE_UNAVAILABLE']),
      );
      expect(owner.lines.filter(({ type }) => type === 'fatal')).toHaveLength(1);
      const known = acknowledged(owner);
      expect(known.length).toBeGreaterThan(50);
      const stored = await storedIds();
      expect(known.filter((id) => !stored.includes(id))).toEqual([]);
    },
    LONG_MS,
  );
});

/** A small disk of its own, gone with the process; needs a kernel that lets us mount one. */
const SMALL_DISK = 'mount -t tmpfs -o size=8m none "$DISK"';
const NAMESPACE = ['unshare', '-rm', 'sh', '-c'];
const mayMount =
  spawnSync(NAMESPACE[0] ?? '', [...NAMESPACE.slice(1), SMALL_DISK], {
    env: { ...process.env, DISK: '/mnt' },
  }).status === 0;

describe('a disk that is full', () => {
  (mayMount ? it : it.skip)(
    'lets the log be read, and is written again when there is room',
    async () => {
      const disk = join(folder, 'disk');
      mkdirSync(disk);
      const options: LogProcessOptions = {
        writers: 1,
        appends: 40,
        length: 50_000,
        filler: { file: join(disk, 'filler'), bytes: 6_800_000 },
        then: 'close',
      };
      const shell = `DISK='${disk}' exec unshare -rm sh -c '${SMALL_DISK} && exec "$@"' sh "$@"`;
      const owner = start(options, { shell, to: join(disk, 'events.db') });
      await owner.until('resumed');
      expect(await owner.ended).toBe(0);
      const full = owner.lines.find((line) => line.type === 'full');
      expect(full).toMatchObject({ problem: expect.stringContaining('full') });
      const before = owner.lines.slice(
        0,
        owner.lines.findIndex(({ type }) => type === 'refused'),
      );
      const known = before.filter(({ type }) => type === 'acknowledged').length;
      expect(full?.readable).toBe(known);
      expect(acknowledged(owner)).toHaveLength(40);
    },
    LONG_MS,
  );
});

it(
  'a second log in one process is kept out too',
  async () => {
    const store = await openSqliteEventStore({ file, clock: systemClock });
    await store.append('deployment-a', 'no_stream', newEvents(1));
    await expect(openSqliteEventStore({ file, clock: systemClock })).rejects.toMatchObject({
      code: 'STORE_OWNED',
      message: expect.stringContaining(`pid ${process.pid} on`),
    });
    expect((await store.append('deployment-a', 0n, newEvents(1))).revision).toBe(1n);
    await store.close();
    await (await openSqliteEventStore({ file, clock: systemClock })).close();
  },
  LONG_MS,
);
