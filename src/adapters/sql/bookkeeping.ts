/** SQL for what is kept beside the tables: how far each has come, which streams wait outside, who writes. */
import { placed, quoted, type Dialect } from './statements.js';

/** Statements of the bookkeeping tables. Placeholders are in the order of the values named. */
type Bookkeeping = ReturnType<typeof checkpointSql> &
  ReturnType<typeof parkedSql> &
  ReturnType<typeof ownerSql>;

/** Makes the statements in one dialect. */
export function bookkeepingSql(dialect: Dialect): Bookkeeping {
  return { ...checkpointSql(dialect), ...parkedSql(dialect), ...ownerSql(dialect) };
}

function checkpointSql(dialect: Dialect) {
  const { at, text, whole, p, ofTable } = partsOf('shipslog_checkpoints', dialect);
  const { types, tableOptions } = dialect;
  return {
    createCheckpoints:
      `create table ${at} ("table" ${text}, "generation" ${text}, "version" ${whole}, ` +
      `"position" ${types.bigint}, "build" ${whole}, primary key ("table", "generation"))${tableOptions}`,
    /** Values: table, generation, version, from, to. One row changes, or the checkpoint stood elsewhere. */
    step:
      `update ${at} set "position" = ${p(5)} where ${ofTable} and "version" = ${p(3)} ` +
      `and ${dialect.same('"position"', p(4))}`,
    checkpoints: `select "table", "generation", "version", "position", "build" from ${at} order by 1, 2`,
    /** Values: table, generation, version, build. */
    place:
      `insert into ${at} ("table", "generation", "version", "position", "build") ` +
      `values (${p(1)}, ${p(2)}, ${p(3)}, null, ${p(4)})`,
    /** Values: table, generation. */
    remove: `delete from ${at} where ${ofTable}`,
    /** Value: table. */
    promote: `update ${at} set "generation" = 'live' where "table" = ${p(1)} and "generation" = 'next'`,
  };
}

function parkedSql(dialect: Dialect) {
  const { at, text, whole, p, ofTable } = partsOf('shipslog_parked', dialect);
  const { tableOptions } = dialect;
  const decisions = placed('shipslog_parked_decisions', dialect);
  const columns = listed([
    ...['table', 'generation', 'stream', 'revision', 'position', 'problem', 'parked_at'],
  ]);
  return {
    createParked:
      `create table ${at} ("table" ${text}, "generation" ${text}, "stream" ${text}, ` +
      `"revision" ${whole}, "position" ${whole}, "problem" ${text}, "parked_at" ${text}, ` +
      `primary key ("table", "generation", "stream"))${tableOptions}`,
    createDecisions:
      `create table if not exists ${decisions} ("table" ${text}, "stream" ${text}, "decision" ${text}, ` +
      `primary key ("table", "stream"))${tableOptions}`,
    /** Values: table, generation, stream, revision, position, problem, parkedAt. The first entry stands. */
    park:
      `insert into ${at} (${columns}) ` +
      `values (${[1, 2, 3, 4, 5, 6, 7].map(p).join(', ')}) on conflict do nothing`,
    /** The columns of `park`, and the decision as JSON, or null. */
    parked:
      `select ${columns}, (select "decided"."decision" from ${decisions} as "decided" ` +
      `where "decided"."table" = "parked"."table" and "decided"."stream" = "parked"."stream") ` +
      `from ${at} as "parked" order by "position", "table"`,
    /** Values: table, generation. */
    unpark: `delete from ${at} where ${ofTable}`,
    /** Values: table, generation, stream. */
    unparkOne: `delete from ${at} where ${ofTable} and "stream" = ${p(3)}`,
    /** Values: table, generation, stream. */
    isParked: `select 1 from ${at} where ${ofTable} and "stream" = ${p(3)}`,
    /** Value: table. */
    promoteParked: `update ${at} set "generation" = 'live' where "table" = ${p(1)} and "generation" = 'next'`,
    /** Value: table. Of a decision about a stream that is not parked any more, nothing is left to say. */
    forgetDecisions:
      `delete from ${decisions} where "table" = ${p(1)} and not exists (select 1 from ${at} as "parked" ` +
      `where "parked"."table" = ${decisions}."table" and "parked"."stream" = ${decisions}."stream")`,
    /** Values: table, stream, decision as JSON. */
    decide:
      `insert into ${decisions} ("table", "stream", "decision") values (${p(1)}, ${p(2)}, ${p(3)}) ` +
      `on conflict ("table", "stream") do update set "decision" = excluded."decision"`,
    /** Values: table, stream, decision as JSON. */
    undecideThis:
      `delete from ${decisions} where "table" = ${p(1)} and "stream" = ${p(2)} ` +
      `and "decision" = ${p(3)}`,
    /** Values: table, stream. */
    undecide: `delete from ${decisions} where "table" = ${p(1)} and "stream" = ${p(2)}`,
  };
}

function ownerSql(dialect: Dialect) {
  const { at, text, whole, p } = partsOf('shipslog_owner', dialect);
  const numbers = ['fence', 'since_ms', 'renewed_at_ms', 'ttl_ms', 'denials'];
  const columns = ['owner', ...numbers];
  const set = columns.map((column) => `"${column}" = excluded."${column}"`).join(', ');
  return {
    createOwner:
      `create table if not exists ${at} ("name" ${text} primary key, "owner" ${dialect.types.text}, ` +
      `${numbers.map((column) => `"${column}" ${whole}`).join(', ')})${dialect.tableOptions}`,
    /** Owner, fence, since, renewed at, ttl, denials, all null when nobody ever owned; and the time now. */
    owner: `select ${listed(columns)}, ${dialect.nowMs} from (select 1) as "one" left join ${at} on true`,
    /** Values: owner, fence, since, renewed at, ttl, denials. */
    own:
      `insert into ${at} ("name", ${listed(columns)}) ` +
      `values ('projector', ${[1, 2, 3, 4, 5, 6].map(p).join(', ')}) ` +
      `on conflict ("name") do update set ${set}`,
  };
}

function partsOf(name: string, dialect: Dialect) {
  const { types } = dialect;
  const p = (n: number): string => dialect.placeholder(n);
  return {
    at: placed(name, dialect),
    text: `${types.text} not null`,
    whole: `${types.bigint} not null`,
    p,
    ofTable: `"table" = ${p(1)} and "generation" = ${p(2)}`,
  };
}

function listed(columns: readonly string[]): string {
  return columns.map(quoted).join(', ');
}
