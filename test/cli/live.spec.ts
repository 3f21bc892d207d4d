import { execFile } from 'node:child_process';
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Client } from '../../src/client/client.js';
import { serviceVerbs } from '../../src/verbs.js';
import { shipslog, type Ran } from '../support/command-line.js';
import { hasProgram } from '../support/page-shell.js';
import { commandOf, environmentOf, startRunner, type Runner } from '../support/runner.js';
import { cleanUp, startService, temporaryFolder, type Service } from '../support/service.js';
import { startOnTerminal } from '../support/terminal.js';

/** Programs are compiled when they start, and the machine may be busy. */
jest.setTimeout(60_000);

/** Verbs whose examples are tried here. */
const STAYING = ['watch', 'wait', 'timeline', 'run', 'flush'];
/** Verbs whose examples local.spec.ts tries; those of all others service-verbs.spec.ts tries. */
const LOCAL = [
  'serve',
  'replay',
  'verify',
  'rebuild',
  'export',
  'import',
  'lifecycle',
  'demo',
].concat('doctor', 'completion');

/** The examples of a help, without the program's name. */
function examplesIn(help: string): readonly string[] {
  const examples = help.split('Examples:\n')[1] ?? '';
  return [...examples.matchAll(/^ {2}shipslog (.*)$/gm)].map(([, line = '']) => line);
}

