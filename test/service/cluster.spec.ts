import { afterAll, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { openEventStoreDB } from '../../src/adapters/eventstoredb/event-store.js';
import { openPostgres } from '../../src/adapters/postgres/database.js';
import { postgresReadModels } from '../../src/adapters/postgres/read-models.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { verify } from '../../src/application/verify.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { ServerProcess } from '../support/eventstoredb/server-process.js';
import { ask, historyOf, type Answer, type ReceiptBody } from '../support/http.js';
import { onPostgres } from '../support/on-postgres.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';
import { seeded } from '../support/seeded.js';
import { cleanUp, startService, temporaryFolder, type Service } from '../support/service.js';

/*
 * Three processes on one EventStoreDB and one PostgreSQL: two that answer, one that folds and reaps. Runners
 * drive deployments through both while the processes are killed with -9 and started again at moments of chance.
 * CLUSTER_MS says for how long (npm run test:cluster: five minutes), CLUSTER_SEED repeats the moments.
 */

const MS = Number(process.env['CLUSTER_MS'] ?? 8_000);
const SEED = Number(process.env['CLUSTER_SEED'] ?? 20_261_129);
const RUNNERS = 6;
/** A command is sent again for so long before the test gives up. */
const PATIENCE_MS = 60_000;
/** Runners that beat have this long; those that fall silent are missed after less. */
const LEASE_MS = { beating: 10_000, silent: 1_000 } as const;

const ROLES = { one: 'api', two: 'api', folder: 'projector,reaper' } as const;
type Name = keyof typeof ROLES;

/** The processes, each on a port that it keeps. */
class Cluster {
  readonly #ports = new Map<Name, number>();
  readonly #running = new Map<Name, Service>();
  kills = 0;

  constructor(
    private readonly folder: string,
    private readonly stores: { readonly log: string; readonly tables: string },
  ) {}

  async start(name: Name): Promise<void> {
    if (!this.#ports.has(name)) this.#ports.set(name, await freePort());
    const settings = {
      SHIPSLOG_EVENT_STORE: this.stores.log,
      SHIPSLOG_READ_MODELS: this.stores.tables,
      SHIPSLOG_ROLES: ROLES[name],
      SHIPSLOG_PORT: String(this.#ports.get(name)),
      SHIPSLOG_REAPER_INTERVAL_MS: '200',
    };
    this.#running.set(name, await startService({ folder: this.folder, settings }));
  }

  async killAndRestart(name: Name, afterMs: number): Promise<void> {
    await this.#running.get(name)?.end('SIGKILL');
    this.kills += 1;
    await pause(afterMs);
    await this.start(name);
  }

  urlOf(name: Name): string {
    return `http://127.0.0.1:${String(this.#ports.get(name))}`;
  }

  async end(): Promise<void> {
    for (const service of this.#running.values()) expect(await service.end('SIGTERM')).toBe(0);
  }
}

/** Runners that drive deployments through attempts, by whichever process answers. */
class Runners {
  readonly receipts: ReceiptBody[] = [];
  /** Whose runner beat all the time, and whose fell silent. */
  readonly beating: string[] = [];
  readonly silent: string[] = [];
  readonly unexpected: unknown[] = [];
  reads = 0;
  #isStopping = false;
  readonly #ended: Promise<unknown>;

  constructor(private readonly cluster: Cluster) {
    this.#ended = Promise.all(Array.from({ length: RUNNERS }, (_, n) => this.#drive(n)));
  }

  async stop(): Promise<void> {
    this.#isStopping = true;
    await this.#ended;
  }

  async #drive(runner: number): Promise<void> {
    for (let n = 0; !this.#isStopping && this.unexpected.length === 0; n += 1) {
      const id = `d-${String(runner)}-${String(n)}`;
      const isSilent = (n + runner) % 4 === 1;
      const leaseMs = isSilent ? LEASE_MS.silent : LEASE_MS.beating;
      const attempt = `/v1/deployments/${id}/attempts/first`;
      const policy = { leaseMs, heartbeatMs: leaseMs / 4 };
      await this.#command('/v1/deployments', { deploymentId: id, policy });
      await this.#command(`/v1/deployments/${id}/attempts`, { attemptId: 'first' });
      await this.#command(`${attempt}/start`, { runner: { id: `runner-${String(runner)}` } });
      if (isSilent) {
        this.silent.push(id);
        continue;
      }
      this.beating.push(id);
      for (let beats = 0; beats < 4; beats += 1) {
        await pause(50);
        await this.#send(`POST ${attempt}/heartbeat`, {}, `${id}-beat-${String(beats)}`);
      }
      const end = await this.#command(`${attempt}/end`, { outcome: 'succeeded', exitCode: 0 });
      if (end !== null) await this.#read(id, end, n % 2 === 0 ? 'one' : 'two');
    }
  }

  /** A write at one process is seen at the other, from its position on. */
  async #read(id: string, { position, revision }: ReceiptBody, at: Name): Promise<void> {
    const line = `GET /v1/deployments/${id}?minPosition=${position}`;
    const answer = await this.#answered(async () => ask(this.cluster.urlOf(at), line));
    const { body, status } = answer as Answer<{ state: string; revision: string }>;
    this.reads += 1;
    if (status !== 200 || body.state !== 'ready' || body.revision !== revision) {
      this.unexpected.push({ line, status, body, revision });
    }
  }

  async #command(path: string, body: object): Promise<ReceiptBody | null> {
    const answer = await this.#send(`POST ${path}`, body, `${path} ${JSON.stringify(body)}`);
    if (answer === null) return null;
    this.receipts.push(answer.body);
    return answer.body;
  }

  async #send(line: string, body: object, key: string): Promise<Answer<ReceiptBody> | null> {
    const headers = { 'idempotency-key': key };
    let turn = key.length;
    const answer = await this.#answered(() => {
      const url = this.cluster.urlOf(turn++ % 2 === 0 ? 'one' : 'two');
      return ask<ReceiptBody>(url, line, { body, headers });
    });
    if (answer.status < 300) return answer;
    this.unexpected.push({ line, body, answer });
    return null;
  }

  /** Asks until it is answered by something else than the want of a service. */
  async #answered<T>(send: () => Promise<Answer<T>>): Promise<Answer<T>> {
    const untilMs = performance.now() + PATIENCE_MS;
    for (;;) {
      try {
        const answer = await send();
        if (answer.status < 500 || performance.now() > untilMs) return answer;
      } catch (error) {
        if (performance.now() > untilMs) throw error;
      }
      await pause(20);
    }
  }
}

