import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from '@jest/globals';
import { openSqliteEventStore } from '../../src/adapters/sqlite/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { ask } from '../support/http.js';
import { hasProgram } from '../support/page-shell.js';
import { cleanUp, runService, startService, temporaryFolder } from '../support/service.js';

/** How long the log is that a start has to cope with; npm run test:startup takes a million events. */
const EVENTS = Number(process.env['STARTUP_EVENTS'] ?? 20_000);
/** What a long log may add to the processor time of a start; wall time is that of a busy machine, too. */
const ADDED_CPU_MS_MAX = 500;
const TEST_MS_MAX = 60_000;

const PRETTY = { SHIPSLOG_LOG_FORMAT: 'pretty' };

describe('a start', () => {
  afterEach(cleanUp);

  // The commands are for a terminal, so it takes one that has curl.
  (hasProgram('curl') ? it : it.skip)(
    'tells the address, where the data lies, and three commands that work as they stand',
    async () => {
      const folder = await temporaryFolder();
      const service = await startService({ folder, settings: PRETTY });
      expect(service.said()).toContain(join(folder, 'events.db'));
      expect(service.said()).toContain(join(folder, 'read-models.db'));
      const commands = service.said().match(/^ +curl .*$/gm) ?? [];
      expect(commands).toHaveLength(3);
      const answers: unknown[] = [];
      for (const command of commands) {
        const { stdout } = await promisify(execFile)('sh', ['-c', command]);
        answers.push(JSON.parse(stdout));
      }
      expect(answers).toMatchObject([
        { deploymentId: 'web', state: 'pending', changed: true },
        { deploymentId: 'web', number: 1, changed: true },
        { deploymentId: 'web', state: 'pending', currentAttempt: { number: 1 } },
      ]);
      expect(await service.end('SIGINT')).toBe(0);
    },
    TEST_MS_MAX,
  );

  it(
    'where another process has the store, or the port, ends with one line and code 1, and harms nobody',
    async () => {
      const folder = await temporaryFolder();
      const first = await startService({ folder });
      const { port } = new URL(first.url);
      const elsewhere = await temporaryFolder();
      const settings = { ...PRETTY, SHIPSLOG_PORT: port };
      const third = await runService({ folder: elsewhere, settings });
      expect(third.ending).toBe(1);
      expect(linesOf(third.said)).toEqual([expect.stringContaining(`port ${port} of 127.0.0.1`)]);
      const second = await runService({ folder, settings: PRETTY });
      expect(second.ending).toBe(1);
      expect(linesOf(second.said)).toEqual([
        expect.stringMatching(new RegExp(`owned by pid ${first.pid} on \\S+`)),
      ]);
      const created = await ask(first.url, 'POST /v1/deployments', {
        body: { deploymentId: 'unharmed' },
      });
      expect(created.status).toBe(201);
      expect(await first.end('SIGTERM')).toBe(0);
    },
    TEST_MS_MAX,
  );

  it.each([
    [{ SHIPSLOG_PROT: '3001' }, /SHIPSLOG_PROT is not a setting.*SHIPSLOG_PORT/],
    [{ SHIPSLOG_PORT: '70000' }, /SHIPSLOG_PORT=70000.*0 to 65535/],
    [{ SHIPSLOG_ROLES: 'api' }, /SHIPSLOG_ROLES leaves out projector/],
  ])(
    'with the setting %j ends with one line that says what is right, and code 2',
    async (settings, says) => {
      const folder = await temporaryFolder();
      const { ending, said } = await runService({ folder, settings: { ...PRETTY, ...settings } });
      expect(ending).toBe(2);
      expect(linesOf(said)).toEqual([expect.stringMatching(says)]);
    },
    TEST_MS_MAX,
  );

  it(
    'on a file that is not ours ends with one line and code 2, and leaves it as it was',
    async () => {
      const folder = await temporaryFolder();
      const file = join(folder, 'events.db');
      await writeFile(file, 'a letter to somebody\n'.repeat(500));
      const before = await readFile(file);
      const { ending, said } = await runService({ folder, settings: PRETTY });
      expect(ending).toBe(2);
      expect(linesOf(said)).toEqual([expect.stringContaining('events.db')]);
      expect(await readFile(file)).toEqual(before);
    },
    TEST_MS_MAX,
  );

  it.each(['SHIPSLOG_EVENT_STORE', 'SHIPSLOG_READ_MODELS'])(
    'on a file whose folder cannot be made, as %s, ends with one line and code 2',
    async (name) => {
      const folder = await temporaryFolder();
      await writeFile(join(folder, 'file'), '');
      // Below /proc the system says that the folder above is missing, though it is there.
      const [place, above] = existsSync('/proc/self')
        ? ['/proc/nowhere/a/events.db', '/proc/nowhere']
        : [join(folder, 'file/a/events.db'), 'file'];
      const settings = { ...PRETTY, [name]: `sqlite:${place}` };
      const { ending, said } = await runService({ folder, settings });
      expect({ ending, lines: linesOf(said) }).toEqual({
        ending: 2,
        lines: [expect.stringContaining(above)],
      });
    },
    TEST_MS_MAX,
  );

  it(
    'after SIGTERM, which ends it with code 0, finds all that was acknowledged',
    async () => {
      const folder = await temporaryFolder();
      const service = await startService({ folder });
      await ask(service.url, 'POST /v1/deployments', { body: { deploymentId: 'kept' } });
      expect(await service.end('SIGTERM')).toBe(0);
      const again = await startService({ folder });
      expect((await ask(again.url, 'GET /v1/deployments/kept')).status).toBe(200);
    },
    TEST_MS_MAX,
  );

  it(
    `on a log of ${EVENTS} events takes hardly longer than on an empty one`,
    async () => {
      const empty = await temporaryFolder();
      await start(empty);
      const without = await start(empty);
      const folder = await temporaryFolder();
      await fill(join(folder, 'events.db'), EVENTS);
      await start(folder, { total: EVENTS / 2 });
      const filled = await start(folder, { total: EVENTS / 2 });
      process.stderr.write(
        `ready after ${without.wallMs} ms (${without.cpuMs} ms of a processor), ` +
          `with ${EVENTS} events ${filled.wallMs} ms (${filled.cpuMs} ms)\n`,
      );
      expect(filled.cpuMs - without.cpuMs).toBeLessThan(ADDED_CPU_MS_MAX);
    },
    TEST_MS_MAX + EVENTS,
  );
});

