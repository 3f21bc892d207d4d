import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it as prop } from '@fast-check/jest';
import { describe, expect } from '@jest/globals';
import * as fc from 'fast-check';
import { MemoryReadModels } from '../../src/adapters/memory/read-models.js';
import { openSqliteReadModels } from '../../src/adapters/sqlite/read-models.js';
import { changesIn, countThen, deploymentsThen, type Moment } from '../../src/application/fleet.js';
import { readEvent } from '../../src/application/fold.js';
import type { RecordedEvent } from '../../src/ports/event-store.js';
import type { ReadModels } from '../../src/ports/read-models.js';
import { transitions, type TransitionRow } from '../../src/projections/transitions.js';
import { instantAt, lateLogs } from '../support/random-log.js';

function transitionsOf(log: readonly RecordedEvent[]): readonly TransitionRow[] {
  return log.flatMap((record) => {
    const parsed = readEvent(record)?.parsed;
    if (parsed?.ok !== true || transitions.keyOf(parsed.event) === null) return [];
    return [transitions.evolve(null, parsed.event)];
  });
}

/** The last transition of each deployment at a moment, by folding all of them. */
function foldedTo(
  rows: readonly TransitionRow[],
  { at, asOf }: Moment,
): ReadonlyMap<string, TransitionRow> {
  const last = new Map<string, TransitionRow>();
  for (const row of rows) {
    if (at !== undefined && row.occurredAt > at) continue;
    if (asOf !== undefined && row.recordedAt > asOf) continue;
    last.set(row.deploymentId, row);
  }
  return last;
}

const newestFirst = (rows: Iterable<TransitionRow>): readonly TransitionRow[] =>
  [...rows].sort((a, b) => (a.position > b.position ? -1 : 1));

const aTime = fc.option(
  fc.integer({ min: -8, max: 40 }).map((minute) => instantAt(minute)),
  { nil: undefined },
);
const aHistory = lateLogs({ commandsMax: 40 }).map(transitionsOf);

const STORES: Readonly<Record<string, (folder: string) => ReadModels>> = {
  memory: () => new MemoryReadModels(),
  'a SQLite file': (folder) => openSqliteReadModels(join(folder, 'read-models.db')),
};

describe.each(Object.entries(STORES))('the fleet at a time, in %s', (_, open) => {
  const withRows = async (
    rows: readonly TransitionRow[],
    ask: (readModels: ReadModels) => Promise<void>,
  ): Promise<void> => {
    const folder = await mkdtemp(join(tmpdir(), 'shipslog-fleet-'));
    const readModels = open(folder);
    try {
      await readModels.open([transitions]);
      await readModels.commit([
        { table: transitions, generation: 'live', rows, from: null, to: 10_000n },
      ]);
      await ask(readModels);
    } finally {
      await readModels.close();
      await rm(folder, { recursive: true });
    }
  };
  const momentOf = (at?: string, asOf?: string): Moment => ({
    ...(at !== undefined && { at }),
    ...(asOf !== undefined && { asOf }),
  });

  prop.prop([aHistory, aTime, aTime], { numRuns: 60 })(
    'is the fold of what had happened by then, of what was recorded by then',
    async (rows, at, asOf) => {
      const moment = momentOf(at, asOf);
      const expected = newestFirst(foldedTo(rows, moment).values());
      await withRows(rows, async (readModels) => {
        const all = await deploymentsThen(readModels, { ...moment, limit: 100 });
        expect(
          all.map(({ deploymentId, state, since, position }) => [
            deploymentId,
            state,
            since,
            position,
          ]),
        ).toEqual(expected.map((row) => [row.deploymentId, row.to, row.occurredAt, row.position]));
        const counts = await countThen(readModels, moment);
        for (const state of ['pending', 'deploying', 'ready', 'failed', 'unknown'] as const) {
          const then = expected.filter((row) => row.to === state);
          expect(counts.get(state) ?? 0).toBe(then.length);
          const listed = await deploymentsThen(readModels, { ...moment, state, limit: 100 });
          expect(listed.map(({ position }) => position)).toEqual(
            then.map(({ position }) => position),
          );
        }
        for (const [n, { position }] of all.entries()) {
          const rest = await deploymentsThen(readModels, {
            ...moment,
            limit: 100,
            before: position,
          });
          expect(rest).toEqual(all.slice(n + 1));
        }
      });
    },
    60_000,
  );

  prop.prop([aHistory, fc.tuple(aTime, aTime, aTime)], { numRuns: 60 })(
    'changed where its last transition by the one time is not that by the other',
    async (rows, [from = instantAt(5), to, asOf]) => {
      const before = foldedTo(rows, momentOf(from, asOf));
      const expected = newestFirst(foldedTo(rows, momentOf(to, asOf)).values()).filter(
        (row) => before.get(row.deploymentId) !== row,
      );
      const isBackwards = to !== undefined && to < from;
      await withRows(rows, async (readModels) => {
        const span = {
          from,
          ...(to !== undefined && { to }),
          ...(asOf !== undefined && { asOf }),
        };
        expect(await changesIn(readModels, { ...span, limit: 100 })).toEqual(
          isBackwards
            ? []
            : expected.map((last) => ({
                deploymentId: last.deploymentId,
                before: before.get(last.deploymentId)?.to ?? null,
                after: last.to,
                last,
              })),
        );
      });
    },
    60_000,
  );
});
