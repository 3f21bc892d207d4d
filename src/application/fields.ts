/**
 * What a member of a command or query may be: one decorator says it once, for class-validator and, as
 * JSON Schema, for OpenAPI, the CLI and forms.
 */
import { ValidateBy, ValidateIf, ValidateNested } from 'class-validator';

/** The part of JSON Schema (2020-12) that describes members. */
export interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly [keyword: string]: unknown;
}

/** A member of a command, as declared on its class. */
export interface Field {
  readonly name: string;
  readonly schema: JsonSchema;
  readonly required: boolean;
  /** The class of a member that is an object of named members. */
  readonly nested?: FieldsClass;
}
/** A class with declared members. */
export type FieldsClass = new () => object;

/** Says what is wrong with a value, in words after "must"; null when it is right. */
type Check = (value: unknown) => string | null;

/** All that is known of a member; those of the envelope are no fields. */
interface Member {
  readonly name: string;
  readonly field: Field | null;
  /** Whether the value, given or absent, is right. */
  readonly accepts: (value: unknown) => boolean;
}

const declared = new WeakMap<object, Member[]>();
const inherited = new WeakMap<
  FieldsClass,
  { readonly fields: readonly Field[]; readonly members: ReadonlyMap<string, Member> }
>();

/** The declared members of a class and of those it extends, base first. */
export function fieldsOf(cls: FieldsClass): readonly Field[] {
  return described(cls).fields;
}

function described(cls: FieldsClass): NonNullable<ReturnType<typeof inherited.get>> {
  const known = inherited.get(cls);
  if (known !== undefined) return known;
  const base: unknown = Object.getPrototypeOf(cls);
  const own = declared.get(cls.prototype as object) ?? [];
  const above = isFunction(base) ? described(base as FieldsClass) : null;
  const found = {
    fields: [...(above?.fields ?? []), ...own.flatMap(({ field }) => field ?? [])],
    members: new Map([
      ...(above?.members ?? []),
      ...own.map((member) => [member.name, member] as const),
    ]),
  };
  inherited.set(cls, found);
  return found;
}

/**
 * Whether every member of an instance is right and none is unknown.
 *
 * The same checks as class-validator runs, at a tenth of its cost (bench/command-bus); it is asked for
 * the words when one fails.
 */
export function isRight(instance: object): boolean {
  const { members } = described(instance.constructor as FieldsClass);
  const values = instance as Readonly<Record<string, unknown>>;
  for (const { name, field, accepts } of members.values()) {
    const value = values[name];
    if (!accepts(value)) return false;
    if (field?.nested !== undefined && isObject(value)) {
      if (value.constructor !== field.nested || !isRight(value)) return false;
    }
  }
  return Object.keys(instance).every((name) => members.has(name));
}

function isFunction(value: unknown): boolean {
  return typeof value === 'function' && 'prototype' in value && value.prototype !== undefined;
}

/** Makes an instance of a class from plain members, those that are objects of named members included. */
export function instanceOf<T extends object>(cls: new () => T, members: object): T {
  const instance = Object.assign(new cls(), members);
  for (const { name, nested } of fieldsOf(cls)) {
    const value = (instance as Record<string, unknown>)[name];
    if (nested !== undefined && isObject(value)) {
      Object.assign(instance, { [name]: instanceOf(nested, value) });
    }
  }
  return instance;
}

/** How a member is declared. */
interface Options {
  readonly doc: string;
  /** `true`: may be absent; `'nullable'`: may be null as well, which clears. */
  readonly optional?: boolean | 'nullable';
  /** What an absent member means; told in documents only. */
  readonly default?: string;
}

