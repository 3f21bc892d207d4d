import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { ROUTES, type Route } from '../../src/api/routes.js';
import { COMMANDS } from '../../src/application/commands.js';
import { OneOf, Text } from '../../src/application/fields.js';
import { examplesOf } from '../../src/cli/examples.js';
import { serviceVerbs } from '../../src/verbs.js';
import { startApi } from '../support/api.js';
import { shipslog, type Ran, type RunOptions } from '../support/command-line.js';
import { Story } from '../support/events.js';
import { cleanUp, startService, temporaryFolder } from '../support/service.js';

/** The service is compiled when it starts, and the machine may be busy. */
jest.setTimeout(60_000);

const IN_MEMORY = { SHIPSLOG_EVENT_STORE: 'memory:', SHIPSLOG_READ_MODELS: 'memory:' };
const VERBS = serviceVerbs('0.0.0');

/** What has to be there before an example of a verb makes sense. */
const BEFORE: Readonly<Record<string, readonly string[]>> = {
  create: [],
  start: ['create web', 'open web first'],
  heartbeat: ['create web', 'open web first', 'start web'],
  end: ['create web', 'open web first', 'start web'],
  cancel: ['create web', 'open web first', 'start web'],
  unknown: ['create web', 'open web first', 'start web'],
  resolve: ['create web', 'open web first', 'start web', 'unknown web --cause orphaned'],
  attempts: ['create web', 'open web first'],
  attempt: ['create web', 'open web first'],
};

/** The words of a line as a shell reads them, as far as our examples go. */
function wordsOf(line: string): readonly string[] {
  return [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) => quoted ?? plain ?? '');
}

