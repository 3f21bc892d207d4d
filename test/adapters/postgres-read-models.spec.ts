import { openPostgres } from '../../src/adapters/postgres/database.js';
import { postgresReadModels } from '../../src/adapters/postgres/read-models.js';
import { ownershipContract } from '../contracts/ownership.contract.js';
import { parkedStreamsContract } from '../contracts/parked-streams.contract.js';
import { readModelsContract, type ReadModelsUnderTest } from '../contracts/read-models.contract.js';
import { onPostgres } from '../support/on-postgres.js';
import { freshDatabase } from '../support/postgres.js';

const create = async (): Promise<ReadModelsUnderTest> => {
  const { url, drop } = await freshDatabase();
  const open = async () => postgresReadModels(await openPostgres({ url }));
  return { readModels: await open(), beside: open, dispose: drop };
};

await onPostgres(() => {
  readModelsContract('PostgreSQL', create);
  ownershipContract('PostgreSQL', create);
  parkedStreamsContract('PostgreSQL', create);
});
