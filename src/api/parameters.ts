/** Parameters of the query: what each may be, said once for the reader and for the documents. */
import { parseInstant, type JsonSchema } from '../application/fields.js';
import { PAGE } from '../application/queries.js';
import { ID_PATTERN } from '../domain/event-schema.js';
import type { MemberProblem } from '../domain/refusals.js';
import { httpProblem } from './problem.filter.js';

/** One parameter: how it is described, and how its text becomes a value (undefined when it is wrong). */
export interface Parameter<T> {
  readonly schema: JsonSchema;
  readonly doc: string;
  /** What is right, in words after "must". */
  readonly must: string;
  readonly read: (text: string) => T | undefined;
  /** Whether it may be given several times; its value is then a list. */
  readonly repeats?: true;
  /** Whether it must be given. */
  readonly needed?: true;
}
/** The parameters of a route, by name. */
export type Parameters = Readonly<Record<string, Parameter<unknown>>>;
/** The values of parameters that were given. */
export type ValuesOf<P extends Parameters> = {
  readonly [K in keyof P as P[K] extends { readonly needed: true } ? K : never]: ValueOf<P[K]>;
} & {
  readonly [K in keyof P as P[K] extends { readonly needed: true } ? never : K]?: ValueOf<P[K]>;
};
type ValueOf<P> = P extends { readonly repeats: true; readonly read: Reader<infer T> }
  ? readonly T[]
  : P extends { readonly read: Reader<infer T> }
    ? T
    : never;
type Reader<T> = (text: string) => T | undefined;

/** The largest revision or position that is taken: what comes after it fits every store, too. */
const DECIMAL_MAX = 2n ** 63n - 2n;
const DECIMAL = /^(?:0|[1-9][0-9]{0,63})$/;
const REPEATS_MAX = 32;

/** One of some words. */
export function word<const W extends string>(words: readonly W[], doc: string): Parameter<W> {
  return {
    schema: { type: 'string', enum: words },
    doc,
    must: `be one of ${words.join(', ')}`,
    read: (text) => words.find((known) => known === text),
  };
}

/** Text of so many characters, none of them a control. */
export function text(
  bounds: { readonly min: number; readonly max: number },
  doc: string,
): Parameter<string> {
  const { min, max } = bounds;
  const pattern = new RegExp(`^\\P{Cc}{${min},${max}}$`, 'u');
  return {
    schema: { type: 'string', minLength: min, maxLength: max },
    doc,
    must: `have ${min} to ${max} characters, none of them a control`,
    read: (given) => (pattern.test(given) ? given : undefined),
  };
}

/** An id of a deployment. */
export function id(doc: string): Parameter<string> {
  const pattern = new RegExp(ID_PATTERN);
  return {
    schema: { type: 'string', pattern: ID_PATTERN },
    doc,
    must: 'be an id: 1 to 128 letters, digits, or ._:- after the first',
    read: (given) => (pattern.test(given) ? given : undefined),
  };
}

/** A revision or position: a decimal number as text. */
function decimal(doc: string): Parameter<bigint> {
  return {
    schema: { type: 'string', pattern: DECIMAL.source },
    doc,
    must: 'be a decimal number',
    read: (given) => {
      const value = DECIMAL.test(given) ? BigInt(given) : null;
      return value === null || value > DECIMAL_MAX ? undefined : value;
    },
  };
}

/** A revision that may be larger than there can be; it is then one that does not exist. */
export function anyRevision(doc: string): Parameter<bigint> {
  const read = (given: string): bigint | undefined => {
    const value = DECIMAL.test(given) ? BigInt(given) : undefined;
    return value !== undefined && value > DECIMAL_MAX ? DECIMAL_MAX : value;
  };
  return { ...decimal(doc), read };
}

/** A place of a log after which to go on; `start` is before its first event. */
export function after(doc: string): Parameter<bigint | 'start'> {
  const { read } = decimal(doc);
  return {
    schema: { type: 'string', pattern: `${DECIMAL.source}|^start$` },
    doc,
    must: 'be a decimal number, or start',
    read: (given) => (given === 'start' ? given : read(given)),
  };
}

/** Items of a page. */
export const limit: Parameter<number> = {
  schema: { type: 'integer', minimum: 1, maximum: PAGE.max, default: PAGE.default },
  doc: 'Items of a page.',
  must: `be a whole number from 1 to ${PAGE.max}`,
  read: (given) => {
    const value = /^[1-9][0-9]{0,2}$/.test(given) ? Number(given) : 0;
    return value >= 1 && value <= PAGE.max ? value : undefined;
  },
};

