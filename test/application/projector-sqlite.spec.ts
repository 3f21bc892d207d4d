import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteReadModels } from '../../src/adapters/sqlite/read-models.js';
import { projectorContract } from '../contracts/projector.contract.js';

projectorContract('a file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'shipslog-'));
  const name = join(folder, 'read-models.db');
  return {
    name,
    open: async () => openSqliteReadModels(name),
    lose: async () => {
      for (const suffix of ['', '-wal', '-shm']) await rm(name + suffix, { force: true });
    },
    dispose: () => rm(folder, { recursive: true }),
  };
});
