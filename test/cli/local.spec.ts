import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, cp, mkdir, readdir, readFile, realpath, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { openSqliteEventStore } from '../../src/adapters/sqlite/event-store.js';
import { openDatabase } from '../../src/adapters/sqlite/driver.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { startRunner } from '../support/runner.js';
import { shipslog, type Ran } from '../support/command-line.js';
import { decidedDemo } from '../../src/cli/demo.js';
import { workshopOf } from '../../src/local.js';
import { readSettings } from '../../src/settings.js';
import { cleanUp, plainEnvironment, programs, temporaryFolder } from '../support/service.js';

/** The writer's thread is compiled when it starts, and the machine may be busy. */
jest.setTimeout(60_000);

const UNTIL = '2026-11-25T13:00:00.000Z';
const READ_MODELS = { name: 'read-model file', applicationId: 0x5348_4c52, userVersion: 1 };

const LOG = { name: 'log', applicationId: 0x5348_4c45, userVersion: 1, schema: '' };

function settingsIn(folder: string): Readonly<Record<string, string>> {
  return {
    SHIPSLOG_EVENT_STORE: `sqlite:${join(folder, 'events.db')}`,
    SHIPSLOG_READ_MODELS: `sqlite:${join(folder, 'read-models.db')}`,
    LANG: 'C.UTF-8',
  };
}

