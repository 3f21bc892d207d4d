import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  END,
  EventStoreDBClient,
  jsonEvent,
  WrongExpectedVersionError,
  type AppendResult,
} from '@eventstore/db-client';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { openEventStoreDB } from '../../src/adapters/eventstoredb/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { EventStore } from '../../src/ports/event-store.js';
import { TestServer } from '../support/eventstoredb/server.js';
import type { AppendFault } from '../support/eventstoredb/switchboard.js';
import { newEvents, newStream } from '../support/stored-events.js';

/*
 * The client's defects, by the number under which the manual of this adapter lists them: what a program
 * meets that uses the client as its manual says, and that nobody meets through the port.
 */

const TIMEOUT_MS = 200;
/** What has not happened after this time is taken not to happen. */
const NEVER_MS = 500;
const FAST = { appendTimeoutMs: TIMEOUT_MS, readTimeoutMs: TIMEOUT_MS } as const;

let server: TestServer;
let store: EventStore;
let client: EventStoreDBClient;
const closing: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  server = await TestServer.start({ dropMs: TIMEOUT_MS / 2 });
  store = await openEventStoreDB({ url: server.url, clock: systemClock, ...FAST });
  client = EventStoreDBClient.connectionString(server.url);
});
afterEach(async () => {
  await store.close();
  await settled(client.dispose());
  for (const close of closing.splice(0)) await settled(close());
  await server.stop();
});

describe('1: appends have no time limit', () => {
  it('the client waits for an answer that does not come; the port says that the outcome is unknown', async () => {
    play({ fault: 'silence' }, 2);
    expect(await settled(append(client))).toBe('never');
    await expect(store.append(newStream(), 'no_stream', newEvents())).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
    });
  });
});

describe('2: a stream for appends that the server ends as if all were well', () => {
  it('the client hangs with that append, all later ones, and its dispose', async () => {
    play({ fault: 'ok_end', commit: true });
    const stream = newStream();
    expect(await settled(append(client, stream))).toBe('never');
    expect(await settled(append(client, stream))).toBe('never');
    expect(await settled(client.dispose())).toBe('never');
  });

  it('the port says at once that the outcome is unknown, goes on, and closes', async () => {
    play({ fault: 'ok_end', commit: true });
    const [stream, events] = [newStream(), newEvents()];
    const startedAtMs = performance.now();
    await expect(store.append(stream, 'no_stream', events)).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
    });
    expect(performance.now() - startedAtMs).toBeLessThan(TIMEOUT_MS);
    // A repeat that comes before the first one is indexed is dropped, and repeated again.
    const repeated = await until(() => store.append(stream, 'no_stream', events));
    expect(repeated.revision).toBe(0n);
    expect(await settled(store.close())).toBe('done');
  });
});

describe('3: one discovery that failed', () => {
  it('breaks the appends of the client for ever, and those of the port until the server is there', async () => {
    const { port } = server;
    const hosts = `127.0.0.1:${String(port)},127.0.0.1:${String(port)}`;
    const url = `esdb://${hosts}?tls=false&maxDiscoverAttempts=2&discoveryInterval=10`;
    const [naive, ours] = [
      EventStoreDBClient.connectionString(url),
      await openEventStoreDB({ url, clock: systemClock, ...FAST }),
    ];
    closing.push(
      () => naive.dispose(),
      () => ours.close(),
    );
    await server.stop();
    await expect(append(naive)).rejects.toThrow(/Failed to discover/);
    await expect(ours.append(newStream(), 'no_stream', newEvents())).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
    });
    server = await TestServer.start({ port });
    await expect(append(naive)).rejects.toThrow(/Failed to discover/);
    await until(() => ours.append(newStream(), 'no_stream', newEvents()));
  });
});

