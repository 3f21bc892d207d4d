import type { ColumnType } from '../../ports/read-models.js';
import type { Dialect, SqlValue } from '../sql/statements.js';

/** Where everything of ours is. */
export const SCHEMA = 'shipslog';

/**
 * How PostgreSQL says it. Text is sorted by its code units, whatever the database's language is. `json` keeps a
 * document exactly as it was written, also with a NUL, which `jsonb` refuses; only what is searched is `jsonb`.
 */
export const postgresDialect: Dialect = {
  schema: SCHEMA,
  types: {
    text: 'text collate "C"',
    integer: 'bigint',
    bigint: 'bigint',
    boolean: 'boolean',
    json: 'json',
  },
  memberIndex: { type: 'jsonb', on: (column) => ` using gin (${column} jsonb_path_ops)` },
  integerKey: 'bigint primary key',
  // Documents stay in their row up to a page: moved elsewhere, or packed, each would cost a write more.
  tableOptions: ' with (toast_tuple_target = 8160)',
  nowMs: 'cast(extract(epoch from clock_timestamp()) * 1000 as bigint)',
  placeholder: (n) => `$${String(n)}`,
  same: (column, value) => `${column} is not distinct from ${value}`,
  contains: (column, value) => `strpos(${column}, ${value}) > 0`,
  oneOf: (column, value) => `${column} = any(${value})`,
  listValue: (words) => words,
  member: (column, { member, equals }, bind) =>
    `${column}::jsonb @> ${bind(JSON.stringify({ [member]: equals }))}`,
  encode,
  decode,
};

function encode(type: ColumnType, value: unknown): SqlValue {
  if (value === null || value === undefined) return null;
  return type === 'json' ? JSON.stringify(value) : (value as SqlValue);
}

/** Values come as text: integers beyond 2^53 lose nothing. */
function decode(type: ColumnType, value: unknown): unknown {
  if (value === null) return null;
  const text = value as string;
  switch (type) {
    case 'json':
      return JSON.parse(text);
    case 'boolean':
      return text === 't';
    case 'integer':
      return Number(text);
    case 'bigint':
      return BigInt(text);
    case 'text':
      return text;
  }
}

/** The types whose values are sent in arrays, one array for a column of many rows. */
export type ElementType = 'text' | 'bigint' | 'boolean';
const OIDS: Readonly<Record<ElementType, number>> = { text: 25, bigint: 20, boolean: 16 };
/** Of one dimension, with nulls, the first element being number 1. */
const ARRAY_HEADER_BYTES = 20;

/** The type of the array that carries a column. */
export function elementOf(type: ColumnType): ElementType {
  if (type === 'boolean') return 'boolean';
  return type === 'text' || type === 'json' ? 'text' : 'bigint';
}

/**
 * An array as PostgreSQL reads it in binary: nothing is quoted here nor parsed there.
 * Shape: at least one value.
 */
export function arrayOf(type: ElementType, values: readonly SqlValue[]): Buffer {
  const texts = type === 'text' ? (values as readonly (string | null)[]) : null;
  const width = type === 'bigint' ? 8 : 1;
  const bytes =
    texts === null
      ? values.length * width
      : texts.reduce((sum, text) => sum + (text === null ? 0 : Buffer.byteLength(text)), 0);
  const buffer = Buffer.allocUnsafe(ARRAY_HEADER_BYTES + 4 * values.length + bytes);
  let at = 0;
  for (const header of [1, 1, OIDS[type], values.length, 1]) at = buffer.writeInt32BE(header, at);
  for (const value of values) {
    if (value === null) at = buffer.writeInt32BE(-1, at);
    else if (typeof value === 'string') {
      const length = buffer.write(value, at + 4);
      at = buffer.writeInt32BE(length, at) + length;
    } else if (typeof value === 'boolean') {
      at = buffer.writeInt8(value ? 1 : 0, buffer.writeInt32BE(1, at));
    } else {
      at = buffer.writeBigInt64BE(BigInt(value as number | bigint), buffer.writeInt32BE(8, at));
    }
  }
  return buffer.subarray(0, at);
}