/** Starts a service, waits until it is ready, looks at its counts, and stops it. */
async function start(folder: string, counts = {}): Promise<{ wallMs: number; cpuMs: number }> {
  const startedAt = performance.now();
  const service = await startService({ folder });
  await ready(service.url);
  const wallMs = Math.round(performance.now() - startedAt);
  const cpuMs = (await processorMs(service.pid)) ?? wallMs;
  expect((await ask(service.url, 'GET /v1/counts')).body).toMatchObject(counts);
  expect(await service.end('SIGTERM')).toBe(0);
  return { wallMs, cpuMs };
}

const CLOCK_TICK_MS = 10;

/** Processor time of a process, all of its threads; null where the system does not tell it as Linux does. */
async function processorMs(pid: number): Promise<number | null> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
  if (stat === null) return null;
  const [user, system] = stat.slice(stat.lastIndexOf(')')).split(' ').slice(12, 14).map(Number);
  return (user! + system!) * CLOCK_TICK_MS;
}

async function ready(url: string): Promise<void> {
  while ((await ask(url, 'GET /health/ready')).status !== 200) {
    await new Promise((next) => setTimeout(next, 20));
  }
}

const APPENDS_AT_ONCE = 500;

/** Writes deployments of two events each, as the service would have. */
async function fill(file: string, events: number): Promise<void> {
  const store = await openSqliteEventStore({ file, clock: systemClock });
  for (let first = 0; first < events / 2; first += APPENDS_AT_ONCE) {
    const count = Math.min(APPENDS_AT_ONCE, events / 2 - first);
    await Promise.all(
      Array.from({ length: count }, (_, index) => {
        const id = `d${first + index}`;
        return store.append(`deployment-${id}`, 'no_stream', created(id, first + index));
      }),
    );
  }
  await store.close();
}

function created(deploymentId: string, n: number) {
  const at = '2026-11-25T12:00:00.000Z';
  const metadata = JSON.stringify({
    schemaVersion: 1,
    ...{ commandId: `c${n}`, commandDigest: '0'.repeat(64), correlationId: `c${n}` },
    ...{ causationId: `c${n}`, actor: { id: 'test', kind: 'service' } },
    ...{ occurredAt: at, recordedAt: at },
  });
  const uuid = (of: number): string =>
    `${of.toString(16).padStart(8, '0')}-0000-4000-8000-000000000000`;
  return [
    {
      ...{ id: uuid(2 * n), type: 'deployment_created', metadata },
      data: JSON.stringify({ name: deploymentId }),
    },
    {
      ...{ id: uuid(2 * n + 1), type: 'state_transition', metadata },
      data: JSON.stringify({
        deploymentId,
        from: null,
        to: 'pending',
        trigger: 'CreateDeployment',
      }),
    },
  ];
}

function linesOf(text: string): readonly string[] {
  return text.split('\n').filter((line) => line !== '');
}
