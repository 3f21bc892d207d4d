/** Tables: aligned and cut to the width for a person, one line of tab-separated cells for a pipe. */
import type { Output, Terminal } from './terminal.js';

/** A column: its title, and the text of a row's cell. */
export interface Column<R> {
  readonly title: string;
  readonly text: (row: R) => string;
  /** Stands before the text, only for a person. */
  readonly symbol?: (row: R) => string;
  /** Paints a cell that has been padded; only for a person. */
  readonly paint?: (text: string, row: R, output: Output) => string;
  /** Stands at the right. */
  readonly isNumber?: true;
}

const GAP = '  ';
/** A cell is cut to no less than this. */
const COLUMN_MIN = 8;

/** Writes rows as a table on stdout. Nothing is written for no rows but, for a person, `empty`. */
export async function writeTable<R>(
  { out, err, isUnicode }: Terminal,
  columns: readonly Column<R>[],
  { rows, empty }: { readonly rows: readonly R[]; readonly empty: string },
): Promise<void> {
  if (rows.length === 0) {
    if (out.isTerminal) await err.line(empty);
    return;
  }
  if (!out.isTerminal) {
    for (const row of rows) {
      await out.line(columns.map(({ text }) => onOneLine(text(row))).join('\t'));
    }
    return;
  }
  const cells = rows.map((row) =>
    columns.map(({ text, symbol }) =>
      [...(symbol === undefined ? [] : [symbol(row)]), onOneLine(text(row))].join(' '),
    ),
  );
  const widths = fitting(
    columns.map(({ title }, n) =>
      Math.max(title.length, ...cells.map((texts) => widthOf(texts[n] ?? ''))),
    ),
    out.columns,
  );
  const padded = (text: string, n: number): string => {
    const cut = cutTo(text, widths[n] ?? 0, isUnicode ? '…' : '~');
    const blank = ' '.repeat(Math.max(0, (widths[n] ?? 0) - widthOf(cut)));
    return columns[n]?.isNumber === true ? blank + cut : cut + blank;
  };
  await out.line(
    out.paint(
      'dim',
      columns
        .map(({ title }, n) => padded(title, n))
        .join(GAP)
        .trimEnd(),
    ),
  );
  for (const [index, row] of rows.entries()) {
    const texts = (cells[index] ?? []).map((text, n) => {
      const { paint } = columns[n] ?? {};
      return paint === undefined ? padded(text, n) : paint(padded(text, n), row, out);
    });
    await out.line(texts.join(GAP).trimEnd());
  }
}

/** Takes from the widest columns until the table fits. */
function fitting(widths: readonly number[], columns: number): readonly number[] {
  const fitted = [...widths];
  const total = (): number => fitted.reduce((sum, width) => sum + width + GAP.length, -GAP.length);
  while (total() > columns) {
    const widest = fitted.indexOf(Math.max(...fitted));
    const width = fitted[widest] ?? 0;
    if (width <= COLUMN_MIN) break;
    fitted[widest] = Math.max(COLUMN_MIN, width - (total() - columns), Math.floor(width * 0.8));
  }
  return fitted;
}

function cutTo(text: string, width: number, mark: string): string {
  return widthOf(text) <= width ? text : [...text].slice(0, Math.max(0, width - 1)).join('') + mark;
}

function widthOf(text: string): number {
  return [...text].length;
}

/** Text of others is shown as text: no line breaks, and nothing that a terminal would obey. */
export function onOneLine(text: string): string {
  return text.replaceAll(/\p{Cc}+/gu, ' ');
}
