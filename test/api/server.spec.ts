import { connect, type AddressInfo } from 'node:net';
import { Agent, request } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { membersOf, startApi, type TestApi } from '../support/api.js';
import { newEvent } from '../support/events.js';

/* The server on a real socket: what no parser of a client would send. */

let api: TestApi;
let port: number;
beforeAll(async () => {
  api = await startApi(
    {},
    {
      limits: {
        headersTimeoutMs: 300,
        requestTimeoutMs: 600,
        connectionsCheckMs: 50,
        requestsPerSocketMax: 50,
      },
    },
  );
  await api.app.listen(0, '127.0.0.1');
  ({ port } = api.app.getHttpServer().address() as AddressInfo);
});
afterAll(() => api.close());

/** Sends bytes and reads until the server has closed the connection. */
function exchange(...chunks: readonly (string | Buffer)[]): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    let answer = '';
    socket.setEncoding('utf8').on('data', (text: string) => (answer += text));
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(answer));
    for (const chunk of chunks) socket.write(chunk);
  });
}

/** The status and the code of each problem in what came back. */
function codesOf(answer: string): readonly string[] {
  return [...answer.matchAll(/HTTP\/1\.1 (\d{3})[^]*?"code":"([A-Z_]+)"/g)].map(
    ([, status = '', code = '']) => `${status} ${code}`,
  );
}

/** Creates a deployment, with one more header or another type. */
function posted(header: string): Promise<string> {
  const type = header.startsWith('content-type') ? '' : 'content-type: application/json\r\n';
  return exchange(
    `POST /v1/deployments HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${type}${header}\r\n` +
      'content-length: 2\r\n\r\n{}',
  );
}

const GET = 'GET /v1/counts HTTP/1.1\r\nhost: localhost\r\n';

