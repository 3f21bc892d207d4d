import type { Instant, JsonObject } from '../../domain/event-schema.js';
import type { AttemptKey, Beat, Leases } from '../../ports/leases.js';
import type { PostgresDatabase, Rows } from './database.js';
import { arrayOf, SCHEMA } from './dialect.js';

const LEASES = `${SCHEMA}.shipslog_leases`;
const DROP = `delete from ${LEASES} where deployment_id = $1 and attempt_id = $2`;
const BEAT = `insert into ${LEASES} as "lease" (deployment_id, attempt_id, beats, at, progress)
  values ($1, $2, 1, $3, $4) on conflict (deployment_id, attempt_id) do update
  set beats = "lease".beats + 1, at = excluded.at, progress = coalesce(excluded.progress, "lease".progress)
  returning beats, at, progress`;
const KEYS = `select deployment_id, attempt_id from ${LEASES}`;
/** A command may wait for this; a heartbeat that is lost does no harm. */
const BEAT_MS_MAX = 2_000;
const READ = `select "key".n, beats, at, progress from unnest($1::text[], $2::text[]) with ordinality
  as "key" (deployment_id, attempt_id, n) join ${LEASES} using (deployment_id, attempt_id)`;

/**
 * Signs of life that all processes on a database share. One round trip for a beat, one for a read.
 *
 * The counter is the database's: two processes that hear of the same attempt count on, and nobody's clock
 * is compared with that of another.
 */
export function postgresLeases(database: PostgresDatabase): Leases {
  return new PostgresLeases(database);
}

class PostgresLeases implements Leases {
  readonly #database: PostgresDatabase;
  readonly #leave: () => Promise<void>;

  constructor(database: PostgresDatabase) {
    this.#database = database;
    this.#leave = database.use();
  }

  async beat(
    { deploymentId, attemptId }: AttemptKey,
    at: Instant,
    progress?: JsonObject,
  ): Promise<Beat> {
    const told = progress === undefined ? null : JSON.stringify(progress);
    const values = [deploymentId, attemptId, at, told];
    const [row = []] = await this.#database.query(BEAT, values, BEAT_MS_MAX);
    return beatOf(row);
  }

  async read(keys: readonly AttemptKey[]): Promise<readonly (Beat | null)[]> {
    const beats = keys.map((): Beat | null => null);
    if (keys.length === 0) return beats;
    const rows = await this.#database.query(READ, [
      arrayOf(
        'text',
        keys.map(({ deploymentId }) => deploymentId),
      ),
      arrayOf(
        'text',
        keys.map(({ attemptId }) => attemptId),
      ),
    ]);
    for (const [n, ...beat] of rows) beats[Number(n) - 1] = beatOf(beat);
    return beats;
  }

  async keys(): Promise<readonly AttemptKey[]> {
    const rows = (await this.#database.query(KEYS)) as readonly (readonly [string, string])[];
    return rows.map(([deploymentId, attemptId]) => ({ deploymentId, attemptId }));
  }

  async drop({ deploymentId, attemptId }: AttemptKey): Promise<void> {
    await this.#database.query(DROP, [deploymentId, attemptId], BEAT_MS_MAX);
  }

  close(): Promise<void> {
    return this.#leave();
  }
}

function beatOf([beats, at, progress]: Rows[number]): Beat {
  return {
    count: Number(beats),
    at: at ?? '',
    progress: progress == null ? null : (JSON.parse(progress) as JsonObject),
  };
}
