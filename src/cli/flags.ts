/** Flags made from the schemas of members and parameters, and their values as the interface takes them. */
import { readFileSync } from 'node:fs';
import { Option } from 'commander';
import type { Clock } from '../ports/clock.js';
import { dashed, type QueryParameter, type Schema, type Verb } from './verb-table.js';
import { fileError, usageError } from './usage.js';

/** A flag, and what becomes of its text. */
export interface Flag {
  readonly option: Option;
  /** Where its value is in a body or a query; nowhere for one that names members. */
  readonly place: readonly string[];
  /** Puts the value of the flag into a body or a query. */
  readonly put: (into: Members, value: unknown) => void;
}
/** Members of a body or of a query, by name. */
export type Members = Record<string, unknown>;

/** Members that are told as arguments of the verb, not as flags. */
const ARGUMENTS: ReadonlySet<string> = new Set(['deploymentId', 'attemptId']);

/** Ends of a span of time are told as arguments, too. */
const isEnd = ({ name, schema }: QueryParameter): boolean =>
  isInstant(schema) && (name === 'from' || name === 'to');

/** The arguments of a verb, in order: ids in its path, then ids that its body may hold, then the ends of a span. */
export function argumentsOf({
  path,
  body,
  parameters,
}: Verb): readonly { name: string; isNeeded: boolean }[] {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    isNeeded: true,
  }));
  const inBody = Object.keys(body?.properties ?? {}).filter((name) => ARGUMENTS.has(name));
  const ends = parameters.filter(isEnd);
  return [
    ...inPath,
    ...inBody.map((name) => ({ name, isNeeded: false })),
    ...ends.map(({ name, isNeeded = false }) => ({ name, isNeeded })),
  ];
}

/** The flags of the members of a body. */
export function bodyFlags({ body }: Verb): readonly Flag[] {
  const { properties = {}, required = [] } = body ?? {};
  const members = Object.entries(properties).filter(([name]) => !ARGUMENTS.has(name));
  const flags = members.flatMap(([name, schema]) =>
    memberFlags([name], schema, required.includes(name)),
  );
  const clearable = members.filter(([, schema]) => isNullable(schema)).map(([name]) => name);
  return clearable.length === 0 ? flags : [...flags, clearFlag(clearable)];
}

/** The flags of the parameters of a query. */
export function queryFlags({ parameters }: Verb, clock: Clock): readonly Flag[] {
  const flags = parameters.filter((parameter) => !isEnd(parameter));
  return flags.map(({ name, schema, doc }) => {
    const put = (into: Members, value: unknown): void => void (into[name] = value);
    const form = isInstant(schema) ? instantForm(clock) : queryForm(name, schema);
    return { option: optionOf(`--${dashed(name)}`, form, { doc, schema }), place: [name], put };
  });
}

/** The ends of a span, of what was given as arguments. */
export function spanOf({ parameters }: Verb, given: Members, clock: Clock): Members {
  const ends = parameters.filter((each) => isEnd(each) && given[each.name] !== undefined);
  return Object.fromEntries(
    ends.map(({ name }) => [name, instantIn(String(given[name]), clock)] as const),
  );
}

/** A member by the flag or the argument that says it, and what of its value; null where the verb has neither. */
export function sayerOf(
  verb: Verb,
  flags: readonly Flag[],
  path: readonly string[],
): string | null {
  const [name = ''] = path;
  if (argumentsOf(verb).some((each) => each.name === name)) return `<${argumentName(name)}>`;
  const isIn = ({ place }: Flag): boolean =>
    place.length > 0 && place.every((part, n) => part === path[n]);
  const flag = flags.find(isIn);
  if (flag === undefined) return null;
  const rest = path.slice(flag.place.length);
  return [flag.option.long ?? '', ...(rest.length > 0 ? [`(${rest.join('/')})`] : [])].join(' ');
}

/** An argument as help shows it. */
export function argumentName(name: string): string {
  return name === 'name' ? 'projection' : name.replace(/Id$/, '');
}

/** Whether it looks like a flag and is a time: `-24h`. */
export function isAgo(text: string): boolean {
  return /^-\d/.test(text);
}

/** An instant, or how long ago it was: `-24h`, `-7d`. Whether a date is one is left to the service. */
function instantIn(text: string, clock: Clock): string {
  if (/^\d{4}-\d/.test(text)) return text;
  try {
    if (isAgo(text))
      return new Date(Date.parse(clock.now()) - durationIn(text.slice(1))).toISOString();
  } catch {
    // Told below.
  }
  const example = '2026-11-25T13:00:00Z';
  throw usageError(`"${text}": must be an instant like ${example}, or how long ago: -24h, -7d`);
}

function instantForm(clock: Clock): Form {
  return { shown: '<instant|-24h>', read: (text) => instantIn(text, clock) };
}

/** What stands for a value, and how its text is read. */
interface Form {
  /** As help shows it, e.g. `<text>`. */
  readonly shown: string;
  readonly read: (text: string, before: unknown) => unknown;
}

function queryForm(name: string, schema: Schema): Form {
  if (schema.type !== 'array') return { shown: shownOf(name, schema), read: (text) => text };
  // The interface says key:value, the rest of the command line key=value.
  const read = (text: string, before: unknown): unknown => [
    ...((before as readonly string[] | undefined) ?? []),
    text.includes(':') ? text : text.replace('=', ':'),
  ];
  return { shown: '<key=value>', read };
}

