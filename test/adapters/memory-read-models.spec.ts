import { MemoryReadModels, MemoryTables } from '../../src/adapters/memory/read-models.js';
import { ownershipContract } from '../contracts/ownership.contract.js';
import { parkedStreamsContract } from '../contracts/parked-streams.contract.js';
import { readModelsContract, type ReadModelsUnderTest } from '../contracts/read-models.contract.js';

const inMemory = async (): Promise<ReadModelsUnderTest> => {
  const tables = new MemoryTables();
  return {
    readModels: new MemoryReadModels(tables),
    beside: async () => new MemoryReadModels(tables),
    dispose: async () => {},
  };
};
readModelsContract('memory', inMemory);
ownershipContract('memory', inMemory);
parkedStreamsContract('memory', inMemory);
