/**
 * A read model is built anew beside the live one while commands run at 200 a second, in a service with a heap
 * of 256 MB: what that costs commands, what it takes, and whether any read was wrong meanwhile.
 *
 * Run: npm run bench -- rebuild [million]
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { openSqliteReadModelsToRead } from '../src/adapters/sqlite/read-models.js';
import { openSqliteEventStoreToRead } from '../src/adapters/sqlite/read-only-event-store.js';
import { verify } from '../src/application/verify.js';
import { PROJECTIONS } from '../src/projections/registry.js';
import { inFolder, measure, print, type Figures } from './measure.js';
import { writeLog } from './projection-log.js';

const EVENTS = process.argv.includes('million') ? 1_000_000 : 100_000;
const DEPLOYMENTS = EVENTS / 10;
const HEAP_MB = 256;
const COMMANDS_PER_SECOND = 200;
const IDLE_COMMANDS = 3_000;
const READ_EVERY = 5;
const NAMES = PROJECTIONS.map(({ name }) => name);

interface Receipt {
  readonly revision: string;
  readonly position: string;
}

/** Commands at a steady rate, of which every fifth is followed by a read that must show it. */
class Load {
  wrong = 0;
  reads = 0;
  #n = 0;

  constructor(private readonly url: string) {}

  /** Sends until told to stop; answers how long each command took. */
  async drive(isOver: () => boolean): Promise<readonly number[]> {
    const took: number[] = [];
    const under: Promise<void>[] = [];
    const startedAtMs = performance.now();
    for (let sent = 0; !isOver(); sent += 1) {
      const dueMs = startedAtMs + (sent * 1_000) / COMMANDS_PER_SECOND;
      const earlyMs = dueMs - performance.now();
      if (earlyMs > 1) await pause(earlyMs);
      under.push(this.#command(dueMs, took));
    }
    await Promise.all(under);
    return took;
  }

  async #command(dueMs: number, took: number[]): Promise<void> {
    const n = this.#n++;
    const number = (n * 7919) % DEPLOYMENTS;
    const at = `${this.url}/v1/deployments/deployment-${String(number).padStart(7, '0')}`;
    const labels = { load: String(n) };
    const answer = await fetch(at, {
      method: 'PATCH',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ labels }),
    });
    const receipt = (await answer.json()) as Receipt;
    took.push(performance.now() - dueMs);
    if (answer.status !== 200) this.wrong += 1;
    if (n % READ_EVERY !== 0) return;
    const read = await fetch(`${at}?minPosition=${receipt.position}`);
    const shown = (await read.json()) as { revision?: string; labels?: { load?: string } };
    this.reads += 1;
    const isRight = shown.labels?.load === labels.load && shown.revision === receipt.revision;
    if (read.status !== 200 || !isRight) this.wrong += 1;
  }
}

async function serve(folder: string): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(
    process.execPath,
    ['--import', '@swc-node/register/esm-register', 'src/main.ts'],
    {
      env: {
        ...process.env,
        NODE_OPTIONS: `--max-old-space-size=${String(HEAP_MB)}`,
        SHIPSLOG_EVENT_STORE: `sqlite:${join(folder, 'events.db')}`,
        SHIPSLOG_READ_MODELS: `sqlite:${join(folder, 'read-models.db')}`,
        SHIPSLOG_PORT: '0',
        // Nobody beats for the attempts of this log; they are not what is measured.
        SHIPSLOG_ROLES: 'api,projector',
        SHIPSLOG_LOG_LEVEL: 'warn',
      },
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  for await (const chunk of child.stdout) {
    const url = /http:\/\/127\.0\.0\.1:\d+/.exec(String(chunk))?.[0];
    if (url !== undefined) return { child, url };
  }
  throw new Error('the service printed no address');
}

async function readyOf(url: string): Promise<void> {
  while ((await fetch(`${url}/health/ready`)).status !== 200) await pause(100);
}

/** The most memory that a process has had at once, MiB; null where the system does not tell it as Linux does. */
function peakOf(pid: number | undefined): string {
  const status = readFileSync(`/proc/${String(pid)}/status`, 'utf8');
  return `${String(Math.round(Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) / 1024))} MiB`;
}

await inFolder(async (folder) => {
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  say(`${String(EVENTS)} events of ${String(DEPLOYMENTS)} deployments, heap ${String(HEAP_MB)} MB`);
  writeLog(join(folder, 'events.db'), EVENTS, 'in work');
  const { child, url } = await serve(folder);
  try {
    const startedAtMs = performance.now();
    await readyOf(url);
    const builtMs = performance.now() - startedAtMs;
    say(`first build of all: ${rateOf(EVENTS, builtMs)}, peak ${peakOf(child.pid)}`);
    const load = new Load(url);
    let sent = 0;
    const idle = await measure(() => load.drive(() => sent++ >= IDLE_COMMANDS));
    print(`${String(COMMANDS_PER_SECOND)} commands/s, nothing else`, idle);
    for (const name of NAMES) await rebuild({ url, name, load, idle });
    say(`peak ${peakOf(child.pid)}; ${String(load.reads)} reads, ${String(load.wrong)} wrong`);
    child.kill('SIGTERM');
    await once(child, 'exit');
    const differences = await differencesIn(folder);
    say(`verification: ${String(differences)} differences`);
    if (load.wrong + differences > 0) process.exitCode = 1;
  } finally {
    child.kill('SIGKILL');
  }

  async function rebuild(of: {
    readonly url: string;
    readonly name: string;
    readonly load: Load;
    readonly idle: Figures;
  }): Promise<void> {
    const statusOf = async (): Promise<string | undefined> => {
      const { items } = (await (await fetch(`${of.url}/v1/projections`)).json()) as {
        readonly items: readonly { readonly name: string; readonly status: string }[];
      };
      return items.find((each) => each.name === of.name)?.status;
    };
    let isOver = false;
    const beganAtMs = performance.now();
    await fetch(`${of.url}/v1/projections/${of.name}/rebuild`, { method: 'POST' });
    const measured = measure(() => of.load.drive(() => isOver));
    while ((await statusOf()) === 'rebuilding') await pause(200);
    const tookMs = performance.now() - beganAtMs;
    isOver = true;
    const figures = await measured;
    print(`while ${of.name} is built anew`, figures);
    const ratio = (figures.p99Ms / of.idle.p99Ms).toFixed(2);
    say(`  ${rateOf(EVENTS, tookMs)}; p99 ${ratio} × idle; peak ${peakOf(child.pid)}`);
  }
});

async function differencesIn(folder: string): Promise<number> {
  const store = openSqliteEventStoreToRead(join(folder, 'events.db'));
  const readModels = openSqliteReadModelsToRead(join(folder, 'read-models.db'));
  const reports = await verify({ store, readModels, projections: PROJECTIONS });
  await readModels.close();
  await store.close();
  return reports.reduce((sum, { differencesTotal }) => sum + differencesTotal, 0);
}

function rateOf(events: number, ms: number): string {
  const perSecond = Math.round((events / ms) * 1_000).toLocaleString('en');
  return `${(ms / 1_000).toFixed(1)} s, ${perSecond} events/s`;
}
