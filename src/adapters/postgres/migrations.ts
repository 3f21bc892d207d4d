/** The schema as it grew: each version is a list of statements, and is never changed once released. */
import { bookkeepingSql } from '../sql/bookkeeping.js';
import { postgresDialect, SCHEMA } from './dialect.js';

/** Statements of the bookkeeping, which every store of read models has alike. */
export const BOOKKEEPING = bookkeepingSql(postgresDialect);

/** The version of a schema is how many of these it has. */
export const MIGRATIONS: readonly (readonly string[])[] = [
  [
    `create table ${SCHEMA}.shipslog_version (version bigint not null)`,
    BOOKKEEPING.createCheckpoints,
    BOOKKEEPING.createParked,
    BOOKKEEPING.createDecisions,
    BOOKKEEPING.createOwner,
    // Each building of a table has a number that never comes back.
    `create sequence ${SCHEMA}.shipslog_builds`,
    // Rows that change at every heartbeat find room beside themselves, and no index is touched.
    `create table ${SCHEMA}.shipslog_leases (
      deployment_id text collate "C" not null, attempt_id text collate "C" not null,
      beats bigint not null, at text not null, progress json,
      primary key (deployment_id, attempt_id)) with (fillfactor = 50)`,
    `create table ${SCHEMA}.shipslog_refusals (
      id bigint generated always as identity primary key, at text not null,
      deployment_id text collate "C" not null, attempt_id text, command text not null,
      command_id text not null, actor_id text not null, actor_kind text not null,
      code text not null, detail text not null)`,
    `create index shipslog_refusals_of_deployment on ${SCHEMA}.shipslog_refusals (deployment_id, id)`,
  ],
  [
    // So that a batch whose answer was lost can be sent again. Entries of before have none.
    `alter table ${SCHEMA}.shipslog_refusals add column entry_id uuid`,
    `create unique index shipslog_refusals_by_entry on ${SCHEMA}.shipslog_refusals (entry_id)`,
  ],
];
