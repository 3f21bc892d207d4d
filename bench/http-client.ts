/**
 * The client of bench/http.ts, a process of its own: requests over raw sockets that are kept open, since a
 * client with more comfort would take more time than the server.
 */
import { connect } from 'node:net';

/** What to send. */
export interface Load {
  readonly port: number;
  readonly connections: number;
  readonly requests: number;
  readonly kind: 'hello' | 'hello-json' | 'command' | 'heartbeat' | 'get';
  readonly deployments: number;
}
/** What came of it: time of each answer in milliseconds, and how many were no success. */
export interface Outcome {
  readonly took: readonly number[];
  readonly failed: number;
}

const pad = 'x'.repeat(180);
const commit = (n: number): string => String(n).padStart(40, '0');

/** The body of a command with about 400 bytes of data. */
function bodyOf(n: number): string {
  const labels = { note: pad, owner: 'platform', commit: commit(n) };
  return JSON.stringify({ name: `name ${n}`, labels, environment: `production-${n % 7}` });
}

function requestOf({ kind, deployments }: Load, n: number): string {
  const deployment = `/v1/deployments/d${n % deployments}`;
  switch (kind) {
    case 'hello':
      return 'GET / HTTP/1.1\r\nhost: localhost\r\n\r\n';
    case 'get':
      return `GET ${deployment} HTTP/1.1\r\nhost: localhost\r\n\r\n`;
    case 'hello-json':
      return withBody('POST /', bodyOf(n));
    case 'command':
      return withBody(`PATCH ${deployment}`, bodyOf(n));
    case 'heartbeat':
      return withBody(`POST ${deployment}/attempts/a1/heartbeat`, '{}');
  }
}

function withBody(line: string, body: string): string {
  return `${line} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

/** Sends the load, one request at a time on each connection. */
async function send(load: Load): Promise<Outcome> {
  const took: number[] = [];
  let failed = 0;
  let next = 0;

  function use(): Promise<void> {
    return new Promise((done, broke) => {
      const socket = connect(load.port, '127.0.0.1').setNoDelay(true).setEncoding('latin1');
      let sentAt = 0;
      let got = '';
      const ask = (): void => {
        if (next >= load.requests) {
          socket.destroy();
          done();
          return;
        }
        got = '';
        sentAt = performance.now();
        socket.write(requestOf(load, next++));
      };
      socket.on('connect', ask).on('error', broke);
      socket.on('data', (text: string) => {
        got += text;
        const head = got.indexOf('\r\n\r\n');
        const length = Number(/content-length: ([0-9]+)/i.exec(got)?.[1] ?? 0);
        if (head === -1 || got.length < head + 4 + length) return;
        took.push(performance.now() - sentAt);
        if (got.charAt(9) !== '2') failed += 1;
        if (!/\r\nconnection: close\r\n/i.test(got.slice(0, head + 2))) {
          ask();
          return;
        }
        socket.destroy();
        use().then(done, broke);
      });
    });
  }

  await Promise.all(Array.from({ length: load.connections }, use));
  return { took, failed };
}

process.on('message', (load: Load) => {
  void send(load).then((outcome) => process.send?.(outcome));
});
