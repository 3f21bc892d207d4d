import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Client } from '../../src/client/client.js';
import { commandOf, environmentOf, saying } from '../support/runner.js';
import {
  cleanUp,
  launched,
  startService,
  temporaryFolder,
  type Ending,
} from '../support/service.js';

/** Programs are compiled when they start, and the machine may be busy. */
jest.setTimeout(60_000);

const IN_MEMORY = { SHIPSLOG_EVENT_STORE: 'memory:', SHIPSLOG_READ_MODELS: 'memory:' };
const CTRL_C = '\u0003';

/** A program on a terminal of its own, as `script` of util-linux makes one on any Debian. */
interface OnTerminal {
  readonly ended: Promise<Ending>;
  said(): string;
  saying(pattern: RegExp): Promise<void>;
  type(keys: string): void;
}

describe('on a terminal, shipslog run', () => {
  let folder: string;
  let url: string;
  let client: Client;

  beforeAll(async () => {
    folder = await temporaryFolder();
    ({ url } = await startService({ folder, settings: IN_MEMORY }));
    client = new Client({ url });
  });
  afterAll(cleanUp);

  /** Runs a command line of the shell on a terminal. */
  const onTerminal = (line: string): OnTerminal => {
    const args = ['--quiet', '--return', '--flush', '--command', line, '/dev/null'];
    const environment = {
      ...environmentOf({ args: [], folder, url }),
      TERM: 'xterm',
      SHELL: '/bin/sh',
    };
    const child = spawn('script', args, { env: environment, stdio: ['pipe', 'pipe', 'pipe'] });
    const { said, ended } = launched(child);
    return {
      ended,
      said,
      saying: (pattern) => saying(child, said, pattern),
      type: (keys) => void child.stdin.write(keys),
    };
  };
  const runLine = async (deploymentId: string, command: string): Promise<string> => {
    const flags = ['run', '--quiet', '--create', '--deployment', deploymentId, '--'];
    return ['exec', ...(await commandOf(flags)), command].join(' ');
  };
  const scriptOf = async (name: string, text: string): Promise<string> => {
    const file = join(folder, `${name}.sh`);
    await writeFile(file, text);
    return `sh ${file}`;
  };

  it('leaves Ctrl-C to the command, which hears it once', async () => {
    const command = await scriptOf(
      'trap',
      `trap 'echo heard; sleep 0.3; exit 2' INT; echo waiting; while :; do sleep 0.05; done`,
    );
    const program = onTerminal(await runLine('trap', command));
    await program.saying(/waiting/);
    program.type(CTRL_C);
    expect(await program.ended).toBe(2);
    expect(program.said().match(/heard/g)).toHaveLength(1);
    expect(await attemptOf('trap')).toMatchObject({ state: 'failed', exitCode: 2 });
  });

  it('ends with 130 when Ctrl-C ends the command', async () => {
    const command = await scriptOf('sleep', 'echo waiting; exec sleep 100');
    const program = onTerminal(await runLine('sleep', command));
    await program.saying(/waiting/);
    program.type(CTRL_C);
    expect(await program.ended).toBe(130);
    expect(await attemptOf('sleep')).toMatchObject({
      state: 'failed',
      exitCode: 130,
      code: 'SIGINT',
    });
  });

  it.each<readonly [string, string, string, RegExp]>([
    [
      'a progress bar',
      `for n in 1 2 3; do printf '\\r%s0%%' $n; done; echo; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && stty size && echo terminal`,
      '',
      /\r30%\r\n\d+ \d+\r\nterminal/,
    ],
    [
      'a password prompt',
      `stty -echo; printf 'Password: '; read -r secret </dev/tty; stty echo; echo; echo "got \${#secret}"`,
      'hunter2\n',
      /Password: \r\ngot 7/,
    ],
    [
      'a pager',
      `seq 1 200 >$0.txt; stty rows 20; more $0.txt; echo after`,
      ' q',
      /--More--.*after/s,
    ],
    [
      'a question',
      `printf 'Sure? '; read -r answer; echo "answer: $answer"`,
      'yes\n',
      /Sure\? yes\r\nanswer: yes/,
    ],
  ])('shows %s as it is without it', async (...row) => {
    const [name, text, keys, shows] = row;
    const id = name.replaceAll(' ', '-');
    const command = await scriptOf(id, text);
    const shown = async (line: string): Promise<string> => {
      const program = onTerminal(line);
      if (keys !== '') await program.saying(/: |\? |More/);
      for (const key of keys.endsWith('\n') ? [keys] : keys) {
        program.type(key);
        await new Promise((later) => setTimeout(later, 100));
      }
      expect(await program.ended).toBe(0);
      return program.said();
    };
    const [without, within] = [await shown(command), await shown(await runLine(id, command))];
    expect(within).toBe(without);
    expect(within).toMatch(shows);
    expect(await attemptOf(id)).toMatchObject({ state: 'succeeded' });
  });

  const attemptOf = async (deploymentId: string): Promise<unknown> => {
    const deployment = await client.call('getDeployment', { deploymentId, consistency: 'strong' });
    return deployment.currentAttempt;
  };
});
