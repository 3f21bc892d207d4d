import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  it,
  jest,
} from '@jest/globals';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { shipslog } from '../support/command-line.js';
import { ask } from '../support/http.js';
import { onPostgres } from '../support/on-postgres.js';
import {
  databaseOn,
  startPostgres,
  type PostgresServer,
  type TestDatabase,
} from '../support/postgres.js';
import { cleanUp, runService, startService, temporaryFolder } from '../support/service.js';

jest.setTimeout(120_000);

await onPostgres(() => {
  describe('a service with read models in PostgreSQL', () => {
    let server: PostgresServer;
    let database: TestDatabase;
    let folder: string;
    let settings: Readonly<Record<string, string>>;
    beforeAll(async () => {
      server = await startPostgres();
    });
    afterAll(() => server.stop());
    beforeEach(async () => {
      database = await databaseOn(server.urlOf('postgres'));
      folder = await temporaryFolder();
      settings = { SHIPSLOG_READ_MODELS: database.url, SHIPSLOG_LOG_FORMAT: 'pretty' };
    });
    afterEach(async () => {
      await cleanUp();
      await database.drop();
    });
    const start = () => startService({ folder, settings });
    const open = async (url: string, deploymentId: string): Promise<void> => {
      const created = await ask(url, 'POST /v1/deployments', { body: { deploymentId } });
      expect(created.status).toBe(201);
    };
    const listed = async (url: string): Promise<number> => {
      const { body } = await ask<{ items: readonly object[] }>(url, 'GET /v1/deployments');
      return body.items.length;
    };

    it('waits for the database, says so once without its password, and serves when it is there', async () => {
      await server.kill();
      const port = Number(new URL(database.url).port);
      const deaf = createServer((socket) => socket.destroy()).listen(port, '127.0.0.1');
      await once(deaf, 'listening');
      const starting = start();
      for (let tries = 0; tries < 3; tries++) await once(deaf, 'connection');
      deaf.close();
      await server.start();
      const service = await starting;
      await open(service.url, 'web');
      expect(await listed(service.url)).toBe(1);
      expect(await service.end('SIGTERM')).toBe(0);
      expect(service.said().match(/trouble in PostgreSQL/g)).toHaveLength(1);
      expect(service.said()).toMatch(/read models +postgres:\/\/…@127\.0\.0\.1:\d+\/shipslog_test/);
      expect(service.said()).not.toContain('secret-of-tests');
    });

    it('that refuses it ends with one line and code 2', async () => {
      const wrong = { ...settings, SHIPSLOG_READ_MODELS: database.url.replace('secret-of', 'no') };
      const { ending, said } = await runService({ folder, settings: wrong });
      expect(ending).toBe(2);
      expect(said).toContain('it does not accept the credentials');
      expect(said).not.toContain('no-tests');
      expect(said.trim().split('\n')).toHaveLength(1);
    });

    it('killed and started again, it goes on: commands meanwhile, and everything is seen afterwards', async () => {
      const service = await start();
      await open(service.url, 'before');
      expect(await listed(service.url)).toBe(1);
      await server.kill();
      await open(service.url, 'meanwhile');
      const refused = await ask(service.url, 'GET /v1/deployments');
      expect(refused).toMatchObject({ status: 503, body: { code: 'STORE_UNAVAILABLE' } });
      await server.start();
      let count = 0;
      while (count < 2) {
        const answer = await ask<{ items: readonly object[] }>(service.url, 'GET /v1/deployments');
        if (answer.status === 200) count = answer.body.items.length;
      }
      expect(await service.end('SIGTERM')).toBe(0);
    });

    it('keeps heartbeats and refused commands there, too', async () => {
      const service = await start();
      await open(service.url, 'web');
      await ask(service.url, 'POST /v1/deployments/web/attempts', { body: { attemptId: 'a1' } });
      const { body: started } = await ask<{ leaseToken?: string }>(
        service.url,
        'POST /v1/deployments/web/attempts/a1/start',
      );
      const beat = await ask(service.url, 'POST /v1/deployments/web/attempts/a1/heartbeat', {
        body: {
          ...(started.leaseToken !== undefined && { leaseToken: started.leaseToken }),
          progress: { done: 3 },
        },
      });
      expect(beat.status).toBe(200);
      await ask(service.url, 'POST /v1/deployments/web/attempts', { body: { attemptId: 'a2' } });
      expect(await service.end('SIGTERM')).toBe(0);
      const again = await start();
      const shown = await ask(again.url, 'GET /v1/deployments/web/attempts/a1');
      expect(shown.body).toMatchObject({ progress: { done: 3 } });
      expect(await again.end('SIGTERM')).toBe(0);
    });

    it('local verbs work on it, beside a service and without one', async () => {
      const environment = {
        SHIPSLOG_EVENT_STORE: `sqlite:${join(folder, 'events.db')}`,
        SHIPSLOG_READ_MODELS: database.url,
      };
      const run = (...args: readonly string[]) => shipslog(args, { environment });
      await run('demo', '--until', '2026-11-25T13:00:00.000Z');
      const early = await run('doctor', '--json');
      expect(early.out).toContain('there are no read models at');
      expect((await run('rebuild')).code).toBe(0);
      expect(await run('verify')).toMatchObject({ code: 0, err: '' });
      const service = await start();
      expect((await run('verify')).code).toBe(0);
      expect((await run('replay')).code).toBe(0);
      const { out } = await run('doctor', '--json');
      expect(out).toMatch(/"read models","level":"ok"/);
      expect(out).not.toContain('secret-of-tests');
      expect(await service.end('SIGTERM')).toBe(0);
    });
  });
});
