import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openSqliteEventStore } from '../../src/adapters/sqlite/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { eventStoreContract } from '../contracts/event-store.contract.js';

eventStoreContract('SQLite', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'shipslog-'));
  return {
    store: await openSqliteEventStore({ file: join(folder, 'events.db'), clock: systemClock }),
    dispose: () => rm(folder, { recursive: true }),
  };
});