describe('a verb that stays', () => {
  let folder: string;
  let service: Service;
  let client: Client;
  const start = (...args: readonly string[]): Promise<Runner> =>
    startRunner({ args, folder, url: service.url });
  const here = (args: readonly string[], onTerminal = false): Promise<Ran> => {
    const environment = { SHIPSLOG_URL: service.url, NO_COLOR: '1', LANG: 'C.UTF-8' };
    return shipslog(args, { environment, onTerminal });
  };
  const create = (deploymentId: string): Promise<unknown> =>
    client.call('createDeployment', { body: { deploymentId } });
  const drive = async (deploymentId: string, attemptId: string): Promise<void> => {
    await client.call('openAttempt', { deploymentId, body: { attemptId } });
    await client.call('startAttempt', { deploymentId, attemptId });
    const body = { outcome: 'succeeded', exitCode: 0 } as const;
    await client.call('endAttempt', { deploymentId, attemptId, body });
  };

  beforeAll(async () => {
    folder = await temporaryFolder();
    service = await startService({ folder });
    client = new Client({ url: service.url, actor: 'service:ci' });
  });
  afterAll(cleanUp);

  it('watch tells each change of state on a line, of one deployment or of all', async () => {
    await create('a');
    await create('b');
    const [all, one] = await Promise.all([
      start('watch', '--after', 'start'),
      start('watch', 'a', '--after', 'start'),
    ]);
    await all.saying(/\tb\tnone\tpending\tCreateDeployment\t/);
    await drive('b', 'b1');
    await drive('a', 'a1');
    await Promise.all([all.saying(/\ta\tdeploying\tready/), one.saying(/\ta\tdeploying\tready/)]);
    const lines = one
      .said()
      .trimEnd()
      .split('\n')
      .map((line) => line.split('\t').slice(1));
    expect(lines).toEqual([
      ['a', 'none', 'pending', 'CreateDeployment', '', '', 'service:ci'],
      ['a', 'pending', 'deploying', 'StartAttempt', 'a1', '', 'service:ci'],
      ['a', 'deploying', 'ready', 'EndAttempt', 'a1', '', 'service:ci'],
    ]);
    expect(all.said()).toContain('\tb\tdeploying\tready');
    all.child.kill('SIGINT');
    one.child.kill('SIGINT');
    expect(await Promise.all([all.ended, one.ended])).toEqual([130, 130]);
  });

  it('watch --jsonl tells every event once, also when the service dies in between', async () => {
    await create('c');
    const watching = await start('watch', 'c', '--jsonl', '--after', 'start');
    await watching.saying(/deployment_created/);
    const { port } = new URL(service.url);
    await service.end('SIGKILL');
    service = await startService({ folder, settings: { SHIPSLOG_PORT: port } });
    await drive('c', 'c1');
    await watching.saying(/attempt_end[\s\S]*state_transition/);
    await watching.saying(/"to":"ready"/);
    const revisions = watching
      .said()
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { revision: string }).revision);
    expect(revisions).toEqual(['0', '1', '2', '3', '4', '5', '6']);
    watching.child.kill('SIGINT');
    await watching.ended;
  });

  it('watch ends with 8 when nobody answers, and 5 for what is not there', async () => {
    const nobody = await startRunner({ args: ['watch'], folder, url: 'http://127.0.0.1:1' });
    expect(await nobody.ended).toBe(8);
    expect((await here(['watch', 'nope'])).code).toBe(5);
  });

  it('wait ends when the state is there, or was already', async () => {
    await create('d');
    const waiting = await start('wait', 'd', '--for', 'ready,failed', '--timeout', '30s');
    await drive('d', 'd1');
    expect(await waiting.ended).toBe(0);
    expect(waiting.said()).toBe('d is ready\n');
    const { code, out } = await here(['wait', 'd', '--for', 'ready', '--json']);
    expect({ code, state: JSON.parse(out) as unknown }).toMatchObject({
      code: 0,
      state: { deploymentId: 'd', state: 'ready' },
    });
  });

  it('wait sees that nothing is left after a teardown', async () => {
    await create('e');
    await drive('e', 'e1');
    const waiting = here(['wait', 'e', '--for', 'torn_down', '--timeout', '30s']);
    const { attemptId = '' } = await client.call('openTeardown', { deploymentId: 'e' });
    await client.call('startAttempt', { deploymentId: 'e', attemptId });
    const body = { outcome: 'succeeded' } as const;
    await client.call('endAttempt', { deploymentId: 'e', attemptId, body });
    expect((await waiting).code).toBe(0);
  });

  it('wait ends with 7 when the time is over, and says what is', async () => {
    await create('f');
    const { code, out, err } = await here(['wait', 'f', '--for', 'ready', '--timeout', '200ms']);
    expect({ code, out }).toEqual({ code: 7, out: '' });
    expect(err).toMatch(/^shipslog wait: f is pending since .*, not ready within 200 ms\n$/);
  });

  it.each([
    [['wait', 'f'], /required option '--for <states>'/],
    [['wait', 'f', '--for', 'done'], /--for done: must be one of pending, deploying/],
    [['wait', 'f', '--for', 'ready', '--timeout', 'soon'], /--timeout soon: must be a time/],
  ])('%j is wrong usage', async (args, says) => {
    const { code, err } = await here(args);
    expect(code).toBe(2);
    expect(err).toMatch(says);
  });

  it.each(STAYING)('%s does what the examples of its help show', async (verb) => {
    const cwd = await temporaryFolder();
    await writeFile(join(cwd, 'deploy.sh'), '#!/bin/sh\necho "deployed to $1"\n', { mode: 0o755 });
    const id = `web-${verb}`;
    await create(id);
    await drive(id, 'first');
    const lines = examplesIn((await here(['help', verb])).out);
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      const args = line.replaceAll(/\bweb\b/g, id).split(' ');
      const running = await startRunner({ args, folder, url: service.url, cwd });
      // It follows from some moment on, and stays until it is told to stop.
      for (let n = 0; verb === 'watch' && running.said() === ''; n += 1)
        await drive(id, `seen-${lines.indexOf(line)}-${n}`);
      if (verb === 'watch') running.child.kill('SIGINT');
      expect([line, await running.ended]).toEqual([line, verb === 'watch' ? 130 : 0]);
      if (verb === 'run') expect(running.said()).toMatch(/deployed to/);
    }
  });

  it('timeline draws the attempts on one line of time', async () => {
    await create('g');
    await drive('g', 'one');
    await drive('g', 'two');
    await client.call('openAttempt', { deploymentId: 'g', body: { attemptId: 'three' } });
    const { out } = await here(['timeline', 'g'], true);
    const [head, , ...bars] = out.trimEnd().split('\n');
    expect(head).toMatch(/^g {2}○ pending for /);
    expect(bars).toHaveLength(3);
    expect(bars[0]).toMatch(/^#3 full three +┄*○ +pending/);
    expect(bars[2]).toMatch(/^#1 full one +[┄━]*● +succeeded \d+ ms/);
    const plain = await here(['timeline', 'g']);
    expect(plain.out.split('\n')[2]).toMatch(/^1\tone\tfull\tsucceeded\t/);
  });
});

