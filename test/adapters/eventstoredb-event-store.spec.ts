import { systemClock } from '../../src/adapters/system-clock.js';
import { openEventStoreDB } from '../../src/adapters/eventstoredb/event-store.js';
import { eventStoreContract } from '../contracts/event-store.contract.js';
import { reachServer } from '../support/eventstoredb/reach.js';

/* Ids are looked for at the revision that an append expects, and nowhere else. */
eventStoreContract(
  'EventStoreDB',
  async () => {
    const { url, stop } = await reachServer();
    const store = await openEventStoreDB({ url, clock: systemClock });
    return { store, dispose: stop };
  },
  { idsAreUnique: false },
);
