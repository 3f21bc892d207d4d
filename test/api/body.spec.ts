import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { BODY_BYTES_MAX, readBody } from '../../src/api/body.js';
import { Refused } from '../../src/application/refused.js';

const bytes = (text: string): Buffer => Buffer.from(text);
const nested = (levels: number): string => `{"a":${'['.repeat(levels)}${']'.repeat(levels)}}`;

/** What is wrong with a body, as pointer and message; null when it is taken. */
function objection(body: Buffer | string): string | null {
  try {
    readBody(typeof body === 'string' ? bytes(body) : body);
    return null;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    expect(error.code).toBe('INVALID_BODY');
    const [problem] = error.refusal.errors ?? [];
    return `${problem?.pointer ?? '?'} ${problem?.message ?? '?'}`;
  }
}

describe('the reader of bodies', () => {
  it('takes no body, or an empty one, for an object without members', () => {
    expect(readBody(undefined)).toEqual({});
    expect(readBody(null)).toEqual({});
    expect(readBody(Buffer.alloc(0))).toEqual({});
  });

  it('reads what JSON.parse reads, for any object without doubtful members', () => {
    const value = fc.jsonValue({ maxDepth: 6 });
    fc.assert(
      fc.property(
        fc.dictionary(fc.string(), value),
        fc.constantFrom(0, 1, '\t'),
        (object, space) => {
          const text = JSON.stringify(object, null, space);
          if (objection(text) === null) expect(readBody(bytes(text))).toEqual(JSON.parse(text));
          else expect(text).toMatch(/\\u|\\[bfr]|__proto__|constructor|prototype|\d{16}/);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('refuses whatever JSON.parse refuses', () => {
    const pieces = [
      '{',
      '}',
      '[',
      ']',
      ':',
      ',',
      '"a"',
      '"',
      '\\',
      '1',
      '-',
      '0',
      '.',
      'e',
      ' ',
      'true',
      'nul',
      '\n',
      '\u00e9',
      "'",
    ];
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 12 }), (given) => {
        const text = given.join('');
        let parsed: unknown;
        try {
          parsed = JSON.parse(text);
        } catch {
          if (text !== '') expect(objection(text)).not.toBeNull();
          return;
        }
        if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
          expect(objection(text)).not.toBeNull();
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['{"a":1}{"b":2}', /nothing after it/],
    ['{"a":1} x', /nothing after it/],
    ['[]', /a JSON object/],
    ['null', /a JSON object/],
    ['"text"', /a JSON object/],
    ['17', /a JSON object/],
    ['{"a":01}', /comma/],
    ['{"a":.5}', /must be JSON/],
    ['{"a":1,}', /double quotes/],
    ["{'a':1}", /double quotes/],
    ['{"a" 1}', /colon/],
    ['{"a":"b}', /no end/],
    ['{"a":"\\x41"}', /escapes/],
    ['{"a":"one\nline"}', /raw control/],
    ['\u{feff}{}', /a JSON object/],
    ['   ', /a JSON object/],
  ])('refuses %j, which is no JSON object', (text, message) => {
    expect(objection(text)).toMatch(message);
  });

  it('refuses a name that is given twice, however it is spelled', () => {
    expect(objection('{"reason":"a","reason":"b"}')).toBe('/reason is given twice');
    expect(objection('{"m":{"x":1,"\\u0078":2}}')).toBe('/m/x is given twice');
  });

  it.each(['__proto__', 'constructor', 'prototype'])('refuses the name %s anywhere', (name) => {
    expect(objection(`{"${name}":{}}`)).toBe(`/${name} is a name that is not allowed`);
    expect(objection(`{"meta":[{"${name}":1}]}`)).toBe(
      `/meta/0/${name} is a name that is not allowed`,
    );
  });

  it('refuses what is not UTF-8', () => {
    const cut = Buffer.from('{"a":"é"}').subarray(0, 7);
    expect(objection(Buffer.concat([cut, bytes('"}')]))).toBe(' must be UTF-8');
    expect(objection(Buffer.from([0x7b, 0xff, 0x7d]))).toBe(' must be UTF-8');
    expect(objection(Buffer.from('{"a":"\u{0}"}', 'utf16le'))).not.toBeNull();
  });

  it('refuses half a surrogate pair, and takes a whole one', () => {
    expect(objection('{"a":"\\ud83d"}')).toBe('/a must be well-formed Unicode');
    expect(objection('{"\\udca9":1}')).toMatch(/well-formed/);
    expect(readBody(bytes('{"a":"\\ud83d\\udca9"}'))).toEqual({ a: '\u{1f4a9}' });
  });

  it('refuses control characters but tab and line feed', () => {
    expect(readBody(bytes('{"a":"x\\ty\\nz"}'))).toEqual({ a: 'x\ty\nz' });
    for (const escape of ['\\u0000', '\\b', '\\f', '\\r', '\\u001f', '\\u000b']) {
      expect(objection(`{"a":"${escape}"}`)).toMatch(/control characters/);
    }
  });

  it('refuses a number that would not keep its value', () => {
    expect(objection('{"a":9007199254740993}')).toMatch(/keeps its value/);
    expect(objection('{"a":1e999}')).toMatch(/keeps its value/);
    expect(readBody(bytes('{"a":9007199254740991,"b":-0.5e-3,"c":0}'))).toEqual({
      a: 9007199254740991,
      b: -0.0005,
      c: 0,
    });
  });

  it('reads 32 levels, and not one more', () => {
    expect(objection(nested(31))).toBeNull();
    expect(objection(nested(32))).toMatch(/32 levels/);
    expect(objection(`{"a":${'['.repeat(BODY_BYTES_MAX)}`)).toMatch(/32 levels/);
    expect(objection(`{"a":${'{"a":'.repeat(10_000)}`)).toMatch(/32 levels/);
  });

  it('reads 1,000 members in all, and not one more', () => {
    const members = (count: number): string =>
      `{${Array.from({ length: count }, (_, n) => `"k${n}":${n}`).join(',')}}`;
    expect(objection(members(1_000))).toBeNull();
    expect(objection(members(1_001))).toMatch(/1000 members/);
    expect(objection(`{"a":${members(500)},"b":${members(499)}}`)).toMatch(/1000 members/);
  });

  it('points at what is wrong, as RFC 6901 says', () => {
    expect(objection('{"a/b":{"c~d":[0,{"x":"\\u0000"}]}}')).toMatch(/^\/a~1b\/c~0d\/1\/x /);
  });

  it('takes time in proportion to the length of a hostile body', () => {
    const fill = (text: string): string =>
      `{"a":"${text.repeat((BODY_BYTES_MAX - 8) / text.length)}"}`;
    const hostile = [
      fill('\\\\'),
      fill('\\u0041'),
      `{"a":[${'1,'.repeat(30_000)}1]}`,
      `{${' '.repeat(65_000)}}`,
    ];
    const begin = process.cpuUsage().user;
    for (const text of hostile) objection(text);
    expect((process.cpuUsage().user - begin) / 1_000).toBeLessThan(500);
  });
});