let server: ServerProcess | null = null;
let database: TestDatabase | null = null;
afterAll(async () => {
  await cleanUp();
  await database?.drop();
  await server?.kill();
});

await onPostgres(() => {
  it(
    'three processes killed at random lose nothing, double nothing, and invent no unknown',
    async () => {
      const random = seeded(SEED);
      server = await ServerProcess.start();
      database = await freshDatabase();
      const stores = { log: server.url, tables: database.url };
      const cluster = new Cluster(await temporaryFolder(), stores);
      for (const name of Object.keys(ROLES) as Name[]) await cluster.start(name);
      const runners = new Runners(cluster);
      const endsAtMs = performance.now() + MS;
      while (performance.now() < endsAtMs && runners.unexpected.length === 0) {
        await pause(300 + random() * 1_500);
        const names = Object.keys(ROLES) as Name[];
        const name = names[Math.floor(random() * names.length)] ?? 'one';
        await cluster.killAndRestart(name, random() * 800);
      }
      await runners.stop();
      expect({ seed: SEED, unexpected: runners.unexpected }).toEqual({
        seed: SEED,
        unexpected: [],
      });

      const url = cluster.urlOf('one');
      const stateOf = async (id: string): Promise<string> =>
        (await ask<{ state: string }>(url, `GET /v1/deployments/${id}?consistency=strong`)).body
          .state;
      for (const id of runners.silent) {
        const untilMs = performance.now() + PATIENCE_MS;
        while ((await stateOf(id)) !== 'unknown' && performance.now() < untilMs) await pause(50);
        expect({ id, state: await stateOf(id) }).toEqual({ id, state: 'unknown' });
      }
      await expectAllKept(url, runners);

      const { items } = (
        await ask<{ items: { owner: object; status: string }[] }>(url, 'GET /v1/projections')
      ).body;
      expect(items[0]).toMatchObject({ owner: { isThisProcess: false }, status: 'live' });
      await cluster.end();
      await expectFolded(stores);
      process.stderr.write(
        `${String(cluster.kills)} kills, ${String(runners.receipts.length)} commands acknowledged, ` +
          `${String(runners.beating.length)} attempts that beat, ${String(runners.silent.length)} that fell silent, ` +
          `${String(runners.reads)} reads at the other process\n`,
      );
    },
    MS + 4 * PATIENCE_MS,
  );
});

/** Every acknowledged event is in the log once, where it was said to be; nobody who beat was lost. */
async function expectAllKept(url: string, { receipts, beating, silent }: Runners): Promise<void> {
  const revisions = new Map<string, string>();
  for (const id of [...beating, ...silent]) {
    const events = await historyOf(url, id);
    for (const event of events) {
      expect(revisions.has(event.id)).toBe(false);
      revisions.set(event.id, event.revision);
    }
    const lost = events.filter(({ type }) => type === 'attempt_lost').length;
    expect({ id, lost }).toEqual({ id, lost: silent.includes(id) ? 1 : 0 });
  }
  for (const { deploymentId, events } of receipts) {
    for (const { id, revision } of events) {
      expect({ deploymentId, id, revision: revisions.get(id) }).toEqual({
        deploymentId,
        id,
        revision,
      });
    }
  }
  expect(receipts.length).toBeGreaterThan(RUNNERS);
}

/** The read models are the fold of the log. */
async function expectFolded({ log, tables }: { log: string; tables: string }): Promise<void> {
  const store = await openEventStoreDB({ url: log, clock: systemClock });
  const readModels = postgresReadModels(await openPostgres({ url: tables }));
  const reports = await verify({ store, readModels, projections: PROJECTIONS });
  await readModels.close();
  await store.close();
  for (const { table, differencesTotal, parked, rows } of reports) {
    expect({ table, differencesTotal, parked }).toEqual({ table, differencesTotal: 0, parked: 0 });
    expect({ table, some: rows > 0 }).toEqual({ table, some: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
