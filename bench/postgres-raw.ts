/**
 * The floor that the bench of PostgreSQL measures against: the same driver, the same rows of the table
 * `deployments` folded by the same `evolve`, written by hand without ports, checks, claims or other tables: a
 * batch is one statement, its rows one JSON text.
 */
import pg from 'pg';
import { openDatabase, type Database, type Statement } from '../src/adapters/sqlite/driver.js';
import { EVENT_LOG } from '../src/adapters/sqlite/event-log.js';
import { evolve, unrecorded, type Deployment } from '../src/domain/deployment.js';
import type { DeploymentEvent, DeploymentId } from '../src/domain/event-schema.js';

const SCHEMA = `
  create table deployments (deployment_id text primary key, state text not null, attempt_state text,
    environment text, labels jsonb not null, archived boolean not null, search_text text not null,
    revision bigint not null, position bigint not null, deployment json not null);
  create index on deployments (position); create index on deployments (state, position);
  create index on deployments (environment, position); create index on deployments (attempt_state);
  create index on deployments (state, archived);
  create table checkpoint (position bigint not null); insert into checkpoint values (0)`;
const WRITE = `with step as (update checkpoint set position = $2)
  insert into deployments select * from json_to_recordset($1::json) as row (deployment_id text, state text,
    attempt_state text, environment text, labels jsonb, archived boolean, search_text text, revision bigint,
    position bigint, deployment json)
  on conflict (deployment_id) do update set state = excluded.state, attempt_state = excluded.attempt_state,
    environment = excluded.environment, labels = excluded.labels, archived = excluded.archived,
    search_text = excluded.search_text, revision = excluded.revision, position = excluded.position,
    deployment = excluded.deployment`;
const LOAD = 'select deployment from deployments where deployment_id = any($1)';

type EventRow = [number, string, number, string, string, string];

/** Reads the log and folds it into one table, a batch at a time. */
export class RawPostgresProjection {
  readonly #log: Database;
  readonly #page: Statement;
  readonly #client: pg.Client;
  #position = 0;

  constructor(logPath: string, url: string) {
    this.#log = openDatabase(logPath, { kind: EVENT_LOG });
    this.#page = this.#log.prepare(
      `select position, stream, revision, type, data, metadata from events where position > ?
       order by position limit 2000`,
    );
    this.#page.setReturnArrays(true);
    this.#client = new pg.Client({ connectionString: url });
  }

  async open(): Promise<void> {
    await this.#client.connect();
    await this.#client.query(SCHEMA);
  }

  /** Folds the next 2,000 events; answers how many there were. */
  async next(): Promise<number> {
    const events = this.#page.all(this.#position) as EventRow[];
    if (events.length === 0) return 0;
    const changed = await this.#stored(new Set(events.map(([, stream]) => idOf(stream))));
    const rows = new Map<string, object>();
    for (const [position, stream, revision, type, data, metadata] of events) {
      const id = idOf(stream);
      const event = {
        type,
        data: JSON.parse(data) as unknown,
        metadata: JSON.parse(metadata) as unknown,
      };
      const before = changed.get(id) ?? unrecorded(id as DeploymentId);
      const deployment = { ...evolve(before, event as DeploymentEvent), earlierAttempts: null };
      changed.set(id, deployment);
      rows.set(id, rowOf(deployment, { revision, position }));
    }
    this.#position = events.at(-1)?.[0] ?? this.#position;
    await this.#client.query(WRITE, [JSON.stringify([...rows.values()]), this.#position]);
    return events.length;
  }

  async close(): Promise<void> {
    this.#log.close();
    await this.#client.end();
  }

  async #stored(ids: ReadonlySet<string>): Promise<Map<string, Deployment>> {
    const { rows } = await this.#client.query<{ deployment: Deployment }>(LOAD, [[...ids]]);
    return new Map(rows.map(({ deployment }) => [deployment.deploymentId, deployment]));
  }
}

function idOf(stream: string): string {
  return stream.slice('deployment-'.length);
}

function rowOf(deployment: Deployment, at: { revision: number; position: number }): object {
  return {
    deployment_id: deployment.deploymentId,
    state: deployment.state,
    attempt_state: deployment.currentAttempt?.state ?? null,
    environment: deployment.environment,
    labels: deployment.labels,
    archived: deployment.archived,
    search_text: `${deployment.deploymentId}\n${deployment.name}`.toLowerCase(),
    ...at,
    deployment,
  };
}
