import { describe, expect, test } from '@jest/globals';
import { Pace } from '../../src/ports/pace.js';

/** Keeps the event loop busy, as work in the background does. */
function work(ms: number): void {
  const untilMs = performance.now() + ms;
  while (performance.now() < untilMs);
}

describe('pace', () => {
  test('after some milliseconds of work all that waits has its turn, chains of it included', async () => {
    const pace = new Pace();
    const done: string[] = [];
    setImmediate(() => setImmediate(() => setImmediate(() => done.push('another'))));
    setTimeout(() => done.push('timer'), 0);
    work(6);
    await pace.giveWay();
    expect(done.sort()).toEqual(['another', 'timer']);
  });

  test('after hardly any work nothing waits, not even for a turn', async () => {
    const pace = new Pace();
    await pace.giveWay();
    let isTurned = false;
    const soon = setImmediate(() => (isTurned = true));
    for (let n = 0; n < 10; n++) await pace.giveWay();
    clearImmediate(soon);
    expect(isTurned).toBe(false);
  });

  test('work among others that never rest goes on all the same', async () => {
    const pace = new Pace();
    let isOver = false;
    const others = (): void => {
      work(1);
      if (!isOver) setImmediate(others);
    };
    setImmediate(others);
    for (let n = 0; n < 5; n++) {
      work(5);
      await pace.giveWay();
    }
    isOver = true;
  });

  test('after a long time in which others were busy it rests no longer than after a short one', async () => {
    const pace = new Pace();
    let [turns, isOver] = [0, false];
    const others = (): void => {
      work(1);
      turns += 1;
      if (!isOver) setImmediate(others);
    };
    work(1000);
    setImmediate(others);
    await pace.giveWay();
    isOver = true;
    // A turn takes a millisecond at least.
    expect(turns).toBeLessThan(300);
  });

  test('in a hurry others get one turn and no more', async () => {
    const pace = new Pace();
    pace.hurry();
    const done: string[] = [];
    setImmediate(() => {
      done.push('first');
      setImmediate(() => done.push('second'));
    });
    work(6);
    await pace.giveWay();
    expect(done).toEqual(['first']);
  });
});
