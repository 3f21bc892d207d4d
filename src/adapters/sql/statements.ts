/**
 * SQL for read-model tables, made from their definitions: one definition serves every database.
 *
 * Nothing that comes from outside ever becomes part of a text: values are bound, names come from the
 * definitions, are checked against a pattern here and are always quoted.
 */
import type {
  ColumnType,
  Condition,
  Generation,
  Group,
  Latest,
  Row,
  RowKey,
  RowQuery,
  RowSelection,
  Table,
} from '../../ports/read-models.js';

/** What a driver binds and gives. */
export type SqlValue = null | number | bigint | string | boolean | readonly string[];
/** A statement and the values of its placeholders, in order. */
export interface Sql {
  readonly text: string;
  readonly values: readonly SqlValue[];
}

/** Takes a value to be bound; answers its placeholder. */
type Bind = (value: SqlValue) => string;

/** A column by its quoted name. */
interface Column {
  readonly column: string;
  readonly type: ColumnType;
  /** Its type in the words of the database. */
  readonly storedAs: string;
}

/** Where databases differ. `column` and `value` are pieces of SQL, safe as they are given. */
export interface Dialect {
  /** Where the tables are; null where a database has no schemas. */
  readonly schema: string | null;
  readonly types: Readonly<Record<ColumnType, string>>;
  /**
   * How an index of a `json` column, which serves `member`, is made; an index of several columns then leaves
   * such a one out. Null where there is none: `json` is text like any other.
   */
  readonly memberIndex: {
    /** The type of a column that has one. */
    readonly type: string;
    readonly on: (column: string) => string;
  } | null;
  /** The type of a single key column of integers; the table may then be stored in its order. */
  readonly integerKey: string;
  /** What follows the closing bracket of `create table`. */
  readonly tableOptions: string;
  /** The database's clock in whole milliseconds. */
  readonly nowMs: string;
  /** The placeholder of the n-th bound value, from 1. */
  placeholder(n: number): string;
  /** Equality that holds for two nulls too. */
  same(column: string, value: string): string;
  contains(column: string, value: string): string;
  /** The column equals one of a list that is bound as one value. */
  oneOf(column: string, value: string): string;
  listValue(words: readonly string[]): SqlValue;
  /** A json column holds an object with this member of text. */
  member(
    column: string,
    is: { readonly member: string; readonly equals: string },
    bind: Bind,
  ): string;
  encode(type: ColumnType, value: unknown): SqlValue;
  decode(type: ColumnType, value: unknown): unknown;
}

/** Quotes a name. The names we use hold no quotes; should one, it is doubled. */
export function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A group of a table, of what `sumBy` selects: texts, a number of rows, and a sum and a number for each column. */
export function groupOf(texts: number, selected: readonly (string | bigint | null)[]): Group {
  const [rows = 0, ...totals] = selected.slice(texts).map((value) => BigInt(value ?? 0));
  return {
    values: selected.slice(0, texts).map(String),
    rows: Number(rows),
    sums: Array.from({ length: totals.length / 2 }, (_, n) => ({
      sum: totals[2 * n] ?? 0n,
      rows: Number(totals[2 * n + 1]),
    })),
  };
}

/** Conditions as the end of a statement; none is none. */
function allOf(conditions: readonly string[]): string {
  return conditions.length === 0 ? '' : ` where ${conditions.join(' and ')}`;
}

/** The table that holds a generation of rows. */
export function nameOf({ name }: Table, generation: Generation): string {
  return generation === 'live' ? name : `${name}_next`;
}

/** A table of a database, quoted, with its schema. */
export function placed(name: string, { schema }: Dialect): string {
  return schema === null ? quoted(name) : `${quoted(schema)}.${quoted(name)}`;
}

