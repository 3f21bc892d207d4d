import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { ReadModels, Table } from '../../src/ports/read-models.js';
import type { ReadModelsUnderTest } from './read-models.contract.js';

type Note = { readonly id: string };
const notes: Table<Note> = {
  name: 'notes',
  version: 1,
  columns: { id: { type: 'text' } },
  key: ['id'],
  indexes: [],
};
const others: Table<Note> = { ...notes, name: 'others' };
const HOUR_MS = 3_600_000;

/** Who may write read models, in every store of them. */
export function ownershipContract(name: string, create: () => Promise<ReadModelsUnderTest>): void {
  describe(`ownership of read models in ${name}`, () => {
    let underTest: ReadModelsUnderTest;
    let readModels: ReadModels;
    let other: ReadModels;
    beforeEach(async () => {
      underTest = await create();
      ({ readModels } = underTest);
      await readModels.open([notes, others]);
      other = await underTest.beside();
    });
    afterEach(async () => {
      await other.close();
      await readModels.close();
      await underTest.dispose();
    });
    const owned = { code: 'STORE_OWNED', message: expect.stringContaining('one') };
    const commitBy = (handle: ReadModels, from: bigint | null, to: bigint): Promise<void> =>
      handle.commit([{ table: notes, generation: 'live', rows: [{ id: `n${to}` }], from, to }]);
    const position = async (
      table: string,
      generation = 'live',
    ): Promise<bigint | null | undefined> =>
      (await readModels.checkpoints()).find(
        (at) => at.table === table && at.generation === generation,
      )?.position;
    const parked = {
      table: 'notes',
      generation: 'live',
      stream: 'deployment-a',
      revision: 3n,
      position: 4n,
      problem: 'no such event',
      parkedAt: '2026-01-01T00:00:00.000Z',
    } as const;

    test('nobody owns the tables at first, and anybody may write', async () => {
      expect(await readModels.ownership()).toBeNull();
      await commitBy(readModels, null, 1n);
      await commitBy(other, 1n, 2n);
      expect(await position('notes')).toBe(2n);
    });

    test('who claims them first has them, and others are told who', async () => {
      const first = await readModels.claim({ owner: 'one', ttlMs: HOUR_MS });
      const second = await other.claim({ owner: 'two', ttlMs: HOUR_MS });
      expect(first).toMatchObject({ owner: 'one', isOurs: true, denials: 0 });
      expect(second).toMatchObject({ owner: 'one', fence: first.fence, isOurs: false });
      expect(await other.ownership()).toMatchObject({
        owner: 'one',
        fence: first.fence,
        since: first.since,
        denials: 1,
      });
      expect((await other.ownership())?.remainingMs).toBeGreaterThan(HOUR_MS / 2);
    });

    test('only the owner writes while its claim holds', async () => {
      await readModels.claim({ owner: 'one', ttlMs: HOUR_MS });
      await readModels.startNext(others);
      await commitBy(readModels, null, 1n);
      await expect(commitBy(other, 1n, 2n)).rejects.toMatchObject(owned);
      await expect(other.finishNext(others)).rejects.toMatchObject(owned);
      await expect(other.promoteNext(others, null)).rejects.toMatchObject(owned);
      await expect(other.dropNext(others)).rejects.toMatchObject(owned);
      await expect(other.park(parked)).rejects.toMatchObject(owned);
      expect(await position('notes')).toBe(1n);
      expect(await position('others', 'next')).toBeNull();
      expect(await readModels.parked()).toEqual([]);
    });

    test('anybody may ask for a generation beside the live one, which the owner builds', async () => {
      await readModels.claim({ owner: 'one', ttlMs: HOUR_MS });
      await other.startNext(notes);
      expect(await position('notes', 'next')).toBeNull();
      await readModels.promoteNext(notes, null);
    });

    test('what another began anew does not take the place of the live one instead of what was built', async () => {
      await readModels.claim({ owner: 'one', ttlMs: HOUR_MS });
      await commitBy(readModels, null, 1n);
      await readModels.startNext(notes);
      await readModels.commit([
        { table: notes, generation: 'next', rows: [{ id: 'built' }], from: null, to: 5n },
      ]);
      await other.startNext(notes);
      expect(await position('notes', 'next')).toBeNull();
      const promotion = readModels.promoteNext(notes, 5n);
      await expect(promotion).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
      expect(await readModels.load(notes, 'live', [['n1']])).toEqual([{ id: 'n1' }]);
      await readModels.promoteNext(notes, null);
      expect(await readModels.load(notes, 'live', [['n1']])).toEqual([null]);
    });

    test('renewed, a claim keeps its number; past, it goes to who asks, with a greater one', async () => {
      const first = await readModels.claim({ owner: 'one', ttlMs: HOUR_MS });
      const again = await readModels.claim({ owner: 'one', ttlMs: 0 });
      expect(again).toMatchObject({ fence: first.fence, isOurs: true });
      expect(again.remainingMs).toBeLessThanOrEqual(0);
      const second = await other.claim({ owner: 'two', ttlMs: HOUR_MS });
      expect(second).toMatchObject({ owner: 'two', isOurs: true });
      expect(second.fence).toBeGreaterThan(first.fence);
    });

    test('a past claim that nobody took still lets its owner write, and others without a claim', async () => {
      await readModels.claim({ owner: 'one', ttlMs: 0 });
      await commitBy(readModels, null, 1n);
      await commitBy(other, 1n, 2n);
      expect(await position('notes')).toBe(2n);
    });

    test('an owner that was overtaken writes nothing any more, however late it comes', async () => {
      await readModels.claim({ owner: 'two', ttlMs: 0 });
      await other.claim({ owner: 'one', ttlMs: HOUR_MS });
      await expect(commitBy(readModels, null, 1n)).rejects.toMatchObject(owned);
      await other.release();
      await expect(commitBy(readModels, null, 1n)).rejects.toMatchObject({ code: 'STORE_OWNED' });
      expect(await position('notes')).toBeNull();
    });

    test('who knows that the owner is gone takes over before the claim is past', async () => {
      const first = await readModels.claim({ owner: 'one', ttlMs: HOUR_MS });
      const second = await other.claim({ owner: 'two', ttlMs: HOUR_MS, takesOver: true });
      expect(second).toMatchObject({ owner: 'two', isOurs: true });
      expect(second.fence).toBeGreaterThan(first.fence);
      await expect(commitBy(readModels, null, 1n)).rejects.toMatchObject({ code: 'STORE_OWNED' });
      const back = await readModels.claim({ owner: 'one', ttlMs: HOUR_MS });
      expect(back).toMatchObject({ owner: 'two', isOurs: false });
    });

    test('given up, the tables are free at once, and numbers go on growing', async () => {
      const first = await readModels.claim({ owner: 'one', ttlMs: HOUR_MS });
      await readModels.release();
      await readModels.release();
      expect(await other.ownership()).toBeNull();
      const second = await other.claim({ owner: 'two', ttlMs: HOUR_MS });
      expect(second.isOurs).toBe(true);
      expect(second.fence).toBeGreaterThan(first.fence);
    });

    test('who gives up what was taken from it takes it from nobody', async () => {
      await readModels.claim({ owner: 'one', ttlMs: 0 });
      await other.claim({ owner: 'two', ttlMs: HOUR_MS });
      await readModels.release();
      expect(await readModels.ownership()).toMatchObject({ owner: 'two' });
      await commitBy(other, null, 1n);
    });

    test('of many that claim at once one wins', async () => {
      const handles = [readModels, other, await underTest.beside(), await underTest.beside()];
      const claims = await Promise.all(
        handles.map((handle, n) => handle.claim({ owner: `one-${n}`, ttlMs: HOUR_MS })),
      );
      expect(claims.filter(({ isOurs }) => isOurs)).toHaveLength(1);
      expect(new Set(claims.map(({ fence }) => fence)).size).toBe(1);
      await Promise.all(handles.slice(2).map((handle) => handle.close()));
    });
  });
}
