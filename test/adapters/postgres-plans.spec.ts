import { afterAll, beforeAll, describe, expect, jest, test } from '@jest/globals';
import pg from 'pg';
import { openPostgres } from '../../src/adapters/postgres/database.js';
import { postgresDialect } from '../../src/adapters/postgres/dialect.js';
import { postgresReadModels } from '../../src/adapters/postgres/read-models.js';
import { TableSql, type Sql } from '../../src/adapters/sql/statements.js';
import type { DeploymentId, EventMetadata } from '../../src/domain/event-schema.js';
import type { Condition, Table } from '../../src/ports/read-models.js';
import { deployments, type DeploymentRow } from '../../src/projections/deployments.js';
import { onPostgres } from '../support/on-postgres.js';
import { freshDatabase, type TestDatabase } from '../support/postgres.js';

const ROWS = 5000;
const orderBy = { column: 'position', direction: 'descending' } as const;
const shown = { column: 'archived', is: false } as const;

jest.setTimeout(60_000);

function row(n: number): DeploymentRow {
  const deploymentId = `d${String(n)}`;
  const filler = { deploymentId, text: 'x'.repeat(1000) };
  return {
    deploymentId,
    state: n % 500 === 0 ? 'unknown' : 'ready',
    attemptState: n % 500 === 0 ? 'running' : 'succeeded',
    environment: n % 500 === 0 ? 'preview' : 'production',
    labels: { serial: deploymentId, tier: 'web' },
    archived: false,
    searchText: deploymentId,
    revision: 1n,
    position: BigInt(n + 1),
    deployment: filler as never,
  };
}

await onPostgres(() => {
  describe('the plans of PostgreSQL', () => {
    const sql = new TableSql<DeploymentRow>(deployments, postgresDialect);
    let database: TestDatabase;
    let client: pg.Client;
    beforeAll(async () => {
      database = await freshDatabase();
      const opened = await openPostgres({ url: database.url });
      const readModels = postgresReadModels(opened);
      const table = deployments as Table;
      await readModels.open([table]);
      const rows = Array.from({ length: ROWS }, (_, n) => row(n));
      await readModels.commit([{ table, generation: 'live', rows, from: null, to: 1n }]);
      await opened.query('vacuum analyze shipslog.deployments');
      await readModels.close();
      client = new pg.Client({ connectionString: database.url });
      await client.connect();
    });
    afterAll(async () => {
      await client.end();
      await database.drop();
    });
    const planOf = async ({ text, values }: Sql): Promise<string> => {
      const { rows } = await client.query<[string]>({
        text: `explain ${text}`,
        values: [...values],
        rowMode: 'array',
      });
      return rows.join('\n');
    };

    test.each<[string, Condition<DeploymentRow>[], RegExp]>([
      ['all', [], /^Limit.*\n.*Index Scan Backward using deployments_build1_index1 /],
      ['those shown', [shown], /^Limit.*\n.*Index Scan Backward/],
      [
        'a page far behind',
        [shown, { column: 'position', below: 99n }],
        /Index Cond: \(+"?position/,
      ],
      ['a rare state', [shown, { column: 'state', is: 'unknown' }], /Index Cond: .*state = /],
      [
        'a rare environment',
        [{ column: 'environment', is: 'preview' }],
        /Index Cond: .*environment = /,
      ],
      [
        'a rare label',
        [shown, { column: 'labels', member: 'serial', equals: 'd7' }],
        /Index Cond: .*labels @> /,
      ],
      [
        'a frequent label',
        [shown, { column: 'labels', member: 'tier', equals: 'web' }],
        /^Limit.*\n.*Index Scan Backward/,
      ],
      [
        'a text that nobody has',
        [shown, { column: 'searchText', contains: 'nobody' }],
        /Index Only Scan Backward using deployments_build1_index1 /,
      ],
      [
        'a text of a state and an environment',
        [
          shown,
          { column: 'state', is: 'ready' },
          { column: 'environment', is: 'production' },
          { column: 'searchText', contains: 'nobody' },
        ],
        /Index Only Scan Backward using deployments_build1_index1 /,
      ],
      [
        'active attempts',
        [
          { column: 'attemptState', is: 'running' },
          { column: 'position', above: 7n },
        ],
        /Index Cond: .*attempt_state = .*position\W+> /,
      ],
    ])('a list of %s comes from an index', async (_, where, index) => {
      expect(await planOf(sql.find({ where, orderBy, limit: 51 }))).toMatch(index);
    });

    test('counts come from an index alone', async () => {
      expect(await planOf(sql.countBy('state', { where: [shown] }))).toContain('Index Only Scan');
    });

    // A log that was made elsewhere may hold one; an entry of an index has at most 2704 bytes.
    test('the name of a deployment may be longer than an index takes', async () => {
      const letters = Array.from({ length: 4000 }, (_, n) => 0x4e00 + ((n * 7919) % 20_000));
      const name = String.fromCharCode(...letters);
      const metadata = { recordedAt: '2026-01-01T00:00:00.000Z' } as EventMetadata;
      const long = deployments.evolve(null, {
        ...{ type: 'deployment_created', data: { name }, metadata },
        ...{ deploymentId: 'long' as DeploymentId, revision: 0n, position: 9_000_001n },
      });
      const table = deployments as Table;
      const readModels = postgresReadModels(await openPostgres({ url: database.url }));
      await readModels.commit([{ table, generation: 'live', rows: [long], from: 1n, to: 2n }]);
      const where = [{ column: 'searchText', contains: name.slice(0, 200) } as const];
      const found = await readModels.find(deployments, { where, orderBy, limit: 9 });
      expect(found.map(({ deploymentId }) => deploymentId)).toEqual(['long']);
      await readModels.close();
    });
  });
});
