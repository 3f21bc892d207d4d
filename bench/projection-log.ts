/** Logs for the projection bench, written straight into the log's file. */
import { createHash } from 'node:crypto';
import { openDatabase } from '../src/adapters/sqlite/driver.js';
import { EVENT_LOG } from '../src/adapters/sqlite/event-log.js';
import type { EventType } from '../src/domain/event-schema.js';

/**
 * `in work`: a few hundred deployments move at a time, each until it is done, as a fleet does.
 * `scattered`: every event is of any deployment whatsoever, the worst that can come.
 */
export type Locality = 'in work' | 'scattered';

const IN_WORK = 200;
/** The life of a deployment in ten events: two attempts, four changes of state. */
const LIFE: readonly (readonly [EventType, (id: string, n: number) => object])[] = [
  [
    'deployment_created',
    (id) => ({
      name: `${id} of the payment service`,
      environment: 'production',
      labels: { team: 'payments', tier: 'web', region: 'eu-central-1' },
    }),
  ],
  [
    'state_transition',
    (id) => ({ deploymentId: id, from: null, to: 'pending', trigger: 'CreateDeployment' }),
  ],
  [
    'attempt_opened',
    (id) => ({
      attemptId: `${id}-1`,
      number: 1,
      scope: 'full',
      kind: 'deploy',
      settledState: 'pending',
      meta: { commit: '9f2c4be1', branch: 'main', pipeline: 4711 },
    }),
  ],
  [
    'attempt_start',
    (id) => ({
      attemptId: `${id}-1`,
      runner: { id: 'runner-7', host: 'build-03.internal', pid: 4242 },
      leaseMs: 90000,
    }),
  ],
  [
    'state_transition',
    (id) => ({
      deploymentId: id,
      from: 'pending',
      to: 'deploying',
      trigger: 'StartAttempt',
      attemptId: `${id}-1`,
      number: 1,
      scope: 'full',
    }),
  ],
  [
    'attempt_end',
    (id) => ({
      attemptId: `${id}-1`,
      outcome: 'failed',
      exitCode: 7,
      code: 'MIGRATION',
      reason: 'the migration of table payments did not end in time',
    }),
  ],
  [
    'state_transition',
    (id) => ({
      deploymentId: id,
      from: 'deploying',
      to: 'failed',
      trigger: 'EndAttempt',
      attemptId: `${id}-1`,
      number: 1,
      scope: 'full',
      exitCode: 7,
      code: 'MIGRATION',
      reason: 'the migration of table payments did not end in time',
    }),
  ],
  [
    'attempt_opened',
    (id) => ({
      attemptId: `${id}-2`,
      number: 2,
      scope: 'full',
      kind: 'deploy',
      settledState: 'failed',
      meta: { commit: '17ab03cd', branch: 'main', pipeline: 4712 },
    }),
  ],
  [
    'state_transition',
    (id) => ({
      deploymentId: id,
      from: 'failed',
      to: 'pending',
      trigger: 'OpenAttempt',
      attemptId: `${id}-2`,
      number: 2,
      scope: 'full',
    }),
  ],
  [
    'attempt_start',
    (id) => ({
      attemptId: `${id}-2`,
      runner: { id: 'runner-9', host: 'build-05.internal', pid: 77 },
      leaseMs: 90000,
    }),
  ],
];

/** One event as the log holds it. */
export interface LogEvent {
  readonly stream: string;
  readonly revision: number;
  readonly type: string;
  readonly data: string;
  readonly metadata: string;
}

/** The n-th event of a deployment; after ten it repeats its last changes of state. */
export function eventOf(deployment: number, revision: number): LogEvent {
  const id = `deployment-${String(deployment).padStart(7, '0')}`;
  const [type, dataOf] = LIFE[revision < LIFE.length ? revision : 3 + ((revision - 3) % 2)]!;
  const commandId = `0190a5c4-7e1b-7c3d-8f2a-${String(deployment * 100 + revision).padStart(12, '0')}`;
  const at = new Date(1_767_225_600_000 + deployment * 1000 + revision).toISOString();
  return {
    stream: `deployment-${id}`,
    revision,
    type,
    data: JSON.stringify(dataOf(id, revision)),
    metadata: JSON.stringify({
      schemaVersion: 1,
      commandId,
      commandDigest: createHash('sha256').update(commandId).digest('hex'),
      actor: { id: 'pipeline', kind: 'service' },
      occurredAt: at,
      recordedAt: at,
      correlationId: commandId,
      causationId: commandId,
    }),
  };
}

/** Events of so many deployments, ten each, interleaved by a generator that is always the same. */
export function* interleaved(events: number, locality: Locality): Generator<LogEvent> {
  const deployments = Math.max(1, Math.round(events / LIFE.length));
  const window = locality === 'scattered' ? deployments : Math.min(IN_WORK, deployments);
  const active = Array.from({ length: window }, (_, n) => ({ deployment: n, revision: 0 }));
  let [next, seed] = [window, 42];
  for (let n = 0; n < events && active.length > 0; n++) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    const slot = Math.floor((seed / 2 ** 32) * active.length);
    const one = active[slot]!;
    yield eventOf(one.deployment, one.revision++);
    if (one.revision < LIFE.length) continue;
    if (next < deployments) active[slot] = { deployment: next++, revision: 0 };
    else active.splice(slot, 1);
  }
}

/** Writes a log's file. */
export function writeLog(path: string, events: number, locality: Locality): void {
  const database = openDatabase(path, { kind: EVENT_LOG, synchronous: 'off' });
  const insert = database.prepare(
    'insert into events (stream, revision, event_id, type, data, metadata) values (?, ?, ?, ?, ?, ?)',
  );
  database.exec('begin');
  let n = 0;
  for (const { stream, revision, type, data, metadata } of interleaved(events, locality)) {
    const id = Buffer.alloc(16);
    id.writeUInt32BE(n++, 12);
    insert.run(stream, revision, id, type, data, metadata);
    if (n % 20_000 === 0) database.exec('commit; begin');
  }
  database.exec('commit');
  database.close();
}
