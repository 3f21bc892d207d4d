import { openEventStoreDB } from '../../../src/adapters/eventstoredb/event-store.js';
import { systemClock } from '../../../src/adapters/system-clock.js';
import { TestServer } from './server.js';

/** A server for a suite, real or of our own. */
export interface Reached {
  readonly url: string;
  stop(): Promise<void>;
}

/** How long a real server may take to answer once. */
const REAL_MS_MAX = 10_000;

/**
 * Reaches the server that the suite runs against: a real one when `EVENTSTOREDB_URL` names it, else one
 * of our own. A real one that is out of reach is said aloud, and a failure when `REQUIRE_STORES` is 1.
 */
export async function reachServer(): Promise<Reached> {
  const url = process.env['EVENTSTOREDB_URL'];
  if (url !== undefined) {
    const problem = await problemOf(url);
    if (problem === null) return { url, stop: () => Promise.resolve() };
    if (process.env['REQUIRE_STORES'] === '1') throw problem;
    process.stderr.write(`\n${problem.message}\nInstead of it the test server is used.\n\n`);
  }
  const server = await TestServer.start();
  return { url: server.url, stop: () => server.stop() };
}

async function problemOf(url: string): Promise<Error | null> {
  try {
    const signal = AbortSignal.timeout(REAL_MS_MAX);
    const store = await openEventStoreDB({ url, clock: systemClock, signal });
    await store.close();
    return null;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
