import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type {
  Change,
  Condition,
  Generation,
  ParkedStream,
  ReadModels,
  Row,
  RowKey,
  Table,
} from '../../src/ports/read-models.js';
import { groupsContract } from './read-model-groups.contract.js';

/** Read models to be tested, empty and not opened, and what removes their traces. */
export interface ReadModelsUnderTest {
  readonly readModels: ReadModels;
  /** Another handle on the same tables, as another process has it. */
  beside(): Promise<ReadModels>;
  dispose(): Promise<void>;
}

/** One column of each type, one name that is a word of SQL, one index of each kind. */
type Sample = {
  readonly id: string;
  readonly from: string | null;
  readonly count: number;
  readonly position: bigint;
  readonly done: boolean;
  readonly labels: Readonly<Record<string, unknown>>;
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
    labels: { type: 'json' },
  },
  key: ['id'],
  indexes: [['position'], ['from', 'position']],
};

/** A key of two columns, and no other column than the key. */
type Pair = { readonly left: string; readonly right: bigint };
const pairs: Table<Pair> = {
  name: 'pairs',
  version: 1,
  columns: { left: { type: 'text' }, right: { type: 'bigint' } },
  key: ['left', 'right'],
  indexes: [],
};

/** A key that is a position. */
type Entry = { readonly position: bigint; readonly note: string | null };
const entries: Table<Entry> = {
  name: 'entries',
  version: 1,
  columns: { position: { type: 'bigint' }, note: { type: 'text', nullable: true } },
  key: ['position'],
  indexes: [],
};

const BEYOND_DOUBLES = 2n ** 60n + 1n;
function sample(id: string, members: Partial<Sample> = {}): Sample {
  return { id, from: null, count: 0, position: 0n, done: false, labels: {}, ...members };
}
function change(table: Table, rows: readonly Row[], more: Partial<Change> = {}): Change {
  return { table, generation: 'live', rows, from: null, to: 1n, ...more };
}

function parkedStream(stream: string, more: Partial<ParkedStream> = {}): ParkedStream {
  return {
    table: 'samples',
    generation: 'live',
    stream,
    revision: 3n,
    position: BEYOND_DOUBLES,
    problem: 'no such event',
    parkedAt: '2026-01-01T00:00:00.000Z',
    decided: null,
    ...more,
  };
}

