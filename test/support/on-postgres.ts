import { test } from '@jest/globals';
import { postgresIsThere } from './postgres.js';

/** Runs specs that need a PostgreSQL; where none can be had they are skipped, said aloud, or fail. */
export async function onPostgres(specs: () => void): Promise<void> {
  if (await postgresIsThere()) {
    specs();
    return;
  }
  // The reason for a skip: jest fails a file without a test, and what is skipped is counted and seen. Only a
  // machine without any PostgreSQL comes here, and never .ci/run: it sets REQUIRE_STORES=1, by which that fails.
  test.skip('no PostgreSQL can be had here', () => undefined);
}
