import { spawn, type ChildProcess } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { serviceVerbs } from '../../src/verbs.js';
import { launched, plainEnvironment, programs, type Ending } from './service.js';

/** How the command line is started as a process. */
export interface Launch {
  readonly args: readonly string[];
  /** Folder of the spool. */
  readonly folder: string;
  readonly url: string;
  readonly environment?: Readonly<Record<string, string>>;
  /** Where it is started; here, when absent. */
  readonly cwd?: string;
}

/** A command line that runs. */
export interface Runner {
  readonly child: ChildProcess;
  /** How it ended, once it has and nobody writes any more. */
  readonly ended: Promise<Ending>;
  /** How it ended, once it has; what it started may live on. */
  readonly exited: Promise<Ending>;
  /** All that it and its command have written so far. */
  said(): string;
  /** Resolves when it has written something like this. */
  saying(pattern: RegExp): Promise<void>;
}

/** Starts the command line as a process of its own. */
export async function startRunner(launch: Launch): Promise<Runner> {
  const [program, ...args] = await commandOf(launch.args);
  const child = spawn(program, args, {
    env: environmentOf(launch),
    cwd: launch.cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const exited = new Promise<Ending>((settle) => {
    child.once('exit', (code, signal) => settle(code ?? signal ?? 'SIGKILL'));
  });
  const { said, ended } = launched(child);
  return { child, said, ended, exited, saying: (pattern) => saying(child, said, pattern) };
}

/** Program and arguments of a command line, as they are once a build has written down its verbs. */
export async function commandOf(args: readonly string[]): Promise<readonly [string, ...string[]]> {
  const folder = join(await programs(), 'dist/cli');
  // Once: another one may read them right now.
  const isThere = written.get(folder) ?? writeFile(join(folder, 'verbs.json'), VERBS);
  written.set(folder, isThere);
  await isThere;
  return [process.execPath, join(folder, 'main.js'), ...args];
}

const VERBS = JSON.stringify(serviceVerbs('0.0.0'));
const written = new Map<string, Promise<void>>();

/** What a runner sees of the environment. */
export function environmentOf({ folder, url, environment }: Launch): NodeJS.ProcessEnv {
  return {
    ...plainEnvironment(),
    SHIPSLOG_URL: url,
    SHIPSLOG_SPOOL: join(folder, 'spool'),
    LANG: 'C.UTF-8',
    ...environment,
  };
}

/** On a busy machine the demo alone takes most of it. */
const SAYING_MS_MAX = 55_000;

/** Resolves when a process has written something like this; fails with all that it said. */
export function saying(child: ChildProcess, said: () => string, pattern: RegExp): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      if (!pattern.test(said())) return;
      clearTimeout(timer);
      resolve();
    };
    const fail = (): void => reject(new Error(`it did not say ${String(pattern)}:\n${said()}`));
    const timer = setTimeout(fail, SAYING_MS_MAX);
    child.stdout?.on('data', look);
    child.stderr?.on('data', look);
    child.once('close', () => {
      look();
      clearTimeout(timer);
      fail();
    });
    look();
  });
}
