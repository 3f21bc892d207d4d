import { afterEach, beforeEach, expect, jest, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { systemClock } from '../../src/adapters/system-clock.js';
import { Tail, type Following } from '../../src/application/tail.js';
import type { EventStore, Position } from '../../src/ports/event-store.js';
import { until } from '../support/fake-clock.js';
import { newLog } from '../support/log-under-test.js';

/** A log that is shared with others is long. */
jest.setTimeout(120_000);

let store: EventStore;
let dispose: () => Promise<void>;
let tail: Tail;
let headsTold: number;
const lengths = new Map<string, bigint>();
/** Position of each event that was written, in the order of the log. */
let written: Position[];

beforeEach(async () => {
  ({ store, dispose } = await newLog());
  const head = store.head.bind(store);
  headsTold = 0;
  store.head = async () => {
    const at = await head();
    headsTold += 1;
    return at;
  };
  tail = new Tail(store, systemClock);
  lengths.clear();
  written = [];
});
afterEach(async () => {
  await tail.close();
  await dispose();
});

async function write(count: number, stream = 'deployment-web'): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    const at = lengths.get(stream);
    lengths.set(stream, (at ?? -1n) + 1n);
    const { position } = await store.append(stream, at ?? 'no_stream', [
      { id: randomUUID(), type: 'state_transition', data: '{}', metadata: '{}' },
    ]);
    written.push(position);
  }
}

/** The next `count` events that a reader gets: the how many of all that were written, from 1. */
async function take(
  count: number,
  following: Following,
  between?: () => Promise<void>,
): Promise<number[]> {
  const seen: number[] = [];
  for await (const page of tail.follow(following)) {
    seen.push(...page.map(({ position }) => written.indexOf(position) + 1));
    if (seen.length >= count) break;
    await between?.();
  }
  return seen;
}

const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => from + n);
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('a reader from the start gets what is there, then what comes, each once and in order', async () => {
  await write(1_200);
  const reading = take(1_500, { after: 'start' });
  await turn();
  await write(300);
  expect(await reading).toEqual(range(1, 1_500));
});

test('a reader without a place gets the next events only', async () => {
  await write(5);
  const reading = take(2, {});
  await until(() => headsTold > 0);
  await write(2);
  expect(await reading).toEqual([6, 7]);
});

test('a reader resumes after a position without gap or repeat', async () => {
  await write(20);
  expect(await take(10, { after: written[9]! })).toEqual(range(11, 20));
});

test('a position beyond the end is refused', async () => {
  await write(3);
  await expect(take(1, { after: written[2]! + 1n })).rejects.toMatchObject({
    code: 'POSITION_INVALID',
  });
});

test('a reader of one deployment gets that one alone', async () => {
  await write(3);
  await write(2, 'deployment-api');
  await write(1, 'other-api');
  expect(await take(2, { after: 'start', deploymentId: 'api' })).toEqual([4, 5]);
});

test('a reader that falls behind gets every event all the same, and delays nobody', async () => {
  await write(1);
  const slow = take(3_001, { after: 'start' }, turn);
  const quick = take(3_001, { after: 'start' });
  await turn();
  await write(3_000);
  expect(await quick).toEqual(range(1, 3_001));
  expect(await slow).toEqual(range(1, 3_001));
});

test('a thousand readers share one subscription', async () => {
  let subscriptions = 0;
  const subscribe = store.subscribe.bind(store);
  store.subscribe = (from) => ((subscriptions += 1), subscribe(from));
  const readers = range(1, 1_000).map(() => take(10, {}));
  await until(() => headsTold >= 1_000);
  await write(10);
  for (const seen of await Promise.all(readers)) expect(seen).toEqual(range(1, 10));
  expect(subscriptions).toBe(1);
});

test('aborting ends a reader that waits', async () => {
  const abort = new AbortController();
  const reading = take(1, { signal: abort.signal });
  await turn();
  abort.abort();
  expect(await reading).toEqual([]);
});

test('closing the tail ends every reader', async () => {
  const readers = [take(1, {}), take(1, { after: 'start' })];
  await turn();
  await tail.close();
  expect(await Promise.all(readers)).toEqual([[], []]);
});
