import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Leases } from '../../src/ports/leases.js';

/** What every store of signs of life must do. */
export function leasesContract(name: string, create: () => Promise<Leases>): void {
  describe(`leases in ${name}`, () => {
    const attempt = { deploymentId: 'd1', attemptId: 'a1' };
    const [first, second] = ['2026-01-01T00:00:00.000Z', '2026-01-01T00:00:05.000Z'] as const;
    let leases: Leases;
    beforeEach(async () => {
      leases = await create();
    });
    afterEach(() => leases.close());

    test('an attempt that was never heard of has no beat', async () => {
      expect(await leases.read([attempt])).toEqual([null]);
    });

    test('each sign of life counts one more and keeps its time', async () => {
      const beats = [await leases.beat(attempt, first)];
      expect(await leases.read([attempt])).toEqual([{ count: 1, at: first, progress: null }]);
      beats.push(await leases.beat(attempt, second));
      expect(await leases.read([attempt])).toEqual([{ count: 2, at: second, progress: null }]);
      expect(beats.map(({ count }) => count)).toEqual([1, 2]);
    });

    test('the last progress that was told stands until another is told', async () => {
      await leases.beat(attempt, first, { done: 1 });
      await leases.beat(attempt, second);
      expect(await leases.read([attempt])).toMatchObject([{ count: 2, progress: { done: 1 } }]);
      await leases.beat(attempt, second, { done: 2 });
      expect(await leases.read([attempt])).toMatchObject([{ count: 3, progress: { done: 2 } }]);
    });

    test('beats are read in the order asked for, and attempts are told apart', async () => {
      const sameName = { deploymentId: 'd2', attemptId: 'a1' };
      const unknown = { deploymentId: 'd1', attemptId: 'a2' };
      await leases.beat(attempt, first);
      await leases.beat(sameName, second);
      const beats = await leases.read([sameName, unknown, attempt]);
      expect(beats.map((beat) => beat?.at ?? null)).toEqual([second, null, first]);
      expect(await leases.read([])).toEqual([]);
    });

    test('it tells which attempts have beats', async () => {
      expect(await leases.keys()).toEqual([]);
      const other = { deploymentId: 'd2', attemptId: 'a1' };
      for (const key of [attempt, other, attempt]) await leases.beat(key, first);
      expect(await leases.keys()).toHaveLength(2);
      await leases.drop(attempt);
      expect(await leases.keys()).toEqual([other]);
    });

    test('an attempt that was dropped begins anew; dropping again is harmless', async () => {
      await leases.beat(attempt, first, { done: 1 });
      await leases.drop(attempt);
      await leases.drop(attempt);
      expect(await leases.read([attempt])).toEqual([null]);
      await leases.beat(attempt, second);
      expect(await leases.read([attempt])).toEqual([{ count: 1, at: second, progress: null }]);
    });
  });
}