describe('a connection', () => {
  it.each([
    ['garbage', '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'],
    ['an unknown method', 'BREW /v1/counts HTTP/1.1\r\nhost: localhost\r\n\r\n'],
    ['a newer version', 'GET /v1/counts HTTP/3.0\r\n\r\n'],
    ['a header without a name', `${GET}: x\r\n\r\n`],
    ['a folded header', `${GET}x-a: b\r\n c\r\n\r\n`],
    [
      'two lengths',
      'POST /v1/deployments HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}',
    ],
    [
      'a length and chunks',
      'POST /v1/deployments HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n',
    ],
    [
      'a chunk of no size',
      'POST /v1/deployments HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n\r\n',
    ],
    ['a space in the path', 'GET /v1/ counts HTTP/1.1\r\nhost: localhost\r\n\r\n'],
  ])('with %s is answered with a problem, and closed', async (_, text) => {
    expect(codesOf(await exchange(text))).toEqual(['400 MALFORMED_REQUEST']);
  });

  it('with headers of more than 16 KiB is answered with a problem', async () => {
    const answer = await exchange(`${GET}x-big: ${'x'.repeat(20_000)}\r\n\r\n`);
    expect(codesOf(answer)).toEqual(['431 HEADERS_TOO_LARGE']);
    const path = await exchange(`GET /${'x'.repeat(20_000)} HTTP/1.1\r\n\r\n`);
    expect(codesOf(path)).toEqual(['431 HEADERS_TOO_LARGE']);
  });

  it('with more than a hundred headers is refused: the rest would be dropped silently', async () => {
    const close = 'connection: close\r\n';
    const headers = (count: number): string =>
      Array.from({ length: count }, (_, n) => `x-${n}: 1\r\n`).join('');
    const many = await exchange(`${GET}${close}${headers(120)}\r\n`);
    expect(codesOf(many)).toEqual(['431 HEADERS_TOO_LARGE']);
    expect(await exchange(`${GET}${close}${headers(98)}\r\n`)).toMatch(/^HTTP\/1\.1 200/);
  });

  it('that sends its headers slowly is closed in time', async () => {
    expect(codesOf(await exchange('GET /v1/counts HTTP/1.1\r\nhost: lo'))).toEqual([
      '408 REQUEST_TIMEOUT',
    ]);
  });

  it('that sends its body slowly is closed in time', async () => {
    const head =
      'POST /v1/deployments HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
    const answer = await exchange(`${head}content-length: 20\r\n\r\n{"deploy`);
    expect(codesOf(answer)).toEqual(['408 REQUEST_TIMEOUT']);
  });

  it('that breaks off in the middle of its body does nothing, and is no defect', async () => {
    await new Promise<void>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => {
        socket.write(
          'POST /v1/deployments HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n{"deploymentId":"half"',
        );
        socket.resetAndDestroy();
        resolve();
      });
    });
    expect((await api.get('/v1/deployments/half')).status).toBe(404);
  });

  it('needs a Host, but for HTTP/1.0', async () => {
    const none = await exchange('GET /v1/counts HTTP/1.1\r\nconnection: close\r\n\r\n');
    expect(codesOf(none)).toEqual(['400 INVALID_HEADER']);
    expect(await exchange('GET /v1/counts HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1\.1 200/);
  });

  it('may name the whole address as its target', async () => {
    const absolute = `GET http://localhost:${port}/v1/counts HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`;
    expect(await exchange(absolute)).toMatch(/^HTTP\/1\.1 200/);
    const post = `POST http://localhost:${port}/v1/counts HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`;
    expect(codesOf(await exchange(post))).toEqual(['405 METHOD_NOT_ALLOWED']);
    const star = await exchange(
      'OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n',
    );
    expect(codesOf(star)).toEqual(['404 ROUTE_NOT_FOUND']);
  });

  it('may expect to be told to go on, and anything else in vain', async () => {
    const head =
      'POST /v1/deployments HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: 2\r\n';
    expect(await exchange(`${head}expect: 100-continue\r\n\r\n{}`)).toMatch(
      /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 201/,
    );
    expect(await exchange(`${head}expect: a miracle\r\n\r\n{}`)).toMatch(/^HTTP\/1\.1 201/);
  });

  it('may ask for another protocol, and stays with this one', async () => {
    const upgrade = `${GET}connection: upgrade, close\r\nupgrade: websocket\r\n\r\n`;
    expect(await exchange(upgrade)).toMatch(/^HTTP\/1\.1 200/);
    expect(await exchange('CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n')).toBe(
      '',
    );
  });

  it('answers pipelined requests in their order', async () => {
    const answer = await exchange(
      `${GET}\r\n`,
      `${GET.replace('counts', 'nope')}\r\n`,
      `${GET}connection: close\r\n\r\n`,
    );
    expect([...answer.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status)).toEqual([
      '200',
      '404',
      '200',
    ]);
  });

  it('may send a body in chunks, or no chunk at all', async () => {
    const head =
      'POST /v1/deployments HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n';
    const json = 'content-type: application/json\r\n';
    expect(await exchange(`${head}${json}\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n`)).toMatch(/ 201 /);
    expect(await exchange(`${head}\r\n0\r\n\r\n`)).toMatch(/ 201 /);
    const untyped = await exchange(`${head}\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n`);
    expect(codesOf(untyped)).toEqual(['415 UNSUPPORTED_MEDIA_TYPE']);
  });

  it.each([
    ['content-encoding: gzip', 'Content-Encoding'],
    ['content-encoding: identity, br', 'Content-Encoding'],
    ['content-type: application/json; charset=iso-8859-1', 'UTF-8'],
    ['content-type: application/json;odd=1; Charset = "utf-16"', 'UTF-8'],
  ])('is told that a body is not read as %s', async (header, says) => {
    const answer = await posted(header);
    expect(codesOf(answer)).toEqual(['415 UNSUPPORTED_MEDIA_TYPE']);
    expect(answer).toContain(says);
  });

  it.each([
    'content-encoding: Identity',
    'content-type: application/json; charset="UTF-8"',
    'content-type: application/json;charset=utf8',
  ])('may call a body what it is: %s', async (header) => {
    expect(await posted(header)).toMatch(/^HTTP\/1\.1 201/);
  });

  it('refuses a body that is too large before it has come, and closes', async () => {
    const head =
      'POST /v1/deployments HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n';
    const told = await exchange(`${head}content-length: 99999999\r\n\r\n{`);
    expect(codesOf(told)).toEqual(['413 BODY_TOO_LARGE']);
    const chunk = `${(60_000).toString(16)}\r\n${' '.repeat(60_000)}\r\n`;
    const chunks = await exchange(`${head}transfer-encoding: chunked\r\n\r\n`, chunk, chunk, chunk);
    expect(codesOf(chunks)).toEqual(['413 BODY_TOO_LARGE']);
  });
});