function field(
  schema: JsonSchema,
  check: Check,
  options: Options & { readonly nested?: FieldsClass },
): PropertyDecorator {
  const { doc, optional = false, nested } = options;
  const nullable = optional === 'nullable';
  const isGiven = (value: unknown): boolean => value !== undefined && !(nullable && value === null);
  const rules = [
    ...(optional === false ? [] : [ValidateIf((_, value) => isGiven(value))]),
    checkRule(check),
    ...(nested === undefined ? [] : [ValidateNested()]),
  ];
  const about = {
    schema: {
      ...schema,
      ...(options.default !== undefined && { default: options.default }),
      ...(nullable && { type: [String(schema.type), 'null'] }),
      description: doc,
    },
    required: optional === false,
    ...(nested !== undefined && { nested }),
  } as const;
  const accepts = (value: unknown): boolean =>
    isGiven(value) || optional === false ? check(value) === null : true;
  return (prototype, property) => {
    const name = String(property);
    declare(prototype, { name, field: { name, ...about }, accepts });
    for (const rule of rules) rule(prototype, property);
  };
}

function declare(prototype: object, member: Member): void {
  declared.set(prototype, [...(declared.get(prototype) ?? []), member]);
}

function checkRule(check: Check): PropertyDecorator {
  return ValidateBy({
    name: 'field',
    validator: {
      validate: (value) => check(value) === null,
      defaultMessage: (args) => `must ${check(args?.value) ?? 'be right'}`,
    },
  });
}

/** Text of `min`..`max` characters (code points); `lines` allows tab and line feed. */
export function Text(
  options: Options & { min?: number; max: number; lines?: boolean; notBlank?: boolean },
): PropertyDecorator {
  const { min = 1, max, lines = false, notBlank = false } = options;
  const schema = {
    type: 'string',
    minLength: min,
    maxLength: max,
    ...(notBlank && { pattern: '\\S' }),
  };
  return field(schema, (value) => textProblem(value, { min, max, lines, notBlank }), options);
}

interface TextRule {
  readonly min: number;
  readonly max: number;
  readonly lines?: boolean;
  readonly notBlank?: boolean;
}

function textProblem(value: unknown, { min, max, lines, notBlank }: TextRule): string | null {
  if (typeof value !== 'string') return 'be text';
  if (!hasLength(value, min, max)) return `have ${String(min)} to ${String(max)} characters`;
  if (!value.isWellFormed()) return 'be well-formed Unicode';
  const visible = lines === true ? value.replaceAll(/[\t\n]/g, '') : value;
  if (CONTROLS.test(visible)) return 'have no control characters';
  return notBlank === true && value.trim() === '' ? 'not be blank' : null;
}

/** Counts code points, but only where code units leave a doubt. */
function hasLength(text: string, min: number, max: number): boolean {
  if (text.length <= max && text.length >= 2 * min) return true;
  const length = [...text].length;
  return length >= min && length <= max;
}

/** C0 controls and DEL. */
const CONTROLS = /[\u0000-\u001f\u007f]/;

/** Text that matches a pattern; `what` names it in the message. */
export function Matching(
  options: Options & { pattern: RegExp; what: string; schema?: JsonSchema },
): PropertyDecorator {
  const { pattern, what } = options;
  const check: Check = (value) =>
    typeof value === 'string' && pattern.test(value) ? null : `be ${what}`;
  return field({ type: 'string', pattern: pattern.source, ...options.schema }, check, options);
}

/** One of some words. */
export function OneOf(words: readonly string[], options: Options): PropertyDecorator {
  const check: Check = (value) =>
    words.includes(value as string) ? null : `be one of ${words.join(', ')}`;
  return field({ type: 'string', enum: words }, check, options);
}

/** An integer within bounds, inclusive. */
export function Integer(options: Options & { min: number; max: number }): PropertyDecorator {
  const { min, max } = options;
  const check: Check = (value) =>
    Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
      ? null
      : `be an integer from ${String(min)} to ${String(max)}`;
  return field({ type: 'integer', minimum: min, maximum: max }, check, options);
}

/** An object of named members, declared by its class. */
export function Members(cls: FieldsClass, options: Options): PropertyDecorator {
  const check: Check = (value) => (isObject(value) ? null : 'be an object');
  return field({ type: 'object' }, check, { ...options, nested: cls });
}

