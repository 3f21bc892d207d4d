import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openEventStoreDB } from '../../src/adapters/eventstoredb/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { listen } from '../../src/ports/signals.js';
import { selfSigned } from '../support/eventstoredb/certificate.js';
import { TestServer } from '../support/eventstoredb/server.js';
import { eventsOf, newEvents, newStream } from '../support/stored-events.js';

/* A server that speaks TLS and wants to know who is there. */

const clock = systemClock;
let folder: string;
let ca: string;
let server: TestServer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'shipslog-tls-'));
  ca = join(folder, 'ca.crt');
  const tls = selfSigned();
  await writeFile(ca, tls.certificate);
  server = await TestServer.start({ tls, user: { name: 'ops', password: 's3cret' } });
});
afterAll(async () => {
  await server.stop();
  await rm(folder, { recursive: true });
});

describe('a server with TLS and users', () => {
  it('is read and written with the authority and the credentials of the connection string', async () => {
    const url = `esdb://ops:s3cret@localhost:${String(server.port)}?tlsCAFile=${ca}`;
    const store = await openEventStoreDB({ url, clock });
    const stream = newStream();
    await store.append(stream, 'no_stream', newEvents(2));
    expect(await eventsOf(store.read(stream))).toHaveLength(2);
    expect(JSON.stringify(store.health())).not.toMatch(/s3cret/);
    await store.close();
  });

  it('that refuses the credentials is not waited for, and the refusal shows no secret', async () => {
    const url = `esdb://ops:wr0ng@localhost:${String(server.port)}?tlsCAFile=${ca}`;
    const refused: unknown = await openEventStoreDB({ url, clock }).catch(
      (error: unknown) => error,
    );
    expect(refused).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/does not accept the credentials/),
    });
    expect(String(refused)).not.toMatch(/wr0ng/);
  });

  it('that nobody vouches for is waited for, with the reason', async () => {
    const url = `esdb://ops:s3cret@localhost:${String(server.port)}`;
    const abort = new AbortController();
    const troubles: unknown[] = [];
    const stop = listen('trouble', ({ error }) => {
      troubles.push(error);
      abort.abort();
    });
    const opening = openEventStoreDB({ url, clock, signal: abort.signal });
    await expect(opening).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/self.signed certificate/),
    });
    expect(troubles).toHaveLength(1);
    stop();
  });
});
