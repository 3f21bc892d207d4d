import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { chmod, mkdir, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { launched, plainEnvironment, programs, temporaryFolder } from './service.js';

/** What a block of a page has written, and its exit code. */
export interface Ran {
  readonly code: number;
  readonly out: string;
  /** What it said beside its output; for failures. */
  readonly err: string;
}

/** The address that the documents speak of. */
const DOCUMENTED = '127.0.0.1:3000';
const BLOCK_MS_MAX = 60_000;
/** Stands before and after the exit code of a block; what a service goes on to write may follow. */
const END = '\u001e';
const ENDED = new RegExp(`${END}\\d+${END}`);

/** Whether a program can be started on this machine. */
export function hasProgram(name: string): boolean {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0;
}

/**
 * A terminal in which the blocks of one page are run one after the other, in a folder like a built clone.
 *
 * `npm start` starts the real service there, on any free port; the address of the documents is replaced
 * by that one.
 */
export class PageShell {
  #out = '';
  #err = '';

  private constructor(
    readonly folder: string,
    private readonly state: string,
    private readonly bash: ChildProcess,
  ) {
    bash.stdout?.on('data', (chunk: string) => (this.#out += chunk));
    bash.stderr?.on('data', (chunk: string) => (this.#err += chunk));
  }

  static async open(settings: Readonly<Record<string, string>> = {}): Promise<PageShell> {
    const root = await temporaryFolder();
    const [folder, bin, state] = [join(root, 'page'), join(root, 'bin'), join(root, 'state')];
    const compiled = await programs();
    await mkdir(folder);
    await mkdir(bin);
    await symlink(resolve('node_modules'), join(folder, 'node_modules'));
    await symlink(join(compiled, 'dist'), join(folder, 'dist'));
    for (const name of ['npm', 'node']) {
      const standIn = resolve('test/support/npm-stand-in.mjs');
      const line = [process.execPath, standIn, compiled, state, name].map((word) => `'${word}'`);
      const text = `#!/bin/sh\nexec ${line.join(' ')} "$@"\n`;
      await writeFile(join(bin, name), text);
      await chmod(join(bin, name), 0o700);
    }
    const env = {
      ...plainEnvironment(),
      PATH: `${bin}:${process.env['PATH'] ?? ''}`,
      ...settings,
    };
    const { child } = launched(
      spawn('bash', ['--noprofile', '--norc'], { cwd: folder, env, stdio: 'pipe' }),
    );
    return new PageShell(folder, state, child);
  }

  /** Runs the lines of a block, as if they were typed. */
  async run(block: string): Promise<Ran> {
    [this.#out, this.#err] = ['', ''];
    const answered = new Promise<void>((settle, fail) => {
      const late = setTimeout(
        () => fail(new Error(`no end after ${BLOCK_MS_MAX} ms`)),
        BLOCK_MS_MAX,
      );
      const look = (): void => {
        if (!ENDED.test(this.#out)) return;
        this.bash.stdout?.off('data', look);
        clearTimeout(late);
        settle();
      };
      this.bash.stdout?.on('data', look);
    });
    this.bash.stdin?.write(`${this.addressed(block)}\nprintf '${END}%s${END}' "$?"\n`);
    await answered;
    const [out = '', code = ''] = this.#out.split(END);
    return { code: Number(code), out, err: this.#err };
  }

  /** The text with the address of the service that runs here. */
  addressed(text: string): string {
    const { port } = this.#started();
    return port === null ? text : text.replaceAll(DOCUMENTED, `127.0.0.1:${port}`);
  }

  /** What was written, with the address of the documents. */
  documented(text: string): string {
    const { port } = this.#started();
    return port === null ? text : text.replaceAll(`127.0.0.1:${port}`, DOCUMENTED);
  }

  /** Ends the services that were started from here. */
  close(): void {
    for (const pid of this.#started().pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended already.
      }
    }
    this.bash.stdin?.end();
  }

  #started(): { readonly port: number | null; readonly pids: readonly number[] } {
    if (!existsSync(this.state)) return { port: null, pids: [] };
    return JSON.parse(readFileSync(this.state, 'utf8')) as { port: number; pids: number[] };
  }
}
