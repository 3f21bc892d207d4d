import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import type { Projector } from '../../src/application/projector.js';
import { Fault } from '../../src/ports/faults.js';
import { deployments, type DeploymentRow } from '../../src/projections/deployments.js';
import { Story } from '../support/events.js';
import { settled, until } from '../support/fake-clock.js';
import { Projecting } from '../support/projecting.js';
import { eventsOf } from '../support/stored-events.js';

/** So many that a rebuild takes more than one commit. */
const DEPLOYMENTS = 1100;
/** Many events, and a busy machine may be slow. */
jest.setTimeout(120_000);

describe('rebuild', () => {
  let here: Projecting;
  let projector: Projector;
  beforeEach(async () => {
    here = await Projecting.begin();
    for (let n = 0; n < DEPLOYMENTS; n++)
      await new Story(`d${String(n)}`).created().saveTo(here.store);
  });
  afterEach(async () => {
    expect(await here.end()).toBe(0);
  });

  /** Makes the stored row of a deployment lie, as no projector would. */
  const damage = async (id: string): Promise<void> => {
    const [row] = await here.readModels.load<DeploymentRow>(deployments, 'live', [[id]]);
    const position = (await here.readModels.checkpoints()).find(
      ({ table, generation }) => table === 'deployments' && generation === 'live',
    )?.position;
    await here.readModels.commit([
      {
        table: deployments,
        generation: 'live',
        rows: [{ ...row, state: 'failed' }],
        from: position ?? null,
        to: position ?? 0n,
      },
    ]);
  };
  const nextPosition = async (): Promise<bigint | null | undefined> =>
    (await here.readModels.checkpoints()).find(({ generation }) => generation === 'next')?.position;

  test('it makes a table whole again, while the old one serves and new events are folded', async () => {
    projector = await here.started();
    await damage('d7');
    expect(await here.differences()).toBe(1);
    const rebuild = projector.rebuild('deployments')!;
    await until(async () => (await nextPosition()) != null);
    const [first, ...others] = (await projector.status()).map(({ status }) => status);
    expect(first).toBe('rebuilding');
    expect(new Set(others)).toEqual(new Set(['live']));
    const { position } = await new Story('late').created().saveTo(here.store);
    await projector.waitFor(position, 1000);
    expect((await here.states())['late']).toBe('pending');
    expect((await here.states())['d7']).toBe('failed');
    await expect(rebuild.finished).resolves.toBe('promoted');
    expect(await here.differences()).toBe(0);
    expect((await here.states())['late']).toBe('pending');
    expect(await nextPosition()).toBeUndefined();
    const after = await new Story('later').created().saveTo(here.store);
    await projector.waitFor(after.position, 1000);
    expect(await here.differences()).toBe(0);
    expect((await projector.status())[0]).toMatchObject({ status: 'live', rebuild: null });
  });

  /** Rebuilds on tables whose commits take a millisecond for so many rows; answers how many rows each one had. */
  const rowsOfCommits = async (
    rowsInAMs: number,
    how: 'it blocks' | 'it waits',
  ): Promise<readonly number[]> => {
    const rows: number[] = [];
    const readModels = here.readModelsWith({
      commit: async (changes) => {
        const isNext = changes.some(({ generation }) => generation === 'next');
        const count = changes.reduce((sum, change) => sum + change.rows.length, 0);
        if (isNext) rows.push(count);
        if (how === 'it waits') await settled(1);
        if (isNext) here.clock.freeze(count / rowsInAMs);
        await here.readModels.commit(changes);
      },
    });
    projector = await here.started({ readModels });
    await expect(projector.rebuild('deployments')!.finished).resolves.toBe('promoted');
    return rows;
  };

  test('where commits hold the process up, they are made smaller until they do not', async () => {
    const [first, ...others] = await rowsOfCommits(33, 'it blocks');
    expect(first).toBeGreaterThanOrEqual(1000);
    expect(others[0]).toBe(100);
  });

  test('where a server works meanwhile, they are as large as ever', async () => {
    const [first, second] = await rowsOfCommits(1, 'it waits');
    expect(first).toBeGreaterThanOrEqual(1000);
    expect(second).toBe(DEPLOYMENTS - (first ?? 0));
  });

  test('it tells how far it is, until the whole is done', async () => {
    projector = await here.started();
    const rebuild = projector.rebuild('attempts')!;
    const heard: number[] = [];
    rebuild.onProgress(({ done, total }) => {
      heard.push(done);
      expect(total).toBe(2 * DEPLOYMENTS);
    });
    let last = null;
    for await (const progress of rebuild.follow()) last = progress;
    expect(last).toEqual({ done: 2 * DEPLOYMENTS, total: 2 * DEPLOYMENTS });
    expect(heard.length).toBeGreaterThanOrEqual(2);
    expect(heard).toEqual([...heard].sort((a, b) => a - b));
  });

  test('asked again while it runs, the running one is answered; another one waits for its turn', async () => {
    projector = await here.started();
    const first = projector.rebuild('deployments')!;
    expect(projector.rebuild('deployments')).toBe(first);
    const other = projector.rebuild('attempts')!;
    expect(other).not.toBe(first);
    const order: string[] = [];
    await Promise.all([
      other.finished.then(() => order.push('other')),
      first.finished.then(() => order.push('first')),
    ]);
    expect(order).toEqual(['first', 'other']);
    expect(projector.rebuild('deployments')).not.toBe(first);
    expect(projector.rebuild('unheard_of')).toBeNull();
    await projector.rebuild('deployments')?.finished;
  });

  test('cancelled half-way it leaves no trace', async () => {
    projector = await here.started();
    await damage('d7');
    const cancel = new AbortController();
    const rebuild = projector.rebuild('deployments', { signal: cancel.signal })!;
    rebuild.onProgress(() => {
      cancel.abort();
    });
    await expect(rebuild.finished).resolves.toBe('cancelled');
    expect(await nextPosition()).toBeUndefined();
    expect((await here.states())['d7']).toBe('failed');
    expect((await projector.status())[0]).toMatchObject({ status: 'live', rebuild: null });
  });

  test('interrupted by a stop it goes on at the next start', async () => {
    projector = await here.started();
    await damage('d7');
    const rebuild = projector.rebuild('deployments')!;
    rebuild.onProgress(() => void projector.stop());
    await expect(rebuild.finished).resolves.toBe('stopped');
    await projector.stop();
    const after = (await nextPosition())!;
    const rest = await eventsOf(here.store.readAll({ after }));
    expect(rest.length).toBeGreaterThan(0);
    expect(rest.length).toBeLessThan(2 * DEPLOYMENTS);
    const again = await here.started();
    const resumed = again.rebuild('deployments')!;
    await expect(resumed.finished).resolves.toBe('promoted');
    expect(resumed.progress.done).toBe(rest.length);
    expect(await here.differences()).toBe(0);
  });

  test('what fails meanwhile is told and tried again, from where it was', async () => {
    let commits = 0;
    const flaky = here.readModelsWith({
      commit: (changes) => {
        const next = changes[0]?.generation === 'next';
        if (next && ++commits === 2) throw new Fault('STORE_UNAVAILABLE', 'away');
        return here.readModels.commit(changes);
      },
    });
    projector = await here.started({ readModels: flaky });
    const rebuild = projector.rebuild('deployments')!;
    await until(async () => here.troubles.length > 0);
    expect((await projector.status())[0]).toMatchObject({ status: 'degraded', lastError: 'away' });
    await here.clock.advance(1000);
    await expect(rebuild.finished).resolves.toBe('promoted');
    expect(commits).toBe(3);
    expect(await here.differences()).toBe(0);
  });

  test('a promotion whose outcome is not known ends well, whatever it was', async () => {
    for (const happened of [true, false]) {
      let failing = true;
      const unsure = here.readModelsWith({
        promoteNext: async (...next) => {
          if (!failing || happened) await here.readModels.promoteNext(...next);
          if (failing) {
            failing = false;
            throw new Fault('OUTCOME_UNKNOWN');
          }
        },
      });
      projector = await here.started({ readModels: unsure });
      await damage('d7');
      const rebuild = projector.rebuild('deployments')!;
      const told = here.troubles.length;
      await until(async () => here.troubles.length > told);
      await here.clock.advance(1000);
      await expect(rebuild.finished).resolves.toBe('promoted');
      const { position } = await new Story(`late-${String(happened)}`).created().saveTo(here.store);
      await projector.waitFor(position, 1000);
      expect(await here.differences()).toBe(0);
      await projector.stop();
    }
  });

  test('what ends while somebody looks for what is not finished is not begun again', async () => {
    let starts = 0;
    const looks: Promise<void>[] = [];
    let isLooking = false;
    const readModels = here.readModelsWith({
      startNext: (table) => {
        starts += 1;
        return here.readModels.startNext(table);
      },
      promoteNext: async (...next) => {
        isLooking = true;
        looks.push(projector.doWhatIsAsked());
        await settled(1);
        await here.readModels.promoteNext(...next);
      },
      parked: async () => {
        const parked = await here.readModels.parked();
        if (isLooking) await rebuild?.finished;
        isLooking = false;
        return parked;
      },
    });
    projector = await here.started({ readModels });
    const rebuild = projector.rebuild('deployments');
    await rebuild?.finished;
    await Promise.all(looks);
    await until(async () => (await projector.status())[0]?.rebuild === null);
    expect(starts).toBe(1);
  });

  test('begun anew by another at the last moment, what takes the place of the live table is whole', async () => {
    let isBegunAnew = false;
    const seen: number[] = [];
    const readModels = here.readModelsWith({
      promoteNext: async (table, position) => {
        if (!isBegunAnew) await here.beside().startNext(table);
        isBegunAnew = true;
        await here.readModels.promoteNext(table, position);
        seen.push((await here.rows(deployments)).length);
      },
    });
    projector = await here.started({ readModels });
    const rows = (await here.rows(deployments)).length;
    const rebuild = projector.rebuild('deployments')!;
    await here.pass(() => seen.length > 0);
    expect(seen).toEqual([rows]);
    await expect(rebuild.finished).resolves.toBe('promoted');
    expect(here.troubles).toMatchObject([{ error: { code: 'REVISION_CONFLICT' } }]);
    expect(await here.differences()).toBe(0);
  });

  test('two projectors that find an old version build the new one together', async () => {
    await here.started().then((old) => old.stop());
    const version = { ...deployments, version: deployments.version + 1 } as never;
    const [one, two] = [
      here.projector({ projections: [version] }),
      here.projector({ projections: [version] }),
    ];
    await one.start();
    await two.start();
    while (!one.isCaughtUp || !two.isCaughtUp) await here.clock.advance(100);
    expect(await here.readModels.checkpoints()).toContainEqual({
      table: 'deployments',
      generation: 'live',
      version: deployments.version + 1,
      position: await here.store.head(),
    });
    expect(await here.readModels.countBy(deployments, 'state')).toEqual(
      new Map([['pending', DEPLOYMENTS]]),
    );
    expect(await nextPosition()).toBeUndefined();
  });
});
