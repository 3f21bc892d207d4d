import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { Projector } from '../../src/application/projector.js';
import { Fault } from '../../src/ports/faults.js';
import { FakeClock, until } from '../support/fake-clock.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { Projecting } from '../support/projecting.js';
import { Story } from '../support/events.js';

/** Longer than a claim holds without being renewed. */
const PAST_MS = 6_000;

describe('one process folds, others stand by', () => {
  let here: Projecting;
  let first: Projector;
  let second: Projector;

  beforeEach(async () => {
    here = await Projecting.begin();
    await new Story('d1').created().saveTo(here.store);
    first = await here.started({ owner: 'first' });
    second = await here.started({ owner: 'second', readModels: here.beside() });
  });
  afterEach(async () => {
    expect(await here.end()).toBe(0);
  });

  const ownerOf = async (projector: Projector): Promise<unknown> =>
    (await projector.status())[0]?.owner;
  const save = async (id: string): Promise<bigint> =>
    (await new Story(id).created().saveTo(here.store)).position;
  const passUntil = async (holds: () => boolean): Promise<void> => {
    for (let n = 0; !holds() && n < 1000; n++) await here.clock.advance(10);
    expect(holds()).toBe(true);
  };

  test('who came first folds; both tell who it is, and how often others asked', async () => {
    expect([first.isOwner, second.isOwner]).toEqual([true, false]);
    await here.clock.advance(3000);
    const told = { name: 'first', denials: expect.any(Number) };
    expect(await ownerOf(first)).toMatchObject({ ...told, isThisProcess: true });
    expect(await ownerOf(second)).toMatchObject({ ...told, isThisProcess: false });
    expect((await second.status())[0]).toMatchObject({ status: 'live', lagEvents: 0, parked: 0 });
    const { denials } = (await ownerOf(second)) as { denials: number };
    expect(denials).toBeGreaterThan(1);
  });

  test('a read at the one that stands by sees what the other has folded', async () => {
    const position = await save('d2');
    let visible = false;
    void second.waitFor(position, 5000).then(() => (visible = true));
    await passUntil(() => visible);
    expect(second.position).toBe(position);
    expect(await here.states()).toEqual({ d1: 'pending', d2: 'pending' });
  });

  test('a position that nobody shows in time is told as not visible yet', async () => {
    const waiting = second.waitFor(10n ** 9n, 100);
    void here.clock.advance(200);
    await expect(waiting).rejects.toMatchObject({ code: 'NOT_YET_VISIBLE' });
  });

  test('when the one that folds stops, the other goes on at its next look', async () => {
    await first.stop();
    const position = await save('d2');
    await passUntil(() => second.position === position);
    expect(second.isOwner).toBe(true);
    expect(await here.differences()).toBe(0);
  });

  test('one that is silent is overtaken, and what it writes later is refused', async () => {
    await first.stop();
    await passUntil(() => second.isOwner);
    const frozen = new FakeClock();
    await second.stop();
    const third = here.projector({ owner: 'third', readModels: here.beside(), clock: frozen });
    await third.start();
    expect(third.isOwner).toBe(true);
    const fourth = here.projector({ owner: 'fourth', readModels: here.beside() });
    await fourth.start();
    expect(fourth.isOwner).toBe(false);
    await here.clock.advance(PAST_MS);
    await passUntil(() => fourth.isOwner);
    const position = await save('d2');
    await passUntil(() => fourth.position === position && !third.isOwner);
    expect(await ownerOf(fourth)).toMatchObject({ name: 'fourth' });
    expect(await here.differences()).toBe(0);
    expect(here.troubles).toEqual([]);
  });

  test('one that can not go on with the tables leaves them to another', async () => {
    await first.stop();
    await second.stop();
    const newer = PROJECTIONS.map((each) => ({ ...each, version: each.version + 1 }));
    const third = await here.started({ projections: newer, readModels: here.beside() });
    const older = here.projector({ owner: 'older', readModels: here.beside() });
    await older.start();
    await third.stop();
    await passUntil(() => here.troubles.length > 0);
    const again = here.projector({ projections: newer, readModels: here.beside() });
    await again.start();
    await passUntil(() => again.isOwner);
    const position = await save('d2');
    await passUntil(() => again.position === position);
    expect((await older.status())[0]).toMatchObject({ status: 'degraded' });
  });

  test('one that can not reach the log leaves the tables to one that can', async () => {
    await first.stop();
    await second.stop();
    let isCut = false;
    const store = here.storeWith({
      head: () => (isCut ? Promise.reject(new Fault('STORE_UNAVAILABLE')) : here.store.head()),
      subscribe: (range) => {
        if (isCut) throw new Fault('STORE_UNAVAILABLE');
        return here.store.subscribe(range);
      },
      readAll: (range) => {
        if (isCut) throw new Fault('STORE_UNAVAILABLE');
        return here.store.readAll(range);
      },
    });
    isCut = true;
    const third = here.projector({ owner: 'third', store, readModels: here.beside() });
    await third.start();
    expect(third.isOwner).toBe(true);
    const fourth = here.projector({ owner: 'fourth', readModels: here.beside() });
    await fourth.start();
    await passUntil(() => fourth.isOwner);
    const position = await save('d2');
    await passUntil(() => fourth.position === position);
    isCut = false;
  });

  test('a rebuild that is asked for at one that stands by is done by the one that folds', async () => {
    expect(await second.askRebuild('deployments')).toBe(true);
    expect(await second.askRebuild('deployments')).toBe(true);
    expect((await second.status())[0]?.status).toBe('rebuilding');
    // The owner finds it when it next renews its claim, and builds at a pace of real time.
    await here.clock.advance(2000);
    const generations = async (): Promise<readonly string[]> =>
      (await here.readModels.checkpoints()).map(({ generation }) => generation);
    await until(async () => !(await generations()).includes('next'));
    expect(await generations()).toEqual(PROJECTIONS.map(() => 'live'));
    expect(await second.askRebuild('nothing')).toBe(false);
    expect(await here.differences()).toBe(0);
  });

  test('one that may not fold only looks on, also when nobody folds', async () => {
    const onlooker = await here.started({ readModels: here.beside(), folds: false });
    await first.stop();
    await second.stop();
    const position = await save('d2');
    const waiting = onlooker.waitFor(position, 3000);
    void here.clock.advance(PAST_MS);
    await expect(waiting).rejects.toMatchObject({ code: 'NOT_YET_VISIBLE' });
    expect(onlooker.isOwner).toBe(false);
    expect(await ownerOf(onlooker)).toBeNull();
    expect((await onlooker.status())[0]).toMatchObject({
      status: 'degraded',
      lastError: expect.stringContaining('nobody folds'),
    });
  });

  test('one that looks on tells when the one that folded is gone without a word', async () => {
    await first.stop();
    await second.stop();
    const onlooker = await here.started({ readModels: here.beside(), folds: false });
    const frozen = await here.started({ readModels: here.beside(), clock: new FakeClock() });
    expect(frozen.isOwner).toBe(true);
    expect((await onlooker.status())[0]).toMatchObject({ status: 'live', lastError: null });
    await here.clock.advance(PAST_MS);
    expect((await onlooker.status())[0]).toMatchObject({ status: 'degraded' });
  });
});
