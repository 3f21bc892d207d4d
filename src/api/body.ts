/**
 * The bounded reader of request bodies: strict JSON, in one pass, with a pointer to what is wrong.
 *
 * The platform's own parsers overflow their stack on deep nesting, accept invalid UTF-8, lone surrogates
 * and duplicate keys, and drop `__proto__` without a word. A log that is kept for ever must not have to
 * guess what a caller meant, so each of these is refused.
 */
import { invalidBody } from '../domain/decision.js';
import { Refused } from '../application/refused.js';

/** The largest body that is read. Bytes. */
export const BODY_BYTES_MAX = 64 * 1024;
/** Objects and arrays within each other, the outermost included. */
const DEPTH_MAX = 32;
/** Members of all objects of a body together. */
const KEYS_MAX = 1_000;
/** Names that reach an object's prototype when they are copied carelessly, here or behind us. */
const FORBIDDEN_KEYS: ReadonlySet<string> = new Set(['__proto__', 'constructor', 'prototype']);

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads a body; an absent or empty one counts as `{}`.
 *
 * Refuses INVALID_BODY for anything but one JSON object within the bounds.   Cost: linear.
 */
export function readBody(bytes: Uint8Array | null | undefined): Record<string, unknown> {
  if (bytes == null || bytes.length === 0) return {};
  return new BodyReader(decoded(bytes)).read();
}

function decoded(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw wrong('', 'must be UTF-8');
  }
}

function wrong(pointer: string, message: string): Refused {
  return new Refused(invalidBody([{ pointer, message }]));
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const SPACE = 0x20;
const [TAB, LINE_FEED, RETURN] = [0x09, 0x0a, 0x0d];

const LITERALS: readonly (readonly [string, boolean | null])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
];
const NUMBER = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;
/** What no text of a caller may hold: C0 controls but tab and line feed. */
const CONTROL = new RegExp(String.raw`[\u{0}-\u{8}\u{b}-\u{1f}]`, 'u');

/** A recursive descent over the text; recursion is bounded by `DEPTH_MAX`. */
class BodyReader {
  readonly #text: string;
  readonly #path: (string | number)[] = [];
  #at = 0;
  #keys = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): Record<string, unknown> {
    this.#skipBlanks();
    if (this.#peek() !== OPEN_BRACE) throw this.#isNot('a JSON object');
    const value = this.#object();
    this.#skipBlanks();
    if (this.#at < this.#text.length) throw this.#isNot('one JSON object and nothing after it');
    return value;
  }

  #value(): unknown {
    switch (this.#peek()) {
      case QUOTE:
        return this.#string();
      case OPEN_BRACE:
        return this.#object();
      case OPEN_BRACKET:
        return this.#array();
      default:
        return this.#numberOrLiteral();
    }
  }

  #object(): Record<string, unknown> {
    const members: Record<string, unknown> = {};
    this.#enter('');
    if (this.#isEnd(CLOSE_BRACE)) return members;
    for (;;) {
      if (this.#peek() !== QUOTE) throw this.#isNot('JSON: a name in double quotes should be here');
      const key = this.#string();
      this.#path[this.#path.length - 1] = key;
      this.#admit(key, members);
      this.#skipBlanks();
      if (this.#peek() !== COLON) throw this.#isNot('JSON: a colon should be here');
      this.#at += 1;
      this.#skipBlanks();
      members[key] = this.#value();
      if (this.#isLast(CLOSE_BRACE)) return members;
    }
  }

  #array(): readonly unknown[] {
    const items: unknown[] = [];
    this.#enter(0);
    if (this.#isEnd(CLOSE_BRACKET)) return items;
    for (;;) {
      items.push(this.#value());
      if (this.#isLast(CLOSE_BRACKET)) return items;
      this.#path[this.#path.length - 1] = items.length;
    }
  }

  /** Steps into an object or array. */
  #enter(first: string | number): void {
    if (this.#path.length >= DEPTH_MAX) {
      throw this.#wrong(`must have at most ${DEPTH_MAX} levels`);
    }
    this.#path.push(first);
    this.#at += 1;
    this.#skipBlanks();
  }

  #isEnd(close: number): boolean {
    if (this.#peek() !== close) return false;
    this.#at += 1;
    this.#path.pop();
    return true;
  }

  /** Whether an item is the last one; steps behind the comma, or out. */
  #isLast(close: number): boolean {
    this.#skipBlanks();
    if (this.#isEnd(close)) return true;
    if (this.#peek() !== COMMA) throw this.#isNot('JSON: a comma should be here');
    this.#at += 1;
    this.#skipBlanks();
    return false;
  }

  #admit(key: string, members: Readonly<Record<string, unknown>>): void {
    this.#keys += 1;
    if (this.#keys > KEYS_MAX) throw this.#wrong(`must have at most ${KEYS_MAX} members in all`);
    if (FORBIDDEN_KEYS.has(key)) throw this.#wrong('is a name that is not allowed');
    if (Object.hasOwn(members, key)) throw this.#wrong('is given twice');
  }

  #string(): string {
    const text = this.#text;
    const start = this.#at + 1;
    let isPlain = true;
    for (let at = start; at < text.length; at += 1) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        this.#at = at + 1;
        return isPlain ? text.slice(start, at) : this.#unescaped(start - 1, at + 1);
      }
      if (code < SPACE) throw this.#wrong('must not hold raw control characters');
      if (code === BACKSLASH) {
        isPlain = false;
        at += 1;
      }
    }
    throw this.#isNot('JSON: a text has no end');
  }

  /** A text with escapes; decoded UTF-8 is well-formed, so only escapes can do harm. */
  #unescaped(start: number, end: number): string {
    let value: string;
    try {
      value = JSON.parse(this.#text.slice(start, end)) as string;
    } catch {
      throw this.#wrong('must hold only the escapes of JSON');
    }
    if (!value.isWellFormed()) throw this.#wrong('must be well-formed Unicode');
    if (CONTROL.test(value)) {
      throw this.#wrong('must have no control characters but tab and line feed');
    }
    return value;
  }

  #numberOrLiteral(): unknown {
    const text = this.#text;
    NUMBER.lastIndex = this.#at;
    const match = NUMBER.exec(text);
    if (match !== null) {
      this.#at = NUMBER.lastIndex;
      const value = Number(match[0]);
      const isInteger = match[1] === undefined && match[2] === undefined;
      if (isInteger ? Number.isSafeInteger(value) : Number.isFinite(value)) return value;
      throw this.#wrong('must be a number that keeps its value; write a larger one as text');
    }
    for (const [word, value] of LITERALS) {
      if (!text.startsWith(word, this.#at)) continue;
      this.#at += word.length;
      return value;
    }
    throw this.#isNot('JSON');
  }

  #skipBlanks(): void {
    for (;;) {
      const code = this.#peek();
      if (code !== SPACE && code !== LINE_FEED && code !== RETURN && code !== TAB) return;
      this.#at += 1;
    }
  }

  #peek(): number {
    return this.#text.charCodeAt(this.#at);
  }

  #isNot(what: string): Refused {
    return wrong('', `must be ${what} (at character ${this.#at + 1})`);
  }

  #wrong(message: string): Refused {
    const steps = this.#path.map((step) =>
      String(step).replaceAll('~', '~0').replaceAll('/', '~1'),
    );
    return wrong(steps.map((step) => `/${step}`).join(''), message);
  }
}
