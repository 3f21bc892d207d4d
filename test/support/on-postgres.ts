import { test } from '@jest/globals';
import { postgresIsThere } from './postgres.js';

/** Runs specs that need a PostgreSQL; where none can be had they are skipped, said aloud, or fail. */
export async function onPostgres(specs: () => void): Promise<void> {
  if (await postgresIsThere()) specs();
  // A file without a test fails, and a skipped one is counted; with REQUIRE_STORES=1 it has thrown already.
  else test.skip('no PostgreSQL can be had here', () => undefined);
}
