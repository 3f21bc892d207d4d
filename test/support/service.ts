import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileTo } from './compiled.js';

/*
 * The service as a process of its own, as a user starts it: on files in a temporary folder, on a free
 * port. It is compiled from the sources first; what `npm run build` makes is started by `npm run smoke`.
 */

/** How a process ended: its exit code, or the signal that ended it. */
export type Ending = number | NodeJS.Signals;

/** A service that was started. */
export interface Service {
  readonly url: string;
  readonly pid: number;
  /** How it ended, once it has. */
  readonly ended: Promise<Ending>;
  /** All that it has written so far, both streams. */
  said(): string;
  /** Sends a signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<Ending>;
}

/** How to start a service beside its settings. */
export interface Start {
  /** Where its files lie; settings may say otherwise. */
  readonly folder: string;
  readonly settings?: Readonly<Record<string, string>>;
  /** Another program than that of the sources. */
  readonly program?: string;
}

const START_MS_MAX = 30_000;
/** What runs, and whether it leads a process group of its own. */
const running = new Map<ChildProcess, { readonly group: boolean }>();
const folders = new Set<string>();
let compiled: Promise<string> | null = null;

/** A folder of its own below the system's place for such; `cleanUp` removes it. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'shipslog-test-'));
  folders.add(folder);
  return folder;
}

/** Ends every process and removes every folder that this file made. For `afterAll` and `afterEach`. */
export async function cleanUp(): Promise<void> {
  await Promise.all(
    [...running].map(([child, { group }]) => {
      if (group) process.kill(-child.pid!, 'SIGKILL');
      return endOf(child, 'SIGKILL');
    }),
  );
  await Promise.all(
    [...folders].map((folder) => rm(folder, { recursive: true, force: true, maxRetries: 3 })),
  );
  folders.clear();
  compiled = null;
}

/** The folder with the compiled programs: `dist/main.js` and others. Made when first asked for. */
export function programs(): Promise<string> {
  return (compiled ??= temporaryFolder().then(async (folder) => {
    await compileTo(folder);
    return folder;
  }));
}

/** Starts a service and waits for its address. Fails with all that it said when it ends instead. */
export async function startService(start: Start): Promise<Service> {
  const { child, said, ended } = await launch(start);
  let watching: NodeJS.Timeout | undefined;
  const address = new Promise<string>((found, failed) => {
    const look = (): void => {
      const url = /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(said())?.[0];
      if (url !== undefined) found(url);
    };
    child.stdout?.on('data', look);
    child.stderr?.on('data', look);
    const fail = (what: string): void => failed(new Error(`the service ${what}:\n${said()}`));
    void ended.then((how) => fail(`ended with ${how}`));
    watching = setTimeout(() => fail('printed no address'), START_MS_MAX);
  });
  const url = await address.finally(() => clearTimeout(watching));
  return { url, pid: child.pid!, said, ended, end: (signal) => endOf(child, signal) };
}

/** Starts a service that is expected to end by itself, and tells how it did. */
export async function runService(start: Start): Promise<{ ending: Ending; said: string }> {
  const { said, ended } = await launch(start);
  return { ending: await ended, said: said() };
}

/** An environment without settings of ours and without what jest adds. */
export function plainEnvironment(): NodeJS.ProcessEnv {
  const isOurs = (name: string): boolean => /^(SHIPSLOG_|JEST_|NODE_ENV$|NODE_OPTIONS$)/.test(name);
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !isOurs(name)));
}

/** A program that runs. */
interface Launched {
  readonly child: ChildProcess;
  readonly ended: Promise<Ending>;
  /** All that it has written so far, both streams. */
  said(): string;
}

/** Watches over a program, which `cleanUp` ends at the latest, with its group if it leads one. */
export function launched(child: ChildProcess, { group = false } = {}): Launched {
  if (child.pid !== undefined) running.set(child, { group });
  let output = '';
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => (output += chunk));
  const ended = new Promise<Ending>((settle, failed) => {
    child.once('error', failed);
    child.once('close', (code, signal) => {
      running.delete(child);
      settle(code ?? signal ?? 'SIGKILL');
    });
  });
  return { child, said: () => output, ended };
}

async function launch({ folder, settings, program }: Start): Promise<Launched> {
  const environment = {
    ...plainEnvironment(),
    SHIPSLOG_PORT: '0',
    SHIPSLOG_EVENT_STORE: `sqlite:${join(folder, 'events.db')}`,
    SHIPSLOG_READ_MODELS: `sqlite:${join(folder, 'read-models.db')}`,
    ...settings,
  };
  const started = program ?? join(await programs(), 'dist/main.js');
  return launched(
    spawn(process.execPath, [started], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] }),
  );
}

async function endOf(child: ChildProcess, signal: NodeJS.Signals): Promise<Ending> {
  const ended = new Promise<Ending>((settle) => {
    if (child.exitCode !== null || child.signalCode !== null) {
      settle(child.exitCode ?? child.signalCode!);
    } else {
      child.once('close', (code, by) => settle(code ?? by ?? signal));
    }
  });
  child.kill(signal);
  return ended;
}
