import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Projector } from '../../src/application/projector.js';
import type { Delivery, EventStore, RecordedEvent } from '../../src/ports/event-store.js';
import { Fault } from '../../src/ports/faults.js';
import type { Row } from '../../src/ports/read-models.js';
import { deployments, type DeploymentRow } from '../../src/projections/deployments.js';
import { defineProjection, type Projection } from '../../src/projections/projection.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { Story } from '../support/events.js';
import { settled, until } from '../support/fake-clock.js';
import { Projecting } from '../support/projecting.js';

describe('projector in trouble', () => {
  let here: Projecting;
  let projector: Projector;
  beforeEach(async () => {
    here = await Projecting.begin();
    projector = here.projector();
  });
  afterEach(async () => {
    expect(await here.end()).toBe(0);
  });

  describe('trouble', () => {
    test('a commit that fails is told, waited out and tried again', async () => {
      let failures = 3;
      const flaky = here.readModelsWith({
        commit: (changes) => {
          if (failures-- > 0) throw new Fault('STORE_FULL', 'no room');
          return here.readModels.commit(changes);
        },
      });
      projector = here.projector({ readModels: flaky });
      await projector.start();
      const { position } = await new Story('d1').created().saveTo(here.store);
      await until(() => here.troubles.length > 0);
      expect(here.troubles).toHaveLength(1);
      expect((await projector.status())[0]).toMatchObject({
        status: 'degraded',
        lastError: 'no room',
        lagEvents: null,
      });
      await here.pass(() => projector.position === position);
      expect(await here.states()).toEqual({ d1: 'pending' });
      expect(here.troubles).toHaveLength(3);
      expect((await projector.status())[0]).toMatchObject({ status: 'live', lastError: null });
      expect(await here.differences()).toBe(0);
    });

    test('commits that are too large for the database are made smaller until they are not', async () => {
      for (let n = 0; n < 400; n++)
        await new Story(`d${String(n)}`).created().opened('a1').saveTo(here.store);
      let largest = 0;
      const slow = here.readModelsWith({
        commit: (changes) => {
          const rows = changes.reduce((sum, change) => sum + change.rows.length, 0);
          if (rows > 300) throw new Fault('STORE_UNAVAILABLE', 'statement timeout');
          largest = Math.max(largest, rows);
          return here.readModels.commit(changes);
        },
      });
      projector = here.projector({ readModels: slow, projections: [deployments] });
      await projector.start();
      const head = await here.store.head();
      await here.pass(() => projector.position === head);
      expect(largest).toBeGreaterThan(100);
      expect(Object.keys(await here.states())).toHaveLength(400);
    });

    test('a commit that went through although it failed is not folded twice', async () => {
      let failures = 1;
      const unsure = here.readModelsWith({
        commit: async (changes) => {
          await here.readModels.commit(changes);
          if (failures-- > 0) throw new Fault('OUTCOME_UNKNOWN');
        },
      });
      projector = here.projector({ readModels: unsure });
      await projector.start();
      const story = new Story('d1').created();
      await story.saveTo(here.store);
      await until(() => here.troubles.length > 0);
      const { position } = await story.opened('a1').started().saveTo(here.store);
      await here.pass(() => projector.position === position);
      expect(await here.states()).toEqual({ d1: 'deploying' });
      expect(await here.differences()).toBe(0);
    });

    test('a defect of the store does not end it', async () => {
      let defects = 1;
      const broken = here.storeWith({
        subscribe: (subscription) => {
          if (defects-- > 0) throw new TypeError('x is not a function');
          return here.store.subscribe(subscription);
        },
      });
      projector = here.projector({ store: broken });
      await projector.start();
      await until(() => here.troubles.length > 0);
      const { position } = await new Story('d1').created().saveTo(here.store);
      await here.pass(() => projector.position === position);
    });

    test('two projectors on the same tables do no harm', async () => {
      const stories = Array.from({ length: 20 }, (_, n) => new Story(`d${String(n)}`).created());
      const other = here.projector();
      await projector.start();
      await other.start();
      for (const story of stories) await story.saveTo(here.store);
      for (const story of stories) await story.opened('a1').started().saveTo(here.store);
      const level = async (): Promise<void> => {
        const head = await here.store.head();
        await here.pass(() => projector.position === head && other.position === head);
      };
      await level();
      for (const story of stories) await story.ended('succeeded').saveTo(here.store);
      await level();
      expect(Object.values(await here.states())).toEqual(Array(20).fill('ready'));
      expect(await here.differences()).toBe(0);
      expect(here.troubles).toEqual([]);
    });
  });

  describe('a feed that is not as it should be', () => {
    /** A store whose subscription hands the events over as `change` has it. */
    const feedOf = (change: (deliveries: Delivery[]) => Delivery[]): EventStore => {
      let first = true;
      return here.storeWith({
        async *readAll() {},
        async *subscribe(subscription) {
          for await (const delivery of here.store.subscribe(subscription)) {
            const single = delivery.events.map((event): Delivery => ({
              events: [event],
              caughtUp: false,
            }));
            const feed = first ? change(single) : [delivery];
            first = false;
            yield* feed;
          }
        },
      });
    };
    const story = (): Story => new Story('d1').created().opened('a1').started().ended('failed');

    test('events that come again are passed over', async () => {
      const { position } = await story().saveTo(here.store);
      projector = here.projector({
        store: feedOf((events) => [...events, ...events.slice(1), ...events]),
      });
      await projector.start();
      await until(() => projector.position === position);
      await settled();
      expect(await here.states()).toEqual({ d1: 'failed' });
      expect(await here.differences()).toBe(0);
      expect(here.troubles).toEqual([]);
    });

    test('events out of order within a delivery are put in order', async () => {
      const { position } = await story().saveTo(here.store);
      const backwards = feedOf((deliveries) => [
        { events: deliveries.flatMap(({ events }) => events).reverse(), caughtUp: true },
      ]);
      projector = here.projector({ store: backwards });
      await projector.start();
      await until(() => projector.position === position);
      expect(await here.states()).toEqual({ d1: 'failed' });
      expect(await here.differences()).toBe(0);
    });

    test('an event that is left out is noticed, and the log is asked again', async () => {
      const { position } = await story().saveTo(here.store);
      projector = here.projector({
        store: feedOf((events) => events.filter((_, n) => n !== 3)),
      });
      await projector.start();
      await until(() => here.troubles.length > 0);
      await here.pass(() => projector.position === position);
      expect(here.troubles).toHaveLength(1);
      expect(await here.states()).toEqual({ d1: 'failed' });
      expect(await here.differences()).toBe(0);
      expect(await here.readModels.parked()).toEqual([]);
    });

    test('a hole in the log itself parks the stream', async () => {
      await story().saveTo(here.store);
      await new Story('d2').created().saveTo(here.store);
      const without = (events: readonly RecordedEvent[]): RecordedEvent[] =>
        events.filter(({ stream, revision }) => stream !== 'deployment-d1' || revision !== 3n);
      const holed = here.storeWith({
        async *readAll(range) {
          for await (const page of here.store.readAll(range)) yield without(page);
        },
      });
      projector = here.projector({ store: holed });
      await projector.start();
      await here.pass(() => projector.isCaughtUp);
      expect(await here.states()).toEqual({ d1: 'pending', d2: 'pending' });
      const parked = await here.readModels.parked();
      expect(parked.map(({ table }) => table).sort()).toEqual([
        'attempts',
        'deployments',
        'stays',
        'transitions',
        'unknowns',
      ]);
      expect(parked[0]).toMatchObject({ stream: 'deployment-d1', revision: 4n });
      expect(parked[0]?.problem).toContain('the log has a hole');
    });
  });

  describe('poison', () => {
    const odd = defineProjection<{ readonly id: string; readonly count: number }>({
      name: 'odd',
      version: 1,
      columns: { id: { type: 'text' }, count: { type: 'integer' } },
      key: ['id'],
      indexes: [],
      keyOf: (event) => {
        if (event.type === 'deployment_archived') throw new Error('no key for that');
        return [event.deploymentId];
      },
      evolve: (row, event) => {
        if (event.type === 'attempt_start') throw new Error('cannot fold a start');
        const count = (row?.count ?? 0) + (event.type === 'cancel_requested' ? 0.5 : 1);
        return { id: event.deploymentId, count };
      },
    });

    test('an event that nobody can read parks its stream in every projection; others go on', async () => {
      await projector.start();
      const bad = new Story('d1').created().poisoned();
      const spoiled = await bad.saveTo(here.store);
      await bad.opened('a1').started().saveTo(here.store);
      const good = new Story('d2').created().opened('a1').started();
      const { position } = await good.saveTo(here.store);
      await projector.waitFor(position, 1000);
      expect(await here.states()).toEqual({ d1: 'pending', d2: 'deploying' });
      expect(await here.readModels.parked()).toHaveLength(PROJECTIONS.length);
      expect((await here.readModels.parked())[0]).toEqual({
        table: 'deployments',
        generation: 'live',
        stream: 'deployment-d1',
        revision: 2n,
        position: spoiled.position,
        problem: 'unknown event type "deployment_hexed"',
        parkedAt: here.clock.now(),
        decided: null,
      });
      expect(here.parked).toHaveLength(PROJECTIONS.length);
      expect((await projector.status())[0]).toMatchObject({ status: 'degraded', parked: 1 });
      expect(await here.differences()).toBe(0);
    });

    test('events before the bad one count, whatever batch they come in, also after a restart', async () => {
      await new Story('d1').created().updated({ name: 'n' }).poisoned().saveTo(here.store);
      let failing = true;
      const dying = here.readModelsWith({
        commit: (changes) => {
          if (failing) throw new Fault('STORE_UNAVAILABLE');
          return here.readModels.commit(changes);
        },
      });
      projector = here.projector({ readModels: dying });
      await projector.start();
      await until(async () => (await here.readModels.parked()).length === PROJECTIONS.length);
      await projector.stop();
      failing = false;
      const again = here.projector();
      await again.start();
      await again.caughtUp;
      expect(
        (await here.rows<DeploymentRow>(deployments)).map(({ deployment }) => deployment.name),
      ).toEqual(['n']);
      expect(await here.readModels.parked()).toHaveLength(PROJECTIONS.length);
      expect(here.parked).toHaveLength(PROJECTIONS.length);
    });

    test.each([
      ['evolve throws', (story: Story) => story.started(), 'cannot fold a start'],
      [
        'keyOf throws',
        (story: Story) => story.poisoned('deployment_archived', {}),
        'no key for that',
      ],
      [
        'a row does not fit the table',
        (story: Story) => story.cancelRequested(),
        'column count cannot hold number',
      ],
    ])('where %s, the stream is parked in that projection alone', async (_, spoil, problem) => {
      projector = here.projector({ projections: [...PROJECTIONS, odd] });
      await projector.start();
      const story = spoil(new Story('d1').created().opened('a1'));
      await story.saveTo(here.store);
      const { position } = await story.updated({ name: 'later' }).saveTo(here.store);
      await projector.waitFor(position, 1000);
      expect(await here.readModels.parked()).toMatchObject([{ table: 'odd', problem }]);
      expect((await here.rows<DeploymentRow>(deployments))[0]?.deployment.name).toBe('later');
      expect(await here.rows(odd)).toEqual([{ id: 'd1', count: 3 }]);
    });

    test.each([
      [{ name: 'nul \0' }, 'column searchText cannot hold "d1\\nnul \\u0000"'],
      [{ labels: { half: '\ud800' } }, 'column labels cannot hold object'],
    ])('text that databases change is poison, not a row that lies: %j', async (data, problem) => {
      const { position } = await new Story('d1').created(data).saveTo(here.store);
      await projector.start();
      await projector.waitFor(position, 1000);
      expect(await here.readModels.parked()).toMatchObject([{ table: 'deployments', problem }]);
    });

    test('a name that is longer than what is searched is none, wherever it is cut', async () => {
      for (const name of ['😀'.repeat(900), `.${'😀'.repeat(900)}`])
        await new Story(`d${String(name.length)}`).created({ name }).saveTo(here.store);
      await projector.start();
      await projector.caughtUp;
      expect(await here.readModels.parked()).toEqual([]);
      expect(Object.keys(await here.states())).toHaveLength(2);
    });

    test('a rebuild gives parked streams another try', async () => {
      let mended = false;
      const mendable: Projection = {
        ...(odd as Projection),
        evolve: (row, event): Row =>
          event.type === 'attempt_start' && mended
            ? { ...row, count: 100 }
            : (odd as Projection).evolve(row, event),
      };
      await new Story('d1').created().opened('a1').started().saveTo(here.store);
      projector = here.projector({ projections: [mendable] });
      await projector.start();
      await projector.caughtUp;
      expect((await projector.status())[0]).toMatchObject({ parked: 1, status: 'degraded' });
      mended = true;
      await expect(projector.rebuild('odd')?.finished).resolves.toBe('promoted');
      expect(await here.rows(odd)).toEqual([{ id: 'd1', count: 101 }]);
      expect(await here.readModels.parked()).toEqual([]);
      expect((await projector.status())[0]).toMatchObject({ parked: 0, status: 'live' });
    });
  });
});