describe('4: one table of appends for all clients of a process', () => {
  it('the end of one client rejects the appends of another', async () => {
    const other = await TestServer.start();
    const victim = EventStoreDBClient.connectionString(other.url);
    closing.push(
      () => victim.dispose(),
      () => other.stop(),
    );
    await append(client);
    await append(victim);
    other.switchboard.plan({ on: 'append', play: { fault: 'silence' } });
    const rejected = expect(append(victim)).rejects.toBeInstanceOf(Error);
    await sleep(50);
    await client.dispose();
    await rejected;
  });

  it('stores of two servers, and the clients of their host, do not disturb each other', async () => {
    const otherServer = await TestServer.start();
    const other = await openEventStoreDB({ url: otherServer.url, clock: systemClock });
    closing.push(
      () => other.close(),
      () => otherServer.stop(),
    );
    await append(client);
    play({ fault: 'late_reply', delayMs: TIMEOUT_MS / 2 });
    const underWay = store.append(newStream(), 'no_stream', newEvents());
    otherServer.resetConnections();
    await client.dispose();
    await other.close();
    expect((await underWay).revision).toBe(0n);
    expect((await store.append(newStream(), 'no_stream', newEvents())).revision).toBe(0n);
  });

  it('an answer that comes after its time harms nobody', async () => {
    play({ fault: 'late_reply', delayMs: TIMEOUT_MS + 50 });
    const late = [newStream(), newEvents()] as const;
    const beside = setInterval(() => void store.append(newStream(), 'no_stream', newEvents()), 20);
    await expect(store.append(late[0], 'no_stream', late[1])).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
    });
    await sleep(100);
    clearInterval(beside);
    expect((await store.append(late[0], 'no_stream', late[1])).revision).toBe(0n);
    expect(store.health().details['reconnects']).toBe(0);
  });
});

describe('5: a read that is left early', () => {
  it('stays open at the server when the client reads, and is over when the port does', async () => {
    const stream = newStream();
    const data = JSON.stringify('x'.repeat(200_000));
    const patient = await openEventStoreDB({ url: server.url, clock: systemClock });
    closing.push(() => patient.close());
    for (let n = 0; n < 40; n += 1) {
      await patient.append(stream, n === 0 ? 'no_stream' : BigInt(n - 1), newEvents(1, { data }));
    }
    for await (const page of store.read(stream)) if (page.length > 0) break;
    for await (const { events: some } of store.subscribe()) if (some.length > 0) break;
    await until(() => expectNow(server.openReads, 0));
    const read = client.readStream(stream);
    for await (const { event } of read) if (event !== undefined) break;
    await sleep(50);
    expect(server.openReads).toBe(1);
    await read.cancel();
  });
});

describe('6: a subscription that fails', () => {
  it('has no listener for errors in the client, so that it ends the process; the port resumes', async () => {
    const naive = client.subscribeToAll({ fromPosition: END });
    expect(naive.listenerCount('error')).toBe(0);
    await naive.unsubscribe();
    server.switchboard.plan({ on: 'subscription', play: { fault: 'unavailable' }, times: 1 });
    const stream = newStream();
    await store.append(stream, 'no_stream', newEvents());
    expect(await firstStreamOf(store)).toBe(stream);
  });
});

describe('7: a subscription that ends', () => {
  it('ends without an error in the client; the port resumes', async () => {
    const naive = client.subscribeToAll({ fromPosition: END });
    const failures: unknown[] = [];
    naive.on('error', (error) => failures.push(error)).on('data', () => {});
    await once(naive, 'confirmation');
    await Promise.all([once(naive, 'end'), client.dispose()]);
    expect(failures).toEqual([]);
    server.switchboard.plan({ on: 'subscription', play: { fault: 'ok_end' }, times: 1 });
    const stream = newStream();
    await store.append(stream, 'no_stream', newEvents());
    expect(await firstStreamOf(store)).toBe(stream);
  });
});

