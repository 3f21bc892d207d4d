import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Client } from '../../src/client/client.js';
import { commandOf, environmentOf } from '../support/runner.js';
import { cleanUp, startService, temporaryFolder } from '../support/service.js';
import { startOnTerminal, type OnTerminal } from '../support/terminal.js';

/** Programs are compiled when they start, and the machine may be busy. */
jest.setTimeout(60_000);

const IN_MEMORY = { SHIPSLOG_EVENT_STORE: 'memory:', SHIPSLOG_READ_MODELS: 'memory:' };
const CTRL_C = '\u0003';
const CTRL_Z = '\u001a';

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

  const onTerminal = (line: string): OnTerminal =>
    startOnTerminal(line, environmentOf({ args: [], folder, url }));
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

  it('stops with its command on Ctrl-Z, and both go on with fg', async () => {
    const gate = join(folder, 'gate');
    const command = await scriptOf(
      'job',
      `echo working; until [ -e ${gate} ]; do sleep 0.05; done; echo worked; exit 3`,
    );
    const line = (await runLine('job', command)).replace(/^exec /, '');
    const shell = onTerminal('exec bash --norc --noprofile -i');
    shell.type(`PS1='$ '; ${line}; echo "code $?"\n`);
    await shell.saying(/working\r\n/);
    shell.type(CTRL_Z);
    await shell.saying(/\[1\]\+ +Stopped/);
    // Nobody runs now: neither the command, which could end, nor who would tell of it.
    await writeFile(gate, '');
    expect(await attemptOf('job')).toMatchObject({ state: 'running' });
    expect(shell.said()).not.toContain('worked');
    shell.type('fg; echo "then $?"\n');
    await shell.saying(/worked\r\n[\s\S]*then 3\r\n/);
    expect(await attemptOf('job')).toMatchObject({ state: 'failed', exitCode: 3 });
    shell.type('exit\n');
    expect(await shell.ended).toBe(0);
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
