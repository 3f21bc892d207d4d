import { afterEach, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { MemoryEventStore } from '../../src/adapters/memory/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { Projector } from '../../src/application/projector.js';
import { verify } from '../../src/application/verify.js';
import type { EventStore } from '../../src/ports/event-store.js';
import type { ReadModels } from '../../src/ports/read-models.js';
import { deployments } from '../../src/projections/deployments.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { settled } from '../support/fake-clock.js';
import { longLog, trickling } from '../support/long-log.js';

/** A place for read models, and what removes its traces. */
export interface PlaceUnderTest {
  /** As the second process is told of it. */
  readonly name: string;
  open(): Promise<ReadModels>;
  /** Takes away all that is there, while nobody has it open. */
  lose(): Promise<void>;
  dispose(): Promise<void>;
}

const DEPLOYMENTS = 600;
/** How often a process is killed in a row; npm run test:projector: 200 times. */
const KILLS = Number(process.env['PROJECTOR_KILLS'] ?? 3);
/** Events that it folds at most before it is killed. */
const KILLED_WITHIN = 60;
const SECOND = fileURLToPath(new URL('../support/second-projector.ts', import.meta.url));

/** A second process takes a second to load, several on a busy machine. */
jest.setTimeout(120_000);

/** What projectors in several processes do on one place for read models, whichever it is. */
export function projectorContract(name: string, create: () => Promise<PlaceUnderTest>): void {
  describe(`projector on read models in ${name}`, () => {
    let place: PlaceUnderTest;
    let store: MemoryEventStore;
    let readModels: ReadModels;
    let children: ChildProcess[];
    beforeEach(async () => {
      place = await create();
      store = await longLog(DEPLOYMENTS);
      readModels = await place.open();
      children = [];
    });
    afterEach(async () => {
      for (const child of children.filter(({ exitCode }) => exitCode === null))
        child.kill('SIGKILL');
      await readModels.close();
      await place.dispose();
    });

    const projecting = async (log: EventStore = store): Promise<Projector> => {
      const projector = new Projector({
        store: log,
        readModels,
        projections: PROJECTIONS,
        clock: systemClock,
        random: Math.random,
        owner: 'first',
      });
      await projector.start();
      return projector;
    };
    const caughtUp = async (log: EventStore = store): Promise<void> => {
      const projector = await projecting(log);
      await projector.caughtUp;
      await projector.stop();
    };
    const differences = async (): Promise<number> => {
      const reports = await verify({ store, readModels, projections: PROJECTIONS });
      return reports.reduce((sum, report) => sum + report.differencesTotal, 0);
    };
    const reached = async (position: bigint): Promise<void> => {
      const at = async (): Promise<bigint> => (await readModels.checkpoints())[0]?.position ?? 0n;
      while ((await at()) < position) await settled(1);
    };
    /** Another process that folds the same log into the same place, a few events at a time. */
    const secondProcess = async (how: 'alone' | 'beside' = 'beside'): Promise<ChildProcess> => {
      const loader = ['--import', '@swc-node/register/esm-register'];
      const args = [...loader, SECOND, place.name, String(DEPLOYMENTS), how];
      const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
      children.push(child);
      await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
      return child;
    };

    test('a process that is killed at any moment leaves rows and checkpoint that agree', async () => {
      const child = await secondProcess();
      await reached(BigInt(100 + Math.floor(Math.random() * 2000)));
      child.kill('SIGKILL');
      await once(child, 'exit');
      const [at] = await readModels.checkpoints();
      expect(at?.position).toBeLessThan((await store.head())!);
      expect(await differences()).toBe(0);
      await caughtUp();
      expect(await differences()).toBe(0);
    });

    test(
      `of processes that are killed at random, ${KILLS} in a row, each goes on where the last one was`,
      async () => {
        const head = (await store.head())!;
        const at = async (): Promise<bigint> => (await readModels.checkpoints())[0]?.position ?? 0n;
        for (let kills = 0; kills < KILLS; kills += 1) {
          const from = await at();
          const child = await secondProcess('alone');
          const until = from + BigInt(1 + Math.floor(Math.random() * KILLED_WITHIN));
          while (child.exitCode === null && (await at()) < until) await settled(1);
          child.kill('SIGKILL');
          if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
          expect(await at()).toBeGreaterThanOrEqual(from);
          expect({ kills, differences: await differences() }).toEqual({ kills, differences: 0 });
          if ((await at()) < head) continue;
          await readModels.close();
          await place.lose();
          readModels = await place.open();
          await readModels.open(PROJECTIONS);
        }
      },
      60_000 + KILLS * 10_000,
    );

    test('a process that is frozen, overtaken and thawed again spoils nothing', async () => {
      const child = await secondProcess();
      const ended = once(child, 'exit');
      await reached(200n);
      child.kill('SIGSTOP');
      const projector = await projecting(trickling(store, 100));
      // It may have been stopped while it held the write lock; then nobody gets on before it does.
      const patientUntilMs = systemClock.monotonicMs() + 10_000;
      while (!projector.isOwner && systemClock.monotonicMs() < patientUntilMs) await settled(1);
      child.kill('SIGCONT');
      expect(await ended).toEqual([0, null]);
      await projector.caughtUp;
      await projector.stop();
      expect(await differences()).toBe(0);
    });

    test('two processes at once fold everything once', async () => {
      const child = await secondProcess();
      const ended = once(child, 'exit');
      await caughtUp(trickling(store, 5));
      expect(await ended).toEqual([0, null]);
      expect(await differences()).toBe(0);
      expect(await readModels.countBy(deployments, 'state')).toEqual(
        new Map([['ready', DEPLOYMENTS]]),
      );
    });

    test('what was lost is folded anew', async () => {
      await caughtUp();
      await readModels.close();
      await place.lose();
      readModels = await place.open();
      await caughtUp();
      expect(await differences()).toBe(0);
    });

    test('a rebuild beside the live tables, cancelled once and done once, ends with the same rows', async () => {
      const projector = await projecting();
      await projector.caughtUp;
      const cancelled = projector.rebuild('transitions')!;
      cancelled.onProgress(() => {
        cancelled.cancel();
      });
      await expect(cancelled.finished).resolves.toBe('cancelled');
      for (const { name } of PROJECTIONS) {
        await expect(projector.rebuild(name)?.finished).resolves.toBe('promoted');
      }
      await projector.stop();
      expect(await differences()).toBe(0);
      expect(await readModels.checkpoints()).toHaveLength(PROJECTIONS.length);
    });
  });
}
