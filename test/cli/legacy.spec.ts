import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it, jest } from '@jest/globals';
import type { BackfillReport, RowReport } from '../../src/application/backfill-report.js';
import { workshopOf } from '../../src/local.js';
import { readSettings } from '../../src/settings.js';
import { pause } from '../../src/client/pause.js';
import { shipslog, type Ran } from '../support/command-line.js';
import { ServerProcess } from '../support/eventstoredb/server-process.js';
import { legacyDump } from '../support/legacy-dump.js';
import { startRunner } from '../support/runner.js';
import { cleanUp, temporaryFolder } from '../support/service.js';

/** The writer's thread is compiled when it starts, and the machine may be busy. */
jest.setTimeout(300_000);

/** LEGACY_DEPLOYMENTS makes the dump larger (npm run test:legacy: 10,000), LEGACY_SEED another one. */
const SIZE = Number(process.env['LEGACY_DEPLOYMENTS'] ?? 500);
const SEED = Number(process.env['LEGACY_SEED'] ?? 1);

type Files = Readonly<Record<string, string>>;
interface Place {
  readonly folder: string;
  readonly settings: Readonly<Record<string, string>>;
  /** Imports files of the folder by `map.json` in it. */
  readonly run: (files: readonly string[], ...flags: readonly string[]) => Promise<Ran>;
}

/** A folder with these files, and the example map unless another one is among them. */
async function placeWith(files: Files): Promise<Place> {
  const folder = await temporaryFolder();
  const { out: map } = await shipslog(['import', '--map-example']);
  for (const [name, text] of Object.entries({ 'map.json': map, ...files })) {
    await writeFile(join(folder, name), text);
  }
  const settings = { SHIPSLOG_EVENT_STORE: `sqlite:${join(folder, 'events.db')}`, LANG: 'C.UTF-8' };
  const run: Place['run'] = (names, ...flags) => {
    const named = names.flatMap((name) => [
      '--legacy',
      name.replace(/[^=]*$/, (file) => join(folder, file)),
    ]);
    const args = ['import', ...named, '--map', join(folder, 'map.json'), ...flags];
    return shipslog(args, { environment: settings });
  };
  return { folder, settings, run };
}

type Told = BackfillReport & { readonly applied: boolean };
function toldBy({ out, err }: Ran): Told {
  if (out === '') throw new Error(err);
  return JSON.parse(out) as Told;
}

async function rowsIn(file: string): Promise<readonly RowReport[]> {
  const lines = (await readFile(file, 'utf8')).trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line) as RowReport);
}

