/** Every documented filter of lists and counts on both databases: how long it takes, and how it is found. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { postgresDialect } from '../src/adapters/postgres/dialect.js';
import { openPostgres } from '../src/adapters/postgres/database.js';
import { postgresReadModels } from '../src/adapters/postgres/read-models.js';
import { TableSql, type Dialect, type Sql } from '../src/adapters/sql/statements.js';
import { sqliteDialect } from '../src/adapters/sqlite/dialect.js';
import { openDatabase } from '../src/adapters/sqlite/driver.js';
import { openSqliteReadModels } from '../src/adapters/sqlite/read-models.js';
import { parseEvent, type DeploymentId } from '../src/domain/event-schema.js';
import type { Condition, ReadModels, Row, Table } from '../src/ports/read-models.js';
import { attempts } from '../src/projections/attempts.js';
import { deployments, type DeploymentRow } from '../src/projections/deployments.js';
import type { PlacedEvent, Projection } from '../src/projections/projection.js';
import { transitions, type TransitionRow } from '../src/projections/transitions.js';
import { eventOf } from './projection-log.js';

const TABLES = [deployments, attempts, transitions] as const;
const ROUNDS = 40;
const TEAMS = 100;
/** Deployments filled in by one commit. */
const CHUNK = 500;

/** A query as its route makes it, with other values each time. */
type Asked = (n: number) => {
  readonly on: (readModels: ReadModels) => Promise<unknown>;
  readonly sql: (dialect: Dialect) => Sql;
};

/** The filters of `GET /v1/deployments`, counts, attempts and transitions. */
function queries(total: number): Readonly<Record<string, Asked>> {
  const shown = { column: 'archived', is: false } as const;
  const list =
    (where: (n: number) => readonly Condition<DeploymentRow>[], limit = 51): Asked =>
    (n) =>
      find(deployments, { where: where(n), orderBy: NEWEST, limit });
  return {
    'newest first': list(() => [shown]),
    'newest first, limit=200': list(() => [shown], 201),
    'cursor, in the middle': list((n) => [
      shown,
      { column: 'position', below: BigInt(total * 5 + n) },
    ]),
    'archived=include': list(() => []),
    'state=failed': list(() => [shown, { column: 'state', is: 'failed' }]),
    'state=archived, one in 1,000': list(() => [{ column: 'state', is: 'archived' }]),
    'environment=production': list(() => [shown, { column: 'environment', is: 'production' }]),
    'environment, none': list(() => [shown, { column: 'environment', is: 'nowhere' }]),
    'label, one in 100': list((n) => [shown, label('team', `team-${String(n % TEAMS)}`)]),
    'label, one at all': list((n) => [shown, label('serial', `s${String(n * 7)}`)]),
    'label, none': list((n) => [shown, label('serial', `none${String(n)}`)]),
    'two labels': list((n) => [
      shown,
      label('tier', 'web'),
      label('team', `team-${String(n % TEAMS)}`),
    ]),
    'q, many': list(() => [shown, { column: 'searchText', contains: 'payment' }]),
    'q, one at all': list((n) => [
      shown,
      { column: 'searchText', contains: `d${String(n * 977)} of` },
    ]),
    'q, none': list((n) => [shown, { column: 'searchText', contains: `nobody${String(n)}` }]),
    'state, environment, label and q': list((n) => [
      shown,
      { column: 'state', is: 'failed' },
      { column: 'environment', is: 'production' },
      label('team', `team-${String(n % TEAMS)}`),
      { column: 'searchText', contains: 'service' },
    ]),
    'counts by state': () => counted([shown]),
    'counts by state, archived=include': () => counted([]),
    'attempts of a deployment': (n) =>
      find(attempts, {
        where: [{ column: 'deploymentId', is: `d${String(n)}` }],
        orderBy: { column: 'number', direction: 'descending' },
        limit: 51,
      }),
    transitions: (n) => changes([{ column: 'position', above: BigInt(n) }]),
    'transitions of a deployment': (n) =>
      changes([{ column: 'deploymentId', is: `d${String(n)}` }]),
    'transitions to=failed': () => changes([{ column: 'to', is: 'failed' }]),
    'transitions to=archived, one in 1,000': () => changes([{ column: 'to', is: 'archived' }]),
    'active attempts, as the reaper asks': () =>
      find(deployments, {
        where: [
          { column: 'attemptState', is: 'running' },
          { column: 'position', above: -1n },
        ],
        orderBy: { column: 'position', direction: 'ascending' },
        limit: 500,
      }),
  };
}

const NEWEST = { column: 'position', direction: 'descending' } as const;

function label(member: string, equals: string): Condition<DeploymentRow> {
  return { column: 'labels', member, equals };
}

function find<R extends Row>(
  table: Table<R>,
  query: Parameters<TableSql<R>['find']>[0],
): ReturnType<Asked> {
  return {
    on: (readModels) => readModels.find(table, query),
    sql: (dialect) => new TableSql<R>(table, dialect).find(query),
  };
}

function counted(where: readonly Condition<DeploymentRow>[]): ReturnType<Asked> {
  return {
    on: (readModels) => readModels.countBy(deployments, 'state', { where }),
    sql: (dialect) => new TableSql<DeploymentRow>(deployments, dialect).countBy('state', { where }),
  };
}

function changes(where: readonly Condition<TransitionRow>[]): ReturnType<Asked> {
  const orderBy = { column: 'position', direction: 'ascending' } as const;
  return find<TransitionRow>(transitions, { where, orderBy, limit: 50 });
}

