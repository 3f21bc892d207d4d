import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { BackfillReport, RowReport } from '../../src/application/backfill-report.js';
import { backfill, type Source, type SourceRow } from '../../src/application/backfill.js';
import { EXAMPLE_MAP, parseLegacyMap, type LegacyMap } from '../../src/application/legacy-map.js';
import {
  APPEND_EVENTS_MAX,
  type EventStore,
  type RecordedEvent,
} from '../../src/ports/event-store.js';
import { CIRCUMSTANCES } from '../support/commands.js';
import { newEvent, Story } from '../support/events.js';
import { newLog } from '../support/log-under-test.js';
import { FlakyStore } from '../support/flaky-store.js';
import { eventsOf } from '../support/stored-events.js';

const NOW = '2026-01-01T00:00:00.000Z';
const { kindOf, defaults } = CIRCUMSTANCES;

type Row = Readonly<Record<string, string>>;
/** A deployment of the example map. */
const deployment = (id: string, more: Row = {}): Row => ({
  ...{ id, name: `The ${id}`, created_at: '2024-01-01 00:00:00' },
  ...more,
});
/** An attempt of the example map that took ten minutes of the given hour of the year. */
const attempt = ([id, of]: readonly [string, string], more: Row = {}, hour = 1): Row => {
  const at = (minute: number): string => new Date(Date.UTC(2024, 0, 1, hour, minute)).toISOString();
  return {
    ...{ id, deployment_id: of, kind: 'install', status: 'pending', exit_code: '0' },
    ...{ created_at: at(0), started_at: at(1), finished_at: at(11) },
    ...more,
  };
};

function source(file: 'deployments' | 'attempts', rows: readonly Row[]): Source {
  const all = rows.map((row, n): SourceRow => ({
    line: n + 2,
    cells: (name) => row[name] ?? null,
  }));
  return { file, table: file, rows: () => each(all) };
}

async function* each<T>(items: readonly T[]): AsyncGenerator<T> {
  yield* items;
  await Promise.resolve();
}

function exampleMap(): LegacyMap {
  const parsed = parseLegacyMap(EXAMPLE_MAP);
  if (!parsed.ok) throw new Error('the example map is wrong');
  return parsed.map;
}

interface Dump {
  readonly deployments: readonly Row[];
  readonly attempts: readonly Row[];
}
interface Brought extends BackfillReport {
  /** What became of each row, as `file:line verdict why`. */
  readonly told: readonly string[];
  readonly details: ReadonlyMap<string, string>;
}

/** Brings a dump in; writes it unless told otherwise. */
async function bring(
  { deployments, attempts }: Dump,
  store: EventStore | null,
  { apply = true, parts = 1 } = {},
): Promise<Brought> {
  const rows: RowReport[] = [];
  const report = await backfill({
    ...{ map: exampleMap(), store, apply, parts },
    sources: [source('deployments', deployments), source('attempts', attempts)],
    context: { now: NOW, kindOf, defaults, operator: { id: 'alice', kind: 'human' } },
    onRows: async (some) => {
      rows.push(...some);
      await Promise.resolve();
    },
  });
  const place = ({ file, line }: RowReport): string => `${file}:${line}`;
  return {
    ...report,
    told: rows
      .map((row) => `${place(row)} ${row.verdict}${row.why === null ? '' : ` ${row.why}`}`)
      .sort(),
    details: new Map(rows.map((row) => [place(row), row.detail])),
  };
}

const SOUND: Dump = {
  deployments: ['a', 'b', 'c', 'd', 'e'].map((id) => deployment(id)),
  attempts: [
    ...[attempt(['1', 'a']), attempt(['2', 'b'], { exit_code: '1' }), attempt(['3', 'c'])],
    ...[attempt(['4', 'a'], {}, 5), attempt(['5', 'd'], { finished_at: '', exit_code: '' })],
  ],
};

/** After each look at `a`, somebody else creates it. */
class RacingStore extends FlakyStore {
  override async *read(
    ...[stream, range]: Parameters<FlakyStore['read']>
  ): AsyncGenerator<readonly RecordedEvent[]> {
    yield* super.read(stream, range);
    if (stream === 'deployment-a') await new Story('a').created().saveTo(this);
  }
}

let store: EventStore;
let dispose: () => Promise<void>;
beforeEach(async () => {
  ({ store, dispose } = await newLog());
});
afterEach(() => dispose());

const idsIn = async (log: EventStore, id: string): Promise<readonly string[]> =>
  (await eventsOf(log.read(`deployment-${id}`))).map((event) => event.id);