describe('the import of a legacy dump', () => {
  afterAll(cleanUp);

  it(`tells of each row of ${SIZE} deployments and four times as many attempts what became of it`, async () => {
    const { deployments, attempts, expected } = legacyDump({ seed: SEED, size: SIZE });
    const { folder, settings, run } = await placeWith({
      'deployments.csv': deployments,
      'attempts.csv': attempts,
    });
    const files = ['deployments.csv', 'attempts.csv'];
    const report = join(folder, 'rows.ndjson');
    const dry = await run(files, '--json', '--report', report);
    expect(dry.code).toBe(3);
    const plan = toldBy(dry);
    expect(plan).toMatchObject({ applied: false, rows: expected, events: { present: 0 } });

    const rows = await rowsIn(report);
    expect(rows).toHaveLength(expected.total);
    expect(new Set(rows.map(({ file, line }) => `${file}:${line}`)).size).toBe(expected.total);
    expect(rows.filter(({ verdict, why }) => (verdict === 'derived') !== (why === null))).toEqual(
      [],
    );

    const applied = toldBy(await run(files, '--json', '--apply'));
    expect({ ...applied, applied: false }).toEqual(plan);
    const again = toldBy(await run(files, '--json', '--apply'));
    expect(again.rows).toEqual(plan.rows);
    expect(again.events).toEqual({ added: 0, present: plan.events.added });

    const replayed = await shipslog(['replay', '--json'], { environment: settings });
    expect(JSON.parse(replayed.out)).toMatchObject({
      events: plan.events.added,
      streams: plan.deployments.added,
      byState: plan.byState,
      poisonedStreams: 0,
    });
  });

  /** Attempts as each kind of file tells them: the first one ready, the second with a comma and a line break. */
  const MAP = {
    deployments: { id: 'dep', name: 'name' },
    attempts: {
      ...{ id: 'id', deploymentId: 'dep', openedAt: 'at', endedAt: 'at' },
      exitCode: 'code',
      reason: 'why',
    },
  };
  const rowOf = (file: string, line: number): object => ({
    file: expect.stringContaining(file),
    line,
  });

  it.each<[string, Files, object]>([
    [
      'CSV of PostgreSQL',
      {
        'both.csv':
          'id,dep,name,at,code,why\n1,web,Web,2024-03-01 10:00:00.25+00,0,\n2,web,Web,2024-03-01 11:00:00+00,7,"disk ""a"",\nfull"\n',
      },
      {},
    ],
    [
      'CSV of sqlite3, with CRLF and a byte order mark, and no line at the end',
      {
        'both.csv':
          '\ufeffid,dep,name,at,code,why\r\n1,web,Web,1709287200.25,0,""\r\n2,web,Web,1709290800,7,"disk ""a"",\nfull"',
      },
      {},
    ],
    [
      'CSV of sqlite3 without a header',
      {
        'both.csv':
          '1,web,Web,"2024-03-01 10:00:00.25",0,\n2,web,Web,"2024-03-01 11:00:00",7,"disk ""a"",\nfull"\n',
      },
      { attempts: { ...MAP.attempts, header: ['id', 'dep', 'name', 'at', 'code', 'why'] } },
    ],
    [
      'an outfile of MySQL',
      {
        'both.csv':
          '"1","web","Web","2024-03-01 10:00:00.25","0",\\N\n"2","web","Web","2024-03-01 11:00:00","7","disk \\"a\\",\\\nfull"\n',
      },
      {
        escape: '\\',
        attempts: { ...MAP.attempts, header: ['id', 'dep', 'name', 'at', 'code', 'why'] },
      },
    ],
    [
      'tab-separated text',
      {
        'both.csv':
          'id\tdep\tname\tat\tcode\twhy\n1\tweb\tWeb\t2024-03-01 10:00:00.25\t0\tNULL\n2\tweb\tWeb\t2024-03-01 11:00:00\t7\t"disk ""a"",\nfull"\n',
      },
      { delimiter: '\t' },
    ],
    [
      'lines of JSON',
      {
        'both.ndjson':
          '{"id":1,"dep":"web","name":"Web","at":"2024-03-01T10:00:00.250Z","code":0,"why":null}\n\n{"id":2,"dep":"web","name":"Web","at":1709290800,"code":7,"why":"disk \\"a\\",\\nfull"}',
      },
      {},
    ],
  ])('reads %s', async (_, files, more) => {
    const { folder, settings, run } = await placeWith({
      ...files,
      'map.json': JSON.stringify({ ...MAP, ...more }),
    });
    const report = join(folder, 'rows');
    const flags = ['--json', '--apply', '--report', report];
    const { code, out, err } = await run(Object.keys(files), ...flags);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(JSON.parse(out)).toMatchObject({
      ...{ rows: { total: 2, derived: 2 }, byState: { failed: 1 } },
    });
    const exported = await shipslog(['export'], { environment: settings });
    const ends = exported.out.split('\n').filter((line) => line.includes('"type":"attempt_end"'));
    expect(ends.map((line) => JSON.parse(line) as object)).toMatchObject([
      ...[{ data: { attemptId: '1', outcome: 'succeeded', exitCode: 0 } }],
      { data: { attemptId: '2', outcome: 'failed', exitCode: 7, reason: 'disk "a",\nfull' } },
    ]);
    expect(ends[0]).toContain('"occurredAt":"2024-03-01T10:00:00.250Z"');
  });

  it('names the line on which a row begins, whatever was broken over lines before it', async () => {
    const { folder, run } = await placeWith({
      'map.json': JSON.stringify(MAP),
      'dump.csv':
        'id,dep,name,at,code,why\n1,web,"W\n\neb",1709287200,0,\n\n2,no id,x,1709287200,0,\n3,api,x\n4,api,x,1709287200,0,\n',
    });
    const report = join(folder, 'rows');
    expect((await run(['dump.csv'], '--report', report)).code).toBe(3);
    const rows = await rowsIn(report);
    expect(rows.toSorted((a, b) => a.line - b.line)).toMatchObject([
      { ...rowOf('dump.csv', 2), verdict: 'derived' },
      { ...rowOf('dump.csv', 6), verdict: 'refused', detail: expect.stringContaining('"no id"') },
      { ...rowOf('dump.csv', 7), detail: 'it has 3 values, and the file has 6 columns' },
      { ...rowOf('dump.csv', 8), verdict: 'derived' },
    ]);
  });

  it('tells a person what to look at, and a pipe the same in columns', async () => {
    const { settings, folder } = await placeWith({
      'deployments.csv': 'id,name,environment,team,created_at\nweb,Web,,,2024-03-01 10:00:00\n',
      'attempts.csv':
        'id,deployment_id,kind,created_at,started_at,finished_at,exit_code,status\n1,web,,2024-03-01 11:00:00,2024-03-01 11:00:00,,,odd\n',
    });
    const args = ['deployments', 'attempts'].flatMap((table) => [
      '--legacy',
      join(folder, `${table}.csv`),
    ]);
    const line = ['import', ...args, '--map', join(folder, 'map.json')];
    const plain = { ...settings, NO_COLOR: '1' };
    const { code, out, err } = await shipslog(line, { environment: plain, onTerminal: true });
    expect(code).toBe(0);
    expect(out).toMatch(
      /^DRY RUN\nrows +2: 1 derived, 1 unknown, 0 refused\ndeployments +1: 1 to add/,
    );
    expect(out).toMatch(/\? unknown +1 +web \(1 attempt, 7 events\)/);
    expect(err).toBe('Nothing was written; --apply writes it.\n');
    const piped = await shipslog(line, { environment: settings });
    expect(piped.out).toMatch(
      /^1\tunknown\tits status is not in the map\t.*attempts\.csv:2: its status "odd"/m,
    );
  });

  it.each<[string, Files, readonly string[], RegExp]>([
    [
      'a column that is not there',
      { 'deployments.csv': 'id,nam\n' },
      ['deployments.csv'],
      /no column name, .* \/deployments\/name; did you mean nam\?/,
    ],
    [
      'a column that is there twice',
      { 'deployments.csv': 'id,name,name,environment,team,created_at\n' },
      ['deployments.csv'],
      /two columns name/,
    ],
    [
      'a quote that is not closed',
      { 'both.csv': 'x', 'deployments.csv': 'id,name,environment,team,created_at\n1,"a\n2,b\n' },
      ['deployments.csv'],
      /deployments\.csv, line 2: Quote Not Closed/,
    ],
    [
      'a column of no line of JSON',
      { 'deployments.ndjson': '{"id":"a","name":"b"}\n' },
      ['deployments.ndjson'],
      /no column environment/,
    ],
    ['a file that is empty', { 'a.csv': '' }, ['a.csv'], /a\.csv is empty/],
    [
      'two files that do not say what they are',
      { 'a.csv': '', 'b.csv': '' },
      ['a.csv', 'b.csv'],
      /say which table it is, deployments=/,
    ],
    [
      'a wrong map',
      { 'a.csv': '', 'map.json': '{"deployment":{}}' },
      ['a.csv'],
      /\/deployment is not a member here; did you mean deployments\?; \/deployments is missing/,
    ],
    ['a file that is not there', {}, ['gone.csv'], /--legacy .*gone\.csv: there is no such file/],
  ])('says of %s what is wrong, and writes nothing', async (...[, files, names, says]) => {
    const { settings, run } = await placeWith(files);
    const { code, out, err } = await run(names, '--apply');
    expect({ code, out }).toEqual({ code: expect.any(Number), out: '' });
    expect(code).not.toBe(0);
    expect(err).toMatch(says);
    expect(err).toMatch(/^shipslog: .*\n$/);
    expect((await shipslog(['replay', '--json'], { environment: settings })).out).not.toMatch(
      /"events":[1-9]/,
    );
  });

  it.each([
    [[], /import takes a file/],
    [['--legacy'], /import takes a file/],
    [['events.ndjson', '--apply'], /import takes a file/],
    [['events.ndjson', '--legacy', 'a.csv'], /import takes a file/],
    [['--legacy', 'a.csv'], /needs --map FILE; shipslog import --map-example/],
    [['--legacy', 'a.csv', '--actor', 'alice'], /kind:id, e\.g\. human:alice/],
    [['--legacy', 'a.csv', '--apply', '--dry-run'], /cannot be used with/],
  ])('takes no %j', async (args, says) => {
    const { code, err } = await shipslog(['import', ...args]);
    expect({ code, err }).toEqual({ code: 2, err: expect.stringMatching(says) });
  });

  it('is taught by its own help', async () => {
    const { code, out } = await shipslog(['import', '--legacy', '--help']);
    expect(code).toBe(0);
    expect(out).toContain('shipslog import --map-example > map.json');
    expect((await shipslog(['import', '--help'])).out).not.toContain('map-example > map.json');
  });

  it('goes on where it was killed, on SQLite and on EventStoreDB, and nothing is doubled', async () => {
    const { deployments, attempts } = legacyDump({ seed: SEED, size: 300 });
    const files = { 'deployments.csv': deployments, 'attempts.csv': attempts };
    const place = await placeWith(files);
    const server = await ServerProcess.start();
    try {
      const plan = toldBy(await place.run(Object.keys(files), '--json'));
      const logs = [place.settings, { ...place.settings, SHIPSLOG_EVENT_STORE: server.url }];
      for (const environment of logs) {
        const line = lineOf(place, Object.keys(files));
        await killed(line, place, environment);
        const told = toldBy(await shipslog([...line, '--json'], { environment }));
        expect(told.events.present).toBeGreaterThan(0);
        expect(told.events.added).toBeGreaterThan(0);
        expect(told.events.present + told.events.added).toBe(plan.events.added);
        const replayed = await shipslog(['replay', '--json'], { environment });
        expect(JSON.parse(replayed.out)).toMatchObject({
          ...{ events: plan.events.added, byState: plan.byState, poisonedStreams: 0 },
        });
      }
    } finally {
      await server.kill();
    }
  });
});

function lineOf({ folder }: Place, files: readonly string[]): readonly string[] {
  const named = files.flatMap((file) => ['--legacy', join(folder, file)]);
  return ['import', ...named, '--map', join(folder, 'map.json'), '--apply'];
}

/** Imports in a process of its own, and kills it when the first events are in the log. */
async function killed(
  line: readonly string[],
  { folder }: Place,
  environment: Place['settings'],
): Promise<void> {
  const { child, ended } = await startRunner({ args: line, folder, url: '', environment });
  while (child.exitCode === null && !(await hasEvents(environment))) await pause(1);
  child.kill('SIGKILL');
  expect(await ended).toBe('SIGKILL');
}

async function hasEvents(environment: Place['settings']): Promise<boolean> {
  try {
    const store = await workshopOf(readSettings(environment)).openLogToRead();
    return (await store.head().finally(() => store.close())) !== null;
  } catch {
    return false; // there is no log yet
  }
}
