/** Statements for many rows at once: a column of all of them is one array, and one value to bind. */
import type { Change, Generation, Row, RowKey } from '../../ports/read-models.js';
import type { SqlValue, TableSql } from '../sql/statements.js';
import type { Bound } from './database.js';
import { arrayOf, elementOf, SCHEMA } from './dialect.js';

interface Statement {
  readonly text: string;
  readonly values: readonly Bound[];
}

/** A change with the table's statements and the building that it is meant for. */
export interface Step {
  readonly change: Change;
  readonly sql: TableSql;
  readonly build: bigint | null;
}

const CHECKPOINTS = `${SCHEMA}.shipslog_checkpoints`;
const OWNER = `${SCHEMA}.shipslog_owner`;
/** The rule of `assertMayWrite`, in one statement with what it guards; $1 is the number of our claim. */
const MAY_WRITE = `"owner" as (
  select case when $1::bigint is null
    then "owner" is null or "now" < "renewed_at_ms" or "now" >= "renewed_at_ms" + "ttl_ms"
    else "fence" = $1 end as "may"
  from ${OWNER}, lateral (select cast(extract(epoch from clock_timestamp()) * 1000 as bigint)) as "clock" ("now")
  for share of shipslog_owner)`;
/** All checkpoints that stand where the changes say, in order and locked: none moves until all is done. */
const STANDING = `"standing" as (
  select "at"."table", "at"."generation", "step"."to"
  from ${CHECKPOINTS} as "at" join unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
    $7::bigint[]) as "step" ("table", "generation", "version", "build", "from", "to")
  on "at"."table" = "step"."table" and "at"."generation" = "step"."generation"
    and "at"."version" = "step"."version" and "at"."build" = "step"."build"
    and "at"."position" is not distinct from "step"."from"
  where coalesce((select "may" from "owner"), true)
  for update of "at")`;
const GOES = `"goes" as (select count(*) = cardinality($2::text[]) as "on" from "standing")`;
const STEPPED = `"stepped" as (
  update ${CHECKPOINTS} as "at" set "position" = "standing"."to" from "standing"
  where "at"."table" = "standing"."table" and "at"."generation" = "standing"."generation"
    and (select "on" from "goes"))`;
const OUTCOME = `select coalesce((select "may" from "owner"), true), (select "on" from "goes")`;

/**
 * Rows and checkpoints of all changes, or nothing at all.
 * Shape: one row of two flags: whether this handle may write, and whether it has written.
 */
export function commitOf(steps: readonly Step[], fence: bigint | null): Statement {
  const values: Bound[] = [fence, ...stepValues(steps)];
  const writes = steps
    .filter(({ change }) => change.rows.length > 0)
    .map((step, n) => `"written${String(n)}" as (${upsertOf(step, values)})`);
  const parts = [MAY_WRITE, STANDING, GOES, STEPPED, ...writes];
  return { text: `with ${parts.join(', ')} ${OUTCOME}`, values };
}

function stepValues(steps: readonly Step[]): readonly Bound[] {
  const changes = steps.map(({ change }) => change);
  return [
    arrayOf(
      'text',
      changes.map(({ table }) => table.name),
    ),
    arrayOf(
      'text',
      changes.map(({ generation }) => generation),
    ),
    arrayOf(
      'bigint',
      changes.map(({ table }) => table.version),
    ),
    arrayOf(
      'bigint',
      steps.map(({ build }) => build),
    ),
    arrayOf(
      'bigint',
      changes.map(({ from }) => from),
    ),
    arrayOf(
      'bigint',
      changes.map(({ to }) => to),
    ),
  ];
}

/** Adds the rows of a step to the values; answers their upsert. */
function upsertOf({ change, sql }: Step, values: Bound[]): string {
  const encoded = change.rows.map((row) => sql.encode(row));
  const columns = sql.columns().map(({ column, type, storedAs }, n) => {
    const element = elementOf(type);
    const place = values.push(
      arrayOf(
        element,
        encoded.map((row) => row[n] ?? null),
      ),
    );
    return {
      array: `$${String(place)}::${element}[]`,
      column,
      value: type === 'json' ? `${column}::${storedAs}` : column,
    };
  });
  const [arrays, names, chosen] = (['array', 'column', 'value'] as const).map((part) =>
    columns.map((column) => column[part]).join(', '),
  );
  return sql.upsertFrom(
    change.generation,
    `select ${chosen} from unnest(${arrays}) as "row" (${names}) where (select "on" from "goes")`,
  );
}

/** The rows with these keys. Shape: the number of the key, from 1, then the columns. */
export function loadOf<R extends Row>(
  sql: TableSql<R>,
  generation: Generation,
  keys: readonly RowKey[],
): Statement {
  const key = sql.columns(sql.table.key).map(({ column, type }, n) => {
    const element = elementOf(type);
    const values = arrayOf(
      element,
      keys.map((each) => storable(each[n])),
    );
    return { array: `$${String(n + 1)}::${element}[]`, column, values };
  });
  const arrays = key.map(({ array }) => array).join(', ');
  const names = key.map(({ column }) => column).join(', ');
  const on = key.map(({ column }) => `"row".${column} = "key".${column}`).join(' and ');
  const columns = sql.columns().map(({ column }) => `"row".${column}`);
  return {
    text:
      `select "key"."n", ${columns.join(', ')} from unnest(${arrays}) with ordinality as "key" (${names}, "n") ` +
      `join ${sql.place(generation)} as "row" on ${on}`,
    values: key.map(({ values }) => values),
  };
}

/** A key with a NUL is that of no row; null equals nothing. */
function storable(value: string | bigint | undefined): SqlValue {
  return value === undefined || (typeof value === 'string' && value.includes('\0')) ? null : value;
}
