import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { MemoryReadModels } from '../../src/adapters/memory/read-models.js';
import type { Projector } from '../../src/application/projector.js';
import { Fault } from '../../src/ports/faults.js';
import { deployments, type DeploymentRow } from '../../src/projections/deployments.js';
import type { Projection } from '../../src/projections/projection.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { Story, newEvent } from '../support/events.js';
import { newLog } from '../support/log-under-test.js';
import { Projecting } from '../support/projecting.js';

describe('projector', () => {
  let here: Projecting;
  let projector: Projector;
  beforeEach(async () => {
    here = await Projecting.begin();
    projector = here.projector();
  });
  afterEach(async () => {
    expect(await here.end()).toBe(0);
  });

  describe('following', () => {
    test('an empty log is caught up with at once', async () => {
      await projector.start();
      await projector.caughtUp;
      expect(projector.isCaughtUp).toBe(true);
      expect(projector.position).toBeNull();
    });

    test('what was there at the start and what comes later is folded into all tables', async () => {
      const story = new Story('d1').created().opened('a1').started();
      const before = await story.saveTo(here.store);
      await projector.start();
      await projector.caughtUp;
      expect(projector.position).toBe(before.position);
      expect(await here.states()).toEqual({ d1: 'deploying' });
      const after = await story.ended('succeeded').saveTo(here.store);
      await projector.waitFor(after.position, 1000);
      expect(await here.states()).toEqual({ d1: 'ready' });
      expect(await here.readModels.countBy(PROJECTIONS[1]!, 'state')).toEqual(
        new Map([['succeeded', 1]]),
      );
      expect(await here.differences()).toBe(0);
    });

    test('all tables move in one commit', async () => {
      const commits: number[] = [];
      const counting = here.readModelsWith({
        commit: (changes) => {
          commits.push(changes.length);
          return here.readModels.commit(changes);
        },
      });
      projector = here.projector({ readModels: counting });
      await projector.start();
      const { position } = await new Story('d1').created().saveTo(here.store);
      await projector.waitFor(position, 1000);
      expect(commits).toEqual([PROJECTIONS.length]);
    });

    test('of a batch only the last row of a key is written, and each key is loaded once', async () => {
      const story = new Story('d1').created();
      for (let n = 0; n < 20; n++) story.updated({ name: `name ${String(n)}` });
      await story.saveTo(here.store);
      const written: number[] = [];
      const loaded: number[] = [];
      const watched = here.readModelsWith({
        commit: (changes) => {
          written.push(...changes.map(({ rows }) => rows.length));
          return here.readModels.commit(changes);
        },
        load: (table, generation, keys) => {
          loaded.push(keys.length);
          return here.readModels.load(table, generation, keys);
        },
      });
      projector = here.projector({ readModels: watched });
      await projector.start();
      await projector.caughtUp;
      expect(written).toEqual([1, 0, 1, 1, 0]);
      expect(loaded).toEqual([1, 1]);
      const { position } = await story.updated({ name: 'the last' }).saveTo(here.store);
      await projector.waitFor(position, 1000);
      expect(loaded).toEqual([1, 1]);
    });

    test('streams of others leave no trace in the tables, and no lag', async () => {
      const foreign = newEvent('deployment_created', { name: 'x' });
      await here.store.append('invoice-1', 'no_stream', [foreign]);
      await projector.start();
      await projector.caughtUp;
      expect(projector.position).toBe(await here.store.head());
      expect(await here.states()).toEqual({});
    });

    test('a batch tells how many events it had, and how old the last one was', async () => {
      await projector.start();
      await here.clock.advance(3000);
      const { position } = await new Story('d1').created().saveTo(here.store);
      await projector.waitFor(position, 1000);
      expect(here.projected).toEqual([{ events: 2, ms: 0, lagMs: 2000 }]);
    });

    test('after a restart it goes on where it was', async () => {
      const story = new Story('d1').created();
      await story.saveTo(here.store);
      await projector.start();
      await projector.caughtUp;
      await projector.stop();
      await story.opened('a1').started().saveTo(here.store);
      const again = here.projector();
      await again.start();
      await again.caughtUp;
      expect(await here.states()).toEqual({ d1: 'deploying' });
      expect(here.projected.map(({ events }) => events)).toEqual([2, 3]);
    });
  });

  describe('waiting for a position', () => {
    test('it ends when the position is visible', async () => {
      await projector.start();
      const waiting = projector.waitFor(1n, 1000);
      const { position } = await new Story('d1').created().saveTo(here.store);
      await expect(waiting).resolves.toBeUndefined();
      await expect(projector.waitFor(position, 1000)).resolves.toBeUndefined();
      await expect(projector.waitFor(position, 0)).resolves.toBeUndefined();
    });

    test('it ends with NOT_YET_VISIBLE when the time is up', async () => {
      await projector.start();
      const waiting = projector.waitFor(9n, 1000);
      const refused = expect(waiting).rejects.toMatchObject({ code: 'NOT_YET_VISIBLE' });
      await here.clock.advance(1000);
      await refused;
    });

    test('it ends when the projector is stopped', async () => {
      await projector.start();
      const refused = expect(projector.waitFor(9n, 60_000)).rejects.toMatchObject({
        code: 'NOT_YET_VISIBLE',
      });
      await projector.stop();
      await refused;
    });

    test('one projection can be waited for by itself', async () => {
      await projector.start();
      const { position } = await new Story('d1').created().saveTo(here.store);
      await expect(projector.waitFor(position, 1000, 'transitions')).resolves.toBeUndefined();
    });
  });

  describe('start', () => {
    test('a log that is shorter than the read models is refused', async () => {
      const { position } = await new Story('d1').created().saveTo(here.store);
      await projector.start();
      await projector.caughtUp;
      await projector.stop();
      const { store, dispose } = await newLog();
      const late = here.projector({ store });
      await expect(late.start()).rejects.toMatchObject({
        code: 'STORE_CORRUPT',
        message: `the log is shorter than the read models: it ends at nothing, but deployments has folded position ${String(position)}`,
      });
      await dispose();
    });

    test('read models of another log are refused, however far that one has come', async () => {
      for (const id of ['d1', 'd2']) await new Story(id).created().saveTo(here.store);
      await projector.start();
      await projector.caughtUp;
      await projector.stop();
      const { store, dispose } = await newLog();
      for (const id of ['d2', 'd3', 'd1']) await new Story(id).created().saveTo(store);
      await expect(here.projector({ store }).start()).rejects.toMatchObject({
        code: 'STORE_FOREIGN',
        message: expect.stringContaining('folded from another log'),
      });
      await dispose();
    });

    test('tables of a newer version are refused', async () => {
      const newer = PROJECTIONS.map((each) => ({ ...each, version: each.version + 1 }));
      await here.projector({ projections: newer }).start();
      await expect(projector.start()).rejects.toMatchObject({ code: 'STORE_FOREIGN' });
    });

    test('a store that is out of reach is waited for', async () => {
      let reachable = false;
      const flaky = here.storeWith({
        head: () => {
          if (!reachable) throw new Fault('STORE_UNAVAILABLE');
          return here.store.head();
        },
      });
      await new Story('d1').created().saveTo(here.store);
      projector = here.projector({ store: flaky });
      await projector.start();
      await here.clock.advance(1000);
      expect(projector.isCaughtUp).toBe(false);
      expect((await projector.status())[0]).toMatchObject({ status: 'degraded' });
      reachable = true;
      await here.clock.advance(5000);
      await projector.caughtUp;
      expect(await here.states()).toEqual({ d1: 'pending' });
    });

    test('read models that were lost are folded anew', async () => {
      await new Story('d1').created().opened('a1').saveTo(here.store);
      await projector.start();
      await projector.caughtUp;
      await projector.stop();
      here.readModels = new MemoryReadModels();
      const again = here.projector();
      await again.start();
      await again.caughtUp;
      expect(await here.states()).toEqual({ d1: 'pending' });
      expect(await here.differences()).toBe(0);
    });

    test('a table that is new beside others is built apart and joins them', async () => {
      await new Story('d1').created().opened('a1').saveTo(here.store);
      projector = here.projector({ projections: PROJECTIONS.slice(0, 2) });
      await projector.start();
      await projector.caughtUp;
      await projector.stop();
      const withMore = here.projector();
      await withMore.start();
      await withMore.caughtUp;
      expect(await here.differences()).toBe(0);
      const { position } = await new Story('d2').created().saveTo(here.store);
      await withMore.waitFor(position, 1000);
      expect(await here.differences()).toBe(0);
      expect(await here.readModels.checkpoints()).toHaveLength(PROJECTIONS.length);
    });

    test('a table of an older version is built anew beside the old one, which serves meanwhile', async () => {
      await new Story('d1').created().saveTo(here.store);
      await projector.start();
      await projector.caughtUp;
      await projector.stop();
      const upper: Projection = {
        ...(deployments as Projection),
        version: deployments.version + 1,
        evolve: (row, event) => {
          const next = (deployments as Projection).evolve(row, event);
          return { ...next, searchText: String(next['searchText']).toUpperCase() };
        },
      };
      const newer = here.projector({ projections: [upper, ...PROJECTIONS.slice(1)] });
      await newer.start();
      expect((await here.rows<DeploymentRow>(deployments))[0]?.searchText).toBe('d1\nd1');
      await newer.caughtUp;
      expect((await here.rows<DeploymentRow>(deployments))[0]?.searchText).toBe('D1\nD1');
      const { position } = await new Story('d2').created().saveTo(here.store);
      await newer.waitFor(position, 1000);
      expect((await here.rows<DeploymentRow>(deployments)).map((row) => row.searchText)).toEqual([
        'D1\nD1',
        'D2\nD2',
      ]);
    });
  });

  describe('status', () => {
    test('a projection that is level has no lag', async () => {
      await projector.start();
      const { position } = await new Story('d1').created().saveTo(here.store);
      await projector.waitFor(position, 1000);
      await here.clock.advance(60_000);
      expect(await projector.status()).toMatchObject(
        PROJECTIONS.map(({ name, version }) => ({
          name,
          version,
          position,
          headPosition: position,
          lagEvents: 0,
          lagSeconds: 0,
          status: 'live',
          lastError: null,
          parked: 0,
          rebuild: null,
        })),
      );
    });

    test('one that is behind tells by how many events and seconds', async () => {
      const blocked = here.readModelsWith({
        commit: (changes) => {
          if (changes[0]?.from === null) return here.readModels.commit(changes);
          throw new Fault('STORE_UNAVAILABLE', 'gone');
        },
      });
      await new Story('d1').created().saveTo(here.store);
      projector = here.projector({ readModels: blocked });
      await projector.start();
      await projector.caughtUp;
      await projector.status();
      await new Story('d2').created().opened('a1').saveTo(here.store);
      await here.clock.advance(7000);
      expect((await projector.status())[0]).toMatchObject({
        // Exact where positions have no gaps; else as near as events are alike.
        lagEvents: (await here.store.head()) === 5n ? 3 : expect.closeTo(3, -0.5),
        lagSeconds: 7,
        status: 'degraded',
        lastError: 'gone',
      });
    });

    test('before the start and after the end it is stopped', async () => {
      expect((await projector.status())[0]).toMatchObject({ status: 'stopped', position: null });
      await projector.start();
      await projector.stop();
      await projector.stop();
      expect((await projector.status())[0]).toMatchObject({ status: 'stopped' });
    });
  });
});
