import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  jest,
  test,
} from '@jest/globals';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { openPostgres, type PostgresDatabase } from '../../src/adapters/postgres/database.js';
import { postgresReadModels } from '../../src/adapters/postgres/read-models.js';
import { isFault } from '../../src/ports/faults.js';
import type { Change, ReadModels, Table } from '../../src/ports/read-models.js';
import { listen } from '../../src/ports/signals.js';
import { onPostgres } from '../support/on-postgres.js';
import {
  databaseOn,
  startPostgres,
  type PostgresServer,
  type TestDatabase,
} from '../support/postgres.js';

type Note = { readonly id: string; readonly text: string };
const notes: Table<Note> = {
  name: 'notes',
  version: 1,
  columns: { id: { type: 'text' }, text: { type: 'text' } },
  key: ['id'],
  indexes: [['text']],
};
const step = (n: bigint, more: Partial<Change> = {}): Change => ({
  table: notes,
  generation: 'live',
  rows: [{ id: String(n), text: 'x' }],
  from: n === 1n ? null : n - 1n,
  to: n,
  ...more,
});

jest.setTimeout(120_000);

await onPostgres(() => {
  describe('a PostgreSQL in trouble', () => {
    let server: PostgresServer;
    let fresh: TestDatabase;
    let opened: PostgresDatabase[];
    const troubles: string[] = [];
    let stopListening: () => void;
    beforeAll(async () => {
      server = await startPostgres();
    });
    afterAll(() => server.stop());
    beforeEach(async () => {
      fresh = await databaseOn(server.urlOf('postgres'));
      opened = [];
      troubles.length = 0;
      stopListening = listen('trouble', ({ error }) => troubles.push(String(error)));
    });
    afterEach(async () => {
      stopListening();
      for (const each of opened) await each.close();
      await fresh.drop();
    });

    const open = async (options: { statementTimeoutMs?: number; url?: string } = {}) => {
      const database = await openPostgres({ url: fresh.url, ...options });
      opened.push(database);
      return database;
    };
    const tables = async (options = {}): Promise<ReadModels> => {
      const readModels = postgresReadModels(await open(options));
      await readModels.open([notes]);
      return readModels;
    };
    /** Commits one step after the other, from wherever the table stands, as a projector does. */
    const commitUntil = async (readModels: ReadModels, last: bigint): Promise<number> => {
      let failures = 0;
      for (;;) {
        try {
          const [at] = await readModels.checkpoints();
          for (let n = (at?.position ?? 0n) + 1n; n <= last; n++)
            await readModels.commit([step(n)]);
          return failures;
        } catch (error) {
          if (!isFault(error) || !error.retryable) throw error;
          failures++;
        }
      }
    };

    test('killed in the middle of commits and started again, it has every row up to its checkpoint', async () => {
      const readModels = await tables();
      const watching = await tables();
      const committing = commitUntil(readModels, 4000n);
      for (const at of [500n, 1500n, 2500n]) {
        while (((await watching.checkpoints())[0]?.position ?? 0n) < at);
        await server.kill();
        await expect(watching.checkpoints()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
        await server.start();
      }
      expect(await committing).toBeGreaterThanOrEqual(3);
      const ids: number[] = [];
      for await (const page of watching.scan(notes)) ids.push(...page.map(({ id }) => Number(id)));
      expect(ids.sort((a, b) => a - b)).toEqual(Array.from({ length: 4000 }, (_, n) => n + 1));
    });

    test('frozen, it is noticed, and nothing hangs', async () => {
      const readModels = await tables({ statementTimeoutMs: 100 });
      await server.freeze();
      try {
        const commit = readModels.commit([step(1n)]);
        await expect(commit).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', retryable: true });
      } finally {
        await server.thaw();
      }
      expect(await commitUntil(readModels, 2n)).toBeLessThanOrEqual(1);
    });

    test('connections that it ends while nobody uses them harm nobody', async () => {
      const database = await open();
      await Promise.all([1, 2, 3].map(() => database.query('select pg_sleep(0.01)')));
      const other = await open();
      await other.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()',
      );
      while (
        Number(
          (
            await other.query(
              'select count(*) from pg_stat_activity where datname = current_database()',
            )
          )[0]?.[0],
        ) > 1
      );
      expect(await database.query('select 1')).toEqual([['1']]);
    });

    test.each([
      ['53100', 'STORE_FULL'],
      ['57P01', 'STORE_UNAVAILABLE'],
      ['40P01', 'STORE_UNAVAILABLE'],
      ['40001', 'STORE_UNAVAILABLE'],
      ['53300', 'STORE_UNAVAILABLE'],
      ['08006', 'STORE_UNAVAILABLE'],
      ['XX001', 'STORE_CORRUPT'],
    ])('what it says with %s is %s', async (errcode, code) => {
      const database = await open();
      const query = database.query(
        `do $$ begin raise exception using errcode = '${errcode}'; end $$`,
      );
      await expect(query).rejects.toMatchObject({ code });
    });

    test('a statement that takes too long is ended', async () => {
      const database = await open({ statementTimeoutMs: 50 });
      const query = database.query('select pg_sleep(20)');
      await expect(query).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    });

    test('a start before it is there waits, says so once, and goes on', async () => {
      await server.kill();
      const opening = open();
      while (troubles.length === 0) await new Promise((resolve) => setImmediate(resolve));
      await server.start();
      expect(await (await opening).query('select 1')).toEqual([['1']]);
      expect(troubles).toHaveLength(1);
      expect(troubles[0]).toContain('can not be reached');
    });

    test('who does not wait is told that it is not there', async () => {
      const url = fresh.url.replace(/:\d+\//, ':1/');
      const opening = openPostgres({ url, waits: false });
      await expect(opening).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    });

    test.each([
      ['a wrong password', (url: string) => url.replace('secret-of-tests', 'wrong')],
      ['a database that is not there', (url: string) => `${url}_elsewhere`],
    ])('%s ends the start with one line that tells no secret', async (_, wrong) => {
      const opening = openPostgres({ url: wrong(fresh.url) });
      const message: unknown = expect.not.stringMatching(/secret|wrong|\n/);
      await expect(opening).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', message });
    });

    test('an address that is none is told without its secrets', async () => {
      const opening = openPostgres({ url: 'postgres://me:secret@' });
      await expect(opening).rejects.toThrow(
        /^the connection string of PostgreSQL is wrong(?!.*secret)/,
      );
    });

    test('many that open an empty database at once make one schema', async () => {
      const all = await Promise.all(Array.from({ length: 6 }, () => tables()));
      expect(await all[0]?.checkpoints()).toHaveLength(1);
      expect(
        await (await open()).query('select version from shipslog.shipslog_version'),
      ).toHaveLength(1);
    });

    test('a schema of a newer program is refused and stays as it is', async () => {
      const database = await open();
      await database.query('update shipslog.shipslog_version set version = 99');
      await expect(open()).rejects.toMatchObject({ code: 'STORE_FOREIGN' });
      expect(await database.query('select version from shipslog.shipslog_version')).toEqual([
        ['99'],
      ]);
    });

    test('who only reads makes nothing', async () => {
      const toRead = { url: fresh.url, creates: false };
      for (let n = 0; n < 2; n++) {
        await expect(openPostgres(toRead)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
      }
      const database = await open();
      await (await openPostgres(toRead)).close();
      await database.query('update shipslog.shipslog_version set version = version - 1');
      await expect(openPostgres(toRead)).rejects.toMatchObject({
        message: expect.stringMatching(/has version \d+, this program needs .*: a service of this/),
      });
    });

    test('a writer of a building that was begun anew meanwhile meets no table, at the same position too', async () => {
      const [one, two] = [await tables(), await tables()];
      await one.startNext(notes);
      await one.commit([step(1n, { generation: 'next' })]);
      await two.startNext(notes);
      await two.commit([step(1n, { generation: 'next', rows: [{ id: 'two', text: 'x' }] })]);
      const late = one.commit([step(2n, { generation: 'next' })]);
      await expect(late).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
      await expect(one.promoteNext(notes, 1n)).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
      await two.promoteNext(notes, 1n);
      await expect(one.commit([step(2n)])).rejects.toMatchObject({ code: 'REVISION_CONFLICT' });
      expect(await one.load(notes, 'live', [['two']])).toEqual([{ id: 'two', text: 'x' }]);
    });

    test('a promotion waits for a reader, and gives up in time', async () => {
      const readModels = await tables();
      const database = await open();
      await readModels.startNext(notes);
      await database.transaction(async (run) => {
        await run('select * from shipslog.notes');
        const promotion = readModels.promoteNext(notes, null);
        await expect(promotion).rejects.toMatchObject({
          code: 'STORE_UNAVAILABLE',
          retryable: true,
        });
      });
      await readModels.promoteNext(notes, null);
    });

    test('a pooler that knows no statement_timeout is served all the same', async () => {
      const pooler = await strictPooler(new URL(fresh.url).port, 'statement_timeout');
      const url = fresh.url.replace(
        /:\d+\//,
        `:${String((pooler.address() as AddressInfo).port)}/`,
      );
      const readModels = postgresReadModels(await openPostgres({ url }));
      await readModels.open([notes]);
      await readModels.commit([step(1n)]);
      expect(await readModels.load(notes, 'live', [['1']])).toHaveLength(1);
      await readModels.close();
      pooler.close();
      await once(pooler, 'close');
    });

    test('a pooler that takes none of our starts ends ours with one line', async () => {
      const pooler = await strictPooler(new URL(fresh.url).port, 'application_name');
      const url = fresh.url.replace(
        /:\d+\//,
        `:${String((pooler.address() as AddressInfo).port)}/`,
      );
      await expect(openPostgres({ url })).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
        message: expect.stringContaining('unsupported startup parameter: application_name'),
      });
      pooler.close();
      await once(pooler, 'close');
    });

    test('what text can not hold is asked for in vain, and told when it parks a stream', async () => {
      const readModels = await tables();
      await readModels.commit([step(1n)]);
      const orderBy = { column: 'id', direction: 'ascending' } as const;
      const where = [{ column: 'text', is: 'x\0' }] as const;
      expect(await readModels.find(notes, { where, orderBy, limit: 1 })).toEqual([]);
      expect(await readModels.load(notes, 'live', [['\0'], ['1']])).toEqual([
        null,
        { id: '1', text: 'x' },
      ]);
      const place = { table: 'notes', generation: 'live', revision: 0n, position: 1n } as const;
      const parkedAt = '2026-01-01T00:00:00.000Z';
      await readModels.park({ ...place, stream: 'deployment-a', problem: 'a \0 here', parkedAt });
      expect(await readModels.parked()).toMatchObject([{ problem: 'a \ufffd here' }]);
    });

    test('a store that is closed twice leaves the others their connections', async () => {
      const database = await open();
      const [one, two] = [postgresReadModels(database), postgresReadModels(database)];
      await one.close();
      await one.close();
      expect(await two.checkpoints()).toEqual([]);
      await two.close();
      await expect(two.checkpoints()).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    });

    test('text is sorted by its code units, whatever the language of the database', async () => {
      const readModels = await tables();
      const rows = ['b', 'B', 'a', 'Ä', '_'].map((id) => ({ id, text: 'x' }));
      await readModels.commit([step(1n, { rows })]);
      const ids: string[] = [];
      for await (const page of readModels.scan(notes)) ids.push(...page.map(({ id }) => id));
      expect(ids).toEqual(['B', '_', 'a', 'b', 'Ä']);
    });
  });
});

/** Passes connections on, unless their start names a parameter that it does not know. */
async function strictPooler(port: string, unknown: string): Promise<Server> {
  const pooler = createServer((client) => {
    client.once('data', (start) => {
      if (start.includes(unknown)) {
        client.end(errorResponse(`unsupported startup parameter: ${unknown}`));
        return;
      }
      const upstream = connect(Number(port), '127.0.0.1', () => upstream.write(start));
      upstream.pipe(client).pipe(upstream);
      for (const socket of [upstream, client]) socket.on('error', () => client.destroy());
    });
  }).listen(0, '127.0.0.1');
  await once(pooler, 'listening');
  return pooler;
}

function errorResponse(message: string): Buffer {
  const fields = Buffer.from(`SFATAL\0VFATAL\0C08P01\0M${message}\0\0`);
  const head = Buffer.alloc(5);
  head.write('E');
  head.writeInt32BE(fields.length + 4, 1);
  return Buffer.concat([head, fields]);
}