const BYTES_MAX = 8 * 1024;
const DEPTH_MAX = 8;
/** Any JSON object of at most 8 KiB and 8 levels. */
export function AnyObject(options: Options): PropertyDecorator {
  const description = `at most ${String(BYTES_MAX)} bytes as JSON and ${String(DEPTH_MAX)} levels`;
  const check: Check = (value) => {
    if (!isObject(value)) return 'be an object';
    const problem = jsonProblem(value, DEPTH_MAX);
    if (problem !== null) return problem;
    return Buffer.byteLength(JSON.stringify(value)) > BYTES_MAX ? `be ${description}` : null;
  };
  return field(
    { type: 'object', additionalProperties: true, $comment: description },
    check,
    options,
  );
}

function jsonProblem(value: unknown, levels: number): string | null {
  if (!Array.isArray(value) && !isObject(value)) return scalarProblem(value);
  if (levels === 0) return `have at most ${String(DEPTH_MAX)} levels`;
  const problems = Object.values(value).map((member) => jsonProblem(member, levels - 1));
  return problems.find((problem) => problem !== null) ?? null;
}

function scalarProblem(value: unknown): string | null {
  if (typeof value === 'string')
    return value.isWellFormed() ? null : 'hold well-formed Unicode only';
  if (typeof value === 'number') return Number.isFinite(value) ? null : 'hold finite numbers only';
  return value === null || typeof value === 'boolean' ? null : 'hold JSON values only';
}

const LABELS_MAX = 32;
const LABEL_KEY = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/;
const LABEL_VALUE_MAX = 256;
/** Labels: at most 32 pairs of key and text. */
export function LabelMap(options: Options): PropertyDecorator {
  const schema = {
    type: 'object',
    maxProperties: LABELS_MAX,
    propertyNames: { pattern: LABEL_KEY.source },
    additionalProperties: { type: 'string', maxLength: LABEL_VALUE_MAX },
  };
  return field(schema, labelsProblem, options);
}

function labelsProblem(value: unknown): string | null {
  if (!isObject(value)) return 'be an object of texts';
  const entries = Object.entries(value);
  if (entries.length > LABELS_MAX) return `have at most ${String(LABELS_MAX)} labels`;
  for (const [key, text] of entries) {
    if (!LABEL_KEY.test(key))
      return `have keys like ${LABEL_KEY.source}; "${key.slice(0, 80)}" is not`;
    const problem = textProblem(text, { min: 0, max: LABEL_VALUE_MAX });
    if (problem !== null) return `have values that ${problem}`;
  }
  return null;
}

const INSTANT =
  /^(\d{4})-(\d\d)-(\d\d)T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/;
/** A date and time with its offset, as RFC 3339 says. */
export function DateTime(options: Options): PropertyDecorator {
  const check: Check = (value) =>
    parseInstant(value) === null ? 'be a date-time like 2026-11-25T13:00:00.000Z' : null;
  return field({ type: 'string', format: 'date-time' }, check, options);
}

/** Reads an RFC 3339 date-time into UTC with milliseconds; null when it is none. */
export function parseInstant(value: unknown): string | null {
  const match = typeof value === 'string' ? INSTANT.exec(value) : null;
  if (match === null) return null;
  const [text, year, month, day] = match;
  const daysInMonth = new Date(Date.UTC(Number(year), Number(month), 0)).getUTCDate();
  if (Number(month) < 1 || Number(month) > 12 || Number(day) < 1 || Number(day) > daysInMonth)
    return null;
  return new Date(text).toISOString();
}

/** A member that the caller's process sets, not a body: the caller, the command's id, its revision. */
export function Envelope(check: Check): PropertyDecorator {
  const optional = ValidateIf((_, value) => value !== undefined);
  const rule = checkRule(check);
  const accepts = (value: unknown): boolean => value === undefined || check(value) === null;
  return (prototype, property) => {
    declare(prototype, { name: String(property), field: null, accepts });
    optional(prototype, property);
    rule(prototype, property);
  };
}

function isObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || declared.has(prototype as object);
}
