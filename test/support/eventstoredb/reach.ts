import { TestServer } from './server.js';

/** Where the suites of this store run: a real server when `EVENTSTOREDB_URL` names one. */
const REAL_URL = process.env['EVENTSTOREDB_URL'];

/** A server for a suite, real or of our own. */
export interface Reached {
  readonly url: string;
  /** Null when the server is a real one: it plays no faults. */
  readonly server: TestServer | null;
  stop(): Promise<void>;
}

/** Reaches the server that the suite runs against. */
export async function reachServer(): Promise<Reached> {
  if (REAL_URL !== undefined) {
    return { url: REAL_URL, server: null, stop: () => Promise.resolve() };
  }
  const server = await TestServer.start();
  return { url: server.url, server, stop: () => server.stop() };
}
