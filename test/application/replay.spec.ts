import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import { replayLog, stateAt } from '../../src/application/replay.js';
import type { DeploymentId } from '../../src/domain/event-schema.js';
import type { EventStore } from '../../src/ports/event-store.js';
import { idOf, newEvent, Story } from '../support/events.js';
import { FakeClock } from '../support/fake-clock.js';
import { newLog } from '../support/log-under-test.js';
import { eventsOf } from '../support/stored-events.js';

const d1 = idOf<DeploymentId>('d1');
const atSecond = (second: number): string =>
  new Date(Date.UTC(2026, 0, 1, 0, 0, second)).toISOString();

let store: EventStore;
let dispose: () => Promise<void>;
beforeEach(async () => {
  ({ store, dispose } = await newLog());
});
afterEach(() => dispose());

describe('a deployment as it was', () => {
  const story = (): Story => new Story('d1').created().opened('a1').started().ended('succeeded');

  test('at a revision it is the fold up to exactly that event', async () => {
    await story().saveTo(store);
    const seen: unknown[] = [];
    for (const revision of [0n, 1n, 2n, 3n, 4n, 5n, 6n]) {
      const at = await stateAt({ store, deploymentId: d1, revision });
      seen.push(at.found && [at.revision, at.position, at.deployment.state]);
    }
    const recorded = await eventsOf(store.read('deployment-d1'));
    const states = ['pending', 'pending', 'pending', 'pending', 'deploying', 'deploying', 'ready'];
    expect(seen).toEqual(
      recorded.map(({ revision, position }, n) => [revision, position, states[n]]),
    );
    expect(seen).toHaveLength(states.length);
  });

  test('beyond the last revision there is nothing, and the last one is told', async () => {
    await story().saveTo(store);
    const at = await stateAt({ store, deploymentId: d1, revision: 7n });
    expect(at).toEqual({ found: false, head: 6n });
  });

  test('at a time it is the fold of all that was recorded by then', async () => {
    await story().saveTo(store);
    const stateBy = async (second: number): Promise<string | null> => {
      const at = await stateAt({ store, deploymentId: d1, at: atSecond(second) });
      return at.found ? at.deployment.state : null;
    };
    expect(await Promise.all([0, 1, 2, 3, 4, 9].map(stateBy))).toEqual([
      null,
      'pending',
      'pending',
      'deploying',
      'ready',
      'ready',
    ]);
  });

  test('where a clock was set back, the order of the stream counts', async () => {
    const stamped = (second: number) => ({ recordedAt: atSecond(second) });
    await store.append('deployment-d1', 'no_stream', [
      newEvent('deployment_created', { name: 'first' }, stamped(10)),
      newEvent('deployment_updated', { name: 'second' }, stamped(5)),
      newEvent('deployment_updated', { name: 'third' }, stamped(12)),
    ]);
    const nameBy = async (second: number): Promise<string | null> => {
      const at = await stateAt({ store, deploymentId: d1, at: atSecond(second) });
      return at.found ? at.deployment.name : null;
    };
    expect(await Promise.all([4, 5, 9, 11, 12].map(nameBy))).toEqual([
      null,
      'second',
      'second',
      'second',
      'third',
    ]);
  });

  test('of a deployment that was never recorded there is nothing', async () => {
    expect(await stateAt({ store, deploymentId: d1 })).toEqual({ found: false, head: null });
    expect(await stateAt({ store, deploymentId: d1, revision: 0n })).toEqual({
      found: false,
      head: null,
    });
  });

  test('a stream with an event that cannot be understood is not guessed at', async () => {
    await new Story('d1').created().poisoned().saveTo(store);
    const at = stateAt({ store, deploymentId: d1 });
    await expect(at).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    const before = await stateAt({ store, deploymentId: d1, revision: 1n });
    expect(before).toMatchObject({ found: true, revision: 1n });
  });
});

describe('replay of the whole log', () => {
  test('it folds everything and counts', async () => {
    const clock = new FakeClock();
    await new Story('d1').created().opened('a1').started().ended('failed').saveTo(store);
    await new Story('d2').created().opened('a1').started().saveTo(store);
    await new Story('d3').created().saveTo(store);
    const d4 = new Story('d4').created().poisoned();
    const { position: poisonedAt } = await d4.saveTo(store);
    await d4.updated({ name: 'later' }).saveTo(store);
    await store.append('invoice-1', 'no_stream', [newEvent('deployment_created', { name: 'x' })]);
    const head = await store.head();
    const progress: unknown[] = [];
    const report = await replayLog({ store, clock, onProgress: (step) => progress.push(step) });
    expect(report).toEqual({
      events: 18,
      streams: 4,
      byState: { pending: 2, deploying: 1, ready: 0, failed: 1, unknown: 0 },
      poison: [
        {
          stream: 'deployment-d4',
          revision: 2n,
          position: poisonedAt,
          problem: 'unknown event type "deployment_hexed"',
        },
      ],
      poisonedStreams: 1,
      position: head,
      ms: 0,
      eventsPerSecond: 0,
    });
    expect(progress).toEqual([{ events: 18, position: head, head }]);
  });

  test('an empty log has nothing to tell', async () => {
    const report = await replayLog({ store, clock: new FakeClock() });
    expect(report).toMatchObject({ events: 0, streams: 0, position: null });
  });

  test('it can be aborted', async () => {
    await new Story('d1').created().saveTo(store);
    const replay = replayLog({ store, clock: new FakeClock(), signal: AbortSignal.abort() });
    await expect(replay).rejects.toMatchObject({ name: 'AbortError' });
  });
});
