import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from '@jest/globals';
import { Client, pathOf } from '../../src/client/client.js';
import { ServiceError } from '../../src/client/service-error.js';
import { pause, timeLimit } from '../../src/client/pause.js';
import { messagesOf, type StreamMessage } from '../../src/client/event-stream.js';
import { clientSources } from '../../tools/client-source.js';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

const servers: Server[] = [];
/** A service of one answer, or of several, one after the other. */
async function serving(...handlers: readonly Handler[]): Promise<Client> {
  let count = 0;
  const server = createServer((request, response) => {
    handlers[Math.min(count++, handlers.length - 1)]?.(request, response);
  });
  servers.push(server);
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return new Client({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` });
}

const json =
  (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Handler =>
  (_, response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers });
    response.end(JSON.stringify(body));
  };
const broken: Handler = ({ socket }) => socket.destroy();

async function failureOf(asking: Promise<unknown>): Promise<ServiceError> {
  const failure: unknown = await asking.then(
    () => null,
    (error: unknown) => error,
  );
  if (!(failure instanceof ServiceError)) throw new Error('it did not fail as a service does');
  return failure;
}

afterEach(async () => {
  await Promise.all(
    servers.splice(0).map((server) => {
      server.closeAllConnections();
      return new Promise((closed) => server.close(closed));
    }),
  );
});

describe('the client', () => {
  it('has the types that the interface has', async () => {
    for (const [path, source] of await clientSources()) {
      expect([path, readFileSync(path, 'utf8') === source]).toEqual([path, true]);
    }
  });

  it('fills paths and queries', () => {
    const path = '/v1/deployments/{deploymentId}/attempts';
    expect(pathOf(path, { deploymentId: 'a:b', limit: 5 })).toBe(
      '/v1/deployments/a%3Ab/attempts?limit=5',
    );
    expect(pathOf('/v1/deployments', { label: ['a:1', 'b:&'], q: undefined })).toBe(
      '/v1/deployments?label=a%3A1&label=b%3A%26',
    );
  });

  it('sends one key for all repeats of a command', async () => {
    const keys: unknown[] = [];
    const noted =
      (handler: Handler): Handler =>
      (request, response) => {
        keys.push(request.headers['idempotency-key']);
        handler(request, response);
      };
    const busy = json(503, { code: 'STORE_UNAVAILABLE', detail: 'busy' }, { 'retry-after': '0' });
    const done = json(201, { deploymentId: 'web' });
    const client = await serving(noted(broken), noted(busy), noted(done));
    expect(await client.call('createDeployment', { body: {} })).toEqual({ deploymentId: 'web' });
    expect(keys).toHaveLength(3);
    expect(new Set(keys).size).toBe(1);
  });

  it('repeats nothing when it is told so, and nothing that the rules refuse', async () => {
    let asked = 0;
    const counted =
      (handler: Handler): Handler =>
      (request, response) => {
        asked += 1;
        handler(request, response);
      };
    const client = await serving(counted(broken));
    expect(
      await failureOf(client.request({ method: 'GET', path: '/' }, { once: true })),
    ).toMatchObject({ code: 'UNREACHABLE', status: null, isPassing: true });
    expect(asked).toBe(1);
    const problem = { code: 'DEPLOYMENT_NOT_FOUND', detail: 'no deployment web' };
    const refusing = await serving(counted(json(404, problem)));
    expect(await failureOf(refusing.call('getDeployment', { deploymentId: 'web' }))).toMatchObject({
      message: 'no deployment web',
      code: 'DEPLOYMENT_NOT_FOUND',
      status: 404,
      isPassing: false,
    });
    expect(asked).toBe(2);
  });

  it('gives up when the time is over', async () => {
    const client = await serving(() => undefined);
    const asking = client.request({ method: 'GET', path: '/' }, { timeoutMs: 50 });
    expect(await failureOf(asking)).toMatchObject({ code: 'TIMED_OUT', status: null });
  });

  it('says so when something else answers', async () => {
    const client = await serving((_, response) => response.writeHead(502).end('<html>'));
    expect(
      await failureOf(client.request({ method: 'GET', path: '/' }, { once: true })),
    ).toMatchObject({ code: 'NO_PROBLEM', status: 502 });
  });

  it('follows events from where it was when the stream breaks off', async () => {
    const asked: unknown[] = [];
    const streaming =
      (...positions: readonly number[]): Handler =>
      (request, response) => {
        asked.push(request.url);
        response.writeHead(200, { 'content-type': 'text/event-stream' });
        response.write(': ping\n\n');
        for (const position of positions) {
          response.write(`id: ${position}\nevent: x\ndata: {"position":"${position}"}\n\n`);
        }
        // The headers and the events are on their way before the line breaks.
        setTimeout(() => request.socket.destroy(), 20);
      };
    const client = await serving(streaming(1, 2), streaming(3));
    const lost: string[] = [];
    const seen: string[] = [];
    for await (const { position } of client.events({
      after: 'start',
      onLost: () => lost.push(''),
    })) {
      seen.push(position);
      if (position === '3') break;
    }
    expect(seen).toEqual(['1', '2', '3']);
    expect(asked).toEqual(['/v1/events?after=start', '/v1/events?after=2']);
    expect(lost).toHaveLength(1);
  });

  it('reads a stream of events however it is cut into pieces', async () => {
    const text =
      'retry: 1\n\nid: 1\r\ndata: a\ndata: ä\n\n: ping\n\nevent: x\ndata:{"n":1}\n\nid: 9\n\ndata: cut';
    const bytes = Buffer.from(text);
    for (const size of [1, 3, 7, bytes.length]) {
      async function* pieces(): AsyncGenerator<Buffer> {
        for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
      }
      const messages: StreamMessage[] = [];
      for await (const message of messagesOf(pieces())) messages.push(message);
      expect(messages).toEqual([
        { id: '1', data: 'a\nä' },
        { id: null, data: '{"n":1}' },
        { id: '9', data: '' },
      ]);
    }
  });
});

describe('a time limit', () => {
  const never = new AbortController().signal;

  it('is over in time, whatever is collected meanwhile', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const limit = timeLimit(100, never);
    // Collected is what is out of reach when a turn of the loop has ended.
    await pause(10);
    collect();
    const startedAtMs = performance.now();
    while (!limit.aborted && performance.now() - startedAtMs < 5_000) await pause(10);
    expect(limit.aborted).toBe(true);
  });

  it('is over with the other signal, and not at once where the time is long', () => {
    const other = new AbortController();
    const limit = timeLimit(2 ** 40, other.signal);
    expect(limit.aborted).toBe(false);
    other.abort();
    expect(limit.aborted).toBe(true);
  });
});