describe('a client that keeps its connection', () => {
  it('is served on, over as many connections as that takes', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 2 });
    const statuses = new Map<number | undefined, number>();
    const ports = new Set<number | undefined>();
    const once = (): Promise<void> =>
      new Promise((resolve, reject) => {
        const options = { port, host: '127.0.0.1', path: '/health/live', agent };
        const sent = request(options, (response) => {
          statuses.set(response.statusCode, (statuses.get(response.statusCode) ?? 0) + 1);
          ports.add(response.socket.localPort);
          response.resume().on('end', resolve);
        });
        sent.on('error', reject).end();
      });
    for (let n = 0; n < 120; n += 1) await Promise.all([once(), once()]);
    agent.destroy();
    expect([...statuses]).toEqual([[200, 240]]);
    expect(ports.size).toBeGreaterThanOrEqual(4);
  });
});

describe('a stream of lines', () => {
  it('is read only as fast as it is taken, and ends when its reader goes away', async () => {
    const { store } = api.runtime.stores;
    await store.append('deployment-long', 'no_stream', [
      newEvent('deployment_created', { name: 'long' }),
    ]);
    for (let revision = 0n; revision < 2_000n; revision += 100n) {
      const events = Array.from({ length: 100 }, (_, n) =>
        newEvent('deployment_updated', { name: String(n).padStart(7_000, '-') }),
      );
      await store.append('deployment-long', revision, events);
    }
    const read = store.read.bind(store);
    let pages = 0;
    store.read = (stream, range) => {
      pages += 1;
      return read(stream, range);
    };
    const socket = connect(port, '127.0.0.1');
    const begun = new Promise((resolve) => socket.once('readable', resolve));
    socket.write(
      'GET /v1/deployments/long/history HTTP/1.1\r\nhost: localhost\r\naccept: application/x-ndjson\r\n\r\n',
    );
    await begun;
    for (let n = 0; n < 50; n += 1) await new Promise((next) => setImmediate(next));
    const taken = pages;
    const closed = new Promise((resolve) => socket.once('close', resolve));
    socket.destroy();
    await closed;
    for (let n = 0; n < 50; n += 1) await new Promise((next) => setImmediate(next));
    store.read = read;
    // Ten pages of 200 events are more than any buffer on the way takes; whoever left gets no more.
    expect(taken).toBeLessThan(10);
    expect(pages - taken).toBeLessThanOrEqual(1);
    const whole = await api.get('/v1/deployments/long/history', { accept: 'application/x-ndjson' });
    expect(whole.text.trimEnd().split('\n').map(membersOf)).toHaveLength(2_001);
  });
});

describe('a process without the role api', () => {
  it('tells about itself, and refuses the rest with a reason', async () => {
    const other = await startApi({ roles: ['projector', 'reaper'] }, { isApi: false });
    for (const path of ['/health/live', '/health/ready', '/metrics', '/v1/projections', '/docs']) {
      expect({ path, status: (await other.get(path)).status }).toEqual({ path, status: 200 });
    }
    expect((await other.ask('POST', '/v1/projections/deployments/rebuild')).status).toBe(202);
    for (const path of ['/v1/deployments', '/v1/counts?x=1', '/v1/events', '/v1/projectionsX']) {
      const { status, json } = await other.get(path);
      expect({ path, status, code: json['code'] }).toEqual({
        path,
        status: 404,
        code: 'ROUTE_NOT_FOUND',
      });
      expect(json['detail']).toContain('SHIPSLOG_ROLES');
    }
    expect((await other.ask('POST', '/v1/deployments', { body: {} })).status).toBe(404);
    await other.close();
  });
});