describe('the demo', () => {
  afterAll(cleanUp);

  it('fills a service that owns the log, and keeps events coming under its banner', async () => {
    const folder = await temporaryFolder();
    const { url } = await startService({ folder });
    const environment = {
      SHIPSLOG_EVENT_STORE: `sqlite:${join(folder, 'events.db')}`,
      SHIPSLOG_READ_MODELS: `sqlite:${join(folder, 'read-models.db')}`,
    };
    const demo = await startRunner({ args: ['demo', '--live'], folder, url, environment });
    await demo.saying(/^DEMO .* whose log says that all of it happened now$/m);
    await demo.saying(/200 deployments: .* 5 unknown/);
    await demo.saying(/^DEMO {2}one event a second/m);
    const client = new Client({ url });
    const after = { after: (await client.call('listProjections', {})).items[0]!.headPosition! };
    for await (const event of client.events(after)) {
      if (event.metadata.actor.id === 'demo' && event.type === 'attempt_start') break;
    }
    demo.child.kill('SIGINT');
    expect(await demo.ended).toBe(130);
    const list = await shipslog(['list', '--limit', '1'], { environment: { SHIPSLOG_URL: url } });
    expect(list.err).toMatch(/^DEMO data/);
  }, 120_000);
});

describe('the help', () => {
  it('of every verb has two examples, which are tried', async () => {
    const { out } = await shipslog(['help']);
    const commands = out.split('Commands:\n')[1] ?? '';
    const verbs = [...commands.matchAll(/^ {2}([\w-]+) /gm)].map(([, name = '']) => name);
    expect(verbs.length).toBeGreaterThan(30);
    for (const verb of verbs.filter((name) => name !== 'help')) {
      const help = await shipslog(['help', verb]);
      expect([verb, examplesIn(help.out).length]).toEqual([verb, 2]);
    }
    const tried = [...serviceVerbs('0.0.0').map(({ name }) => name), ...STAYING, ...LOCAL];
    expect(verbs.toSorted()).toEqual([...tried, 'help'].toSorted());
  });
});

const CTRL_U = '\u0015';

/** A test in a shell that this machine may lack; then it is told and left out, but not by .ci/run. */
function within(shell: string): typeof it | typeof it.skip {
  const isRequired = process.env['CI'] !== undefined || process.env['REQUIRE_TOOLS'] === '1';
  if (hasProgram(shell) || isRequired) return it;
  process.stderr.write(`NOT RUN: completion in ${shell}, since there is no ${shell} here\n`);
  return it.skip;
}

