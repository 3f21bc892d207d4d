/** A command with this terminal, in this process group; and how it is stopped with all that it started. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { pause } from '../client/pause.js';

/** How a command ended. */
export type CommandEnd =
  | { readonly how: 'exited'; readonly exitCode: number }
  | { readonly how: 'killed'; readonly signal: NodeJS.Signals; readonly exitCode: number }
  | { readonly how: 'not started'; readonly exitCode: number; readonly problem: string };

/** What is run, and the mark by which all that it starts can be found. */
export interface CommandOptions {
  readonly command: readonly [string, ...string[]];
  readonly environment: NodeJS.ProcessEnv;
  /** A variable of the environment that nothing else has. */
  readonly mark: { readonly name: string; readonly value: string };
}

const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;
const BY_SIGNAL = 128;
/** Signals that a terminal sends to all of its foreground: the command has heard them, too. */
const OF_TERMINALS = ['SIGINT', 'SIGQUIT', 'SIGHUP'] as const;
/** Signals that whoever sends them means for the command. */
const OF_OTHERS = ['SIGTERM', 'SIGUSR1', 'SIGUSR2'] as const;
const LOOK_AGAIN_MS = 50;

/** Runs one command. Its input, output and terminal are those of this process. */
export class StoppableCommand {
  readonly ended: Promise<CommandEnd>;
  readonly #child: ChildProcess;
  readonly #mark: string;
  readonly #forward: (signal: NodeJS.Signals) => void;
  #isEnded = false;
  #isStopping = false;

  constructor({ command: [program, ...args], environment, mark }: CommandOptions) {
    this.#mark = `${mark.name}=${mark.value}`;
    this.#forward = (signal) => this.#child.kill(signal);
    this.#listen();
    this.#child = spawn(program, args, {
      stdio: 'inherit',
      env: { ...environment, [mark.name]: mark.value },
    });
    this.ended = new Promise<CommandEnd>((resolve) => {
      this.#child.once('error', (error: NodeJS.ErrnoException) => {
        // Also told when a signal could not be sent; then the command runs on.
        if (this.#child.pid !== undefined) return;
        const exitCode = error.code === 'ENOENT' ? NOT_FOUND : NOT_EXECUTABLE;
        resolve({ how: 'not started', exitCode, problem: error.message });
      });
      this.#child.once('exit', (code, signal) => resolve(endOf(code, signal)));
    }).finally(() => {
      this.#isEnded = true;
      this.#deafen();
    });
  }

  /**
   * Asks the command, and all that it started, to end (SIGTERM); kills what is left after the grace.
   * Resolves when nothing is left. What it started is found on Linux only.
   */
  async stop(graceMs: number): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#signal('SIGTERM');
    const timer = new AbortController();
    const over = pause(graceMs, timer.signal).then(() => 'over' as const);
    const gone = await Promise.race([over, this.#allGone(timer.signal)]);
    timer.abort();
    if (gone !== 'over') return;
    this.#signal('SIGKILL');
    await this.#allGone(AbortSignal.timeout(graceMs));
  }

  #signal(signal: NodeJS.Signals): void {
    if (!this.#isEnded) this.#child.kill(signal);
    for (const pid of markedProcesses(this.#mark)) {
      if (pid !== this.#child.pid) sendTo(pid, signal);
    }
  }

  async #allGone(givenUp: AbortSignal): Promise<'gone'> {
    await this.ended;
    while (!givenUp.aborted && markedProcesses(this.#mark).length > 0) {
      await pause(LOOK_AGAIN_MS, givenUp);
    }
    return 'gone';
  }

  #listen(): void {
    const { hear } = this;
    for (const signal of [...OF_TERMINALS, ...OF_OTHERS]) process.on(signal, hear);
  }

  #deafen(): void {
    for (const signal of [...OF_TERMINALS, ...OF_OTHERS]) process.off(signal, this.hear);
  }

  /** Takes a signal: what the terminal has sent to the command already is not sent twice. */
  private readonly hear = (signal: NodeJS.Signals): void => {
    const isOfTerminal = (OF_TERMINALS as readonly string[]).includes(signal);
    if (!isOfTerminal || !hasTerminal()) this.#forward(signal);
  };
}

function endOf(code: number | null, signal: NodeJS.Signals | null): CommandEnd {
  if (signal === null) return { how: 'exited', exitCode: code ?? 0 };
  return { how: 'killed', signal, exitCode: BY_SIGNAL + constants.signals[signal] };
}

function hasTerminal(): boolean {
  return process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
}

/** Processes whose environment holds the mark; none where there is no /proc. */
function markedProcesses(mark: string): readonly number[] {
  return pidsIn('/proc').filter((pid) => pid !== process.pid && isMarked(pid, mark));
}

function pidsIn(folder: string): readonly number[] {
  try {
    return readdirSync(folder)
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

/** Processes of others cannot be read; those that are gone, or are only waited for, have no environment. */
function isMarked(pid: number, mark: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark);
  } catch {
    return false;
  }
}

function sendTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It ended meanwhile.
  }
}
