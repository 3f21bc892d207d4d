import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { Freshness } from '../../src/application/freshness.js';
import type { Projector } from '../../src/application/projector.js';
import { Fault } from '../../src/ports/faults.js';
import { Story } from '../support/events.js';
import { Projecting } from '../support/projecting.js';

describe('freshness of read models', () => {
  let here: Projecting;
  let projector: Projector;
  let freshness: Freshness;
  /** What the log does when its end is asked for. */
  let head: () => Promise<bigint | null>;
  let looks: number;
  beforeEach(async () => {
    here = await Projecting.begin();
    projector = await here.started();
    looks = 0;
    head = () => here.store.head();
    const store = here.storeWith({ head: () => ((looks += 1), head()) });
    freshness = new Freshness({ store, projector, clock: here.clock });
  });
  afterEach(async () => {
    expect(await here.end()).toBe(0);
  });
  const outOfReach = (): Promise<never> => Promise.reject(new Fault('STORE_UNAVAILABLE'));

  test('what is level with the log is not old, however long nothing happens', async () => {
    await new Story('d1').created().saveTo(here.store);
    for (let n = 0; n < 3; n += 1) {
      await here.clock.advance(60_000);
      expect(await freshness.staleSeconds()).toBeNull();
    }
  });

  test('the log is asked once a second at most, by all readers together', async () => {
    await here.clock.advance(5_000);
    const all = await Promise.all(Array.from({ length: 50 }, () => freshness.staleSeconds()));
    expect(new Set(all)).toEqual(new Set([null]));
    await freshness.staleSeconds();
    expect(looks).toBe(1);
  });

  test('while the log is out of reach it is old since it was seen level, and is not once it is back', async () => {
    await here.clock.advance(5_000);
    expect(await freshness.staleSeconds()).toBeNull();
    head = outOfReach;
    await here.clock.advance(1_000);
    expect(await freshness.staleSeconds()).toBeNull();
    await here.clock.advance(6_500);
    expect(await freshness.staleSeconds()).toBe(7);
    head = () => here.store.head();
    await freshness.staleSeconds();
    await here.pass(() => looks >= 3);
    await new Promise((resolve) => setImmediate(resolve));
    expect(await freshness.staleSeconds()).toBeNull();
  });

  test('a log that does not answer holds a read up for half a second, and the next ones not at all', async () => {
    await here.clock.advance(4_000);
    let answer: (at: bigint | null) => void = () => undefined;
    head = () => new Promise((resolve) => (answer = resolve));
    const first = freshness.staleSeconds();
    await here.clock.advance(500);
    expect(await first).toBe(4);
    expect(await freshness.staleSeconds()).toBe(4);
    expect(looks).toBe(1);
    answer(null);
  });

  test('after an outage and a quiet time the first read is not told of the outage any more', async () => {
    await here.clock.advance(3_000);
    head = outOfReach;
    expect(await freshness.staleSeconds()).toBe(3);
    head = () => here.store.head();
    await here.clock.advance(60_000);
    expect(await freshness.staleSeconds()).toBeNull();
  });

  test('a fold that is behind for more than a second is told', async () => {
    await here.clock.advance(3_000);
    const end = (await new Story('d1').created().saveTo(here.store)).position;
    head = () => Promise.resolve(end + 1_000n);
    const waiting = freshness.staleSeconds();
    await here.clock.advance(500);
    expect(await waiting).toBe(3);
    await here.clock.advance(1_000);
    head = () => here.store.head();
    await projector.waitFor(end, 1_000);
    await freshness.staleSeconds();
    await here.clock.advance(0);
    expect(await freshness.staleSeconds()).toBeNull();
  });
});
