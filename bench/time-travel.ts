/**
 * Measures questions about the fleet at a past time on SQLite, beside the same page of today.
 *
 *   node --import @swc-node/register/esm-register bench/time-travel.ts [--deployments 100000] [--rounds 20]
 *
 * Ten events a deployment, four of them changes of state. The times asked about lie in the middle, where
 * half of the fleet was there; p50 and the slowest are shown.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openSqliteEventStore } from '../src/adapters/sqlite/event-store.js';
import { openSqliteReadModels } from '../src/adapters/sqlite/read-models.js';
import { systemClock } from '../src/adapters/system-clock.js';
import { changesIn, countThen, deploymentsThen } from '../src/application/fleet.js';
import { Projector } from '../src/application/projector.js';
import { transitions } from '../src/projections/transitions.js';
import { eventOf, writeLog } from './projection-log.js';

const TARGET_MS = 1000;
const PAGE = { limit: 51 } as const;

const { values } = parseArgs({
  options: {
    deployments: { type: 'string', default: '100000' },
    rounds: { type: 'string', default: '20' },
  },
});
const [deployments, rounds] = [Number(values.deployments), Number(values.rounds)];
const folder = mkdtempSync(join(tmpdir(), 'shipslog-bench-'));
try {
  const log = join(folder, 'log.db');
  writeLog(log, deployments * 10, 'in work');
  const store = await openSqliteEventStore({ file: log, clock: systemClock });
  const readModels = openSqliteReadModels(join(folder, 'read-models.db'));
  const projector = new Projector({
    store,
    readModels,
    projections: [transitions],
    clock: systemClock,
    random: Math.random,
    owner: 'bench',
  });
  await projector.start();
  await projector.caughtUp;
  const [at, later] = [timeOf(deployments / 2), timeOf((deployments * 3) / 4)];
  console.log(
    `\nThe fleet at a past time: ${String(deployments * 10)} events, ${String(deployments)} deployments`,
  );
  await measure('counts at a time', () => countThen(readModels, { at }));
  await measure('counts as known then', () => countThen(readModels, { at, asOf: at }));
  await measure('a page', () => deploymentsThen(readModels, { at, ...PAGE }));
  await measure('a page of one state', () =>
    deploymentsThen(readModels, { at, state: 'pending', ...PAGE }),
  );
  await measure('a page of a state that none was in', () =>
    deploymentsThen(readModels, { at, state: 'unknown', ...PAGE }),
  );
  await measure('a page of what changed', () =>
    changesIn(readModels, { from: at, to: later, ...PAGE }),
  );
  await projector.stop();
  await readModels.close();
  await store.close();
} finally {
  rmSync(folder, { recursive: true });
}

/** When the life of a deployment of the log begins. */
function timeOf(deployment: number): string {
  const { metadata } = eventOf(Math.floor(deployment), 0);
  return (JSON.parse(metadata) as { readonly recordedAt: string }).recordedAt;
}

async function measure(what: string, ask: () => Promise<unknown>): Promise<void> {
  const times: number[] = [];
  for (let n = 0; n < rounds; n++) {
    const startedAtMs = performance.now();
    await ask();
    times.push(performance.now() - startedAtMs);
  }
  times.sort((a, b) => a - b);
  const [p50, most] = [times[Math.floor(rounds / 2)] ?? 0, times.at(-1) ?? 0];
  const judged = most < TARGET_MS ? 'ok' : `TARGET MISSED, < ${String(TARGET_MS)} ms`;
  console.log(
    `${what.padEnd(36)} p50 ${p50.toFixed(0)} ms   slowest ${most.toFixed(0)} ms   ${judged}`,
  );
}
