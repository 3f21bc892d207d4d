import { MemoryEventStore } from '../../src/adapters/memory/event-store.js';
import { eventStoreContract } from '../contracts/event-store.contract.js';

eventStoreContract('memory', () => Promise.resolve({ store: new MemoryEventStore() }));