describe('completion', () => {
  let url: string;
  let folder: string;

  beforeAll(async () => {
    folder = await temporaryFolder();
    ({ url } = await startService({ folder }));
    const client = new Client({ url });
    for (const deploymentId of ['web', 'web:eu', 'worker']) {
      await client.call('createDeployment', { body: { deploymentId } });
    }
    await client.call('openAttempt', { deploymentId: 'web', body: { attemptId: 'first' } });
    const { position } = await client.call('getDeployment', {
      deploymentId: 'web',
      consistency: 'strong',
    });
    await client.call('listDeployments', { minPosition: position });
  });
  afterAll(cleanUp);

  const offered = async (line: string, shell = 'fish', at = url): Promise<readonly string[]> => {
    const environment = { SHIPSLOG_URL: at };
    const { out } = await shipslog(['complete', shell, '', '--', line], { environment });
    return out
      .split('\n')
      .filter((each) => each !== '')
      .sort();
  };
  const values = async (line: string): Promise<readonly string[]> =>
    (await offered(line)).map((candidate) => candidate.split('\t')[0] ?? '');

  it('offers verbs, flags, words, shells and ids that there are', async () => {
    expect(await values('shipslog ')).toEqual(expect.arrayContaining(['open', 'run', 'verify']));
    expect(await values('shipslog re')).toEqual(['rebuild', 'replay', 'resolve', 'retry']);
    expect(await values('shipslog resolve web --a')).toEqual(['--actor', '--as']);
    expect(await values('shipslog resolve web --as ')).toEqual(['failed', 'ready', 'torn_down']);
    expect(await values('shipslog completion ')).toEqual(['bash', 'fish', 'zsh']);
    expect(await values('shipslog get w')).toEqual(['web', 'web:eu', 'worker']);
    expect(await offered('shipslog start web ')).toEqual(['first\tpending']);
    expect(await values('shipslog run --deployment wo')).toEqual(['worker']);
    expect(await values('shipslog run --deployment web -- w')).toEqual([]);
    expect(await values('shipslog help exit')).toEqual(['exit-codes']);
  });

  it('tells zsh what each is, and hides its colons', async () => {
    expect(await offered('shipslog get web', 'zsh')).toEqual(['web:pending', 'web\\:eu:pending']);
  });

  it('offers no ids while nobody answers', async () => {
    expect(await offered('shipslog get ', 'fish', 'http://127.0.0.1:1')).toEqual([]);
  });

  it.each(['bash', 'zsh', 'fish'])('prints a script for %s', async (shell) => {
    const { code, out } = await shipslog(['completion', shell]);
    expect(code).toBe(0);
    expect(out).toContain(`shipslog complete ${shell}`);
  });

  /** The environment of a shell that finds the command line on its path. */
  const shellEnvironment = async (): Promise<NodeJS.ProcessEnv> => {
    const program = join(folder, 'shipslog');
    const command = (await commandOf([])).map((word) => `'${word}'`).join(' ');
    await writeFile(program, `#!/bin/sh\nexec ${command} "$@"\n`);
    await chmod(program, 0o755);
    const environment = environmentOf({ args: [], folder, url });
    return { ...environment, HOME: folder, PATH: `${folder}:${environment['PATH'] ?? ''}` };
  };

  it('completes in a real bash, also behind a colon', async () => {
    const script = `
      source <(shipslog completion bash)
      complete_line() {
        COMP_LINE=$1 COMP_POINT=\${#1} COMP_WORDS=("\${@:2}") COMP_CWORD=$(($# - 2))
        _shipslog; printf '%s ' "\${COMPREPLY[@]}"; echo
      }
      complete_line 'shipslog get wo' shipslog get wo
      complete_line 'shipslog get web:e' shipslog get web : e`;
    const env = await shellEnvironment();
    const { stdout } = await promisify(execFile)('bash', ['-c', script], { env });
    expect(stdout).toBe('worker \neu \n');
  });

  within('fish')('completes in a real fish, also behind a colon', async () => {
    const script = `shipslog completion fish | source
      for line in 'shipslog get wo' 'shipslog get web:e' 'shipslog run --deployment web:' \\
        'shipslog import fil'
        complete --do-complete $line
      end`;
    const env = await shellEnvironment();
    await writeFile(join(folder, 'file.ndjson'), '');
    const args = ['--no-config', '-c', script];
    const { stdout } = await promisify(execFile)('fish', args, { env, cwd: folder });
    expect(stdout.split('\n')).toEqual([
      'worker\tpending',
      'web:eu\tpending',
      'web:eu\tpending',
      expect.stringMatching(/^file\.ndjson/),
      '',
    ]);
  });

  within('zsh')('completes in a real zsh, also behind a colon', async () => {
    const shell = startOnTerminal('exec zsh -f -i', await shellEnvironment());
    shell.type(
      `PS1='$ '; autoload -Uz compinit; compinit -D; source <(shipslog completion zsh); echo re''ady\n`,
    );
    await shell.saying(/ready\r\n/);
    shell.type('shipslog get wo\t');
    await shell.saying(/get worker/);
    shell.type(`${CTRL_U}shipslog get web:\t`);
    await shell.saying(/get web:eu/);
    shell.type(`${CTRL_U}exit\n`);
    expect(await shell.ended).toBe(0);
  });
});
