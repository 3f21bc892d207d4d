import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  it,
  jest,
} from '@jest/globals';
import { openEventStoreDB } from '../../src/adapters/eventstoredb/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { EventStore } from '../../src/ports/event-store.js';
import { shipslog, type Ran } from '../support/command-line.js';
import { ServerProcess } from '../support/eventstoredb/server-process.js';
import {
  cleanUp,
  launched,
  plainEnvironment,
  programs,
  temporaryFolder,
} from '../support/service.js';
import { eventsOf, idsOf } from '../support/stored-events.js';

/* A log is moved from a file to a server, each in processes of their own, and back. */

jest.setTimeout(120_000);

const UNTIL = '2026-11-25T13:00:00.000Z';
/** A few thousand events of the demo. */
const IN_THE_FILE = /"deploymentId":"[c-e]/;

let folder: string;
/** A log in SQLite, and its lines as they were exported. */
let log: string;
let lines: readonly string[];
let file: string;
/** The command line as it was built. */
let program: string;
let server: ServerProcess;

const settingsOf = (eventStore: string): Readonly<Record<string, string>> => ({
  SHIPSLOG_EVENT_STORE: eventStore,
  SHIPSLOG_READ_MODELS: `sqlite:${join(folder, 'read-models.db')}`,
});
const on = (eventStore: string, ...args: readonly string[]): Promise<Ran> =>
  shipslog(args, { environment: settingsOf(eventStore) });

/** What a verb that was told `--json` has said. */
function jsonOf({ code, out, err }: Ran): Readonly<Record<string, unknown>> {
  expect({ code, err }).toMatchObject({ code: 0 });
  return JSON.parse(out) as Readonly<Record<string, unknown>>;
}

/** The lines of each deployment in their order, byte for byte but for the place in the whole log. */
function byDeployment(told: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  for (const line of told) {
    const [, id = ''] = /"deploymentId":"([^"]*)"/.exec(line) ?? [];
    found.set(id, [...(found.get(id) ?? []), line.replace(/"position":"\d+",/, '')]);
  }
  return found;
}

/** What is in a log, as it is folded there. */
async function countsOf(eventStore: string): Promise<unknown> {
  const { events, streams, byState, poisonedStreams } = jsonOf(
    await on(eventStore, 'replay', '--json'),
  );
  return { events, streams, byState, poisonedStreams };
}

async function linesIn(path: string): Promise<readonly string[]> {
  return (await readFile(path, 'utf8')).trimEnd().split('\n');
}

beforeAll(async () => {
  folder = await temporaryFolder();
  log = `sqlite:${join(folder, 'events.db')}`;
  const demo = `sqlite:${join(folder, 'demo.db')}`;
  expect((await on(demo, 'demo', '--until', UNTIL)).code).toBe(0);
  const all = (await on(demo, 'export')).out.trimEnd().split('\n');
  const some = join(folder, 'some.ndjson');
  await writeFile(some, `${all.filter((line) => IN_THE_FILE.test(line)).join('\n')}\n`);
  expect((await on(log, 'import', some)).code).toBe(0);
  file = join(folder, 'sqlite.ndjson');
  expect((await on(log, 'export', '-o', file)).code).toBe(0);
  lines = await linesIn(file);
  program = join(await programs(), 'dist/cli/main.js');
  expect(lines.length).toBeGreaterThan(2_000);
});
afterAll(cleanUp);

beforeEach(async () => {
  server = await ServerProcess.start();
});
afterEach(() => server.kill());

describe('a log that is moved', () => {
  it('from SQLite to EventStoreDB and back has the same ids, order within each deployment, and bytes', async () => {
    const there = jsonOf(await on(server.url, 'import', file, '--json'));
    expect(there).toMatchObject({ events: lines.length, added: lines.length, present: 0 });
    const exported = join(folder, 'eventstoredb.ndjson');
    const { err } = await on(server.url, 'export', '-o', exported);
    expect(err).toContain(String(there['digest']).slice(0, 12));
    expect(byDeployment(await linesIn(exported))).toEqual(byDeployment(lines));

    const counts = await Promise.all([log, server.url].map(countsOf));
    expect(counts[1]).toEqual(counts[0]);

    const back = `sqlite:${join(folder, 'back.db')}`;
    const { digest, events } = jsonOf(await on(back, 'import', exported, '--json'));
    expect({ digest, events }).toEqual({ digest: there['digest'], events: there['events'] });
    const again = (await on(back, 'export')).out.trimEnd().split('\n');
    expect(byDeployment(again)).toEqual(byDeployment(lines));
  });

  it('is whole after an import was killed in the middle and run again, with nothing doubled', async () => {
    const store = await openEventStoreDB({ url: server.url, clock: systemClock });
    try {
      const written = await killedImport(store);
      expect(written).toBeGreaterThan(0);
      expect(written).toBeLessThan(lines.length);
      const told = jsonOf(await on(server.url, 'import', file, '--json'));
      expect(told).toMatchObject({ events: lines.length });
      expect(told['present']).toBeGreaterThan(0);
      expect(told['added']).toBeGreaterThan(0);
      expect(Number(told['present']) + Number(told['added'])).toBe(lines.length);
      const ids = idsOf(await eventsOf(store.readAll()));
      expect(ids).toHaveLength(lines.length);
      expect(new Set(ids).size).toBe(lines.length);
      const third = jsonOf(await on(server.url, 'import', file, '--json'));
      expect(third).toMatchObject({ added: 0, present: lines.length, digest: told['digest'] });
    } finally {
      await store.close();
    }
  });
});

