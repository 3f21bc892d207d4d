import { beforeEach, describe, expect, test } from '@jest/globals';
import { MemoryEventStore } from '../../src/adapters/memory/event-store.js';
import type { PatienceOptions } from '../../src/application/bulk-append.js';
import { exportLog, importLog, type ImportOutcome } from '../../src/application/transfer.js';
import { Story } from '../support/events.js';
import { FakeClock } from '../support/fake-clock.js';
import { FlakyStore } from '../support/flaky-store.js';
import { eventsOf } from '../support/stored-events.js';

const FOR_MS = 60_000;

describe('an import into a log that others share', () => {
  let clock: FakeClock;
  let store: FlakyStore;
  let lines: readonly string[];
  let outages: Parameters<NonNullable<PatienceOptions['onOutage']>>[0][];
  beforeEach(async () => {
    clock = new FakeClock();
    store = new FlakyStore();
    outages = [];
    const log = new MemoryEventStore();
    for (const id of ['d1', 'd2', 'd3']) {
      await new Story(id).created().opened('a1').started().ended('succeeded').saveTo(log);
    }
    const written: string[] = [];
    await exportLog({ store: log, write: async (text) => void written.push(text) });
    lines = written.join('').trimEnd().split('\n');
  });

  async function* inOrder(): AsyncGenerator<string> {
    yield* lines;
  }
  /** Imports, while time passes as long as it waits. */
  const imported = async (into: FlakyStore = store): Promise<ImportOutcome> => {
    const patience = {
      ...{ clock, random: () => 0, forMs: FOR_MS },
      onOutage: (outage: (typeof outages)[number]) => void outages.push(outage),
    };
    let isOver = false;
    const hasEnded = (): boolean => isOver;
    const importing = importLog({ store: into, lines: inOrder, patience }).finally(() => {
      isOver = true;
    });
    importing.catch(() => undefined);
    while (!hasEnded()) await clock.advance(100);
    return importing;
  };

  test('goes on by itself after an outage, tells of it once, and adds nothing twice', async () => {
    store.next('written, then unknown', ...Array.from({ length: 9 }, () => 'unavailable' as const));
    const outcome = await imported();
    expect(outcome).toMatchObject({ ok: true, present: 0, file: { events: lines.length } });
    expect(await eventsOf(store.readAll())).toHaveLength(lines.length);
    expect(outages[0]).toEqual({ problem: expect.stringContaining('cannot be reached') });
    expect(outages[1]).toEqual({ overAfterMs: expect.any(Number) });
    expect(clock.waiting).toBe(0);
  });

  test('gives up when its patience is over, and says that a repeat is safe, which it is', async () => {
    store.next(
      'written, then unknown',
      ...Array.from({ length: 9_999 }, () => 'unavailable' as const),
    );
    await expect(imported()).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(
        /What is written stays: run it again .*; nothing is added twice$/,
      ),
    });
    const waitedMs = clock.monotonicMs();
    expect(waitedMs).toBeGreaterThanOrEqual(FOR_MS);
    expect(waitedMs).toBeLessThan(FOR_MS + 10_000);
    expect(outages).toHaveLength(1);
    store.recover();
    const present = (await eventsOf(store.readAll())).length;
    expect(present).toBeGreaterThan(0);
    expect(await imported()).toMatchObject({ ok: true, present });
    expect(await eventsOf(store.readAll())).toHaveLength(lines.length);
  });

  test('does not wait for a log of its own, which no network hides', async () => {
    const own = new FlakyStore({ exclusive: true });
    own.next('unavailable');
    await expect(imported(own)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(outages).toEqual([]);
  });
});
