import { MemoryReadModels } from '../../src/adapters/memory/read-models.js';
import { readModelsContract } from '../contracts/read-models.contract.js';

readModelsContract('memory', async () => ({
  readModels: new MemoryReadModels(),
  dispose: async () => {},
}));