describe('a verb that asks a service', () => {
  let url: string;
  let count = 0;
  const run = (line: string, options: RunOptions = {}): Promise<Ran> => {
    const environment = { SHIPSLOG_URL: url, LANG: 'C.UTF-8', ...options.environment };
    return shipslog(wordsOf(line), { ...options, environment });
  };
  /** A deployment of its own for each test. */
  const fresh = async (...lines: readonly string[]): Promise<string> => {
    const id = `d${(count += 1)}`;
    for (const line of [`create ${id}`, ...lines.map((each) => each.replaceAll('ID', id))]) {
      const { code, err } = await run(line);
      if (code !== 0) throw new Error(`${line}: ${err}`);
    }
    return id;
  };

  beforeAll(async () => {
    ({ url } = await startService({ folder: await temporaryFolder(), settings: IN_MEMORY }));
  });
  afterAll(cleanUp);

  const EXAMPLES = VERBS.flatMap((verb) =>
    examplesOf(verb).map((line) => [line, verb.name] as const),
  );
  const ofParked = (verb: string): boolean => verb === 'retry' || verb === 'skip';

  it.each(EXAMPLES.filter(([, verb]) => ofParked(verb)))(
    'runs as its help says, where the read models left web out: %s',
    async (example) => {
      const api = await startApi({ eventStore: 'memory:' });
      await api.app.listen(0, '127.0.0.1');
      const { store } = api.runtime.stores;
      const { position } = await new Story('web').created().poisoned().saveTo(store);
      await api.runtime.projector.waitFor(position, 5000);
      const { port } = api.app.getHttpServer().address() as AddressInfo;
      const environment = { SHIPSLOG_URL: `http://127.0.0.1:${port}` };
      const { code, err, out } = await run(example.replace(/^shipslog /, ''), { environment });
      expect({ code, err }).toEqual({ code: 0, err: '' });
      expect(out).toContain('deployment_hexed');
      await api.close();
    },
  );

  it.each(EXAMPLES.filter(([, verb]) => !ofParked(verb)))(
    'runs as its help says: %s',
    async (example, verb) => {
      const web = `web-${(count += 1)}`;
      const lines = [...(BEFORE[verb] ?? ['create web']), example.replace(/^shipslog /, '')];
      for (const line of lines) {
        const { code, err } = await run(line.replaceAll(/\bweb\b/g, web));
        expect({ line, code, err }).toEqual({ line, code: 0, err: '' });
      }
    },
  );

  it('has two examples in its help', async () => {
    for (const { name } of VERBS) {
      const { code, out } = await shipslog(['help', name]);
      expect(code).toBe(0);
      expect(out.split('Examples:\n')[1]?.match(/^ {2}shipslog /gm)).toHaveLength(2);
    }
  });

  it('prints what it wrote, for people and as JSON', async () => {
    const id = await fresh();
    const told = await run(`open ${id} first`);
    expect(told).toEqual({
      code: 0,
      out: `${id} is pending (attempt 1 first, revision 2)\n`,
      err: '',
    });
    const { out } = await run(`start ${id} --json`);
    expect(JSON.parse(out)).toMatchObject({
      state: 'deploying',
      attemptId: 'first',
      changed: true,
    });
  });

  it('means the current attempt where none is named', async () => {
    const id = await fresh('open ID a1', 'start ID', 'end ID --outcome failed', 'open ID a2');
    expect((await run(`start ${id}`)).out).toContain('attempt 2 a2');
    const none = await fresh();
    const { code, err } = await run(`start ${none}`);
    expect({ code, err }).toEqual({
      code: 2,
      err: expect.stringContaining(`shipslog open ${none}`),
    });
  });

  it('makes a command safe to repeat by its key', async () => {
    const id = await fresh();
    const first = await run(`open ${id} --key k1 --json`);
    const again = await run(`open ${id} --key k1 --json`);
    expect(JSON.parse(again.out)).toEqual({ ...(JSON.parse(first.out) as object), replayed: true });
    expect((await run(`open ${id} other --key k1`)).code).toBe(6);
  });

  it('says who asks: a human by name, unless told otherwise', async () => {
    const id = await fresh();
    const actors = async (): Promise<unknown[]> => {
      const { out } = await run(`history ${id} --jsonl`);
      return out
        .trimEnd()
        .split('\n')
        .map((line) => (JSON.parse(line) as { metadata: { actor: unknown } }).metadata.actor);
    };
    expect(await actors()).toContainEqual(expect.objectContaining({ kind: 'human' }));
    await run(`open ${id}`, { environment: { SHIPSLOG_ACTOR: 'service:ci' } });
    await run(`cancel ${id} --actor human:alice`);
    expect(await actors()).toContainEqual({ kind: 'service', id: 'ci' });
    expect((await actors()).at(-1)).toEqual({ kind: 'human', id: 'alice' });
  });

  it.each<readonly [number, string, readonly string[], RegExp]>([
    [
      3,
      'teardown ID',
      ['open ID a', 'start ID', 'unknown ID --cause orphaned'],
      /unknown.*next: .*shipslog resolve ID --as failed --reason/s,
    ],
    [3, 'open ID', ['open ID a'], /is pending.*next: .*shipslog cancel ID/s],
    [
      3,
      'end ID --outcome succeeded',
      ['open ID a'],
      /not started.*next: start it: shipslog start ID/s,
    ],
    [
      4,
      'resolve ID --as ready --reason x --actor service:ci',
      ['open ID a', 'start ID', 'unknown ID --cause orphaned'],
      /human.*--actor human:NAME/s,
    ],
    [
      4,
      'end ID --outcome succeeded',
      ['open ID a', 'start ID --lease-token 0123456789abcdef'],
      /lease token.*--lease-token TOKEN/s,
    ],
    [5, 'get ID-', [], /did you mean ID\?.*shipslog create ID-/s],
    [5, 'time-in-state --deployment-id ID-', [], /did you mean ID\?.*shipslog create ID-/s],
    [2, "create ID2 --label 'two words=1'", [], /\n {2}--label must have keys/],
    [2, "create 'ID 2'", [], /\n {2}<deployment> must be an id/],
    [2, "open ID --acknowledge-unknown ''", [], /\n {2}--acknowledge-unknown must have 1 to/],
    [2, `open ID --meta '{"a":{"b":"\\u0000"}}'`, [], /\n {2}--meta \(a\/b\) must have no control/],
    [5, 'attempt ID nope', [], /no attempt nope/],
    [6, 'create ID --environment other', [], /declared otherwise.*shipslog update ID/s],
    [6, 'start ID --runner-id r2', ['open ID a', 'start ID --runner-id r1'], /started by r1/],
    [6, 'update ID --name x --if-match 0', [], /revision 0.*shipslog get ID/s],
    [2, 'open ID --actor alice', [], /--actor \(or SHIPSLOG_ACTOR\) must be kind:id/],
    [5, 'get ID --at -1h', [], /next: it was created later: shipslog history ID/],
    [5, 'skip stays ID --reason x', [], /did not leave out.*shipslog parked PROJECTION/s],
    [5, 'parked none', [], /the projections are.*shipslog projections/s],
    [
      2,
      'update ID --policy-heartbeat-ms 1',
      [],
      /--policy-heartbeat-ms must be an integer from 100/,
    ],
  ])('ends with %i for: %s', async (...row) => {
    const [code, line, before, says] = row;
    const id = await fresh(...before);
    const ran = await run(line.replaceAll('ID', id));
    expect({ code: ran.code, out: ran.out }).toEqual({ code, out: '' });
    expect(ran.err.replaceAll(id, 'ID')).toMatch(says);
  });

  it.each([
    ['open', /missing required argument 'deployment'/],
    ['end web', /required option '--outcome <word>'/],
    ['end web --outcome maybe', /Allowed choices are succeeded, failed, cancelled/],
    ['end web --outcome failed --exit-code seven', /--exit-code seven: must be a whole number/],
    ['create web --label team', /--label team: must be key=value/],
    ['create web --policy-lease-ms soon', /must be a time like 90s, 5m or 1h30m/],
    ['open web --meta [1]', /must be a JSON object/],
    ['opne web', /Did you mean open\?/],
    ['diff', /missing required argument 'from'/],
    ['diff -24h --jsno', /unknown option '--jsno'/],
    ['diff -24x', /"-24x": must be an instant like .*, or how long ago: -24h, -7d/],
    ['diff tomorrow', /"tomorrow": must be an instant like .*, or how long ago: -24h, -7d/],
    ['list --at yesterday', /"yesterday": must be an instant like .*, or how long ago/],
    ['list --url foo', /"foo" is no address of a service/],
    ['resolve web --as ready', /--reason <text>.*shipslog help resolve/s],
  ])('ends with 2 and asks nobody for: %s', async (line, says) => {
    const { code, err } = await run(line, { environment: { SHIPSLOG_URL: 'http://127.0.0.1:1' } });
    expect(code).toBe(2);
    expect(err).toMatch(says);
  });

  it('ends with 8 when nobody answers, and says how to start the service', async () => {
    const { code, out, err } = await run('list --url http://127.0.0.1:1');
    expect({ code, out }).toEqual({ code: 8, out: '' });
    expect(err).toMatch(/cannot reach the service at http:\/\/127\.0\.0\.1:1.*shipslog serve/s);
  });

  it('tells an error as JSON to who wants JSON', async () => {
    const { code, out, err } = await run('get nobody --json');
    expect({ code, out }).toEqual({ code: 5, out: '' });
    expect(JSON.parse(err)).toMatchObject({ code: 'DEPLOYMENT_NOT_FOUND', status: 404 });
  });

  it('lists one page, or all of them', async () => {
    const label = `--label batch=b${(count += 1)}`;
    for (let n = 0; n < 4; n++) await run(`create many-${count}-${n} ${label}`);
    const { out } = await run(`create many-${count}-4 ${label} --json`);
    const { position } = JSON.parse(out) as { position: string };
    const list = async (flags: string): Promise<string> =>
      (await run(`list ${label} ${flags}`)).out;
    await run(`list ${label} --min-position ${position}`);
    expect((await list('--limit 2')).split('\n')).toHaveLength(3);
    expect((await run(`list ${label} --limit 2`)).err).toMatch(/more: --all, or --cursor \d+/);
    expect((await list('--limit 2 --all')).split('\n')).toHaveLength(6);
    expect((await list('--jsonl')).trimEnd().split('\n')).toHaveLength(5);
    const page = JSON.parse(await list('--limit 2 --all --json')) as { items: unknown[] };
    expect(page.items).toHaveLength(5);
  });

  it('tells what was at a time, and what has changed since, by whom and why', async () => {
    const id = await fresh('open ID first', 'start ID');
    await run(`end ${id} --outcome failed --reason full --actor human:alice`);
    const rowsOf = ({ out }: Ran): readonly (readonly string[])[] =>
      out
        .split('\n')
        .map((line) => line.split('\t'))
        .filter((cells) => cells.includes(id));
    const anInstant = expect.stringMatching(/^\d{4}-.*Z$/);
    const end = ['EndAttempt', 'human:alice', 'first', 'full'];
    const changed = await run('diff -1h --all');
    expect(rowsOf(changed)).toEqual([[id, 'none', 'failed', anInstant, ...end]]);
    expect(rowsOf(await run('diff -2h -1h --all'))).toEqual([]);
    const then = await run('list --at -0s --all');
    const cells = ['failed', id, anInstant, 'EndAttempt', 'first', 'full', 'human:alice'];
    expect(rowsOf(then)).toEqual([cells]);
    expect(rowsOf(await run('list --as-of -1h --all'))).toEqual([]);
    const person = await run('list --as-of -10d', { onTerminal: true });
    expect(person.err).toContain('There was no deployment then.');
    const counts = await run('count --as-of -1h --json');
    expect(JSON.parse(counts.out)).toMatchObject({ failed: 0, total: 0 });
    expect((await run('list --at -1h --q x')).err).toMatch(/--q must not be given with at or asOf/);
  });

  it('shows a person a table that fits, and a picture of a history', async () => {
    const id = await fresh('open ID first', 'start ID', 'end ID --outcome failed --exit-code 7');
    const onTerminal = { onTerminal: true, environment: { NO_COLOR: '1' } };
    const list = await run('list', onTerminal);
    expect(list.out).toMatch(/^STATE +DEPLOYMENT +ENVIRONMENT +ATTEMPT +SINCE +REASON\n/);
    expect(list.out).toMatch(new RegExp(`^✗ failed +${id} +1 full failed +`, 'm'));
    expect(Math.max(...list.out.split('\n').map((line) => line.length))).toBeLessThanOrEqual(100);
    const picture = await run(`history ${id}`, onTerminal);
    const words = picture.out.split('\n').map((line) => line.trim().replaceAll(/ {2,}/g, ' | '));
    expect(words[0]).toMatch(/^\S+Z \| ○ pending \| deployment created \|/);
    expect(words[2]).toMatch(/^\+.* \| ◐ deploying \| attempt start \| first \|/);
    expect(words[3]).toMatch(/^\+.* \| ✗ failed \| attempt end \| first · failed · exit code 7 \|/);
  });
});

