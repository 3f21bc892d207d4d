import { spawn } from 'node:child_process';
import { saying } from './runner.js';
import { launched, type Ending } from './service.js';

/** A program on a terminal of its own, as `script` of util-linux makes one on any Debian. */
export interface OnTerminal {
  readonly ended: Promise<Ending>;
  said(): string;
  saying(pattern: RegExp): Promise<void>;
  type(keys: string): void;
}

/** Runs a command line of the shell on a terminal. */
export function startOnTerminal(line: string, environment: NodeJS.ProcessEnv): OnTerminal {
  const args = ['--quiet', '--return', '--flush', '--command', line, '/dev/null'];
  const env = { ...environment, TERM: 'xterm', SHELL: '/bin/sh' };
  const child = spawn('script', args, { env, stdio: ['pipe', 'pipe', 'pipe'] });
  const { said, ended } = launched(child);
  return {
    ended,
    said,
    saying: (pattern) => saying(child, said, pattern),
    type: (keys) => void child.stdin.write(keys),
  };
}
