import type { ColumnType } from '../../ports/read-models.js';
import type { Dialect, SqlValue } from '../sql/statements.js';

/** How SQLite says it. Tables are strict: a value of the wrong type is refused, never converted. */
export const sqliteDialect: Dialect = {
  schema: null,
  types: { text: 'text', integer: 'integer', bigint: 'integer', boolean: 'integer', json: 'text' },
  memberIndex: null,
  integerKey: 'integer primary key',
  tableOptions: ' strict',
  nowMs: "cast(unixepoch('subsec') * 1000 as integer)",
  placeholder: (n) => `?${String(n)}`,
  same: (column, value) => `${column} is ${value}`,
  contains: (column, value) => `instr(${column}, ${value}) > 0`,
  oneOf: (column, value) => `${column} in (select value from json_each(${value}))`,
  listValue: (words) => JSON.stringify(words),
  // Most rows do not even hold the text; looking for it costs less than taking the document apart.
  member: (column, { member, equals }, bind) =>
    `instr(${column}, ${bind(`${JSON.stringify(member)}:${JSON.stringify(equals)}`)}) > 0 and ` +
    `json_extract(${column}, ${bind(`$."${member}"`)}) = ${bind(equals)}`,
  encode,
  decode,
};

function encode(type: ColumnType, value: unknown): SqlValue {
  if (value === null || value === undefined) return null;
  switch (type) {
    case 'json':
      return JSON.stringify(value);
    case 'boolean':
      return value === true ? 1 : 0;
    case 'text':
    case 'integer':
    case 'bigint':
      return value as SqlValue;
  }
}

/** Integers are read as bigints, so that none beyond 2^53 loses its last digits. */
function decode(type: ColumnType, value: unknown): unknown {
  if (value === null) return null;
  switch (type) {
    case 'json':
      return JSON.parse(value as string);
    case 'boolean':
      return value === 1n;
    case 'integer':
      return Number(value);
    case 'text':
    case 'bigint':
      return value;
  }
}
