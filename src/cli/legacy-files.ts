/** The files of a legacy dump, row by row: CSV as databases write it, or lines of JSON. */
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { pipeline } from 'node:stream';
import { parse } from 'csv-parse';
import type { Source, SourceRow } from '../application/backfill.js';
import { columnsOf, type LegacyMap } from '../application/legacy-map.js';
import type { RowsOf } from '../application/legacy-rows.js';
import { rawMembers } from '../application/raw-json.js';
import { nearestTo } from '../application/spelling.js';
import { linesOf } from './transfers.js';
import { usageError } from './usage.js';

/** A row may be so large; what is larger is no row, but a quote that was never closed. */
const ROW_BYTES_MAX = 4 * 1024 * 1024;
const IS_JSON = /\.(ndjson|jsonl|json)$/i;
const GIVEN = /^(?<table>deployments|attempts|both)=(?<file>.+)$/s;

/** The sources for the files that were named. @throws {Error} of usage, when a file does not tell its table. */
export function sourcesOf(named: readonly string[], map: LegacyMap): readonly Source[] {
  return named.map((name) => {
    const { table, file } = fileOf(name, map, named.length === 1);
    const columns = neededOf(table, map);
    return {
      ...{ file, table },
      rows: () => (IS_JSON.test(file) ? jsonRows(file, columns) : csvRows(file, columns, map)),
    };
  });
}

interface File {
  readonly file: string;
  readonly table: RowsOf;
}

/** The table is said, or the file is named after it; a lone file of another name has both. */
function fileOf(name: string, { tables }: LegacyMap, isAlone: boolean): File {
  const { table: said, file = name } = GIVEN.exec(name)?.groups ?? {};
  const start = basename(file).toLowerCase();
  const all = ['deployments', 'attempts', 'both'] as const;
  const table = all.find((each) => (said === undefined ? start.startsWith(each) : each === said));
  if (table === undefined && !isAlone) {
    throw usageError(`${name}: say which table it is, deployments=${name} or attempts=${name}`);
  }
  const found = table ?? 'both';
  if (tables.attempts !== null) return { file, table: found };
  if (found === 'attempts') throw usageError(`${file}: the map names no columns of attempts`);
  return { file, table: 'deployments' };
}

/** The columns that a file must have, and its own names for all that it has. */
interface Needed {
  readonly columns: readonly { readonly column: string; readonly member: string }[];
  /** Null: the first line names them. */
  readonly header: readonly string[] | null;
}

function neededOf(table: RowsOf, { tables }: LegacyMap): Needed {
  const used = (['deployments', 'attempts'] as const)
    .filter((each) => table === 'both' || table === each)
    .map((each) => ({ each, map: tables[each] }));
  return {
    columns: used.flatMap(({ each, map }) =>
      map === null
        ? []
        : columnsOf(map).map(([column, member]) => ({ column, member: `/${each}/${member}` })),
    ),
    header: used.find(({ map }) => map?.header !== null)?.map?.header ?? null,
  };
}

async function* csvRows(
  file: string,
  needed: Needed,
  { delimiter, escape }: LegacyMap,
): AsyncGenerator<SourceRow> {
  let places = needed.header === null ? null : placesOf(file, needed, needed.header);
  let width = needed.header?.length ?? 0;
  let line = 1;
  try {
    for await (const { record, info } of recordsOf(file, { delimiter, escape })) {
      if (places === null) {
        places = placesOf(file, needed, record);
        width = record.length;
      } else if (!isBlank(record)) {
        yield { line, cells: cellsOf(record, places, width) };
      }
      line = info.lines + 1;
    }
    if (places === null) throw usageError(`${file} is empty: not even a header names its columns`);
  } catch (error) {
    throw isCsvError(error) ? usageError(`${file}, line ${line}: ${wordsOf(error)}`) : error;
  }
}

function recordsOf(
  file: string,
  dialect: Pick<LegacyMap, 'delimiter' | 'escape'>,
): AsyncIterable<CsvRecord> {
  const parser = parse({
    ...{ ...dialect, bom: true, info: true },
    ...{ relax_column_count: true, max_record_size: ROW_BYTES_MAX },
  });
  // What goes wrong is thrown where the records are taken.
  return pipeline(createReadStream(file), parser, () => undefined);
}

function isBlank(record: readonly string[]): boolean {
  return record.length === 1 && record[0] === '';
}

interface CsvRecord {
  readonly record: readonly string[];
  /** Lines up to its end. */
  readonly info: { readonly lines: number };
}

/** Where each column that the map names stands. */
function placesOf(
  file: string,
  { columns }: Needed,
  header: readonly string[],
): ReadonlyMap<string, number> {
  const [twice] = columns.filter(
    ({ column }) => header.indexOf(column) !== header.lastIndexOf(column),
  );
  if (twice !== undefined) {
    throw usageError(`${file} has two columns ${twice.column}: give them names of their own`);
  }
  assertColumns(file, columns, header);
  return new Map(columns.map(({ column }) => [column, header.indexOf(column)]));
}

function assertColumns(file: string, columns: Needed['columns'], there: readonly string[]): void {
  const missing = columns.find(({ column }) => !there.includes(column));
  if (missing === undefined) return;
  const { column, member } = missing;
  const nearest = nearestTo(column, there) ?? 'another';
  throw usageError(
    `${file} has no column ${column}, which the map names at ${member}; did you mean ${nearest}?`,
  );
}

function cellsOf(
  record: readonly string[],
  places: ReadonlyMap<string, number>,
  width: number,
): SourceRow['cells'] {
  if (record.length !== width) {
    return { problem: `it has ${record.length} values, and the file has ${width} columns` };
  }
  return (column) => record[places.get(column) ?? -1] ?? null;
}

function isCsvError(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && /^(CSV_|INVALID_)/.test(String(error.code));
}

/** The parser's own line is told by us: it means where it noticed. */
function wordsOf({ message }: Error): string {
  return `${message.replace(/,? ?(?:the parsing is finished with .*)?$/, '')} (is a quote not closed, or a delimiter not the map's?)`;
}

async function* jsonRows(file: string, { columns }: Needed): AsyncGenerator<SourceRow> {
  const seen = new Set<string>();
  let line = 0;
  for await (const text of linesOf(file)) {
    line += 1;
    const plain = line === 1 ? text.replace(/^\ufeff/, '') : text;
    if (plain.trim() === '') continue;
    const members = rawMembers(plain);
    if (members === null) {
      yield { line, cells: { problem: 'it is no JSON object, or names a member twice' } };
      continue;
    }
    for (const name of members.keys()) seen.add(name);
    yield { line, cells: (column) => textOf(members.get(column)) };
  }
  if (seen.size > 0) assertColumns(file, columns, [...seen]);
}

/** A value as text; numbers as they stand there, since an id may have more digits than a number keeps. */
function textOf(raw: string | undefined): string | null {
  if (raw === undefined || raw === 'null') return null;
  return raw.startsWith('"') ? (JSON.parse(raw) as string) : raw;
}
