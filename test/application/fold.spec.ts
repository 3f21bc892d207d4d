import { describe, expect, test } from '@jest/globals';
import * as fc from 'fast-check';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MemoryEventStore } from '../../src/adapters/memory/event-store.js';
import { MemoryReadModels } from '../../src/adapters/memory/read-models.js';
import { openSqliteReadModels } from '../../src/adapters/sqlite/read-models.js';
import { FoldGroup } from '../../src/application/fold-group.js';
import { StoredTables } from '../../src/application/stored-tables.js';
import type { RecordedEvent } from '../../src/ports/event-store.js';
import type { ReadModels } from '../../src/ports/read-models.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { FakeClock } from '../support/fake-clock.js';
import { logs } from '../support/random-log.js';

/** Where a log is cut into batches, and what becomes of each: kept open, committed, lost with its process. */
const cuts = fc.array(
  fc.record({
    events: fc.integer({ min: 1, max: 9 }),
    then: fc.constantFrom('go on', 'commit', 'die'),
  }),
);
type Cuts = readonly { readonly events: number; readonly then: string }[];

async function groupOn(readModels: ReadModels): Promise<FoldGroup> {
  const stored = await StoredTables.read(readModels);
  const folds = PROJECTIONS.map((each) => stored.fold(each, 'live')!);
  return new FoldGroup(
    { store: new MemoryEventStore(), readModels, clock: new FakeClock() },
    folds,
  );
}

/** All that a log makes of the read models, when it comes in these batches. */
async function tablesOf(
  log: readonly RecordedEvent[],
  batches: Cuts,
  readModels: ReadModels = new MemoryReadModels(),
): Promise<unknown> {
  await readModels.open(PROJECTIONS);
  let group = await groupOn(readModels);
  let from = 0;
  for (const { events, then } of [...batches, { events: log.length, then: 'commit' }]) {
    await group.fold(log.slice(from, from + events));
    from += events;
    if (then === 'commit') await group.commit();
    if (then !== 'die') continue;
    group = await groupOn(readModels);
    from = log.findLastIndex(({ position }) => position <= (group.position ?? 0n)) + 1;
  }
  await group.fold(log);
  await group.commit();
  const tables: Record<string, unknown> = {};
  for (const projection of PROJECTIONS) {
    const rows = [];
    for await (const page of readModels.scan(projection)) rows.push(...page);
    tables[projection.name] = rows;
  }
  const parked = (await readModels.parked()).map(({ table, stream, position }) =>
    [table, stream, String(position)].join(' '),
  );
  return { tables, parked: parked.sort(), checkpoints: await readModels.checkpoints() };
}

describe('the fold of the log', () => {
  test('makes the same tables in whatever batches the log comes', async () => {
    await fc.assert(
      fc.asyncProperty(logs({ commandsMax: 60 }), cuts, async (log, batches) => {
        expect(await tablesOf(log, batches)).toEqual(await tablesOf(log, []));
      }),
      { numRuns: 150 },
    );
  });

  test('… parks the same streams at the same events', async () => {
    await fc.assert(
      fc.asyncProperty(logs({ commandsMax: 60, poison: true }), cuts, async (log, batches) => {
        expect(await tablesOf(log, batches)).toEqual(await tablesOf(log, []));
      }),
      { numRuns: 150 },
    );
  });

  test('… passes over events that come again', async () => {
    await fc.assert(
      fc.asyncProperty(logs({ commandsMax: 40 }), fc.nat(), async (log, back) => {
        const readModels = new MemoryReadModels();
        await tablesOf(log, [], readModels);
        const again = log.slice(log.length === 0 ? 0 : back % log.length);
        expect(await tablesOf([...again, ...log], [], readModels)).toEqual(await tablesOf(log, []));
      }),
      { numRuns: 50 },
    );
  });

  test('… makes the same tables in SQLite as in memory', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'shipslog-'));
    let n = 0;
    await fc.assert(
      fc.asyncProperty(logs({ commandsMax: 60, poison: true }), cuts, async (log, batches) => {
        const sqlite = openSqliteReadModels(join(folder, `${String(n++)}.db`));
        const found = await tablesOf(log, batches, sqlite);
        await sqlite.close();
        expect(sorted(found)).toEqual(sorted(await tablesOf(log, [])));
      }),
      { numRuns: 15 },
    );
    await rm(folder, { recursive: true });
  });
});

/** The order of checkpoints is the store's own. */
function sorted(tables: unknown): unknown {
  const { checkpoints, ...others } = tables as { checkpoints: { table: string }[] };
  return { ...others, checkpoints: checkpoints.toSorted((a, b) => a.table.localeCompare(b.table)) };
}
