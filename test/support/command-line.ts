import { Writable } from 'node:stream';
import { systemClock } from '../../src/adapters/system-clock.js';
import { runCommandLine } from '../../src/cli/program.js';
import { terminalOf } from '../../src/cli/terminal.js';
import { usageError } from '../../src/cli/usage.js';
import type { Verb } from '../../src/cli/verb-table.js';
import { workshopOf } from '../../src/local.js';
import { readSettings } from '../../src/settings.js';
import { serviceVerbs } from '../../src/verbs.js';

/** What a command line wrote, and how it ended. */
export interface Ran {
  readonly code: number;
  /** All of stdout. */
  readonly out: string;
  /** All of stderr. */
  readonly err: string;
}

/** How a command line is run. */
export interface RunOptions {
  /** All that it sees of the environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Whether a person reads both outputs. */
  readonly onTerminal?: boolean;
  /** The verbs that ask a service; those of the product when absent. */
  readonly verbs?: readonly Verb[];
}

const VERSION = '0.0.0';
const VERBS = serviceVerbs(VERSION);

/** Runs the command line in this process, as `src/cli/main.ts` does in its own. */
export async function shipslog(
  args: readonly string[],
  { environment = {}, onTerminal = false, verbs = VERBS }: RunOptions = {},
): Promise<Ran> {
  const [stdout, stderr] = [new Sink(onTerminal), new Sink(onTerminal)];
  const code = await runCommandLine({
    args,
    environment,
    terminal: terminalOf({ stdout, stderr }, environment),
    version: VERSION,
    clock: systemClock,
    verbs,
    workshop: async () => {
      try {
        return workshopOf(readSettings(environment));
      } catch (error) {
        throw usageError(error);
      }
    },
    serve: () => Promise.reject(new Error('a service is a process of its own')),
  });
  return { code, out: stdout.text, err: stderr.text };
}

class Sink extends Writable {
  text = '';
  readonly columns = 100;

  constructor(readonly isTTY: boolean) {
    super();
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk.toString('utf8');
    done();
  }
}
