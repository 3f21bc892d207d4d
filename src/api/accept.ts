import { httpProblem } from './problem.filter.js';

/** The media type of answers that are not asked for otherwise. */
export const JSON_TYPE = 'application/json';
/** One JSON value a line. */
export const NDJSON_TYPE = 'application/x-ndjson';

const TOKEN = "[A-Za-z0-9!#$%&'*+.^_`|~-]+";
const RANGE = new RegExp(
  `^(${TOKEN}/${TOKEN})((?:\\s*;\\s*${TOKEN}=(?:${TOKEN}|"[^"]*"))*)\\s*;?$`,
);
const WEIGHT = /;\s*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*(?:;|$)/i;

/**
 * Chooses among the media types that a route makes the one that the caller likes best.
 *
 * Refuses NOT_ACCEPTABLE when it accepts none, INVALID_HEADER when nothing of the header can be read.
 * Shape: the first one made when the caller does not say.
 */
export function chosenType(
  accept: string | undefined,
  made: readonly [string, ...string[]],
): string {
  const [first] = made;
  // What nearly everybody sends needs no reading.
  if (accept === undefined || accept === '' || accept === '*/*' || accept === first) return first;
  const ranges = accept.split(',').flatMap((range) => parseRange(range.trim()) ?? []);
  if (ranges.length === 0) {
    throw httpProblem('INVALID_HEADER', {
      detail: 'Accept must be media ranges, e.g. application/json',
      errors: [{ pointer: '/Accept', message: 'must be media ranges, e.g. application/json' }],
    });
  }
  const liked = made
    .map((type) => ({ type, weight: weightOf(type, ranges) }))
    .sort((a, b) => b.weight - a.weight)[0];
  if (liked !== undefined && liked.weight > 0) return liked.type;
  throw httpProblem('NOT_ACCEPTABLE', { detail: `this route makes ${made.join(' and ')}` });
}

interface Range {
  readonly type: string;
  readonly weight: number;
}

function parseRange(text: string): Range | null {
  const [, type, parameters = ''] = RANGE.exec(text) ?? [];
  if (type === undefined) return null;
  return { type: type.toLowerCase(), weight: Number(WEIGHT.exec(parameters)?.[1] ?? '1') };
}

/** The weight that the most specific range gives to a type; 0 when none takes it in. */
function weightOf(type: string, ranges: readonly Range[]): number {
  if (type === '*/*') return 1;
  const candidates = [type, `${type.slice(0, type.indexOf('/'))}/*`, '*/*'];
  for (const candidate of candidates) {
    const range = ranges.find((given) => given.type === candidate);
    if (range !== undefined) return range.weight;
  }
  return 0;
}
