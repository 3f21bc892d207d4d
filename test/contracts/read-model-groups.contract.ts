import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type {
  Condition,
  Group,
  Latest,
  ReadModels,
  RowSelection,
  Table,
} from '../../src/ports/read-models.js';

type Sample = {
  readonly id: string;
  readonly from: string | null;
  readonly count: number;
  readonly position: bigint;
  readonly done: boolean;
  readonly rest: number | null;
};
const samples: Table<Sample> = {
  name: 'samples',
  version: 1,
  columns: {
    id: { type: 'text' },
    from: { type: 'text', nullable: true },
    count: { type: 'integer' },
    position: { type: 'bigint' },
    done: { type: 'boolean' },
    rest: { type: 'integer', nullable: true },
  },
  key: ['id'],
  indexes: [['from', 'position']],
};

const BEYOND_DOUBLES = 2n ** 60n + 1n;

function sample(id: string, members: Partial<Sample> = {}): Sample {
  return { id, from: null, count: 0, position: 0n, done: false, rest: null, ...members };
}

/** Read models to be tested, empty and not opened, and what removes their traces. */
interface UnderTest {
  readonly readModels: ReadModels;
  dispose(): Promise<void>;
}

/** What every store of read models must tell of groups of rows. */
export function groupsContract(name: string, create: () => Promise<UnderTest>): void {
  describe(`groups of rows in ${name}`, () => {
    let underTest: UnderTest;
    let readModels: ReadModels;
    const write = (rows: readonly Sample[]): Promise<void> =>
      readModels.commit([{ table: samples, generation: 'live', rows, from: null, to: 1n }]);

    beforeEach(async () => {
      underTest = await create();
      readModels = underTest.readModels;
      await readModels.open([samples]);
    });
    afterEach(async () => {
      await readModels.close();
      await underTest.dispose();
    });

    test('columns are added up for each group, beyond what a double holds', async () => {
      const rows = [
        sample('a', { from: 'x', count: 3, position: BEYOND_DOUBLES, rest: 4 }),
        sample('b', { from: 'x', count: -5, position: 2n }),
        sample('c', { from: 'y', count: 2, position: 4n }),
        sample('d', { count: 7, position: 5n, done: true }),
      ];
      await write(rows);
      const sorted = (groups: readonly Group[]): readonly Group[] =>
        groups.toSorted((a, b) => (String(a.values) < String(b.values) ? -1 : 1));
      const columns = { by: ['from'], sums: ['count', 'position'] } as const;
      expect(sorted(await readModels.sumBy(samples, columns))).toEqual([
        {
          values: ['x'],
          rows: 2,
          sums: [
            { sum: -2n, rows: 2 },
            { sum: BEYOND_DOUBLES + 2n, rows: 2 },
          ],
        },
        {
          values: ['y'],
          rows: 1,
          sums: [
            { sum: 2n, rows: 1 },
            { sum: 4n, rows: 1 },
          ],
        },
      ]);
      const where: Condition<Sample>[] = [{ column: 'count', above: 0 }];
      const two = await readModels.sumBy(samples, { by: ['from', 'id'], sums: [] }, { where });
      expect(sorted(two)).toEqual([
        { values: ['x', 'a'], rows: 1, sums: [] },
        { values: ['y', 'c'], rows: 1, sums: [] },
      ]);
      const rests = await readModels.sumBy(samples, { by: ['from'], sums: ['rest'] });
      expect(sorted(rests).map(({ sums }) => sums)).toEqual([
        [{ sum: 4n, rows: 1 }],
        [{ sum: 0n, rows: 0 }],
      ]);
    });

    describe('the latest rows', () => {
      const rows = [
        sample('a1', { from: 'a', position: 1n, count: 10, done: true }),
        sample('b1', { from: 'b', position: 2n, count: 20 }),
        sample('a2', { from: 'a', position: 3n, count: 5 }),
        sample('none', { position: 4n, count: 1 }),
        sample('a3', { from: 'a', position: BEYOND_DOUBLES, count: 30 }),
        sample('a4', { from: 'a', position: BEYOND_DOUBLES + 1n, count: 40 }),
      ];
      const latestAmong = (among: readonly Condition<Sample>[]): Latest<Sample> => ({
        per: 'from',
        by: 'position',
        among,
      });
      const find = async (selection: RowSelection<Sample>, limit = 10): Promise<unknown> => {
        const orderBy = { column: 'position', direction: 'descending' } as const;
        const found = await readModels.find(samples, { ...selection, orderBy, limit });
        return found.map(({ id }) => id);
      };
      beforeEach(() => write(rows));

      test('are one of each group, the greatest; nulls are a group', async () => {
        expect(await find({ latest: latestAmong([]) })).toEqual(['a4', 'none', 'b1']);
      });

      test('are those among the rows that are asked about, not the last of all', async () => {
        const few: Condition<Sample> = { column: 'count', below: 15 };
        expect(await find({ latest: latestAmong([few]) })).toEqual(['none', 'a2']);
        const early: Condition<Sample> = { column: 'position', below: BEYOND_DOUBLES + 1n };
        expect(await find({ latest: latestAmong([early]) })).toEqual(['a3', 'none', 'b1']);
        expect(await find({ latest: latestAmong([few, { column: 'from', is: 'b' }]) })).toEqual([]);
      });

      test('are left out by a condition, never replaced by an earlier one', async () => {
        const latest = latestAmong([{ column: 'count', below: 15 }]);
        const done: Condition<Sample> = { column: 'done', is: true };
        expect(await find({ latest, where: [done] })).toEqual([]);
        const below: Condition<Sample> = { column: 'position', below: 4n };
        expect(await find({ latest, where: [below] })).toEqual(['a2']);
      });

      test('come in order, up to the limit', async () => {
        expect(await find({ latest: latestAmong([]) }, 2)).toEqual(['a4', 'none']);
      });

      test('are counted', async () => {
        const latest = latestAmong([{ column: 'count', below: 25 }]);
        expect(await readModels.countBy(samples, 'from', { latest })).toEqual(
          new Map([
            ['a', 1],
            ['b', 1],
          ]),
        );
      });
    });
  });
}
