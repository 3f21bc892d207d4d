/*
 * The suites of the service once more, with its log in EventStoreDB: the test server, or the real one that
 * EVENTSTOREDB_URL names. `npm run test:eventstoredb` runs all of them so; these are the heart of it.
 */
import '../support/on-eventstoredb.js';
import { expect, test } from '@jest/globals';
import { startApi } from '../support/api.js';
import '../api/commands.spec.js';
import '../api/queries.spec.js';
import '../application/projector.spec.js';
import '../application/replay.spec.js';

test('these suites keep their log in EventStoreDB', async () => {
  const api = await startApi();
  expect(api.runtime.stores.store.health().details['kind']).toBe('eventstoredb');
  await api.close();
});
