import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { startApi, type TestApi } from '../support/api.js';
import { eventsOf } from '../support/stored-events.js';

let api: TestApi;
let port: number;

beforeAll(async () => {
  api = await startApi();
  await api.app.listen(0, '127.0.0.1');
  port = (api.app.getHttpServer().address() as AddressInfo).port;
});
afterAll(async () => {
  for (const reader of readers) reader.stop();
  await api.close();
});

/** All readers of these tests: a server does not close while one is there. */
const readers: Reader[] = [];

interface Told {
  readonly id: string;
  readonly event: string;
  readonly data: {
    readonly type: string;
    readonly deploymentId: string;
    readonly position: string;
  };
}

/** A reader of one stream on a socket of its own, as a browser's EventSource is. */
class Reader {
  readonly told: Told[] = [];
  text = '';
  readonly closed: Promise<void>;
  readonly socket: Socket;
  #more: () => void = () => undefined;
  #rest = '';

  constructor(path: string, headers: Readonly<Record<string, string>> = {}) {
    readers.push(this);
    this.socket = connect(port, '127.0.0.1');
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    this.socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\n${lines.join('')}\r\n`);
    this.socket.setEncoding('utf8');
    this.socket.on('error', () => undefined);
    this.socket.on('data', (text: string) => this.#take(text));
    this.closed = new Promise((resolve) => {
      this.socket.once('close', () => resolve());
    });
  }

  async until(done: (reader: this) => boolean): Promise<void> {
    while (!done(this)) await new Promise<void>((resolve) => (this.#more = resolve));
  }

  stop(): void {
    this.socket.destroy();
  }

  #take(text: string): void {
    this.text += text;
    // Chunk sizes stand on lines of their own between the fields of frames.
    const frames = (this.#rest + text.replaceAll(/\r\n[0-9a-f]+\r\n/g, '')).split('\n\n');
    this.#rest = frames.pop() ?? '';
    for (const frame of frames) {
      const [, event, id, data] = /event: (.*)\nid: (.*)\ndata: (.*)/.exec(frame) ?? [];
      if (event === undefined || id === undefined || data === undefined) continue;
      this.told.push({ event, id, data: JSON.parse(data) as Told['data'] });
    }
    this.#more();
  }
}

/** Positions of all events after one, or of all there are, as the log has them. */
const placesAfter = async (after?: string) => {
  const range = after === undefined ? {} : { after: BigInt(after) };
  const events = await eventsOf(api.runtime.stores.store.readAll(range));
  return events.map(({ position }) => String(position));
};
let count = 0;
const create = () => api.post('/v1/deployments', { deploymentId: `live-${String((count += 1))}` });
const isOpen = ({ text }: Reader) => text.includes(': here it begins');

test('a stream without a place tells the next events, as they are told elsewhere', async () => {
  await create();
  const reader = new Reader('/v1/events');
  await reader.until(isOpen);
  await create();
  await reader.until(({ told }) => told.length === 2);
  reader.stop();
  expect(reader.text).toMatch(/content-type: text\/event-stream; charset=utf-8/);
  const { json } = await api.get(`/v1/deployments/live-${String(count)}/history`);
  expect(reader.told.map(({ data }) => data)).toEqual(json['items']);
  for (const { id, event, data } of reader.told)
    expect({ id, event }).toEqual({ id: data.position, event: data.type });
});

type From = (id: string) => readonly [string, Readonly<Record<string, string>>];
const WAYS: readonly (readonly [string, From])[] = [
  ['after', (id) => [`/v1/events?after=${id}`, {}]],
  ['Last-Event-ID', (id) => ['/v1/events', { 'last-event-id': id }]],
  ['both, and Last-Event-ID wins', (id) => ['/v1/events?after=start', { 'last-event-id': id }]],
];

test.each(WAYS)('a reader resumes by %s without gap or repeat', async (_, from) => {
  await create();
  const begin = (await placesAfter()).at(-1)!;
  for (let n = 0; n < 5; n += 1) await create();
  const [path, headers] = from(begin);
  const reader = new Reader(path, headers);
  await create();
  await reader.until(({ told }) => told.length >= 12);
  reader.stop();
  expect(reader.told.map(({ id }) => id)).toEqual(await placesAfter(begin));
});

test('an empty Last-Event-ID counts as absent', async () => {
  const reader = new Reader('/v1/events?after=start', { 'last-event-id': '' });
  await reader.until(({ told }) => told.length > 0);
  reader.stop();
  expect(reader.told[0]?.id).toBe((await placesAfter())[0]);
});

test('the stream of a deployment tells that one alone', async () => {
  await create();
  const id = `live-${String(count)}`;
  const reader = new Reader(`/v1/deployments/${id}/events?after=start`);
  await create();
  await api.post(`/v1/deployments/${id}/attempts`);
  await reader.until(({ told }) => told.length >= 3);
  reader.stop();
  expect(new Set(reader.told.map(({ data }) => data.deploymentId))).toEqual(new Set([id]));
});

test('scripts get lines of JSON', async () => {
  const reader = new Reader('/v1/events?after=start', { accept: 'application/x-ndjson' });
  const [, second = ''] = await placesAfter();
  await reader.until(({ text }) => text.includes(`"position":"${second}"`));
  reader.stop();
  expect(reader.text).toMatch(/content-type: application\/x-ndjson/);
  expect(reader.text).toMatch(/^\{"id":.*"type":"deployment_created".*\}$/m);
});

const ID = 'last-event-id';
test.each([
  ['/v1/events?after=-1', {}, '400 INVALID_QUERY'],
  ['/v1/events?after=soon', {}, '400 INVALID_QUERY'],
  ['/v1/events?after=99999999999999999', {}, '400 INVALID_QUERY'],
  ['/v1/events', { [ID]: 'x' }, '400 INVALID_HEADER'],
  ['/v1/events', { [ID]: '99999999999999999' }, '400 INVALID_HEADER'],
  ['/v1/events', { accept: 'text/html' }, '406 NOT_ACCEPTABLE'],
  ['/v1/deployments/nobody/events', {}, '404 DEPLOYMENT_NOT_FOUND'],
])('%s %o is refused with %s', async (url, headers, problem) => {
  const { status, json } = await api.get(url, headers);
  expect(`${String(status)} ${String(json['code'])}`).toBe(problem);
  // A sentence, which begins with what is wrong.
  expect(json['detail']).toMatch(/^((after|Last-Event-ID) must be|this route|no deployment) /);
});

test('a quiet stream is pinged every 15 s', async () => {
  const reader = new Reader('/v1/events');
  await reader.until(isOpen);
  await api.clock.advance(16_000);
  await reader.until(({ text }) => text.includes(': ping'));
  reader.stop();
});

test('a reader that takes nothing is dropped and holds nobody up', async () => {
  const stalled = new Reader('/v1/events?after=start');
  await stalled.until(isOpen);
  stalled.socket.pause();
  const brisk = new Reader('/v1/events');
  await brisk.until(isOpen);
  const note = 'x'.repeat(250);
  const labels = Object.fromEntries(Array.from({ length: 30 }, (_, n) => [`l${String(n)}`, note]));
  await create();
  const id = `live-${String(count)}`;
  for (let n = 0; n < 600; n += 1) {
    await api.ask('PATCH', `/v1/deployments/${id}`, {
      body: { labels: { ...labels, n: String(n) } },
    });
  }
  await brisk.until(({ told }) => told.length >= 602);
  await api.clock.advance(16_000);
  stalled.socket.resume();
  await stalled.closed;
  expect(stalled.told.length).toBeLessThan(602);
  const resumed = new Reader('/v1/events', { 'last-event-id': stalled.told.at(-1)?.id ?? '0' });
  await resumed.until(({ told }) => told.at(-1)?.id === brisk.told.at(-1)?.id);
  const ids = [...stalled.told, ...resumed.told].map(({ id: position }) => position);
  expect(ids).toEqual(await placesAfter());
  brisk.stop();
  resumed.stop();
}, 60_000);

test('when the service stops, streams end with word of when to come back', async () => {
  const own = await startApi();
  await own.app.listen(0, '127.0.0.1');
  const mine = port;
  port = (own.app.getHttpServer().address() as AddressInfo).port;
  const reader = new Reader('/v1/events');
  port = mine;
  await reader.until(isOpen);
  await own.close();
  await reader.closed;
  expect(reader.text).toMatch(/retry: 1000\n\n/);
});