describe('9: data that cannot be serialised', () => {
  it('are no business of the port: it takes text, and keeps it', async () => {
    const stream = newStream();
    const texts = ['undefined', '', '10n', '{"a":'];
    await store.append(
      stream,
      'no_stream',
      texts.map((data) => ({ id: randomUUID(), type: 'noted', data, metadata: '{}' })),
    );
    const kept: string[] = [];
    for await (const page of store.read(stream)) kept.push(...page.map(({ data }) => data));
    expect(kept).toEqual(texts);
  });
});

describe('10: failures without words', () => {
  it('the client says nothing of a conflict; the port says who is where', async () => {
    const stream = newStream();
    await store.append(stream, 'no_stream', newEvents(2));
    const naive: unknown = await append(client, stream).catch((error: unknown) => error);
    expect(naive).toBeInstanceOf(WrongExpectedVersionError);
    expect(naive).toHaveProperty('message', '');
    await expect(store.append(stream, 'no_stream', newEvents())).rejects.toMatchObject({
      code: 'REVISION_CONFLICT',
      message: `${stream} is at 1, not at no_stream`,
    });
  });

  it('the client says nothing of a deadline; the port says what is unknown', async () => {
    play({ fault: 'deadline' }, 2);
    await expect(append(client)).rejects.toHaveProperty('message', '');
    const stream = newStream();
    await expect(store.append(stream, 'no_stream', newEvents())).rejects.toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      message: `EventStoreDB did not say whether it wrote to ${stream}: it gave up waiting`,
    });
  });
});

describe('11: throwOnAppendFailure=false', () => {
  it('makes the client answer a wrong revision, and has no effect on the port', async () => {
    const url = `${server.url}&throwOnAppendFailure=false`;
    const [naive, ours] = [
      EventStoreDBClient.connectionString(url),
      await openEventStoreDB({ url, clock: systemClock }),
    ];
    closing.push(
      () => naive.dispose(),
      () => ours.close(),
    );
    const stream = newStream();
    await store.append(stream, 'no_stream', newEvents(5));
    expect((await append(naive, stream)).nextExpectedRevision).toBe(1n);
    await expect(ours.append(stream, 'no_stream', newEvents())).rejects.toMatchObject({
      code: 'REVISION_CONFLICT',
    });
  });
});

describe('12: credentials', () => {
  it('given with a call make the client use a call for each append; the port has them in its address', async () => {
    await client.appendToStream(newStream(), event(), {
      credentials: { username: 'admin', password: 'changeit' },
    });
    expect(server.calls.get('append')).toBe(1);
    const url = server.url.replace('esdb://', 'esdb://admin:changeit@');
    const ours = await openEventStoreDB({ url, clock: systemClock });
    closing.push(() => ours.close());
    await ours.append(newStream(), 'no_stream', newEvents());
    expect(server.calls.get('append')).toBe(1);
  });
});

function play(fault: AppendFault, times = 1): void {
  server.switchboard.plan({ on: 'append', play: fault, times });
}

function event() {
  return jsonEvent({ type: 'noted', data: { naive: true } });
}

function append(by: EventStoreDBClient, stream = newStream()): Promise<AppendResult> {
  return by.appendToStream(stream, event(), { expectedRevision: 'no_stream' });
}

/** Whether something has come to an end, one way or the other, before one can take it never to. */
function settled(work: Promise<unknown>): Promise<'done' | 'never'> {
  const done = work.then(
    () => 'done' as const,
    () => 'done' as const,
  );
  return Promise.race([done, sleep(NEVER_MS, 'never' as const)]);
}

/** Tries until it succeeds. */
async function until<T>(attempt: () => Promise<T>): Promise<T> {
  const giveUpAtMs = performance.now() + 5_000;
  while (true) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > giveUpAtMs) throw error;
      await sleep(10);
    }
  }
}

async function expectNow(actual: number, expected: number): Promise<void> {
  expect(actual).toBe(expected);
}

async function firstStreamOf(from: EventStore): Promise<string | undefined> {
  for await (const { events } of from.subscribe()) {
    if (events.length > 0) return events[0]?.stream;
  }
  return undefined;
}
