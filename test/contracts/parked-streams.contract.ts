import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type {
  Change,
  ParkedDecision,
  ParkedStream,
  ReadModels,
  Table,
} from '../../src/ports/read-models.js';
import type { ReadModelsUnderTest } from './read-models.contract.js';

type Sample = { readonly id: string };
const samples: Table<Sample> = {
  name: 'samples',
  version: 1,
  columns: { id: { type: 'text' } },
  key: ['id'],
  indexes: [],
};
const pairs: Table<Sample> = { ...samples, name: 'pairs' };

function sample(id: string): Sample {
  return { id };
}

function change(table: Table<Sample>, rows: readonly Sample[], more: Partial<Change> = {}): Change {
  return { table, generation: 'live', rows, from: null, to: 1n, ...more };
}

function parkedStream(stream: string, more: Partial<ParkedStream> = {}): ParkedStream {
  return {
    table: 'samples',
    generation: 'live',
    stream,
    revision: 3n,
    position: 2n ** 60n + 1n,
    problem: 'no such event',
    parkedAt: '2026-01-01T00:00:00.000Z',
    decided: null,
    ...more,
  };
}

/** Streams that wait outside, and what people decide about them, in every store of read models. */
export function parkedStreamsContract(
  name: string,
  create: () => Promise<ReadModelsUnderTest>,
): void {
  describe(`parked streams in ${name}`, () => {
    let underTest: ReadModelsUnderTest;
    let readModels: ReadModels;
    beforeEach(async () => {
      underTest = await create();
      ({ readModels } = underTest);
      await readModels.open([samples, pairs]);
    });
    afterEach(async () => {
      await readModels.close();
      await underTest.dispose();
    });
    const all = async (): Promise<Sample[]> => {
      const rows: Sample[] = [];
      for await (const page of readModels.scan(samples)) rows.push(...page);
      return rows;
    };
    const position = async (): Promise<bigint | null | undefined> =>
      (await readModels.checkpoints()).find((at) => at.table === 'samples')?.position;

    test('a parked stream is noted once for each table; the first entry stands', async () => {
      await readModels.park(parkedStream('deployment-a'));
      await readModels.park(parkedStream('deployment-a', { revision: 9n, problem: 'another' }));
      await readModels.park(parkedStream('deployment-a', { table: 'pairs', position: 2n }));
      expect(await readModels.parked()).toHaveLength(2);
      expect(await readModels.parked()).toEqual(
        expect.arrayContaining([
          parkedStream('deployment-a'),
          parkedStream('deployment-a', { table: 'pairs', position: 2n }),
        ]),
      );
    });
    describe('a decision about a parked stream', () => {
      const place = { table: 'samples', stream: 'deployment-a' };
      const skip: ParkedDecision = {
        decision: 'skip',
        by: { kind: 'human', id: 'alice' },
        reason: 'a test of "yesterday"',
        at: '2026-01-02T00:00:00.000Z',
      };
      beforeEach(() => readModels.park(parkedStream('deployment-a')));
      const decided = async () => (await readModels.parked()).map((entry) => entry.decided);

      test('it is noted, changed and taken back', async () => {
        expect(await readModels.decideParked(place, skip)).toBe(true);
        expect(await decided()).toEqual([skip]);
        const retry = { ...skip, decision: 'retry', reason: null } as const;
        expect(await readModels.decideParked(place, retry)).toBe(true);
        expect(await decided()).toEqual([retry]);
        await readModels.undecideParked({ ...place, decided: skip });
        expect(await decided()).toEqual([retry]);
        const [seen] = await readModels.parked();
        await readModels.undecideParked(seen!);
        expect(await decided()).toEqual([null]);
      });

      test('there is none about a stream that is not parked', async () => {
        const elsewhere = { ...place, stream: 'deployment-b' };
        expect(await readModels.decideParked(elsewhere, skip)).toBe(false);
        expect(await readModels.decideParked({ ...place, table: 'pairs' }, skip)).toBe(false);
        expect(await decided()).toEqual([null]);
      });

      test('it stands when the table is built anew and the stream is parked again', async () => {
        await readModels.decideParked(place, skip);
        await readModels.startNext(samples);
        await readModels.park(parkedStream('deployment-a', { generation: 'next' }));
        await readModels.promoteNext(samples, null);
        expect(await decided()).toEqual([skip]);
      });

      test('it is past when the table is built anew and the stream is folded', async () => {
        await readModels.decideParked(place, skip);
        await readModels.startNext(samples);
        await readModels.promoteNext(samples, null);
        await readModels.park(parkedStream('deployment-a'));
        expect(await decided()).toEqual([null]);
      });

      test('folded after all, the stream has its rows and is parked no more', async () => {
        await readModels.commit([change(samples, [sample('b')], { to: 5n })]);
        await readModels.decideParked(place, skip);
        const rows = change(samples, [sample('a')], { from: 5n, to: 5n });
        await readModels.readmit(rows, 'deployment-a');
        expect(await all()).toEqual([sample('a'), sample('b')]);
        expect(await position()).toBe(5n);
        expect(await readModels.parked()).toEqual([]);
        await readModels.park(parkedStream('deployment-a'));
        expect(await decided()).toEqual([null]);
      });

      test('where the checkpoint has moved meanwhile, nothing of it is written', async () => {
        await readModels.decideParked(place, skip);
        const late = readModels.readmit(
          change(samples, [sample('a')], { from: 4n, to: 4n }),
          'deployment-a',
        );
        await expect(late).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
        expect(await all()).toEqual([]);
        expect(await decided()).toEqual([skip]);
      });
    });
  });
}