describe('a backfill', () => {
  it('writes nothing unless told so, and then what it told', async () => {
    const plan = await bring(SOUND, store, { apply: false });
    expect(await store.head()).toBeNull();
    expect(plan.events).toEqual({ added: 5 * 2 + 4 * 5 + 6, present: 0 });
    expect(plan.byState).toEqual({ ready: 2, failed: 1, unknown: 1, pending: 1 });
    expect(await bring(SOUND, null, { apply: false })).toEqual(plan);
    expect(await bring(SOUND, store)).toEqual(plan);
    expect(await idsIn(store, 'a')).toHaveLength(2 + 5 + 6);
  });

  it('adds nothing the second time, whatever the order of the rows', async () => {
    const first = await bring(SOUND, store);
    const head = await store.head();
    const turned = {
      deployments: SOUND.deployments.toReversed(),
      attempts: SOUND.attempts.toReversed(),
    };
    const second = await bring(turned, store);
    expect(second.events).toEqual({ added: 0, present: first.events.added });
    expect(second.deployments).toEqual({ added: 0, present: 5, refused: 0 });
    expect(await store.head()).toEqual(head);
  });

  it('is the same in parts as in one', async () => {
    const mixed: Dump = {
      deployments: [...SOUND.deployments, deployment('no id'), deployment('a', { name: 'other' })],
      attempts: [...SOUND.attempts, attempt(['9', 'gone']), { id: '10' }],
    };
    const one = await bring(mixed, null, { apply: false });
    const many = await bring(mixed, null, { apply: false, parts: 7 });
    expect(many.told).toEqual(one.told);
    expect({ ...many, sample: [], reasons: [] }).toEqual({ ...one, sample: [], reasons: [] });
    expect(one.told).toHaveLength(14);
  });

  it('adds what a newer dump has, and refuses what it says otherwise', async () => {
    await bring(SOUND, store);
    const newer = {
      deployments: SOUND.deployments,
      attempts: [
        ...SOUND.attempts.slice(0, 4),
        attempt(['5', 'd']), // it had no end
        attempt(['6', 'b'], {}, 9),
      ],
    };
    const { deployments, told, details } = await bring(newer, store);
    expect(deployments).toEqual({ added: 1, present: 3, refused: 1 });
    expect(told.filter((row) => row.includes('refused'))).toEqual([
      'attempts:6 refused in_log',
      'deployments:5 refused in_log',
    ]);
    expect(details.get('attempts:6')).toMatch(/something else at revision \d+ of d$/);
  });

  it('leaves what goes on after it as it is, and refuses what began otherwise', async () => {
    await bring(SOUND, store);
    const updated = newEvent('deployment_updated', { environment: 'test' });
    await store.append('deployment-c', BigInt((await idsIn(store, 'c')).length - 1), [updated]);
    await new Story('x').created().saveTo(store);
    const more = { ...SOUND, deployments: [...SOUND.deployments, deployment('x')] };
    const { deployments, told } = await bring(more, store);
    expect(deployments).toEqual({ added: 0, present: 5, refused: 1 });
    expect(told).toContain('deployments:7 refused in_log');
  });

  it('writes a deployment whole or not at all, and takes the mended rows later', async () => {
    const wrong = {
      deployments: SOUND.deployments,
      attempts: [...SOUND.attempts, attempt(['6', 'a'], { exit_code: 'x' }, 9)],
    };
    const { rows, told, details } = await bring(wrong, store);
    expect(rows).toMatchObject({ total: 11, derived: 6, unknown: 1, refused: 4 });
    expect(told.filter((row) => row.includes('refused'))).toEqual([
      'attempts:2 refused held_back',
      'attempts:5 refused held_back',
      'attempts:7 refused unreadable',
      'deployments:2 refused held_back',
    ]);
    expect(details.get('attempts:2')).toMatch(/^attempts:7 was refused/);
    expect(await idsIn(store, 'a')).toEqual([]);
    const mended = [...SOUND.attempts, attempt(['6', 'a'], {}, 9)];
    const later = await bring({ deployments: SOUND.deployments, attempts: mended }, store);
    expect(later.deployments).toEqual({ added: 1, present: 4, refused: 0 });
  });

  it('counts a row that says the same again once more, and refuses two that do not, by both lines', async () => {
    const { rows, told, details } = await bring(
      {
        deployments: [deployment('a'), deployment('b'), deployment('a'), deployment('c')],
        attempts: [
          ...[attempt(['1', 'a']), attempt(['1', 'a']), attempt(['1', 'b'])],
          ...[attempt(['1', 'c']), attempt(['1', 'c'], { exit_code: '1' })],
        ],
      },
      store,
    );
    expect(rows).toEqual({ total: 9, derived: 6, unknown: 0, refused: 3, repeated: 2 });
    expect(told.filter((row) => row.includes('refused'))).toEqual([
      'attempts:5 refused duplicate',
      'attempts:6 refused duplicate',
      'deployments:5 refused held_back',
    ]);
    expect(details.get('attempts:5')).toMatch(/^attempts:6 says/);
    expect(details.get('attempts:6')).toMatch(/^attempts:5 says/);
    expect(await idsIn(store, 'a')).toHaveLength(2 + 5);
  });

  it('goes on where it was cut off, within a long history, too', async () => {
    const attempts = Array.from({ length: 80 }, (_, n) => attempt([String(n), 'long'], {}, n + 1));
    const dump = { deployments: [deployment('long'), deployment('short')], attempts };
    const whole = new FlakyStore({ exclusive: true });
    await bring(dump, whole);
    const ids = await idsIn(whole, 'long');
    expect(ids.length).toBeGreaterThan(4 * APPEND_EVENTS_MAX);

    const flaky = new FlakyStore();
    flaky.next('slow', 'slow', 'unavailable');
    await expect(bring(dump, flaky)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    const { events } = await bring(dump, flaky);
    expect(events.present).toBeGreaterThan(0);
    expect(events.present + events.added).toBe(ids.length + 2);
    expect(await idsIn(flaky, 'long')).toEqual(ids);
  });

  it('asks again what the store did not say', async () => {
    const flaky = new FlakyStore();
    flaky.next('written, then unknown', 'not written, then unknown', 'slow', 'written later');
    expect(await bring(SOUND, flaky)).toEqual(await bring(SOUND, store));
    expect(await idsIn(flaky, 'a')).toEqual(await idsIn(store, 'a'));
  });

  it('says so when somebody else writes at the same time', async () => {
    const racing = new RacingStore();
    await new Story('first').created().saveTo(racing);
    await expect(bring(SOUND, racing)).rejects.toMatchObject({
      ...{ code: 'REVISION_CONFLICT', message: expect.stringContaining('run it again') },
    });
  });
});