describe('on a store with a demo in it', () => {
  let folder: string;
  /** The whole history of ten deployments. */
  let some: readonly string[];
  const here = (...args: readonly string[]): Promise<Ran> =>
    shipslog(args, { environment: settingsIn(folder) });

  beforeAll(async () => {
    folder = await temporaryFolder();
    const { code, out } = await here('demo', '--until', UNTIL);
    expect({ code, out }).toEqual({ code: 0, out: expect.stringMatching(/^DEMO .*demo=true\n$/s) });
    expect((await here('rebuild')).code).toBe(0);
    const lines = (await here('export')).out.trimEnd().split('\n');
    some = lines.filter((line) => /"deploymentId":"(cart|web)-/.test(line));
  });
  afterAll(cleanUp);

  it('replay counts the deployments by state', async () => {
    const { code, out, err } = await here('replay');
    expect({ code, out }).toEqual({
      code: 0,
      out: 'pending\t4\ndeploying\t1\nready\t168\nfailed\t22\nunknown\t5\n',
    });
    expect(err).toMatch(/^14,\d{3} events of 200 deployments in/);
    expect(JSON.parse((await here('replay', '--json')).out)).toMatchObject({
      streams: 200,
      byState: { unknown: 5, deploying: 1 },
      poisonedStreams: 0,
    });
  });

  it('replay shows a person symbols and words', async () => {
    const { out } = await shipslog(['replay'], {
      environment: settingsIn(folder),
      onTerminal: true,
    });
    expect(out).toContain('\u001b[35m? unknown');
    const plain = { ...settingsIn(folder), NO_COLOR: '1' };
    const { out: uncoloured } = await shipslog(['replay'], {
      environment: plain,
      onTerminal: true,
    });
    expect(uncoloured).toContain('? unknown');
    expect(uncoloured).not.toContain('\u001b[3');
  });

  it('the demo goes into no log that has something else, and is the same for the same seed', async () => {
    const again = await here('demo', '--until', UNTIL);
    expect({ code: again.code, err: again.err }).toEqual({
      code: 2,
      err: expect.stringContaining('--into-existing'),
    });
    const plot = { until: UNTIL };
    const workshop = workshopOf(readSettings({}));
    const eventsOf = (seed: number): string =>
      JSON.stringify(decidedDemo({ ...plot, seed }, workshop).steps.map(({ events }) => events));
    const one = eventsOf(1);
    expect(eventsOf(1) === one).toBe(true);
    expect(eventsOf(2) === one).toBe(false);
  });

  it('export and import keep ids, order and bytes, and a repeat adds nothing', async () => {
    const [file, again] = [join(folder, 'some.ndjson'), join(folder, 'again.ndjson')];
    await writeFile(file, `${some.join('\n')}\n`);
    const there = settingsIn(await temporaryFolder());
    const first = await shipslog(['import', file, '--json'], { environment: there });
    const second = await shipslog(['import', file, '--json'], { environment: there });
    const [a, b] = [first, second].map(({ out }) => JSON.parse(out) as Record<string, unknown>);
    const events = some.length;
    expect(a).toMatchObject({ events, added: events, present: 0, streams: 10 });
    expect(b).toMatchObject({ events, added: 0, present: events, digest: a!['digest'] });
    const exported = await shipslog(['export', '-o', again], { environment: there });
    expect({ code: exported.code, out: exported.out }).toEqual({ code: 0, out: '' });
    const bytesOf = (line: string): string => line.replace(/"position":"\d+"/, '');
    const lines = (await readFile(again, 'utf8')).trimEnd().split('\n');
    expect(lines.map(bytesOf)).toEqual(some.map(bytesOf));
  });

  it('an export overwrites nothing', async () => {
    const file = join(folder, 'taken');
    await writeFile(file, 'mine');
    const { code, err } = await here('export', '--output', file);
    expect({ code, err }).toEqual({
      code: 1,
      err: `shipslog: --output ${file}: it is there already, and nothing is overwritten: name a new one\n`,
    });
    const nowhere = await here('export', '--output', join(folder, 'none', 'x'));
    expect(nowhere.err).toMatch(/^shipslog: --output .*: there is no such file or folder\n$/);
    expect(await readFile(file, 'utf8')).toBe('mine');
  });

  it('an import that was broken off goes on where it was', async () => {
    const [part, whole] = [join(folder, 'part'), join(folder, 'whole')];
    // A file that ends between two commands is what a kill in the middle leaves behind.
    await writeFile(part, `${some.slice(0, 2).join('\n')}\n`);
    await writeFile(whole, some.join('\n'));
    const environment = settingsIn(await temporaryFolder());
    expect((await shipslog(['import', part], { environment })).code).toBe(0);
    const { out: told } = await shipslog(['import', whole, '--json'], { environment });
    expect(JSON.parse(told)).toMatchObject({ present: 2, added: some.length - 2 });
  });

  it.each<[string, (lines: string[]) => void, RegExp]>([
    [
      'is cut in a line',
      (all) => (all[9] = all[9]!.slice(0, 70)),
      /line 10: it is not a JSON object/,
    ],
    ['lacks an event', (all) => all.splice(1, 1), /line \d+: revision 2 of .* follows 0/],
    [
      'has an event twice',
      (all) => all.splice(1, 0, all[0]!),
      /line 2: revision 0 of .* follows 0/,
    ],
    [
      'has an id twice, with other content',
      (all) => (all[3] = all[3]!.replace(/"id":"[^"]*"/, /"id":"[^"]*"/.exec(all[1]!)![0])),
      /line 4: its id is that of line 2/,
    ],
    [
      'tells an impossible history',
      (all) => (all[1] = all[1]!.replace('"from":null', '"from":"ready"')),
      /line 2: .*goes on from ready, but the state is null/,
    ],
    [
      'has a type that is not known',
      (all) => (all[0] = all[0]!.replace('"deployment_created"', '"x"')),
      /line 1: unknown event type/,
    ],
  ])(
    'a file that %s is refused by its line, and nothing of it is written',
    async (_, spoil, says) => {
      const file = join(folder, 'spoilt.ndjson');
      const lines = [...some];
      spoil(lines);
      await writeFile(file, `${lines.join('\n')}\n`);
      const environment = settingsIn(await temporaryFolder());
      const { code, out, err } = await shipslog(['import', file], { environment });
      expect({ code, out }).toEqual({ code: 3, out: '' });
      expect(err).toMatch(says);
      const replayed = await shipslog(['replay', '--json'], { environment });
      expect(JSON.parse(replayed.out)).toMatchObject({ events: 0 });
    },
  );

  it('reading verbs work while another process owns the log, and writing ones say who does', async () => {
    const store = await openSqliteEventStore({
      file: join(folder, 'events.db'),
      clock: systemClock,
    });
    try {
      for (const line of ['replay', 'verify', 'export', 'rebuild --projection attempts']) {
        expect([line, (await here(...line.split(' '))).code]).toEqual([line, 0]);
      }
      const file = join(folder, 'empty.ndjson');
      await appendFile(file, '');
      const { code, err } = await here('import', file);
      expect(code).toBe(1);
      expect(err).toMatch(/owned by pid \d+.*\n.*ask it over HTTP, or stop it/);
    } finally {
      await store.close();
    }
  });

  it('verify names each row that lies and the first event that disagrees, and rebuild mends them', async () => {
    expect((await here('verify')).code).toBe(0);
    const database = openDatabase(join(folder, 'read-models.db'), {
      kind: { ...READ_MODELS, schema: '' },
      synchronous: 'normal',
    });
    const [table] = database
      .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'deployments%'`)
      .all() as { name: string }[];
    database.exec(
      `UPDATE ${table!.name} SET state = CASE state WHEN 'ready' THEN 'failed' ELSE 'ready' END
       WHERE deployment_id = 'cart-sandbox'`,
    );
    database.close();
    const { code, out } = await here('verify');
    expect(code).toBe(3);
    expect(out).toMatch(
      /deployments cart-sandbox: state is "\w+", the log says "\w+"; first event that disagrees: revision \d+ of deployment-cart-sandbox, position \d+/,
    );
    expect((await here('rebuild', '--projection', 'deployments')).out).toMatch(/^deployments: 14,/);
    expect((await here('verify')).code).toBe(0);
  });

  it('verify and doctor say in one line that the read models are of another log', async () => {
    const place = await temporaryFolder();
    const other = settingsIn(place);
    const file = join(place, 'some.ndjson');
    await writeFile(file, some.join('\n'));
    for (const line of [['import', file], ['rebuild'], ['verify']]) {
      expect((await shipslog(line, { environment: other })).code).toBe(0);
    }
    const { SHIPSLOG_READ_MODELS = '' } = other;
    const environment = { ...settingsIn(folder), SHIPSLOG_READ_MODELS };
    const { code, out, err } = await shipslog(['verify'], { environment });
    expect({ code, out, err }).toEqual({
      code: 3,
      out: '',
      err: expect.stringMatching(
        /^shipslog verify: the read models were folded from another log: .*SHIPSLOG_READ_MODELS.*\n$/,
      ),
    });
    const examined = await shipslog(['doctor', '--url', 'http://127.0.0.1:1'], { environment });
    expect({ code: examined.code, out: examined.out }).toMatchObject({
      code: 1,
      out: expect.stringMatching(/read models.*folded from another log/),
    });
  });

  it('verify advises no rebuild from a log that cannot be read', async () => {
    const place = await temporaryFolder();
    for (const name of ['events.db', 'read-models.db'])
      await cp(join(folder, name), join(place, name));
    const log = openDatabase(join(place, 'events.db'), { kind: LOG, synchronous: 'normal' });
    log.exec(`UPDATE events SET data = '{' WHERE position = 3`);
    log.close();
    const { code, err } = await shipslog(['verify'], { environment: settingsIn(place) });
    expect(code).toBe(3);
    expect(err).toMatch(/left out\. .*shipslog replay names .* restore the log before a rebuild/);
  });

  it.each([
    'replay',
    'verify',
    'rebuild',
    'export',
    'import',
    'lifecycle',
    'demo',
    'doctor',
    'completion',
  ])('%s does what the examples of its help show', async (verb) => {
    const { out } = await shipslog(['help', verb]);
    const examples = out.split('Examples:\n')[1]?.trimEnd().split('\n') ?? [];
    expect(examples).toHaveLength(2);
    const place = await temporaryFolder();
    await writeFile(join(place, 'events.ndjson'), `${some.join('\n')}\n`);
    for (const [n, example] of examples.entries()) {
      // What follows is the shell's; files lie in a folder of their own, and each demo in another one.
      const line = example
        .replace(/ [|>].*/, '')
        .trim()
        .replace(/^shipslog /, '');
      const file = verb === 'export' ? join(place, `${n}.ndjson`) : join(place, 'events.ndjson');
      const args = line.replace('events.ndjson', file).split(' ');
      const isWriting = verb === 'demo' || verb === 'import';
      const environment = settingsIn(isWriting ? join(place, String(n)) : folder);
      const { code, err } = await shipslog(args, { environment });
      expect({ line, code, err }).toMatchObject({ line, code: 0 });
    }
  });

  it('serve serves, by flags in place of settings, until it is told to stop', async () => {
    const help = await shipslog(['help', 'serve']);
    const examples = [...help.out.matchAll(/^ {2}shipslog (serve .*)$/gm)].map(([, line]) => line);
    expect(examples).toHaveLength(2);
    for (const line of examples) {
      const args = line!.replace('3000', '0').split(' ');
      const environment = { ...settingsIn(folder), SHIPSLOG_PORT: '1' };
      const serving = await startRunner({ args, folder, url: '', environment });
      await serving.saying(/listens on http:\/\/127\.0\.0\.1:[1-9]\d{2,}/);
      serving.child.kill('SIGTERM');
      expect(await serving.ended).toBe(0);
    }
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const port = String((taken.address() as AddressInfo).port);
    const second = await startRunner({ args: ['serve', '--port', port], folder, url: '' });
    expect(await second.ended).toBe(1);
    expect(second.said()).toMatch(/port \d+ of 127\.0\.0\.1 is taken: .*SHIPSLOG_PORT/);
    taken.close();
    const wrong = await startRunner({ args: ['serve', '--port', 'x'], folder, url: '' });
    expect(await wrong.ended).toBe(2);
    expect(wrong.said()).toMatch(/^shipslog: SHIPSLOG_PORT=x .*\n$/);
  });

  it('rebuild knows its projections', async () => {
    const { code, err } = await here('rebuild', '--projection', 'nonsense');
    expect({ code, err }).toEqual({
      code: 5,
      err: expect.stringContaining('there are deployments, attempts, transitions'),
    });
  });

  it('doctor finds nothing that is a problem here', async () => {
    const { code, out } = await here('doctor', '--json', '--url', 'http://127.0.0.1:1');
    const findings = JSON.parse(out) as { about: string; level: string }[];
    expect(findings.filter(({ level }) => level === 'problem')).toEqual([]);
    expect(new Set(findings.map(({ about }) => about))).toEqual(
      new Set(['node', 'sqlite', 'clock', 'disk', 'log', 'read models', 'port']),
    );
    expect(code).toBe(0);
  });
});

describe('the command line', () => {
  afterAll(cleanUp);

  it.each([
    [['--svg'], /^<svg /],
    [['--mermaid'], /^stateDiagram-v2\n/],
    [['--table'], /^row +commands /],
    [['--json'], /^\{"states":\["pending",/],
    [[], /^row +commands /],
  ])('draws the lifecycle with %j', async (flags, form) => {
    const { code, out } = await shipslog(['lifecycle', ...flags]);
    expect(code).toBe(0);
    expect(out).toMatch(form);
  });

  it('suggests the verb that was meant', async () => {
    const { code, err } = await shipslog(['verfy']);
    expect({ code, err }).toEqual({
      code: 2,
      err: expect.stringContaining('Did you mean verify?'),
    });
  });

  it.each([
    ['verfy', /^error: unknown command 'verfy'\n\(Did you mean verify\?\)\n\(shipslog help lists/],
    ['nosuch', /^error: unknown command 'nosuch'\n\(shipslog help lists/],
  ])('says that there is no help for %s', async (verb, says) => {
    const { code, out, err } = await shipslog(['help', verb]);
    expect({ code, out, err }).toEqual({ code: 2, out: '', err: expect.stringMatching(says) });
  });

  it('helps with itself, with one verb, and lists them all', async () => {
    const [all, flag, one] = await Promise.all(
      [['help'], ['--help'], ['help', 'run']].map((line) => shipslog(line)),
    );
    expect(all).toEqual({
      code: 0,
      err: '',
      out: expect.stringMatching(/^ +help \[verb\] +print help/m),
    });
    expect(flag).toEqual(all);
    expect(one).toMatchObject({ code: 0, out: expect.stringMatching(/^Usage: shipslog run /) });
  });

  it('takes no two forms at once', async () => {
    expect((await shipslog(['lifecycle', '--svg', '--json'])).code).toBe(2);
  });

  it('ends with 2 for a bad setting, on one line', async () => {
    const environment = { SHIPSLOG_EVENT_STORE: 'file.db' };
    const { code, err } = await shipslog(['replay'], { environment });
    expect(code).toBe(2);
    expect(err).toMatch(/^shipslog: SHIPSLOG_EVENT_STORE=file\.db .*sqlite:<file>.*\n$/);
  });

  it('says why a store in memory is of no use to it', async () => {
    const environment = { SHIPSLOG_EVENT_STORE: 'memory:' };
    const { code, err } = await shipslog(['replay'], { environment });
    expect({ code, err }).toEqual({ code: 1, err: expect.stringContaining('sqlite:<file>') });
  });

  it.each(['export', 'replay', 'verify', 'rebuild'])(
    '%s says in one line that there is no log, what names it and what to do, and makes none',
    async (verb) => {
      const folder = await temporaryFolder();
      const { code, err } = await shipslog([verb], { environment: settingsIn(folder) });
      expect({ code, err }).toEqual({
        code: 8,
        err: `shipslog: there is no log at ${join(folder, 'events.db')}: set SHIPSLOG_EVENT_STORE to the one that is meant, or begin this one: shipslog serve\n`,
      });
      expect(await readdir(folder)).toEqual([]);
    },
  );

  it('verify says the same of read models', async () => {
    const folder = await temporaryFolder();
    const environment = settingsIn(folder);
    const empty = join(folder, 'empty.ndjson');
    await writeFile(empty, '');
    expect((await shipslog(['import', empty], { environment })).code).toBe(0);
    const { code, err } = await shipslog(['verify'], { environment });
    expect({ code, err }).toEqual({
      code: 8,
      err: expect.stringMatching(
        /^shipslog: there are no read models at .*read-models\.db: set SHIPSLOG_READ_MODELS to .* shipslog rebuild\n$/,
      ),
    });
    for (const verb of ['rebuild', 'verify']) {
      expect((await shipslog([verb], { environment })).code).toBe(0);
    }
  });

  it.each([
    ['import nosuch', 1, 'import nosuch: there is no such file or folder'],
    ['import .', 1, 'import .: it is a folder, not a file that export has written'],
    ['import --legacy nosuch --map MAP', 1, '--legacy nosuch: there is no such file or folder'],
    ['import --legacy . --map MAP', 1, '--legacy .: it is a folder, not a dump of a table'],
    ['import --legacy nosuch --map none', 1, '--map none: there is no such file or folder'],
    [
      'import --legacy attempts=/dev/null --map MAP --report MAP',
      1,
      '--report MAP: it is there already, and nothing is overwritten: name a new one',
    ],
    ['open web --meta @nosuch', 2, '--meta @nosuch: its file: there is no such file or folder'],
  ])('%s ends with %i and words, and makes no log', async (line, ends, says) => {
    const folder = await temporaryFolder();
    const map = join(folder, 'map.json');
    await writeFile(map, (await shipslog(['import', '--map-example'])).out);
    const args = line.replaceAll('MAP', map).split(' ');
    const { code, err } = await shipslog(args, { environment: settingsIn(folder) });
    expect({ code, err }).toEqual({ code: ends, err: `shipslog: ${says.replace('MAP', map)}\n` });
    expect(await readdir(folder)).toEqual(['map.json']);
  });

  it('is there by npx in a clone, which it builds first', async () => {
    const clone = await temporaryFolder();
    await cp('bin', join(clone, 'bin'), { recursive: true });
    await cp('package.json', join(clone, 'package.json'));
    await mkdir(join(clone, 'scripts'));
    // A build takes ten seconds; this one says where it was started, and has the output already.
    const built = join(await programs(), 'dist');
    const build = `process.stdout.write('built in ' + process.cwd() + '\\n');
      (await import('node:fs')).symlinkSync(${JSON.stringify(built)}, 'dist');`;
    await writeFile(join(clone, 'scripts/build-if-stale.mjs'), build);
    const npx = async (): Promise<string> => {
      const { stdout, stderr } = await promisify(execFile)(
        'npx',
        ['--offline', 'shipslog', '--version'],
        {
          cwd: join(clone, 'scripts'),
          env: { ...plainEnvironment(), npm_config_cache: join(clone, 'cache') },
        },
      );
      return stdout + stderr;
    };
    const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
    expect(await npx()).toBe(`${version}\nbuilt in ${await realpath(clone)}\n`);
    expect(await npx()).toBe(`${version}\n`);
  });

  it('lists its exit codes', async () => {
    const { code, out } = await shipslog(['help', 'exit-codes']);
    expect(code).toBe(0);
    expect(out).toMatch(/^ +3 {2}the rules say no, or a verification failed$/m);
  });
});
