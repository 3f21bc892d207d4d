import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { COMMANDS, Heartbeat } from '../../src/application/commands.js';
import { fieldsOf } from '../../src/application/fields.js';
import { ROUTES, type Route } from '../../src/api/routes.js';
import { STATUS } from '../../src/api/problem.filter.js';
import { startApi, type Answered, type TestApi } from '../support/api.js';

/*
 * Requests of chance: parts of real ones, put together wrongly. FUZZ_REQUESTS sets how many (npm run
 * test:fuzz: 100,000); FUZZ_SEED repeats those of a run, whose seed is printed at its start.
 */
const REQUESTS = Number(process.env['FUZZ_REQUESTS'] ?? 1_500);
const SEED = Number(process.env['FUZZ_SEED'] ?? randomInt(2 ** 31));
const MS_PER_REQUEST_MAX = 20;
/** An answer that takes longer does not come: the longest wait that a request may ask for is 5 s. */
const ANSWER_MS_MAX = 20_000;

let api: TestApi;
beforeAll(async () => {
  api = await startApi();
  await api.running('web');
  await api.lost('jobs');
});
afterAll(() => api.close());

const CODES: ReadonlySet<string> = new Set(Object.keys(STATUS));

/** Text of every kind of trouble: controls, half pairs, prototypes, injections, long ones. */
const oddText = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom(
    '',
    ' ',
    '\u0000',
    '\ud800',
    '__proto__',
    'constructor',
    '../../etc/passwd',
    "' or 1=1 --",
    '%',
    '{{7*7}}',
    '<script>',
    '\u202e',
    'true',
    'null',
    '-1',
    '1e999',
    '9'.repeat(30),
  ),
  fc.nat(3_000).map((length) => 'a'.repeat(length)),
);
const id = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('web', 'jobs', 'new-1', 'new-2', 'new-3') },
  { weight: 1, arbitrary: oddText },
);
const attemptId = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a1', 'a2', 'a3') },
  { weight: 1, arbitrary: oddText },
);
const oddValue = fc.oneof(
  oddText,
  fc.jsonValue({ maxDepth: 3 }),
  fc.double(),
  fc.bigInt().map(String),
);
const rightValue: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  deploymentId: id,
  attemptId,
  scope: fc.constantFrom('full', 'configure', 'teardown'),
  outcome: fc.constantFrom('succeeded', 'failed', 'cancelled'),
  cause: fc.constantFrom('orphaned', 'abandoned', 'operator', 'lease_expired'),
  as: fc.constantFrom('ready', 'failed', 'torn_down'),
  reason: fc.constant('because'),
  exitCode: fc.integer({ min: -5, max: 300 }),
  meta: fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 }),
};

/** A body for a route: its members, some right, some not, and sometimes others. */
function bodyFor(route: Route): fc.Arbitrary<string> {
  const names = membersOf(route);
  const member = fc
    .constantFrom(...names, 'reason', 'actor')
    .chain((name) =>
      fc.tuple(
        fc.constant(name),
        fc.oneof(
          { weight: 5, arbitrary: rightValue[name] ?? oddValue },
          { weight: 1, arbitrary: oddValue },
        ),
      ),
    );
  const object = fc
    .array(member, { maxLength: 4 })
    .map((members) => JSON.stringify(Object.fromEntries(members)));
  const broken = fc
    .tuple(object, fc.nat(200), oddText)
    .map(([text, at, odd]) => text.slice(0, at) + odd + text.slice(at + 1));
  return fc.oneof(
    { weight: 6, arbitrary: object },
    { weight: 2, arbitrary: broken },
    { weight: 1, arbitrary: oddText },
  );
}

function membersOf(route: Route): readonly string[] {
  if (route.does === 'command') return fieldsOf(COMMANDS[route.command]).map(({ name }) => name);
  return fieldsOf(Heartbeat).map(({ name }) => name);
}

const headers = fc.dictionary(
  fc.constantFrom(
    'idempotency-key',
    'if-match',
    'if-none-match',
    'x-shipslog-actor',
    'accept',
    'traceparent',
    'content-type',
    'x-request-id',
  ),
  fc.oneof(
    fc.constantFrom(
      'key-1',
      'key-2',
      '"3"',
      '*',
      'human:alice',
      'runner:r',
      'application/json',
      'application/x-ndjson',
      'text/html',
    ),
    fc.string({ unit: 'grapheme-ascii', maxLength: 30 }).map((text) => text.trim()),
  ),
  { maxKeys: 3 },
);

