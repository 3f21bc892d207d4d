import { afterAll, expect, test } from '@jest/globals';
import { openPostgres } from '../../src/adapters/postgres/database.js';
import { postgresLeases } from '../../src/adapters/postgres/leases.js';
import { leasesContract } from '../contracts/leases.contract.js';
import { onPostgres } from '../support/on-postgres.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

const databases: TestDatabase[] = [];
const create = async () => {
  const database = await freshDatabase();
  databases.push(database);
  return postgresLeases(await openPostgres({ url: database.url }));
};

await onPostgres(() => {
  afterAll(() => Promise.all(databases.map((each) => each.drop())));
  leasesContract('PostgreSQL', create);

  test('two processes that hear of an attempt count on', async () => {
    const { url, drop } = await freshDatabase();
    const open = async () => postgresLeases(await openPostgres({ url }));
    const [one, two] = [await open(), await open()];
    const attempt = { deploymentId: 'd1', attemptId: 'a1' };
    const at = '2026-01-01T00:00:00.000Z';
    const beats = Array.from({ length: 40 }, (_, n) => (n % 2 === 0 ? one : two).beat(attempt, at));
    await Promise.all(beats);
    expect(await one.read([attempt])).toMatchObject([{ count: 40 }]);
    await one.close();
    await two.close();
    await drop();
  });
});
