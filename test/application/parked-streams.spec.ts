import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { MemoryAuditJournal } from '../../src/adapters/memory/audit-journal.js';
import { ParkedStreams, RetryParked, SkipParked } from '../../src/application/parked-streams.js';
import type { Projector } from '../../src/application/projector.js';
import type { Row } from '../../src/ports/read-models.js';
import type { Projection } from '../../src/projections/projection.js';
import { Story } from '../support/events.js';
import { FakeClock } from '../support/fake-clock.js';
import { Projecting } from '../support/projecting.js';

const ALICE = { kind: 'human', id: 'alice' } as const;

describe('a parked stream', () => {
  let here: Projecting;
  let projector: Projector;
  let parked: ParkedStreams;
  let journal: MemoryAuditJournal;
  let isMended: boolean;
  let story: Story;

  type Starts = { readonly id: string; readonly events: number };
  /** Counts events, and cannot take the start of an attempt until it is mended. */
  const starts: Projection<Starts> = {
    name: 'starts',
    version: 1,
    columns: { id: { type: 'text' }, events: { type: 'integer' } },
    key: ['id'],
    indexes: [],
    keyOf: ({ deploymentId }) => [deploymentId],
    evolve: (row, event) => {
      if (event.type === 'attempt_start' && !isMended) throw new Error('cannot take a start');
      return { id: event.deploymentId, events: (row?.events ?? 0) + 1 };
    },
  };

  beforeEach(async () => {
    isMended = false;
    here = await Projecting.begin();
    story = new Story('d1').created().opened('a1').started();
    await story.saveTo(here.store);
    await new Story('d2').created().saveTo(here.store);
    projector = await here.started({ projections: [starts] });
    journal = new MemoryAuditJournal();
    const { readModels, clock } = here;
    parked = new ParkedStreams({
      readModels,
      journal,
      clock,
      act: () => projector.doWhatIsAsked(),
    });
  });
  afterEach(async () => {
    expect(await here.end()).toBe(0);
  });

  const rows = (): Promise<Row[]> => here.rows(starts);
  const decide = (decision: SkipParked | RetryParked, deploymentId = 'd1') =>
    parked.decide({ projection: 'starts', deploymentId, decision, actor: ALICE, commandId: 'k' });
  const skip = (reason: string) => Object.assign(new SkipParked(), { reason });
  const status = async () => (await projector.status())[0];

  test('is told with its bad event and why', async () => {
    expect(await parked.list('starts')).toMatchObject([
      { deploymentId: 'd1', problem: 'cannot take a start', state: 'waiting', reason: null },
    ]);
    expect(await parked.list('deployments')).toEqual([]);
    expect(await status()).toMatchObject({ parked: 1, skipped: 0, status: 'degraded' });
  });

  test('tried again once it is mended, it has all its rows, and follows the log again', async () => {
    await new Story('d3').created().saveTo(here.store);
    isMended = true;
    expect(await decide(new RetryParked())).toMatchObject({ deploymentId: 'd1', state: 'folded' });
    expect(await rows()).toContainEqual({ id: 'd1', events: 5 });
    expect(await status()).toMatchObject({ parked: 0, status: 'live' });
    const { position } = await new Story('d4').created().saveTo(here.store);
    await projector.waitFor(position, 1000);
    expect(await rows()).toHaveLength(4);
    expect(here.troubles).toEqual([]);
  });

  test('asked for twice at the same time, it is folded once', async () => {
    isMended = true;
    const place = { table: 'starts', stream: 'deployment-d1' };
    const at = here.clock.now();
    await here.readModels.decideParked(place, { decision: 'retry', by: ALICE, reason: null, at });
    await Promise.all([projector.doWhatIsAsked(), projector.doWhatIsAsked()]);
    expect(await rows()).toContainEqual({ id: 'd1', events: 5 });
  });

  test('folded by another while the one that folds was frozen, it is followed by both', async () => {
    await projector.stop();
    const frozen = new FakeClock();
    const options = { projections: [starts], readModels: here.beside() };
    const first = await here.started({ ...options, clock: frozen });
    await here.clock.advance(6_000);
    projector = await here.started({ ...options, readModels: here.beside() });
    isMended = true;
    expect(await decide(new RetryParked())).toMatchObject({ state: 'folded' });
    await projector.stop();
    await frozen.advance(1_500);
    expect(first.isOwner).toBe(true);
    const { position } = await story.ended('succeeded').saveTo(here.store);
    await first.waitFor(position, 1_000);
    expect(await rows()).toContainEqual({ id: 'd1', events: 7 });
  });

  test('tried again in vain, it waits as before', async () => {
    expect(await decide(new RetryParked())).toMatchObject({ state: 'waiting', decidedBy: null });
    expect(await rows()).toContainEqual({ id: 'd1', events: 3 });
    expect(await status()).toMatchObject({ parked: 1, status: 'degraded' });
  });

  test('left out while it is tried in vain, it stays left out', async () => {
    await projector.stop();
    const deciding: Promise<unknown>[] = [];
    const store = here.storeWith({
      read: (stream, range) => {
        deciding.push(decide(skip('meanwhile')));
        return here.store.read(stream, range);
      },
    });
    projector = await here.started({ projections: [starts], store });
    await decide(new RetryParked());
    await Promise.all(deciding);
    expect(await parked.list('starts')).toMatchObject([{ state: 'skipped', reason: 'meanwhile' }]);
  });

  test('left out with a reason, it harms no health, also after a rebuild', async () => {
    expect(await decide(skip('a test of last year'))).toMatchObject({
      state: 'skipped',
      reason: 'a test of last year',
      decidedBy: ALICE,
      decidedAt: here.clock.now(),
    });
    expect(await status()).toMatchObject({ parked: 0, skipped: 1, status: 'live' });
    await projector.rebuild('starts')?.finished;
    await projector.doWhatIsAsked();
    expect(await status()).toMatchObject({ parked: 0, skipped: 1, status: 'live' });
    isMended = true;
    await projector.rebuild('starts')?.finished;
    await projector.doWhatIsAsked();
    expect(await status()).toMatchObject({ parked: 0, skipped: 0, status: 'live' });
    expect(await rows()).toContainEqual({ id: 'd1', events: 5 });
  });

  test('every decision is in the audit journal', async () => {
    await decide(skip('a test'));
    await decide(new RetryParked());
    expect(await journal.list()).toMatchObject([
      { command: 'RetryParked', code: 'STREAM_RETRIED', actor: ALICE, commandId: 'k' },
      {
        deploymentId: 'd1',
        command: 'SkipParked',
        code: 'STREAM_SKIPPED',
        detail: 'starts, from revision 3 on: a test',
      },
    ]);
  });

  test('there is no decision about one that is not parked, nor without a reason', async () => {
    expect(await decide(new RetryParked(), 'd2')).toBeNull();
    await expect(decide(new SkipParked())).rejects.toMatchObject({ code: 'INVALID_BODY' });
    expect(await journal.list()).toEqual([]);
  });

  test('decided at a process that stands by, it is tried by the one that folds', async () => {
    const readModels = here.beside();
    const other = await here.started({ projections: [starts], readModels });
    const there = new ParkedStreams({
      readModels,
      journal,
      clock: here.clock,
      act: () => other.doWhatIsAsked(),
    });
    isMended = true;
    const decision = new RetryParked();
    const asked = { projection: 'starts', deploymentId: 'd1', decision, actor: ALICE };
    expect(await there.decide({ ...asked, commandId: 'k' })).toMatchObject({ state: 'retrying' });
    await here.clock.advance(1500);
    expect(await there.list('starts')).toEqual([]);
    expect(await rows()).toContainEqual({ id: 'd1', events: 5 });
  });
});
