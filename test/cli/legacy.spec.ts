import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it, jest } from '@jest/globals';
import type { BackfillReport, RowReport } from '../../src/application/backfill-report.js';
import { shipslog, type Ran } from '../support/command-line.js';
import { legacyDump } from '../support/legacy-dump.js';
import { cleanUp, temporaryFolder } from '../support/service.js';

/** The writer's thread is compiled when it starts, and the machine may be busy. */
jest.setTimeout(120_000);

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
const toldBy = ({ out }: Ran): Told => JSON.parse(out) as Told;
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
});