/** Where a list goes on, as the page before told it. */
export const cursor: Parameter<string> = {
  schema: { type: 'string' },
  doc: '`nextCursor` of the page before.',
  must: 'be the nextCursor of a page',
  read: (given) => (/^[0-9]{1,18}$/.test(given) ? given : undefined),
};

/** An instant. */
export function instant(doc: string): Parameter<string> {
  return {
    schema: { type: 'string', format: 'date-time' },
    doc,
    must: 'be a date-time like 2026-11-25T13:00:00.000Z',
    // The plus of an offset that was not escaped arrives as a blank.
    read: (given) => parseInstant(given.replace(' ', '+')) ?? undefined,
  };
}

/** The same parameter, which must be given. */
export function needed<T>(parameter: Parameter<T>): Parameter<T> & { readonly needed: true } {
  return { ...parameter, needed: true };
}

/** A label that must be there, `key:value`. */
export const label: Parameter<{ readonly key: string; readonly value: string }> & {
  readonly repeats: true;
} = {
  schema: { type: 'string', pattern: '^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}:' },
  doc: 'A label that must be there, `key:value`; several must all be there.',
  must: 'be key:value',
  repeats: true,
  read: (given) => {
    const [, key, value] =
      /^([A-Za-z0-9][A-Za-z0-9._/-]{0,62}):(\P{Cc}{0,256})$/u.exec(given) ?? [];
    return key === undefined || value === undefined ? undefined : { key, value };
  },
};

/** The position that must be visible before the query is answered. */
export const minPosition: Parameter<bigint> = decimal(
  'Waits until this position is visible, at most 5 s.',
);

/** Whether archived deployments are shown. */
export const archived: Parameter<'exclude' | 'include'> = word(
  ['exclude', 'include'],
  'Whether archived deployments are shown.',
);

/**
 * Reads the query of a request.
 *
 * Refuses INVALID_QUERY for a parameter that is unknown, repeated, missing, or not what it must be.
 */
export function readQuery<P extends Parameters>(url: string, parameters: P): ValuesOf<P> {
  const begin = url.indexOf('?');
  const pairs = begin === -1 ? [] : url.slice(begin + 1).split('&');
  const values = new Map<string, unknown>();
  const problems: MemberProblem[] = [];
  for (const pair of pairs) {
    if (pair === '') continue;
    const [name, value] = pairOf(pair);
    const message = note(values, parameters, { name, value });
    if (message !== null) problems.push({ pointer: pointerTo(name), message });
    if (problems.length >= REPEATS_MAX) break;
  }
  if (problems.length === 0) problems.push(...missing(values, parameters));
  if (problems.length > 0) throw invalidQuery(problems);
  return Object.fromEntries(values) as ValuesOf<P>;
}

/** A refusal that names the parameters that are wrong. */
export function invalidQuery(errors: readonly MemberProblem[]): Error {
  const detail = errors.map(({ pointer, message }) => `${pointer.slice(1)} ${message}`).join('; ');
  return httpProblem('INVALID_QUERY', { detail, errors });
}

function missing(
  values: ReadonlyMap<string, unknown>,
  parameters: Parameters,
): readonly MemberProblem[] {
  return Object.entries(parameters)
    .filter(([name, { needed: isNeeded }]) => isNeeded === true && !values.has(name))
    .map(([name]) => ({ pointer: pointerTo(name), message: 'must be given' }));
}

/** Takes one parameter in; answers what is wrong with it, or null. */
function note(
  values: Map<string, unknown>,
  parameters: Parameters,
  { name, value }: { readonly name: string | null; readonly value: string | null },
): string | null {
  if (name === null || value === null) return 'must be UTF-8, percent-encoded';
  const parameter = Object.hasOwn(parameters, name) ? parameters[name] : undefined;
  if (parameter === undefined) return 'is not a parameter of this route';
  const read = parameter.read(value);
  if (read === undefined) return `must ${parameter.must}`;
  const before = values.get(name);
  if (parameter.repeats !== true) {
    if (before !== undefined) return 'must be given once';
    values.set(name, read);
    return null;
  }
  const list: readonly unknown[] = Array.isArray(before) ? before : [];
  if (list.length >= REPEATS_MAX) return `must be given at most ${REPEATS_MAX} times`;
  values.set(name, [...list, read]);
  return null;
}

function pairOf(pair: string): readonly [string | null, string | null] {
  const split = pair.indexOf('=');
  const name = split === -1 ? pair : pair.slice(0, split);
  return [decoded(name), decoded(split === -1 ? '' : pair.slice(split + 1))];
}

/** A percent-encoded text; null when it is none. */
function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return null;
  }
}

function pointerTo(name: string | null): string {
  return `/${(name ?? '?').slice(0, 80).replaceAll('~', '~0').replaceAll('/', '~1')}`;
}
