import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { verify, type TableReport } from '../../src/application/verify.js';
import type { Row, Table } from '../../src/ports/read-models.js';
import { attempts } from '../../src/projections/attempts.js';
import { deployments } from '../../src/projections/deployments.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { transitions } from '../../src/projections/transitions.js';
import { Story } from '../support/events.js';
import { newLog } from '../support/log-under-test.js';
import { Projecting } from '../support/projecting.js';
import { eventsOf, one } from '../support/stored-events.js';

describe('verification', () => {
  let here: Projecting;
  beforeEach(async () => {
    here = await Projecting.begin();
    await new Story('d1').created().opened('a1').started().ended('succeeded').saveTo(here.store);
    await new Story('d2').created({ policy: { leaseMs: 5000 } }).saveTo(here.store);
    const projector = await here.started();
    await projector.stop();
  });
  afterEach(async () => {
    expect(await here.end()).toBe(0);
  });

  const run = async (
    options: { onProgress?: () => void } = {},
  ): Promise<readonly TableReport[]> => {
    const { store, readModels } = here;
    return verify({ store, readModels, projections: PROJECTIONS, ...options });
  };
  /** Puts a row into a table behind the projector's back. */
  const plant = async (table: Table, row: Row): Promise<void> => {
    const at = (await here.readModels.checkpoints()).find((each) => each.table === table.name);
    const position = at?.position ?? 0n;
    const change = {
      table,
      generation: 'live',
      rows: [row],
      from: position,
      to: position,
    } as const;
    await here.readModels.commit([change]);
  };
  /** Where the log has an event of a deployment. */
  const placeOf = async (deploymentId: string, revision: bigint): Promise<bigint> => {
    const range = { from: revision, limit: 1 };
    return one(await eventsOf(here.store.read(`deployment-${deploymentId}`, range))).position;
  };
  const rowOf = async (table: Table, key: readonly (string | bigint)[]): Promise<Row> =>
    (await here.readModels.load(table, 'live', [key]))[0]!;

  test('clean tables have no difference', async () => {
    const position = await here.store.head();
    expect(await run()).toEqual(
      [
        ['deployments', 2],
        ['attempts', 1],
        ['transitions', 4],
        ['stays', 2],
        ['unknowns', 0],
      ].map(([table, rows]) => ({
        table,
        position,
        rows,
        parked: 0,
        differences: [],
        differencesTotal: 0,
        undecided: 0,
        skipped: null,
      })),
    );
  });

  test('a state that lies is found, with the event since which it is not true', async () => {
    const row = await rowOf(deployments, ['d1']);
    await plant(deployments, { ...row, state: 'failed' });
    const [report] = await run();
    expect(report?.differences).toEqual([
      {
        table: 'deployments',
        key: ['d1'],
        kind: 'wrong',
        members: [{ member: 'state', expected: 'ready', found: 'failed' }],
        since: { stream: 'deployment-d1', revision: 0n, position: await placeOf('d1', 0n) },
      },
    ]);
  });

  test('a row that stood still is found, with the first event that it does not know', async () => {
    const projector = here.projector();
    const story = new Story('d3').created();
    const before = await story.saveTo(here.store);
    await projector.start();
    await projector.waitFor(before.position, 1000);
    const old = await rowOf(deployments, ['d3']);
    const { position } = await story.opened('a1').started().saveTo(here.store);
    await projector.waitFor(position, 1000);
    await plant(deployments, old);
    const [report] = await run();
    expect(report?.differences).toMatchObject([
      {
        key: ['d3'],
        kind: 'wrong',
        since: { stream: 'deployment-d3', revision: 2n, position: await placeOf('d3', 2n) },
      },
    ]);
  });

  test('a member deep in a json column is named by its path', async () => {
    const row = await rowOf(deployments, ['d2']);
    const deployment = row['deployment'] as Row;
    const policy = { leaseMs: 6000 };
    await plant(deployments, { ...row, deployment: { ...deployment, policy } });
    const [report] = await run();
    expect(report?.differences[0]?.members).toEqual([
      { member: 'deployment.policy.leaseMs', expected: 5000, found: 6000 },
    ]);
  });

  test('a transition that was altered is found', async () => {
    const position = await placeOf('d1', 1n);
    const row = await rowOf(transitions, [position]);
    await plant(transitions, { ...row, to: 'ready', from: 'unknown', exitCode: 7 });
    const reports = await run();
    expect(reports[2]?.differences).toMatchObject([
      {
        table: 'transitions',
        key: [position],
        kind: 'wrong',
        members: [
          { member: 'from', expected: null, found: 'unknown' },
          { member: 'to', expected: 'pending', found: 'ready' },
          { member: 'exitCode', expected: null, found: 7 },
        ],
        since: { position },
      },
    ]);
  });

  test('a row that no event makes is surplus', async () => {
    const row = await rowOf(attempts, ['d1', 'a1']);
    await plant(attempts, { ...row, attemptId: 'a9' });
    const reports = await run();
    expect(reports[1]?.differences).toEqual([
      { table: 'attempts', key: ['d1', 'a9'], kind: 'surplus', members: [], since: null },
    ]);
  });

  test('a row that is not there is missing, from its first event on', async () => {
    const to = (await here.store.head())!;
    await here.readModels.startNext(attempts);
    await here.readModels.commit([
      { table: attempts, generation: 'next', rows: [], from: null, to },
    ]);
    await here.readModels.promoteNext(attempts, to);
    const reports = await run();
    expect(reports[1]?.differences).toEqual([
      {
        table: 'attempts',
        key: ['d1', 'a1'],
        kind: 'missing',
        members: [],
        since: { stream: 'deployment-d1', revision: 2n, position: await placeOf('d1', 2n) },
      },
    ]);
  });

  test('a table is compared up to its checkpoint: what it has not folded yet is no lie', async () => {
    const folded = await here.store.head();
    await new Story('d3').created().saveTo(here.store);
    const reports = await run();
    expect(reports.map(({ differencesTotal, position }) => [differencesTotal, position])).toEqual(
      Array(PROJECTIONS.length).fill([0, folded]),
    );
  });

  test('a parked stream is compared up to its bad event', async () => {
    await new Story('d3').created().poisoned().updated({ name: 'later' }).saveTo(here.store);
    const projector = await here.started();
    await projector.stop();
    const reports = await run();
    expect(reports.map(({ differencesTotal, parked }) => [differencesTotal, parked])).toEqual(
      Array(PROJECTIONS.length).fill([0, 1]),
    );
  });

  test('tables that move meanwhile give no false alarm', async () => {
    const projector = await here.started();
    const story = new Story('d1x').created();
    let n = 0;
    const busy = here.readModelsWith({
      async *scan(table) {
        for await (const page of here.readModels.scan(table)) {
          story.updated({ name: `name ${String(n++)}` });
          const { position } = await story.saveTo(here.store);
          await projector.waitFor(position, 1000);
          yield (await here.readModels.load(
            table,
            'live',
            page.map((row) => table.key.map((column) => row[column] as string | bigint)),
          )) as typeof page;
        }
      },
      load: async (table, generation, keys) => {
        if (n < 10) {
          story.updated({ name: `name ${String(n++)}` });
          const { position } = await story.saveTo(here.store);
          await projector.waitFor(position, 1000);
        }
        return here.readModels.load(table, generation, keys);
      },
    });
    const { position } = await story.saveTo(here.store);
    await projector.waitFor(position, 1000);
    const reports = await verify({
      store: here.store,
      readModels: busy,
      projections: PROJECTIONS,
    });
    expect(reports.map((each) => [each.differencesTotal, each.undecided])).toEqual(
      Array(PROJECTIONS.length).fill([0, 0]),
    );
    expect(n).toBeGreaterThanOrEqual(10);
  });

  test('a lie is found although the table moves', async () => {
    const projector = await here.started();
    const row = await rowOf(deployments, ['d1']);
    await plant(deployments, { ...row, state: 'failed' });
    const again = here.projector();
    await projector.stop();
    await again.start();
    let events = 0;
    const [report] = await run({
      onProgress: () => {
        if (events++ < 3) void new Story(`busy${String(events)}`).created().saveTo(here.store);
      },
    });
    expect(report?.differences).toMatchObject([{ key: ['d1'], kind: 'wrong' }]);
    expect(report?.differencesTotal).toBe(1);
  });

  test('a table of another version is said to be skipped', async () => {
    const { store, readModels } = here;
    const newer = { ...deployments, version: deployments.version + 1 } as never;
    expect(await verify({ store, readModels, projections: [newer] })).toMatchObject([
      { skipped: 'its version is 2, and version 3 is not built yet', differences: [] },
    ]);
  });

  test('read models that are ahead of the log are refused', async () => {
    const projections = PROJECTIONS;
    const { store, dispose } = await newLog();
    await expect(verify({ store, readModels: here.readModels, projections })).rejects.toMatchObject(
      {
        code: 'STORE_CORRUPT',
      },
    );
    await dispose();
  });

  test('read models of another log are said to be that, however long it is', async () => {
    const { store, dispose } = await newLog();
    for (const id of ['d2', 'd3', 'd1']) {
      await new Story(id).created().opened('a1').started().ended('failed').saveTo(store);
    }
    const { readModels } = here;
    await expect(verify({ store, readModels, projections: PROJECTIONS })).rejects.toMatchObject({
      code: 'STORE_FOREIGN',
      message: expect.stringMatching(/folded from another log: .*SHIPSLOG_READ_MODELS/),
    });
    await dispose();
  });

  test('a newest row with a wrong place is a difference, and no sign of another log', async () => {
    const row = await rowOf(deployments, ['d2']);
    const position = (row['position'] as bigint) + 1n;
    await plant(deployments, { ...row, position });
    const [report] = await run();
    expect(report?.differences).toMatchObject([
      { key: ['d2'], kind: 'wrong', members: [{ member: 'position', found: position }] },
    ]);
  });

  test('it can be aborted', async () => {
    const { store, readModels } = here;
    const options = { store, readModels, projections: PROJECTIONS, signal: AbortSignal.abort() };
    await expect(verify(options)).rejects.toMatchObject({ name: 'AbortError' });
  });
});