/** The column of a row's member: `deploymentId` → `deployment_id`. */
function columnOf(member: string): string {
  return member.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

const TABLE_NAME = /^(?!shipslog_)[a-z][a-z_]{0,39}(?<!_next)$/;
const MEMBER_NAME = /^[a-z][A-Za-z0-9]{0,39}$/;
const JSON_MEMBER_NAME = /^[A-Za-z0-9._/-]{1,128}$/;

/** Statements of one table in one dialect. */
export class TableSql<R extends Row = Row> {
  readonly members: readonly (keyof R & string)[];
  readonly types: readonly ColumnType[];
  /** Texts that every batch needs. */
  readonly #made = new Map<string, string>();

  /** Refuses, as a defect of ours, a definition whose names could not be told apart or not be trusted. */
  constructor(
    readonly table: Table<R>,
    readonly dialect: Dialect,
  ) {
    this.members = Object.keys(table.columns);
    this.types = this.members.map((member) => table.columns[member].type);
    if (!TABLE_NAME.test(table.name)) throw new Error(`"${table.name}" is no name of a table`);
    const odd = this.members.find((member) => !MEMBER_NAME.test(member));
    if (odd !== undefined) throw new Error(`"${odd}" is no name of a column`);
  }

  /** A generation's table, without its indexes. */
  create(generation: Generation): string {
    const { table, dialect } = this;
    const rowid = table.key.length === 1 && this.#isWhole(table.key[0]);
    const columns = this.members.map((member) => {
      if (rowid && member === table.key[0]) return `${this.#column(member)} ${dialect.integerKey}`;
      const nullable = table.columns[member].nullable === true ? '' : ' not null';
      return `${this.#column(member)} ${this.#typeOf(member)}${nullable}`;
    });
    if (!rowid) columns.push(`primary key (${this.#list(table.key)})`);
    return `create table ${this.place(generation)} (${columns.join(', ')})${dialect.tableOptions}`;
  }

  /**
   * The indexes of a generation. Their names carry the number of the build: they outlive the renaming of
   * their table and would otherwise be in the way of the next one.
   */
  createIndexes(generation: Generation, build: number): readonly string[] {
    const { table, dialect } = this;
    return table.indexes.flatMap((members, n) => {
      const index = quoted(`${table.name}_build${String(build)}_index${String(n + 1)}`);
      const [first] = members;
      const plain = members.filter(
        (member) => dialect.memberIndex === null || !this.#isJson(member),
      );
      const on =
        first !== undefined && this.#isJson(first)
          ? dialect.memberIndex?.on(this.#column(first))
          : ` (${this.#list(plain)})`;
      return on === undefined
        ? []
        : [`create index if not exists ${index} on ${this.place(generation)}${on}`];
    });
  }

  drop(generation: Generation): string {
    return `drop table if exists ${this.place(generation)}`;
  }

  /** `next` becomes `live`; the old `live` must be gone. */
  rename(): string {
    return `alter table ${this.place('next')} rename to ${quoted(nameOf(this.table, 'live'))}`;
  }

  /** The table of a generation, quoted. */
  place(generation: Generation): string {
    return placed(nameOf(this.table, generation), this.dialect);
  }

  /** The columns of the table, or of some members: each quoted, with its type here and in the database. */
  columns(members: readonly (keyof R & string)[] = this.members): readonly Column[] {
    return members.map((member) => ({
      column: this.#column(member),
      type: this.table.columns[member].type,
      storedAs: this.#typeOf(member),
    }));
  }

  /** Inserts or replaces one row; bind `encode(row)`. */
  upsert(generation: Generation): string {
    return this.#once(`upsert ${generation}`, () => {
      const values = this.members.map((_, n) => this.dialect.placeholder(n + 1));
      return this.upsertFrom(generation, `values (${values.join(', ')})`);
    });
  }

  /** Inserts or replaces the rows of a source, which has all columns in their order and each key once. */
  upsertFrom(generation: Generation, source: string): string {
    const { table, members } = this;
    const set = members
      .filter((member) => !table.key.includes(member))
      .map((member) => `${this.#column(member)} = excluded.${this.#column(member)}`)
      .join(', ');
    return (
      `insert into ${this.place(generation)} (${this.#list(members)}) ${source} ` +
      `on conflict (${this.#list(table.key)}) do ${set === '' ? 'nothing' : `update set ${set}`}`
    );
  }

  /** One row by its key. */
  selectByKey(generation: Generation): string {
    return this.#once(`select ${generation}`, () => this.#selectByKey(generation));
  }

  find({ orderBy: { column, direction }, limit, ...selection }: RowQuery<R>): Sql {
    const { text, values } = this.#where(selection);
    const isNullable = this.table.columns[column].nullable === true;
    const [order, end] = direction === 'ascending' ? ['asc', 'first'] : ['desc', 'last'];
    const by = this.#column(column);
    // Nothing is added to make ties stand in order: an index would then not serve the order any more.
    const part =
      ` order by ${by} ${order}${isNullable ? ` nulls ${end}` : ''} ` +
      `limit ${this.dialect.placeholder(values.length + 1)}`;
    // Looked for in every row where it is rare: in an index alone, where one has it all, and only what is found is read.
    const isSearch = selection.where?.some((condition) => 'contains' in condition) === true;
    const found = `${by} in (select ${by} from ${this.place('live')}${text}${part})`;
    const where = isSearch && !isNullable ? `${text} and ${found}` : text;
    return { text: `${this.#select('live')}${where}${part}`, values: [...values, limit] };
  }

  countBy(member: keyof R & string, selection: RowSelection<R> = {}): Sql {
    return this.sumBy([member], [], selection);
  }

  /** Groups as `groupOf` reads them. */
  sumBy(
    by: readonly (keyof R & string)[],
    sums: readonly (keyof R & string)[],
    selection: RowSelection<R> = {},
  ): Sql {
    const { text, values } = this.#where(selection);
    const known = by.map((member) => `${this.#column(member)} is not null`).join(' and ');
    const totals = sums.map((member) => {
      const column = this.#column(member);
      return `, coalesce(sum(${column}), 0), count(${column})`;
    });
    return {
      text:
        `select ${this.#list(by)}, count(*)${totals.join('')} from ${this.place('live')}` +
        `${text === '' ? ' where' : `${text} and`} ${known} group by ${this.#list(by)}`,
      values,
    };
  }

  /** A page of rows in key order, after a key if one is given. */
  scan(after: RowKey | null, limit: number): Sql {
    const { key } = this.table;
    const { dialect } = this;
    const values: SqlValue[] = after === null ? [] : [...after];
    const places = values.map((_, n) => dialect.placeholder(n + 1)).join(', ');
    const where = after === null ? '' : ` where (${this.#list(key)}) > (${places})`;
    return {
      text: `${this.#select('live')}${where} order by ${this.#list(key)} limit ${dialect.placeholder(values.length + 1)}`,
      values: [...values, limit],
    };
  }

  /** A row as values to bind, in the order of the columns. */
  encode(row: Row): SqlValue[] {
    return this.members.map((member, n) =>
      this.dialect.encode(this.types[n] ?? 'text', row[member]),
    );
  }

  /** A row from values as they were selected. */
  decode(values: readonly unknown[]): R {
    const row: Record<string, unknown> = {};
    for (let n = 0; n < this.members.length; n++) {
      row[this.members[n] ?? ''] = this.dialect.decode(this.types[n] ?? 'text', values[n]);
    }
    return row as R;
  }

  /** The key of a row. */
  keyOf(row: R): RowKey {
    return this.table.key.map((member) => row[member] as string | bigint);
  }

  #selectByKey(generation: Generation): string {
    const { table, dialect } = this;
    const keyIs = table.key.map(
      (member, n) => `${this.#column(member)} = ${dialect.placeholder(n + 1)}`,
    );
    return `${this.#select(generation)} where ${keyIs.join(' and ')}`;
  }

  #once(name: string, make: () => string): string {
    let text = this.#made.get(name);
    if (text === undefined) this.#made.set(name, (text = make()));
    return text;
  }

  #where({ where = [], latest }: RowSelection<R>): Sql {
    const values: SqlValue[] = [];
    const bind: Bind = (value) => this.dialect.placeholder(values.push(value));
    const texts = latest === undefined ? [] : [this.#latest(latest, bind)];
    texts.push(...where.map((condition) => this.#condition(condition, bind)));
    return { text: allOf(texts), values };
  }

  /** Groups by an index that has `per` and `by` first; where it has what is among them too, by it alone. */
  #latest({ per, by, among }: Latest<R>, bind: Bind): string {
    const [column, where] = [
      this.#column(by),
      allOf(among.map((condition) => this.#condition(condition, bind))),
    ];
    const groups = `select max(${column}) from ${this.place('live')}${where}`;
    return `${column} in (${groups} group by ${this.#column(per)})`;
  }

  #condition(condition: Condition<R>, bind: Bind): string {
    const { dialect } = this;
    const column = this.#column(condition.column);
    if ('is' in condition) {
      if (condition.is === null) return `${column} is null`;
      const { type } = this.table.columns[condition.column];
      return `${column} = ${bind(dialect.encode(type, condition.is))}`;
    }
    if ('in' in condition) return dialect.oneOf(column, bind(dialect.listValue(condition.in)));
    if ('above' in condition) return `${column} > ${bind(condition.above)}`;
    if ('below' in condition) return `${column} < ${bind(condition.below)}`;
    if ('after' in condition) return `${column} > ${bind(condition.after)}`;
    if ('notAfter' in condition) return `${column} <= ${bind(condition.notAfter)}`;
    if ('contains' in condition) return dialect.contains(column, bind(condition.contains));
    if (!JSON_MEMBER_NAME.test(condition.member)) {
      throw new Error(`"${condition.member}" is no name of a member that can be asked for`);
    }
    return dialect.member(column, condition, bind);
  }

  #select(generation: Generation): string {
    return `select ${this.#list(this.members)} from ${this.place(generation)}`;
  }

  #list(members: readonly string[]): string {
    return members.map((member) => this.#column(member)).join(', ');
  }

  /** The quoted column of a member; what is not a column of the table is a defect of ours. */
  #column(member: string): string {
    if (!Object.hasOwn(this.table.columns, member)) {
      throw new Error(`${this.table.name} has no column "${member}"`);
    }
    return quoted(columnOf(member));
  }

  #typeOf(member: keyof R & string): string {
    const { indexes } = this.table;
    const isIndexed = this.#isJson(member) && indexes.some(([first]) => first === member);
    const { memberIndex, types } = this.dialect;
    return isIndexed && memberIndex !== null
      ? memberIndex.type
      : types[this.table.columns[member].type];
  }

  #isJson(member: keyof R & string): boolean {
    return this.table.columns[member].type === 'json';
  }

  #isWhole(member: (keyof R & string) | undefined): boolean {
    if (member === undefined) return false;
    const { type } = this.table.columns[member];
    return type === 'bigint' || type === 'integer';
  }
}