function memberFlags(
  path: readonly [string, ...string[]],
  schema: Schema,
  isRequired: boolean,
): readonly Flag[] {
  const { properties, required = [] } = schema;
  if (properties === undefined) return [memberFlag(path, path, { schema, isRequired })];
  const members = Object.entries(properties);
  const [only] = members;
  // An object of one member needs no second name: --acknowledge-unknown is its reason.
  if (members.length === 1 && only !== undefined) {
    const [name, inner] = only;
    const described = { ...inner, description: schema.description ?? '' };
    return [memberFlag(path, [...path, name], { schema: described, isRequired })];
  }
  return members.flatMap(([name, inner]) =>
    memberFlags([...path, name], inner, isRequired && required.includes(name)),
  );
}

function memberFlag(
  named: readonly string[],
  place: readonly string[],
  { schema, isRequired }: { readonly schema: Schema; readonly isRequired: boolean },
): Flag {
  const isMap = typeof schema.additionalProperties === 'object';
  const words = named.map(dashed).join('-');
  const flag = `--${isMap ? words.replace(/s$/, '') : words}`;
  const doc = schema.description ?? '';
  const option = optionOf(flag, isMap ? MAP : formOf(named.at(-1) ?? '', schema), { doc, schema });
  if (isRequired) option.makeOptionMandatory();
  return { option, place, put: (into, value) => putAt(into, place, value) };
}

function optionOf(
  flag: string,
  { shown, read }: Form,
  { doc, schema }: Pick<QueryParameter, 'doc' | 'schema'>,
): Option {
  const fallback = schema.default === undefined ? '' : ` (default: ${schema.default})`;
  const option = new Option(`${flag} ${shown}`, `${lowerFirst(doc).replace(/\.$/, '')}${fallback}`);
  const words = schema.enum?.filter((word) => word !== null);
  if (words !== undefined) return option.choices(words);
  return option.argParser((text, before) => {
    try {
      return read(text, before);
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw usageError(`${flag} ${text}: ${why}`);
    }
  });
}

function formOf(name: string, schema: Schema): Form {
  const shown = shownOf(name, schema);
  switch (typeOf(schema)) {
    case 'integer':
      return { shown, read: (text) => integerIn(text, name.endsWith('Ms')) };
    case 'object':
      return { shown, read: objectIn };
    default:
      return { shown, read: (text) => text };
  }
}

function shownOf(name: string, schema: Schema): string {
  const type = typeOf(schema);
  if (schema.enum !== undefined) return '<word>';
  if (schema.format === 'date-time') return '<instant>';
  if (type === 'integer') return name.endsWith('Ms') ? '<time>' : '<number>';
  return type === 'object' ? '<json>' : '<text>';
}

const MAP: Form = {
  shown: '<key=value>',
  read: (text, before) => {
    const split = text.indexOf('=');
    if (split < 1) throw new Error('must be key=value');
    return { ...(before as object | undefined), [text.slice(0, split)]: text.slice(split + 1) };
  },
};

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Reads a length of time: `500ms`, `90s`, `5m`, `1h30m`, or milliseconds. @throws in words. */
export function durationIn(text: string): number {
  if (/^\d{1,12}$/.test(text)) return Number(text);
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) {
    throw new Error('must be a time like 90s, 5m or 1h30m');
  }
  return Math.round(
    parts.reduce((sum, [, count, unit = '']) => sum + Number(count) * (UNITS[unit] ?? 0), 0),
  );
}

/** A flag of a length of time, in milliseconds. */
export function timeOption(flags: string, doc: string): Option {
  return new Option(flags, doc).argParser((text) => {
    try {
      return durationIn(text);
    } catch (error) {
      throw usageError(`${flags.split(' ')[0] ?? ''} ${text}: ${(error as Error).message}`);
    }
  });
}

function integerIn(text: string, isTime: boolean): number {
  if (isTime) return durationIn(text);
  if (!/^-?\d{1,15}$/.test(text)) throw new Error('must be a whole number');
  return Number(text);
}

/** A JSON object as it stands, or, behind an @, in a file; `@-` is stdin. */
function objectIn(text: string): unknown {
  const source = text === '@-' ? 0 : text.slice(1);
  const json = text.startsWith('@') ? textIn(source) : text;
  const value: unknown = JSON.parse(json);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new Error('must be a JSON object, or @ and a file that holds one');
  }
  return value;
}

/** Which file it is, is told by the flag. */
function textIn(source: string | 0): string {
  try {
    return readFileSync(source, 'utf8');
  } catch (error) {
    throw fileError('its file', error);
  }
}

/** Null clears a member; which ones is said by name. */
function clearFlag(names: readonly string[]): Flag {
  const option = new Option('--clear <member...>', 'members to clear').choices(names.map(dashed));
  return {
    option,
    place: [],
    put: (into, value) => {
      for (const name of names) {
        if ((value as readonly string[]).includes(dashed(name))) into[name] = null;
      }
    },
  };
}

function putAt(into: Members, [name, ...rest]: readonly string[], value: unknown): void {
  if (name === undefined) return;
  if (rest.length === 0) into[name] = value;
  else putAt((into[name] ??= {}) as Members, rest, value);
}

function isInstant({ format }: Schema): boolean {
  return format === 'date-time';
}

function typeOf({ type }: Schema): string {
  return [type ?? 'string'].flat().find((each) => each !== 'null') ?? 'string';
}

function isNullable({ type }: Schema): boolean {
  return [type ?? []].flat().includes('null');
}

function lowerFirst(text: string): string {
  return /^[A-Z][a-z ]/.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text;
}