const noQuery: fc.Arbitrary<readonly (readonly [string, string])[]> = fc.constant([]);
const query: typeof noQuery = fc.array(
  fc.tuple(
    fc.constantFrom(
      'limit',
      'after',
      'cursor',
      'state',
      'label',
      'q',
      'at',
      'revision',
      'from',
      'archived',
      'consistency',
      'x',
    ),
    fc.oneof(
      fc.constantFrom(
        '1',
        '2',
        'start',
        'ready',
        'a:b',
        'strong',
        'include',
        '2026-01-01T00:00:00Z',
      ),
      oddText,
    ),
  ),
  { maxLength: 3 },
);

// A stream ends when its reader leaves, which a request of chance never does.
const ENDING = ROUTES.filter(({ does }) => does !== 'stream');
const request = fc.constantFrom(...ENDING).chain((route) =>
  fc.record({
    route: fc.constant(route),
    method: fc.oneof(
      { weight: 12, arbitrary: fc.constant<string>(route.method) },
      {
        weight: 1,
        arbitrary: fc.constantFrom('GET', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'POST'),
      },
    ),
    ids: fc.record({
      deploymentId: id,
      attemptId,
      name: fc.constantFrom('attempts', 'x'),
      file: oddText,
    }),
    isRaw: fc.boolean(),
    query: fc.oneof({ weight: 2, arbitrary: noQuery }, { weight: 1, arbitrary: query }),
    headers,
    body: fc.option(bodyFor(route), { nil: null }),
  }),
);
type Asked = typeof request extends fc.Arbitrary<infer T> ? T : never;

function urlOf({ route, ids, isRaw, query: pairs }: Asked): string {
  const path = route.path.replaceAll(/\{(\w+)\}/g, (_, name: keyof Asked['ids']) =>
    isRaw ? ids[name].replaceAll(/[^\x21-\x7e]|[?#]/g, '') : wellFormed(ids[name]),
  );
  const search = pairs.map(
    ([name, value]) =>
      `${name}=${isRaw ? value.replaceAll(/[^\x21-\x7e]|#/g, '') : wellFormed(value)}`,
  );
  return search.length === 0 ? path : `${path}?${search.join('&')}`;
}

function wellFormed(text: string): string {
  return encodeURIComponent(text.toWellFormed());
}

function expectSane(asked: Asked, { status, headers: told, text, json }: Answered): void {
  expect(status).toBeLessThan(500);
  if (status < 400 || asked.method === 'HEAD') return;
  expect(told['content-type']).toBe('application/problem+json; charset=utf-8');
  expect(CODES.has(String(json['code']))).toBe(true);
  expect(json['status']).toBe(status);
  expect(text).not.toMatch(/\.[jt]s:\d|node_modules/);
}

describe('a request of chance', () => {
  it(
    `is answered, never with 5xx, and every error is a problem with a code (${REQUESTS} requests)`,
    async () => {
      process.stderr.write(`FUZZ_SEED=${SEED} FUZZ_REQUESTS=${REQUESTS}\n`);
      const seen = new Map<number, number>();
      await fc.assert(
        fc.asyncProperty(request, async (asked) => {
          const answer = await api.ask(asked.method, urlOf(asked), {
            headers: asked.headers,
            ...(asked.body !== null && { body: asked.body }),
          });
          seen.set(answer.status, (seen.get(answer.status) ?? 0) + 1);
          expectSane(asked, answer);
        }),
        { numRuns: REQUESTS, seed: SEED, timeout: ANSWER_MS_MAX },
      );
      if (REQUESTS > 10_000) {
        process.stderr.write(`${JSON.stringify(Object.fromEntries(seen))}\n`);
      }
      // Blind fuzzing would see one status only.
      expect([...seen.keys()].sort((a, b) => a - b)).toEqual(
        expect.arrayContaining([200, 400, 404, 405, 409]),
      );
      expect((await api.get('/health/ready')).json['status']).toBe('ready');
    },
    REQUESTS * MS_PER_REQUEST_MAX + 10_000,
  );
});