describe('a command that is added to the tables', () => {
  const asked: { line: string; body: unknown }[] = [];
  let server: Server;
  let url: string;
  const routes = ROUTES as Route[];
  const commands = COMMANDS as Record<string, unknown>;

  beforeAll(async () => {
    class PauseDeployment {
      readonly until!: string;
    }
    OneOf(['morning', 'noon'], { doc: 'When it goes on.' })(PauseDeployment.prototype, 'until');
    Text({ doc: 'Why.', max: 100, optional: true })(PauseDeployment.prototype, 'reason');
    commands['PauseDeployment'] = PauseDeployment;
    routes.push({
      does: 'command',
      name: 'pauseDeployment',
      method: 'POST',
      path: '/v1/deployments/{deploymentId}/pause',
      command: 'PauseDeployment' as 'CreateDeployment',
      success: 200,
      doc: 'Lets a deployment rest. Nothing is opened until then.',
    });
    server = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => (text += chunk.toString()));
      request.on('end', () => {
        asked.push({ line: `${request.method} ${request.url}`, body: JSON.parse(text) });
        const receipt = { deploymentId: 'web', state: 'ready', revision: '4', changed: true };
        response.setHeader('content-type', 'application/json').end(JSON.stringify(receipt));
      });
    });
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });

  afterAll(async () => {
    routes.pop();
    delete commands['PauseDeployment'];
    await new Promise((closed) => server.close(closed));
  });

  it.each([
    ['shipslog pau', ['pause\tLets a deployment rest.']],
    ['shipslog pause web --r', ['--reason\twhy']],
    ['shipslog pause web --until ', ['morning', 'noon']],
  ])('is offered by completion: %s', async (line, offered) => {
    const verbs = serviceVerbs('0.0.0');
    const { out } = await shipslog(['complete', 'fish', '', '--', line], { verbs });
    expect(out.trimEnd().split('\n')).toEqual(offered);
  });

  it('is a verb with flags, help and examples, with no other change', async () => {
    const verbs = serviceVerbs('0.0.0');
    const environment = { SHIPSLOG_URL: url };
    const help = await shipslog(['help', 'pause'], { verbs });
    expect(help.out).toContain('Lets a deployment rest.');
    expect(help.out).toMatch(/--until <word> +when it goes on \(choices: "morning", "noon"\)/);
    expect(help.out).toContain('  shipslog pause web --until morning\n');
    expect((await shipslog(['help'], { verbs })).out).toContain('pause');
    const args = ['pause', 'web', '--until', 'noon', '--reason', 'lunch'];
    const { code, out } = await shipslog(args, { verbs, environment });
    expect({ code, out }).toEqual({ code: 0, out: 'web is ready (revision 4)\n' });
    expect(asked).toEqual([
      { line: 'POST /v1/deployments/web/pause', body: { until: 'noon', reason: 'lunch' } },
    ]);
  });
});
