/** The lifecycle for people: the rows of `TRANSITIONS` as data, as a text table, as Mermaid and as SVG. */
import { STATES, type State } from '../domain/event-schema.js';
import { TRANSITIONS, type Transition } from '../domain/transitions.js';

type Place = State | 'none';

/** A change of state that some rows make. */
interface Edge {
  readonly from: Place;
  readonly to: State;
  readonly rows: readonly Transition[];
}

const ROWS: readonly Transition[] = TRANSITIONS;
/** What an attempt may have been opened from, and so what it may go back to. */
const SETTLED: readonly State[] = ['pending', 'ready', 'failed', 'unknown'];

/** The transition table as data. */
export function lifecycle(): {
  readonly states: readonly State[];
  readonly items: readonly Transition[];
} {
  return { states: STATES, items: ROWS };
}

/** Every change of state, with the rows that make it. */
function edges(): readonly Edge[] {
  const found = new Map<string, { from: Place; to: State; rows: Transition[] }>();
  for (const row of ROWS) {
    for (const from of row.from) {
      for (const to of new Set(row.to.flatMap(statesOf))) {
        if (to === from) continue;
        const edge = found.get(`${from} ${to}`) ?? { from, to, rows: [] };
        edge.rows.push(row);
        found.set(`${from} ${to}`, edge);
      }
    }
  }
  return [...found.values()];
}

function statesOf(target: Transition['to'][number]): readonly State[] {
  switch (target) {
    case 'unchanged':
      return [];
    case 'settled':
      return SETTLED;
    case 'pending':
    case 'deploying':
    case 'ready':
    case 'failed':
    case 'unknown':
      return [target];
  }
}

