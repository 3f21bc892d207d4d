import { MemoryLeases } from '../../src/adapters/memory/leases.js';
import { leasesContract } from '../contracts/leases.contract.js';

leasesContract('memory', async () => new MemoryLeases());