/** What every store of read models must do. */
export function readModelsContract(name: string, create: () => Promise<ReadModelsUnderTest>): void {
  groupsContract(name, create);
  describe(`read models in ${name}`, () => {
    let underTest: ReadModelsUnderTest;
    let readModels: ReadModels;

    beforeEach(async () => {
      underTest = await create();
      readModels = underTest.readModels;
      await readModels.open([samples, pairs, entries]);
    });
    afterEach(async () => {
      await readModels.close();
      await underTest.dispose();
    });

    const all = async <R extends Row>(table: Table<R>): Promise<R[]> => {
      const rows: R[] = [];
      for await (const page of readModels.scan(table)) rows.push(...page);
      return rows;
    };
    const position = async (
      table: string,
      generation: Generation = 'live',
    ): Promise<bigint | null | undefined> => {
      const found = (await readModels.checkpoints()).find(
        (at) => at.table === table && at.generation === generation,
      );
      return found?.position;
    };

    describe('tables', () => {
      test('a new table is empty and has folded nothing', async () => {
        expect(await all(samples)).toEqual([]);
        expect(await readModels.checkpoints()).toContainEqual({
          table: 'samples',
          generation: 'live',
          version: 1,
          position: null,
        });
        expect(await readModels.checkpoints()).toHaveLength(3);
      });

      test('opening again keeps rows and checkpoint, and adds only what is missing', async () => {
        await readModels.commit([change(samples, [sample('a')], { to: 7n })]);
        const more: Table = { ...samples, name: 'more_samples' };
        await readModels.open([samples, pairs, more]);
        expect(await all(samples)).toEqual([sample('a')]);
        expect(await position('samples')).toBe(7n);
        expect(await position('more_samples')).toBeNull();
      });

      test('opening a table in another version leaves the stored one as it is', async () => {
        await readModels.commit([change(samples, [sample('a')])]);
        await readModels.open([{ ...samples, version: 2 }]);
        expect(await all(samples)).toEqual([sample('a')]);
        expect(await readModels.checkpoints()).toContainEqual({
          table: 'samples',
          generation: 'live',
          version: 1,
          position: 1n,
        });
      });
    });

    describe('rows', () => {
      test('every type of value comes back as it was written', async () => {
        const rows = [
          sample('plain'),
          sample('Größe ✓ 𝒳 \' " ; -- % _ \\ $1 ?1', {
            from: '',
            count: -9_007_199_254_740_991,
            position: BEYOND_DOUBLES,
            done: true,
            labels: { text: 'ü', list: [1, 2.5, null, true], deep: { er: {} } },
          }),
          sample('least', { position: -(2n ** 63n), count: 9_007_199_254_740_991 }),
        ];
        await readModels.commit([change(samples, rows)]);
        const keys = rows.map(({ id }) => [id]);
        expect(await readModels.load(samples, 'live', keys)).toEqual(rows);
      });

      test('rows are loaded in the order of their keys, null where there is none', async () => {
        await readModels.commit([change(samples, [sample('a'), sample('b')])]);
        const found = await readModels.load(samples, 'live', [['b'], ['missing'], ['a'], ['b']]);
        expect(found).toEqual([sample('b'), null, sample('a'), sample('b')]);
        expect(await readModels.load(samples, 'live', [])).toEqual([]);
      });

      test('a row with the same key replaces the one before', async () => {
        await readModels.commit([change(samples, [sample('a', { from: 'x' }), sample('b')])]);
        await readModels.commit([
          change(samples, [sample('a', { count: 2 })], { from: 1n, to: 2n }),
        ]);
        expect(await all(samples)).toEqual([sample('a', { count: 2 }), sample('b')]);
      });

      test('keys of several columns, of positions, and rows that are only a key work alike', async () => {
        const twoPairs: Pair[] = [
          { left: 'a', right: BEYOND_DOUBLES },
          { left: 'a', right: BEYOND_DOUBLES + 1n },
        ];
        const twoEntries: Entry[] = [
          { position: BEYOND_DOUBLES, note: null },
          { position: BEYOND_DOUBLES + 1n, note: 'n' },
        ];
        const changes = (step: Partial<Change>) => [
          change(pairs, twoPairs, step),
          change(entries, twoEntries, step),
        ];
        await readModels.commit(changes({}));
        await readModels.commit(changes({ from: 1n, to: 2n }));
        const keys: RowKey[] = [['a', BEYOND_DOUBLES + 1n]];
        expect(await readModels.load(pairs, 'live', keys)).toEqual([twoPairs[1]]);
        expect(await all(pairs)).toEqual(twoPairs);
        expect(await all(entries)).toEqual(twoEntries);
      });
    });

    describe('checkpoints', () => {
      test('rows and checkpoints of all tables of a commit move together', async () => {
        await readModels.commit([
          change(samples, [sample('a')], { to: BEYOND_DOUBLES }),
          change(pairs, [], { to: 5n }),
        ]);
        expect(await position('samples')).toBe(BEYOND_DOUBLES);
        expect(await position('pairs')).toBe(5n);
      });

      test.each<[string, Partial<Change>]>([
        ['the checkpoint stands elsewhere', { from: 2n, to: 9n }],
        ['the checkpoint has begun', { from: null, to: 9n }],
        [
          'the table is of another version',
          { table: { ...samples, version: 2 }, from: 1n, to: 9n },
        ],
        ['the generation is not there', { generation: 'next', to: 9n }],
      ])('nothing of a commit is written when %s', async (_, step) => {
        await readModels.commit([change(samples, [sample('a')]), change(pairs, [])]);
        const commit = readModels.commit([
          change(pairs, [{ left: 'l', right: 1n }], { from: 1n, to: 9n }),
          change(samples, [sample('b')], step),
        ]);
        await expect(commit).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
        expect(await all(pairs)).toEqual([]);
        expect(await all(samples)).toEqual([sample('a')]);
        expect([await position('pairs'), await position('samples')]).toEqual([1n, 1n]);
      });

      test('of two that commit from the same checkpoint one wins', async () => {
        const commits = ['a', 'b'].map((id) => readModels.commit([change(samples, [sample(id)])]));
        const results = await Promise.allSettled(commits);
        expect(results.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
        expect(await all(samples)).toHaveLength(1);
      });
    });

    describe('queries', () => {
      const rows = [
        sample('a', { from: 'x', position: 1n, count: 3, labels: { 'app/tier': 'web', n: 5 } }),
        sample('b', { from: 'y', position: 2n, count: 1, done: true }),
        sample('c', {
          from: 'x',
          position: 3n,
          count: 2,
          labels: { 'app/tier': 'db', 'a.b': 'x' },
        }),
        sample('d', { position: 4n, count: 2, done: true, labels: { 'app/tier': 'web' } }),
        sample('100%_"\'', { from: 'X', position: BEYOND_DOUBLES, count: 9 }),
      ];
      const find = async (
        where: readonly Condition<Sample>[],
        limit = 10,
      ): Promise<readonly string[]> => {
        const orderBy = { column: 'position', direction: 'ascending' } as const;
        return (await readModels.find(samples, { where, orderBy, limit })).map(({ id }) => id);
      };
      beforeEach(() => readModels.commit([change(samples, rows)]));

      test.each<[string, Condition<Sample>[], string[]]>([
        ['text that is', [{ column: 'from', is: 'x' }], ['a', 'c']],
        ['null that is', [{ column: 'from', is: null }], ['d']],
        ['a flag that is set', [{ column: 'done', is: true }], ['b', 'd']],
        ['a flag that is not set', [{ column: 'done', is: false }], ['a', 'c', '100%_"\'']],
        ['an integer that is', [{ column: 'count', is: 2 }], ['c', 'd']],
        ['a bigint that is', [{ column: 'position', is: BEYOND_DOUBLES }], ['100%_"\'']],
        ['text that is one of', [{ column: 'from', in: ['y', 'X', "'"] }], ['b', '100%_"\'']],
        ['text that is one of none', [{ column: 'from', in: [] }], []],
        ['a bigint above', [{ column: 'position', above: BEYOND_DOUBLES - 1n }], ['100%_"\'']],
        ['an integer above', [{ column: 'count', above: 2 }], ['a', '100%_"\'']],
        ['an integer below', [{ column: 'count', below: 2 }], ['b']],
        ['a bigint below', [{ column: 'position', below: 3n }], ['a', 'b']],
        ['text after another', [{ column: 'from', after: 'X' }], ['a', 'b', 'c']],
        ['text not after another', [{ column: 'from', notAfter: 'x' }], ['a', 'c', '100%_"\'']],
        ['text that contains a sign of patterns', [{ column: 'id', contains: '%' }], ['100%_"\'']],
        ['text that contains quotes', [{ column: 'id', contains: `"'` }], ['100%_"\'']],
        ['text that contains a case', [{ column: 'from', contains: 'X' }], ['100%_"\'']],
        [
          'text that contains nothing',
          [{ column: 'from', contains: '' }],
          ['a', 'b', 'c', '100%_"\''],
        ],
        [
          'a member with a slash',
          [{ column: 'labels', member: 'app/tier', equals: 'web' }],
          ['a', 'd'],
        ],
        ['a member with a dot', [{ column: 'labels', member: 'a.b', equals: 'x' }], ['c']],
        ['a member that is no text', [{ column: 'labels', member: 'n', equals: '5' }], []],
        ['a member of nobody', [{ column: 'labels', member: 'constructor', equals: 'x' }], []],
        [
          'all conditions at once',
          [
            { column: 'labels', member: 'app/tier', equals: 'web' },
            { column: 'done', is: true },
            { column: 'position', above: 1n },
          ],
          ['d'],
        ],
      ])('rows are found by %s', async (_, where, expected) => {
        expect(await find(where)).toEqual(expected);
      });

      test('a value never becomes a part of the query', async () => {
        const hostile = `x' or '1'='1"; drop table samples; --`;
        expect(await find([{ column: 'from', is: hostile }])).toEqual([]);
        expect(await find([{ column: 'from', in: [hostile] }])).toEqual([]);
        expect(await find([{ column: 'id', contains: hostile }])).toEqual([]);
        expect(await find([{ column: 'labels', member: 'app/tier', equals: hostile }])).toEqual([]);
        expect(await all(samples)).toHaveLength(rows.length);
      });

      test('rows come in the asked order, null lowest, up to the limit', async () => {
        const values = async (
          column: 'count' | 'from' | 'position',
          direction: 'ascending' | 'descending',
          limit = 9,
        ): Promise<readonly unknown[]> => {
          const found = await readModels.find(samples, { orderBy: { column, direction }, limit });
          return found.map((row) => row[column]);
        };
        expect(await values('count', 'ascending')).toEqual([1, 2, 2, 3, 9]);
        expect(await values('count', 'descending')).toEqual([9, 3, 2, 2, 1]);
        expect(await values('from', 'ascending')).toEqual([null, 'X', 'x', 'x', 'y']);
        expect(await values('from', 'descending')).toEqual(['y', 'x', 'x', 'X', null]);
        expect(await values('position', 'descending', 2)).toEqual([BEYOND_DOUBLES, 4n]);
      });

      test('rows that contain a text come in the asked order, up to the limit, and no others', async () => {
        const found = async (
          column: 'count' | 'from',
          where: Condition<Sample>,
          limit = 9,
        ): Promise<readonly unknown[]> => {
          const orderBy = { column, direction: 'descending' } as const;
          return (await readModels.find(samples, { where: [where], orderBy, limit })).map(
            ({ id, count }) => [id, count],
          );
        };
        expect(await found('count', { column: 'from', contains: 'x' })).toEqual([
          ['a', 3],
          ['c', 2],
        ]);
        // Another row is equal to it in the order.
        expect(await found('count', { column: 'id', contains: 'd' })).toEqual([['d', 2]]);
        expect(await found('count', { column: 'from', contains: '' }, 2)).toEqual([
          ['100%_"\'', 9],
          ['a', 3],
        ]);
        // A row without a value to sort by.
        expect(await found('from', { column: 'id', contains: 'd' })).toEqual([['d', 2]]);
      });

      test('rows are counted for each value of a column', async () => {
        const counts = await readModels.countBy(samples, 'from');
        expect(counts).toEqual(
          new Map([
            ['x', 2],
            ['y', 1],
            ['X', 1],
          ]),
        );
        const where: Condition<Sample>[] = [{ column: 'done', is: false }];
        const undone = await readModels.countBy(samples, 'from', { where });
        expect(undone).toEqual(
          new Map([
            ['x', 2],
            ['X', 1],
          ]),
        );
      });
    });

    test('a scan hands over every row once, in key order, in pages', async () => {
      const ids = Array.from({ length: 1203 }, (_, n) => `id-${String(n).padStart(5, '0')}`);
      await readModels.commit([change(samples, ids.map((id) => sample(id)).reverse())]);
      expect((await all(samples)).map(({ id }) => id)).toEqual(ids);
      const both = ids.map((left, n): Pair => ({ left: left.slice(0, -1), right: BigInt(n) }));
      await readModels.commit([change(pairs, both.toReversed())]);
      expect(await all(pairs)).toEqual(both);
    });

    describe('a generation beside the live one', () => {
      const nextOnly = { generation: 'next' } as const;
      beforeEach(async () => {
        await readModels.commit([change(samples, [sample('old')], { to: 5n })]);
        await readModels.startNext(samples);
      });

      test('it begins empty, grows by itself, and queries do not see it', async () => {
        expect(await position('samples', 'next')).toBeNull();
        expect(await readModels.load(samples, 'next', [['old']])).toEqual([null]);
        await readModels.commit([change(samples, [sample('new')], { ...nextOnly, to: 3n })]);
        expect(await readModels.load(samples, 'next', [['new']])).toEqual([sample('new')]);
        expect(await all(samples)).toEqual([sample('old')]);
        expect(await position('samples', 'next')).toBe(3n);
        expect(await position('samples')).toBe(5n);
      });

      test('promoted, it is the live one: rows, checkpoint and parked streams', async () => {
        await readModels.park(parkedStream('deployment-old'));
        await readModels.park(parkedStream('deployment-new', nextOnly));
        await readModels.finishNext(samples);
        await readModels.commit([change(samples, [sample('new')], { ...nextOnly, to: 5n })]);
        await readModels.finishNext(samples);
        await readModels.promoteNext(samples, 5n);
        expect(await all(samples)).toEqual([sample('new')]);
        expect(await position('samples')).toBe(5n);
        expect(await position('samples', 'next')).toBeUndefined();
        expect(await readModels.parked()).toEqual([parkedStream('deployment-new')]);
        await readModels.commit([change(samples, [sample('newer')], { from: 5n, to: 6n })]);
        expect(await all(samples)).toEqual([sample('new'), sample('newer')]);
      });

      test('dropped, it leaves the live one alone; dropping again is harmless', async () => {
        await readModels.park(parkedStream('deployment-new', nextOnly));
        await readModels.dropNext(samples);
        await readModels.dropNext(samples);
        expect(await position('samples', 'next')).toBeUndefined();
        expect(await readModels.parked()).toEqual([]);
        expect(await all(samples)).toEqual([sample('old')]);
        await expect(readModels.finishNext(samples)).rejects.toMatchObject({
          code: 'REVISION_CONFLICT',
        });
        const promotion = readModels.promoteNext(samples, null);
        await expect(promotion).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
        expect(await all(samples)).toEqual([sample('old')]);
      });

      test('begun again, it forgets what it had', async () => {
        await readModels.park(parkedStream('deployment-new', nextOnly));
        await readModels.commit([change(samples, [sample('new')], nextOnly)]);
        await readModels.startNext(samples);
        expect(await position('samples', 'next')).toBeNull();
        expect(await readModels.load(samples, 'next', [['new']])).toEqual([null]);
        expect(await readModels.parked()).toEqual([]);
      });

      test('it can have other columns than the live one, and be built again and again', async () => {
        type Renamed = { readonly id: string; readonly origin: string | null };
        const renamed: Table<Renamed> = {
          name: 'samples',
          version: 2,
          columns: { id: { type: 'text' }, origin: { type: 'text', nullable: true } },
          key: ['id'],
          indexes: [['origin']],
        };
        for (const origin of ['first', 'second', 'third']) {
          await readModels.startNext(renamed);
          await readModels.commit([
            change(renamed, [{ id: 'r', origin }], { ...nextOnly, to: 5n }),
          ]);
          await readModels.promoteNext(renamed, 5n);
          expect(await all(renamed)).toEqual([{ id: 'r', origin }]);
        }
        expect(await readModels.checkpoints()).toContainEqual({
          table: 'samples',
          generation: 'live',
          version: 2,
          position: 5n,
        });
      });
    });
  });
}
