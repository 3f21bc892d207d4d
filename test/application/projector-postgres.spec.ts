import { afterAll, expect, jest, test } from '@jest/globals';
import { openPostgres, type PostgresDatabase } from '../../src/adapters/postgres/database.js';
import { postgresReadModels } from '../../src/adapters/postgres/read-models.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { Projector } from '../../src/application/projector.js';
import { verify } from '../../src/application/verify.js';
import { deployments } from '../../src/projections/deployments.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { projectorContract } from '../contracts/projector.contract.js';
import { settled } from '../support/fake-clock.js';
import { longLog, trickling } from '../support/long-log.js';
import { onPostgres } from '../support/on-postgres.js';
import {
  databaseOn,
  freshDatabase,
  startPostgres,
  type PostgresServer,
} from '../support/postgres.js';

jest.setTimeout(180_000);

await onPostgres(() => {
  projectorContract('PostgreSQL', async () => {
    const { url, drop } = await freshDatabase();
    return {
      name: url,
      open: async () => postgresReadModels(await openPostgres({ url })),
      lose: async () => {
        const database = await openPostgres({ url });
        await database.query('drop schema shipslog cascade');
        await database.close();
      },
      dispose: drop,
    };
  });

  let server: PostgresServer | null = null;
  let database: PostgresDatabase | null = null;
  afterAll(async () => {
    await database?.close();
    await server?.stop();
  });

  test('a server that is killed in the middle of batches, again and again, leaves tables that equal the fold', async () => {
    server = await startPostgres();
    const { url } = await databaseOn(server.urlOf('postgres'));
    database = await openPostgres({ url });
    const readModels = postgresReadModels(database);
    const store = await longLog(800);
    const projector = new Projector({
      store: trickling(store, 3),
      readModels,
      projections: PROJECTIONS,
      clock: systemClock,
      random: Math.random,
      owner: 'first',
    });
    await projector.start();
    const head = (await store.head()) ?? 0n;
    for (let kills = 1; kills <= 4; kills++) {
      const until = (head * BigInt(kills)) / 6n;
      while ((projector.position ?? 0n) < until) await settled(1);
      await server.kill();
      await server.start();
    }
    await projector.caughtUp;
    expect(projector.position).toBe(head);
    await projector.stop();
    for (const report of await verify({ store, readModels, projections: PROJECTIONS })) {
      expect(report).toMatchObject({ differencesTotal: 0, undecided: 0, parked: 0, skipped: null });
    }
    expect(await readModels.countBy(deployments, 'state')).toEqual(new Map([['ready', 800]]));
  });
});