/** The rows as a table of plain text, as wide as its widest cells. */
export function lifecycleTable(): string {
  const head = ['row', 'commands', 'from', 'to', 'events', 'when'];
  const body = ROWS.map((row) => [
    row.row,
    row.commands.join(' '),
    row.from.length === STATES.length ? 'any' : row.from.join(' '),
    row.to.join(' '),
    row.events.join(' '),
    row.when,
  ]);
  const widths = head.map((_, n) =>
    Math.max(...[head, ...body].map((cells) => cells[n]?.length ?? 0)),
  );
  return [head, ...body]
    .map((cells) =>
      cells
        .map((cell, n) => cell.padEnd(widths[n] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** The states and what changes them, as a Mermaid diagram. Numbers are those of the rows. */
export function lifecycleMermaid(): string {
  const name = (place: Place): string => (place === 'none' ? '[*]' : place);
  const lines = edges().map(({ from, to, rows }) => {
    const commands = [...new Set(rows.flatMap((row) => row.commands))].join(', ');
    return `  ${name(from)} --> ${to}: ${commands} (${rows.map(({ row }) => row).join(', ')})`;
  });
  return ['stateDiagram-v2', '  direction LR', ...lines].join('\n');
}

interface Point {
  readonly x: number;
  readonly y: number;
}
/** Where the states stand: the usual way from left to right, what needs a human below. */
const PLACES: Readonly<Record<Place, Point>> = {
  none: { x: 40, y: 320 },
  pending: { x: 180, y: 320 },
  deploying: { x: 440, y: 120 },
  ready: { x: 770, y: 210 },
  failed: { x: 770, y: 450 },
  unknown: { x: 440, y: 560 },
};
const COLOURS: Readonly<Record<Place, string>> = {
  none: '#57606a',
  pending: '#57606a',
  deploying: '#0550ae',
  ready: '#116329',
  failed: '#a40e26',
  unknown: '#7d4e00',
};
const NODE = { width: 116, height: 44 } as const;
const SIZE = { width: 1480, height: 640 } as const;
/** How far an edge bends from the straight line, so that its way back has a line of its own. */
const BEND = 34;
const LEGEND = { x: 880, y: 46, lineHeight: 15, charactersMax: 92 } as const;

/**
 * The diagram as SVG: edges carry the numbers of the rows that make them, the legend tells the rows.
 *
 * Colours are attributes, so that a strict content security policy does not strip them.
 */
export function lifecycleSvg(): string {
  const { width, height } = SIZE;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="States of a deployment and what changes them" font-family="system-ui, sans-serif" font-size="14">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    '<text x="24" y="34" font-size="17" font-weight="600" fill="#1f2328">States of a deployment</text>',
    '<text x="24" y="56" font-size="12" fill="#57606a">The numbers on the lines are the rows that make the change.</text>',
    ...edges().map(drawEdge),
    ...drawLabels(),
    ...STATES.map(drawState),
    `<circle cx="${PLACES.none.x}" cy="${PLACES.none.y}" r="9" fill="${COLOURS.none}"/>`,
    ...drawLegend(),
    '</svg>',
    '',
  ].join('\n');
}

/** A quadratic curve between two states, from border to border. */
interface Curve {
  readonly start: Point;
  readonly control: Point;
  readonly end: Point;
}

function curveOf({ from, to }: Edge): Curve {
  const [a, b] = [PLACES[from], PLACES[to]];
  const length = Math.hypot(b.x - a.x, b.y - a.y);
  const normal = { x: -(b.y - a.y) / length, y: (b.x - a.x) / length };
  const bend = from === 'none' ? 0 : BEND * 2;
  const control = {
    x: (a.x + b.x) / 2 - normal.x * bend,
    y: (a.y + b.y) / 2 - normal.y * bend,
  };
  const start = from === 'none' ? { x: a.x + 12, y: a.y } : border(a, control);
  return { start, control, end: border(b, control) };
}

/** Where the line from a state's middle towards a point leaves its box. */
function border(middle: Point, towards: Point): Point {
  const [dx, dy] = [towards.x - middle.x, towards.y - middle.y];
  const scale = Math.min(
    (NODE.width / 2 + 5) / Math.max(Math.abs(dx), 1),
    (NODE.height / 2 + 5) / Math.max(Math.abs(dy), 1),
  );
  return { x: middle.x + dx * scale, y: middle.y + dy * scale };
}

function drawEdge(edge: Edge): string {
  const { start, control, end } = curveOf(edge);
  const colour = COLOURS[edge.to];
  const angle = Math.atan2(end.y - control.y, end.x - control.x);
  const wing = (turn: number): string =>
    `${(end.x - 10 * Math.cos(angle + turn)).toFixed(1)},${(end.y - 10 * Math.sin(angle + turn)).toFixed(1)}`;
  const path = `M${at(start)} Q${at(control)} ${at(end)}`;
  return `<path d="${path}" fill="none" stroke="${colour}" stroke-width="1.6"/><polygon points="${at(end)} ${wing(0.42)} ${wing(-0.42)}" fill="${colour}"/>`;
}

/** Places along an edge where its label may stand, in the order of preference. */
const LABEL_PLACES = [0.5, 0.4, 0.6, 0.3, 0.7, 0.22, 0.78];

/** The labels, each at the first place of its edge where it covers neither a state nor another label. */
function drawLabels(): readonly string[] {
  const taken: Box[] = STATES.map((state) => ({ ...PLACES[state], ...NODE }));
  return edges().map((edge) => {
    const text = edge.rows.map(({ row }) => row).join(' ');
    const size = { width: text.length * 6.4 + 10, height: 18 };
    const places = LABEL_PLACES.map((t) => ({ ...pointOn(curveOf(edge), t), ...size }));
    const box = places.find((place) => !taken.some((other) => overlap(place, other))) ?? places[0];
    if (box === undefined) return '';
    taken.push(box);
    const [left, top] = [box.x - box.width / 2, box.y - box.height / 2];
    return `<rect x="${left.toFixed(1)}" y="${top.toFixed(1)}" width="${box.width.toFixed(1)}" height="18" rx="9" fill="#ffffff" stroke="${COLOURS[edge.to]}"/><text x="${box.x.toFixed(1)}" y="${(box.y + 4).toFixed(1)}" font-size="11" text-anchor="middle" fill="#1f2328">${text}</text>`;
  });
}

/** A rectangle by its middle. */
interface Box extends Point {
  readonly width: number;
  readonly height: number;
}

function overlap(a: Box, b: Box): boolean {
  return (
    Math.abs(a.x - b.x) < (a.width + b.width) / 2 + 4 &&
    Math.abs(a.y - b.y) < (a.height + b.height) / 2 + 4
  );
}

function pointOn({ start, control, end }: Curve, t: number): Point {
  const [a, b, c] = [(1 - t) ** 2, 2 * t * (1 - t), t ** 2];
  return { x: a * start.x + b * control.x + c * end.x, y: a * start.y + b * control.y + c * end.y };
}

function drawState(state: State): string {
  const { x, y } = PLACES[state];
  const { width, height } = NODE;
  return `<rect x="${x - width / 2}" y="${y - height / 2}" width="${width}" height="${height}" rx="10" fill="#ffffff" stroke="${COLOURS[state]}" stroke-width="2.5"/><text x="${x}" y="${y + 5}" text-anchor="middle" font-weight="600" fill="${COLOURS[state]}">${state}</text>`;
}

function drawLegend(): readonly string[] {
  const lines = ROWS.flatMap(({ row, commands, when }) =>
    wrapped(`${commands.join(', ')} – ${when}`).map((text, n) => ({
      row: n === 0 ? row : '',
      text,
    })),
  );
  return lines.map(({ row, text }, n) => {
    const y = LEGEND.y + n * LEGEND.lineHeight;
    return `<text x="${LEGEND.x}" y="${y}" font-size="11" font-weight="600" fill="#1f2328">${row}</text><text x="${LEGEND.x + 32}" y="${y}" font-size="11" fill="#1f2328">${escaped(text)}</text>`;
  });
}

function wrapped(text: string): readonly string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line.length + word.length >= LEGEND.charactersMax) lines.push(word);
    else lines[lines.length - 1] = line === '' ? word : `${line} ${word}`;
  }
  return lines;
}

function escaped(text: string): string {
  return text.replaceAll('`', '').replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}

function at({ x, y }: Point): string {
  return `${x.toFixed(1)},${y.toFixed(1)}`;
}