describe('a server that goes away in the middle of an import', () => {
  it('is waited for, and the import goes on by itself, with nothing doubled', async () => {
    const kept = join(folder, 'server.log');
    const { port } = server;
    await server.kill();
    server = await ServerProcess.start({ port, log: kept });
    const importing = startImport('--json');
    await firstEvents();
    await server.kill();
    await importing.saying(/^shipslog import: .*; waiting for it, 5 m at most$/m);
    server = await ServerProcess.start({ port, log: kept });
    expect(await importing.ended).toBe(0);
    expect(importing.said()).toMatch(
      /^shipslog import: the log answers again after .*; going on$/m,
    );
    const again = jsonOf(await on(server.url, 'import', file, '--json'));
    expect(again).toMatchObject({ added: 0, present: lines.length });
  });

  it('and stays away ends it with a line that says that a repeat is safe', async () => {
    const importing = startImport('--wait', '1s');
    await firstEvents();
    await server.kill();
    expect(await importing.ended).toBe(8);
    expect(importing.said()).toMatch(
      /waiting for it, 1 s at most\nshipslog: .*\. What is written stays: run it again when the log is back; nothing is added twice$/m,
    );
  });
});

/** An import in a process of its own, and what it has said. */
function startImport(...flags: readonly string[]): {
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  readonly said: () => string;
  readonly saying: (what: RegExp) => Promise<void>;
} {
  const env = { ...plainEnvironment(), ...settingsOf(server.url) };
  const { child, ended } = launched(
    spawn(process.execPath, [program, 'import', file, ...flags], { env }),
  );
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => (text += chunk.toString('utf8')));
  }
  const saying = async (what: RegExp): Promise<void> => {
    while (!what.test(text)) await Promise.race([once(child.stderr!, 'data'), ended]);
  };
  return { child, ended, said: () => text, saying };
}

/** Resolves when the first events of an import are there. */
async function firstEvents(): Promise<void> {
  const store = await openEventStoreDB({ url: server.url, clock: systemClock });
  for await (const { events } of store.subscribe()) if (events.length > 0) break;
  await store.close();
}

/** Imports in a process of its own, kills it when the first events are there; answers how many came. */
async function killedImport(store: EventStore): Promise<number> {
  const { child, ended } = startImport();
  for await (const { events } of store.subscribe()) {
    if (events.length > 0) break;
  }
  child.kill('SIGKILL');
  expect(await ended).toBe('SIGKILL');
  return (await eventsOf(store.readAll())).length;
}

describe('a file that is not a whole legal log', () => {
  it.each<[string, (all: string[]) => unknown, RegExp]>([
    ['is cut off', (all) => (all[9] = all[9]!.slice(0, 70)), /line 10: it is not a JSON object/],
    [
      'has an id twice, with other content',
      (all) => (all[3] = all[3]!.replace(/"id":"[^"]*"/, /"id":"[^"]*"/.exec(all[1]!)![0])),
      /line 4: its id is that of line 2/,
    ],
    [
      'tells what no rules can have made',
      (all) => (all[1] = all[1]!.replace('"from":null', '"from":"ready"')),
      /line 2: .*goes on from ready/,
    ],
  ])('and %s is refused by its line; nothing of it is written', async (_, spoil, says) => {
    const spoilt = join(folder, 'spoilt.ndjson');
    const all = [...lines];
    spoil(all);
    await writeFile(spoilt, `${all.join('\n')}\n`);
    const { code, err } = await on(server.url, 'import', spoilt);
    expect({ code, err }).toEqual({ code: 3, err: expect.stringMatching(says) });
    expect(jsonOf(await on(server.url, 'replay', '--json'))).toMatchObject({ events: 0 });
  });

  it('and disagrees with what the server has is refused by the line that does', async () => {
    const [one = []] = byDeployment(lines).values();
    const [first, other] = [join(folder, 'first.ndjson'), join(folder, 'other.ndjson')];
    await writeFile(first, one.join('\n'));
    expect((await on(server.url, 'import', first)).code).toBe(0);
    const changed = one.map((line) =>
      line.replace(/"id":"(.)/, (_, digit: string) => `"id":"${digit === '0' ? '1' : '0'}`),
    );
    await writeFile(other, changed.join('\n'));
    const { code, err } = await on(server.url, 'import', other);
    expect(code).toBe(3);
    expect(err).toMatch(/line 1: the log has something else at revision 0 of deployment-/);
    expect(jsonOf(await on(server.url, 'replay', '--json'))).toMatchObject({ events: one.length });
  });
});