/** Measures every query on both databases, with `total` deployments in each. */
export async function benchQueries(url: string, total: number, plans: boolean): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'shipslog-bench-'));
  const file = join(folder, 'read-models.db');
  const postgres = await openPostgres({ url });
  const sides = { PostgreSQL: postgresReadModels(postgres), SQLite: openSqliteReadModels(file) };
  for (const readModels of Object.values(sides)) await fill(readModels, total);
  // What PostgreSQL does by itself within a minute of quiet.
  await postgres.query('vacuum analyze');
  console.log(`\nqueries at ${String(total)} deployments: p50 / p95 in ms (target: p95 < 100)`);
  console.log(
    `${''.padEnd(40)}${Object.keys(sides)
      .map((name) => name.padStart(20))
      .join('')}`,
  );
  for (const [name, asked] of Object.entries(queries(total))) {
    const figures: string[] = [];
    for (const readModels of Object.values(sides)) figures.push(await timed(readModels, asked));
    console.log(`${name.padEnd(40)}${figures.map((each) => each.padStart(20)).join('')}`);
  }
  if (plans) await printPlans(url, file, queries(total));
  for (const readModels of Object.values(sides)) await readModels.close();
  rmSync(folder, { recursive: true });
}

async function timed(readModels: ReadModels, asked: Asked): Promise<string> {
  const took: number[] = [];
  for (let n = 0; n < ROUNDS; n++) {
    const { on } = asked(n);
    const startedAt = performance.now();
    await on(readModels);
    took.push(performance.now() - startedAt);
  }
  took.sort((a, b) => a - b);
  const at = (share: number): string => (took[Math.floor(ROUNDS * share)] ?? 0).toFixed(1);
  return `${at(0.5)} / ${at(0.95)}`;
}

/** How each database finds the rows. */
async function printPlans(
  url: string,
  file: string,
  all: Readonly<Record<string, Asked>>,
): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const kind = { name: 'any', applicationId: 0x5348_4c52, userVersion: 1, schema: '' };
  const sqlite = openDatabase(file, { kind, readOnly: true });
  for (const [name, asked] of Object.entries(all)) {
    console.log(`\n### ${name}\n`);
    const { text, values } = asked(1).sql(postgresDialect);
    const { rows } = await client.query<{ 'QUERY PLAN': string }>(`explain (costs off) ${text}`, [
      ...values,
    ]);
    for (const row of rows) console.log(row['QUERY PLAN']);
    const there = asked(1).sql(sqliteDialect);
    const steps = sqlite.prepare(`explain query plan ${there.text}`).all(...(there.values as []));
    for (const { detail } of steps as { detail: string }[]) console.log(`SQLite: ${detail}`);
  }
  sqlite.close();
  await client.end();
}

/** Fills the tables with deployments in all states of their lives, as the projector would have. */
async function fill(readModels: ReadModels, total: number): Promise<void> {
  await readModels.open(TABLES);
  for (let from = 0; from < total; from += CHUNK) {
    const events = Array.from({ length: CHUNK }, (_, n) => lifeOf(from + n)).flat();
    await readModels.commit(
      (TABLES as readonly Projection[]).map((table) => ({
        table,
        generation: 'live',
        rows: rowsOf(table, events),
        from: from === 0 ? null : BigInt(from * 11),
        to: BigInt((from + CHUNK) * 11),
      })),
    );
  }
}

function rowsOf(table: Projection, events: readonly PlacedEvent[]): readonly Row[] {
  const rows = new Map<string, Row>();
  for (const event of events) {
    const key = table.keyOf(event);
    if (key === null) continue;
    const text = key.join('\n');
    rows.set(text, table.evolve(rows.get(text) ?? null, event));
  }
  return [...rows.values()];
}

/** The first events of a life: 1 to 10 of them, and one in a thousand is archived in the end. */
function lifeOf(deployment: number): readonly PlacedEvent[] {
  const length = 1 + (deployment % 10);
  const events: PlacedEvent[] = [];
  for (let revision = 0; revision <= length; revision++) {
    const stored = eventOf(deployment, Math.min(revision, length - 1));
    const isLast = revision === length;
    if (isLast && deployment % 1000 !== 999) break;
    const parsed = isLast
      ? parseEvent('deployment_archived', '{}', stored.metadata)
      : parseEvent(stored.type, stored.data, stored.metadata);
    if (!parsed.ok) throw new Error(parsed.problem);
    const event = varied(parsed.event, deployment);
    const place = {
      deploymentId: `d${String(deployment)}` as DeploymentId,
      revision: BigInt(revision),
      position: BigInt(deployment * 11 + revision + 1),
    };
    events.push(Object.assign(event, place));
  }
  return events;
}

function varied<E extends { readonly type: string; readonly data: object }>(
  event: E,
  n: number,
): E {
  if (event.type !== 'deployment_created') return event;
  const environment = ['production', 'staging', 'development', 'preview'][n % 4];
  const labels = {
    team: `team-${String((n * 7919) % TEAMS)}`,
    tier: n % 3 === 0 ? 'web' : 'worker',
    serial: `s${String(n)}`,
  };
  const name = `d${String(n)} of the ${n % 5 === 0 ? 'payment' : 'catalogue'} service`;
  return { ...event, data: { ...event.data, name, environment, labels } };
}
