import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { systemClock } from '../../src/adapters/system-clock.js';
import { Projector } from '../../src/application/projector.js';
import { verify, type Difference } from '../../src/application/verify.js';
import type { EventStore } from '../../src/ports/event-store.js';
import type { ReadModels } from '../../src/ports/read-models.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { Story } from '../support/events.js';
import { newLog } from '../support/log-under-test.js';
import { eventsOf } from '../support/stored-events.js';

/** Read models in a database, and a way to spoil them behind our back. */
export interface DamageUnderTest {
  readonly readModels: ReadModels;
  /** Runs statements on the same tables, as somebody with a shell would. */
  run(text: string): Promise<void>;
  /** The name of a table in statements. */
  tableOf(name: string): string;
  /** What casts a document to text, and back. */
  readonly json: { readonly asText: string; readonly asJson: string };
  dispose(): Promise<void>;
}

/** What is done to a table, and what verification must say of it. */
interface Damage {
  readonly table: string;
  readonly done: string;
  /** A statement in which `TABLE` stands for the table, `TEXT` and `JSON` for the casts of a document. */
  readonly by: string;
  readonly kind: Difference['kind'];
  readonly key: readonly string[];
  /** How many rows are hurt; one, when absent. */
  readonly rows?: number;
}

const DAMAGES: readonly Damage[] = [
  {
    table: 'deployments',
    done: 'a state is written over',
    by: `update TABLE set "state" = 'failed' where "deployment_id" = 'web'`,
    kind: 'wrong',
    key: ['web'],
  },
  {
    table: 'deployments',
    done: 'a row is deleted',
    by: `delete from TABLE where "deployment_id" = 'web'`,
    kind: 'missing',
    key: ['web'],
  },
  {
    table: 'deployments',
    done: 'a deployment is renamed',
    by: `update TABLE set "deployment_id" = 'ghost' where "deployment_id" = 'api'`,
    kind: 'surplus',
    key: ['ghost'],
    rows: 2,
  },
  {
    table: 'deployments',
    done: 'a deployment is archived by hand',
    by: `update TABLE set "archived" = not "archived" where "deployment_id" = 'api'`,
    kind: 'wrong',
    key: ['api'],
  },
  {
    table: 'deployments',
    done: 'a revision is set back',
    by: `update TABLE set "revision" = 1 where "deployment_id" = 'web'`,
    kind: 'wrong',
    key: ['web'],
  },
  {
    table: 'deployments',
    done: 'the whole table is emptied',
    by: `delete from TABLE`,
    kind: 'missing',
    key: [],
    rows: 2,
  },
  {
    table: 'attempts',
    done: 'an attempt is said to run',
    by: `update TABLE set "state" = 'running' where "attempt_id" = 'a1'`,
    kind: 'wrong',
    key: ['web', 'a1'],
  },
  {
    table: 'attempts',
    done: 'a document is altered deep inside',
    by: `update TABLE set "attempt" = replace("attempt"TEXT, 'succeeded', 'cancelled')JSON where "attempt_id" = 'a1'`,
    kind: 'wrong',
    key: ['web', 'a1'],
  },
  {
    table: 'attempts',
    done: 'an attempt is renamed',
    by: `update TABLE set "attempt_id" = 'a9' where "attempt_id" = 'a2'`,
    kind: 'missing',
    key: ['web', 'a2'],
    rows: 2,
  },
  {
    table: 'transitions',
    done: 'a transition is taken out',
    by: `delete from TABLE where "to" = 'deploying' and "deployment_id" = 'web'`,
    kind: 'missing',
    key: [],
  },
  {
    table: 'transitions',
    done: 'the one who did it is altered',
    by: `update TABLE set "actor" = replace("actor"TEXT, 'tester', 'mallory')JSON where "deployment_id" = 'web' and "from" is null`,
    kind: 'wrong',
    key: [],
  },
  {
    table: 'transitions',
    done: 'a time is altered by a minute',
    by: `update TABLE set "occurred_at" = '2001-01-01T00:00:00.000Z' where "deployment_id" = 'web' and "to" = 'ready'`,
    kind: 'wrong',
    key: [],
  },
];

/** Verification finds what was done to the tables, and a rebuild mends it, in every database. */
export function damageContract(name: string, create: () => Promise<DamageUnderTest>): void {
  describe(`damage to read models in ${name}`, () => {
    let underTest: DamageUnderTest;
    let log: { readonly store: EventStore; dispose(): Promise<void> };
    let projector: Projector;

    beforeAll(async () => {
      underTest = await create();
      log = await newLog();
      const web = new Story('web').created().opened('a1').started().ended('succeeded').opened('a2');
      await web.saveTo(log.store);
      await new Story('api').created().saveTo(log.store);
      projector = new Projector({
        store: log.store,
        readModels: underTest.readModels,
        projections: PROJECTIONS,
        clock: systemClock,
        random: Math.random,
        owner: 'test',
      });
      await projector.start();
      await projector.caughtUp;
    });
    afterAll(async () => {
      await projector.stop();
      await underTest.dispose();
      await log.dispose();
    });

    const differencesOf = async (table: string): Promise<readonly Difference[]> => {
      const { readModels } = underTest;
      const reports = await verify({ store: log.store, readModels, projections: PROJECTIONS });
      const others = reports.filter((report) => report.table !== table);
      for (const report of others) expect(report).toMatchObject({ differencesTotal: 0 });
      const found = reports.find((report) => report.table === table);
      expect(found).toMatchObject({ undecided: 0, skipped: null });
      return found?.differences ?? [];
    };

    test('there is none at first', async () => {
      expect(await differencesOf('deployments')).toEqual([]);
    });

    test.each(DAMAGES)('$table: $done', async ({ table, by, kind, key, rows = 1 }) => {
      await underTest.run(
        by
          .replaceAll('TABLE', underTest.tableOf(table))
          .replace('TEXT', underTest.json.asText)
          .replace('JSON', underTest.json.asJson),
      );
      const differences = await differencesOf(table);
      expect(differences).toHaveLength(rows);
      const found = differences.find((difference) => difference.kind === kind);
      expect(found).toMatchObject({ table, kind, ...(key.length > 0 && { key }) });
      if (kind !== 'surplus') await expectEvent(found);
    });

    afterEach(async () => {
      for (const { name: table } of PROJECTIONS) await projector.rebuild(table)?.finished;
      expect(await differencesOf('deployments')).toEqual([]);
    });

    /** The event that is named is one of the deployment's own. */
    const expectEvent = async (difference: Difference | undefined): Promise<void> => {
      const { stream = '', position } = difference?.since ?? {};
      const events = await eventsOf(log.store.read(stream));
      expect(events.map((event) => event.position)).toContain(position);
    };
  });
}
