/**
 * The floor that the projection bench measures against: the same driver, the same rows of the table
 * `deployments` folded by the same `evolve`, written by hand without ports, checks or other tables.
 */
import {
  openDatabase,
  type Database,
  type SqlValue,
  type Statement,
} from '../src/adapters/sqlite/driver.js';
import { EVENT_LOG } from '../src/adapters/sqlite/event-log.js';
import { evolve, unrecorded, type Deployment } from '../src/domain/deployment.js';
import type { DeploymentEvent, DeploymentId } from '../src/domain/event-schema.js';

const READ_MODEL = {
  name: 'bench',
  applicationId: 1,
  userVersion: 1,
  schema: `
    create table deployments (deployment_id text not null primary key, state text not null,
      attempt_state text, environment text, labels text not null, archived integer not null,
      search_text text not null, revision integer not null, position integer not null,
      deployment text not null) strict;
    create index i1 on deployments (position); create index i2 on deployments (state, position);
    create index i3 on deployments (environment, position); create index i4 on deployments (attempt_state);
    create index i5 on deployments (state, archived);
    create table checkpoint (position integer not null) strict; insert into checkpoint values (0)`,
};
const UPSERT = `insert into deployments values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) on conflict do update set
  state = excluded.state, attempt_state = excluded.attempt_state, environment = excluded.environment,
  labels = excluded.labels, archived = excluded.archived, search_text = excluded.search_text,
  revision = excluded.revision, position = excluded.position, deployment = excluded.deployment`;

type EventRow = [
  position: number,
  stream: string,
  revision: number,
  type: string,
  data: string,
  metadata: string,
];

interface Changed {
  readonly deployment: Deployment;
  readonly revision: number;
  readonly position: number;
}

/** Reads the log and folds it into one table, a batch at a time. */
export class RawProjection {
  readonly log: Database;
  readonly #readModel: Database;
  readonly #page: Statement;
  readonly #load: Statement;
  readonly #upsert: Statement;
  readonly #step: Statement;
  #position = 0;

  constructor(logPath: string, readModelPath: string) {
    this.log = openDatabase(logPath, { kind: EVENT_LOG });
    this.#readModel = openDatabase(readModelPath, { kind: READ_MODEL, synchronous: 'normal' });
    this.#page = this.log.prepare(
      `select position, stream, revision, type, data, metadata from events where position > ?
       order by position limit 2000`,
    );
    this.#load = this.#readModel.prepare(
      'select deployment from deployments where deployment_id = ?',
    );
    this.#upsert = this.#readModel.prepare(UPSERT);
    this.#step = this.#readModel.prepare('update checkpoint set position = ?');
    for (const statement of [this.#page, this.#load]) statement.setReturnArrays(true);
  }

  /** Folds the next 2,000 events; answers how many there were. */
  next(): number {
    const rows = this.#page.all(this.#position) as EventRow[];
    if (rows.length === 0) return 0;
    this.#readModel.exec('begin immediate');
    const changed = new Map<string, Changed>();
    for (const [position, stream, revision, type, data, metadata] of rows) {
      const id = stream.slice('deployment-'.length);
      const before = changed.get(id)?.deployment ?? this.#stored(id);
      const event = {
        type,
        data: JSON.parse(data) as unknown,
        metadata: JSON.parse(metadata) as unknown,
      };
      const deployment = { ...evolve(before, event as DeploymentEvent), earlierAttempts: null };
      changed.set(id, { deployment, revision, position });
    }
    for (const [id, row] of changed) this.#upsert.run(...valuesOf(id, row));
    this.#position = rows.at(-1)?.[0] ?? this.#position;
    this.#step.run(this.#position);
    this.#readModel.exec('commit');
    return rows.length;
  }

  close(): void {
    this.log.close();
    this.#readModel.close();
  }

  #stored(id: string): Deployment {
    const row = this.#load.get(id) as [string] | undefined;
    return row === undefined ? unrecorded(id as DeploymentId) : (JSON.parse(row[0]) as Deployment);
  }
}

function valuesOf(id: string, { deployment, revision, position }: Changed): SqlValue[] {
  return [
    id,
    deployment.state,
    deployment.currentAttempt?.state ?? null,
    deployment.environment,
    JSON.stringify(deployment.labels),
    deployment.archived ? 1 : 0,
    `${id}\n${deployment.name}`.toLowerCase(),
    revision,
    position,
    JSON.stringify(deployment),
  ];
}
