import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { openPostgres } from '../../src/adapters/postgres/database.js';
import { postgresReadModels } from '../../src/adapters/postgres/read-models.js';
import { openDatabase } from '../../src/adapters/sqlite/driver.js';
import { openSqliteReadModels } from '../../src/adapters/sqlite/read-models.js';
import { damageContract } from '../contracts/damage.contract.js';
import { onPostgres } from '../support/on-postgres.js';
import { freshDatabase } from '../support/postgres.js';

damageContract('SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'shipslog-'));
  const file = join(folder, 'read-models.db');
  const readModels = openSqliteReadModels(file);
  const kind = { name: 'read-model file', applicationId: 0x5348_4c52, userVersion: 1, schema: '' };
  const shell = openDatabase(file, { kind, synchronous: 'off', busyTimeoutMs: 1000 });
  return {
    readModels,
    run: async (text) => shell.exec(text),
    tableOf: (name) => `"${name}"`,
    json: { asText: '', asJson: '' },
    dispose: async () => {
      shell.close();
      await readModels.close();
      await rm(folder, { recursive: true });
    },
  };
});

await onPostgres(() =>
  damageContract('PostgreSQL', async () => {
    const { url, drop } = await freshDatabase();
    const readModels = postgresReadModels(await openPostgres({ url }));
    const shell = new pg.Client({ connectionString: url });
    await shell.connect();
    return {
      readModels,
      run: async (text) => {
        await shell.query(text);
      },
      tableOf: (name) => `shipslog."${name}"`,
      json: { asText: '::text', asJson: '::json' },
      dispose: async () => {
        await shell.end();
        await readModels.close();
        await drop();
      },
    };
  }),
);
