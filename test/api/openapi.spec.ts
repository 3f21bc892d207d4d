import { writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { EXAMPLES, type Example } from '../../src/api/examples.js';
import { STATUS } from '../../src/api/problem.filter.js';
import { COMMAND_ROUTES, QUERY_ROUTES, ROUTES, type Route } from '../../src/api/routes.js';
import { COMMANDS } from '../../src/application/commands.js';
import { fieldsOf } from '../../src/application/fields.js';
import { startApi, type Answered, type Members, type TestApi } from '../support/api.js';
import { schemaProblems } from '../support/json-schema.js';

/*
 * UPDATE_EXAMPLES=1 writes the examples anew, from real answers; then run npm run format.
 */

let api: TestApi;
let document: Members;
beforeAll(async () => {
  api = await startApi();
  document = (await api.get('/openapi.json')).json;
});
afterAll(() => api.close());

const at = (value: unknown, ...path: readonly string[]): Members =>
  path.reduce((found, step) => (found as Members)[step], value) as Members;
const operationOf = ({ path, method }: Route): Members =>
  at(document, 'paths', path, method.toLowerCase());

describe('the OpenAPI document', () => {
  it('describes every route, and nothing else', () => {
    expect(document['openapi']).toBe('3.1.0');
    const described = Object.entries(at(document, 'paths')).flatMap(([path, methods]) =>
      Object.keys(methods as Members).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(described.sort()).toEqual(ROUTES.map(({ method, path }) => `${method} ${path}`).sort());
    const names = ROUTES.map((route) => operationOf(route)['operationId']);
    expect(new Set(names).size).toBe(ROUTES.length);
  });

  it('refers only to what it holds', () => {
    const text = JSON.stringify(document);
    for (const [, ref = ''] of text.matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      expect({ ref, found: at(document, ...ref.split('/')) }).toEqual({
        ref,
        found: expect.anything(),
      });
    }
  });

  it('declares every parameter of a path, and every member of a body', () => {
    for (const route of ROUTES) {
      const parameters = operationOf(route)['parameters'] as readonly Members[];
      const inPath = parameters.filter((parameter) => parameter['in'] === 'path');
      const named = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      expect(inPath.map(({ name }) => name)).toEqual(named);
    }
    for (const route of COMMAND_ROUTES) {
      const schema = at(operationOf(route), 'requestBody', 'content', 'application/json', 'schema');
      const hidden = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      hidden.push(...(route.without ?? []), ...Object.keys(route.fixed ?? {}));
      const members = fieldsOf(COMMANDS[route.command]).map(({ name }) => name);
      expect(Object.keys(at(schema, 'properties'))).toEqual(
        members.filter((name) => !hidden.includes(name)),
      );
    }
  });

  it('explains every code', () => {
    const { description } = at(document, 'components', 'responses', 'Problem');
    for (const [code, status] of Object.entries(STATUS)) {
      expect(description).toContain(`\`${code}\` (${status})`);
    }
  });

  it('holds an example of every command and query, and each is a real answer', async () => {
    const told = await tellStory();
    if (process.env['UPDATE_EXAMPLES'] === '1') save(told);
    else expect(EXAMPLES).toEqual(told);
    const needed = [...COMMAND_ROUTES, ...QUERY_ROUTES].map(({ name }) => name);
    expect(Object.keys(told)).toEqual(expect.arrayContaining(needed));
  });

  it('declares the form of every answer of the examples', () => {
    for (const route of ROUTES) {
      const example = EXAMPLES[route.name];
      if (example?.answer === undefined) continue;
      const success = String(route.does === 'query' ? 200 : route.success);
      const { schema } = at(
        operationOf(route),
        'responses',
        success,
        'content',
        'application/json',
      );
      const problems = schemaProblems(example.answer, schema as Members, document);
      expect({ route: route.name, problems }).toEqual({ route: route.name, problems: [] });
      if (example.request === undefined) continue;
      const body = at(operationOf(route), 'requestBody', 'content', 'application/json', 'schema');
      expect(schemaProblems(example.request, body, document)).toEqual([]);
    }
    const problem = at(document, 'components', 'schemas', 'Problem');
    for (const { problem: told } of Object.values(EXAMPLES)) {
      if (told !== undefined) expect(schemaProblems(told, problem, document)).toEqual([]);
    }
  });
});

/** One story over all routes, the same each time: keys are given, and the clock moves by hand. */
async function tellStory(): Promise<Readonly<Record<string, Example>>> {
  // In memory on any day: positions are part of what is told.
  const story = await startApi({ eventStore: 'memory:' });
  const told: Record<string, Example> = {};
  let keys = 0;

  async function tell(name: string, values: Members = {}, body?: Members): Promise<Answered> {
    const route = ROUTES.find((each) => each.name === name);
    if (route === undefined) throw new Error(`no route ${name}`);
    await story.clock.advance(1_000);
    const url = route.path.replaceAll(/\{(\w+)\}/g, (_, of: string) => String(values[of]));
    const { headers, query = '' } = values as {
      readonly headers?: Record<string, string>;
      readonly query?: string;
    };
    keys += 1;
    const answer = await story.ask(route.method, url + query, {
      ...(body !== undefined && { body }),
      headers: { 'idempotency-key': `key-${keys}`, 'x-request-id': `request-${keys}`, ...headers },
    });
    const request = body === undefined ? {} : { request: body };
    const here = `${hostname()}/${process.pid}`;
    const json = JSON.parse(JSON.stringify(answer.json).replaceAll(here, 'node-1/4711')) as Members;
    const isProblem = answer.status >= 400;
    told[name] = {
      ...told[name],
      ...(isProblem
        ? { problem: json as { readonly status: number } & Members }
        : { ...request, answer: json }),
    };
    return answer;
  }

  const web = { deploymentId: 'web' };
  const first = { ...web, attemptId: 'web-1' };
  const token = { leaseToken: 'made by the runner, 16 to 128 characters' };
  const human = { 'x-shipslog-actor': 'human:alice' };
  await tell(
    'createDeployment',
    {},
    { ...web, environment: 'production', labels: { team: 'shop' } },
  );
  await tell('openAttempt', web, { attemptId: 'web-1', meta: { commit: '4f2c1d9' } });
  await tell('startAttempt', first, {
    ...token,
    runner: { id: 'runner-7', host: 'build-7', pid: 4711 },
  });
  await tell('heartbeat', first, { ...token, progress: { step: 'migrate', done: 3, of: 7 } });
  await tell('getDeployment', web);
  await tell('getAttempt', first);
  await tell('cancelAttempt', first, { reason: 'wrong version' });
  await tell('markUnknown', first, { cause: 'orphaned', evidence: { seenBy: 'reconciler' } });
  await tell('openTeardown', web, {});
  await tell('listUnknowns');
  const looked = await story.get('/v1/deployments/web');
  await tell(
    'resolveUnknown',
    { ...web, headers: { ...human, 'if-match': looked.headers['etag'] ?? '' } },
    { as: 'failed', reason: 'the host is gone; nothing serves' },
  );
  await tell('updateDeployment', web, {
    labels: { team: 'shop', tier: 'front' },
    environment: null,
  });
  await tell('openTeardown', web, { attemptId: 'web-2' });
  const down = { ...web, attemptId: 'web-2' };
  await tell(
    'endAttempt',
    { ...down, headers: {} },
    { outcome: 'cancelled', reason: 'kept after all' },
  );
  await tell('listDeployments');
  await tell('listAttempts', { ...web, query: '?limit=1' });
  await tell('getHistory', { ...web, query: '?limit=2' });
  await tell('listTransitions', { query: '?limit=2' });
  await tell('listChanges', { query: '?from=2026-01-01T00:00:05Z' });
  await tell('countByState');
  await tell('getTimeInState');
  await tell('getAttemptStats');
  await tell('listProjections');
  await story.post('/v1/deployments', { deploymentId: 'old' });
  await tell('archiveDeployment', { deploymentId: 'old' }, { reason: 'replaced by web' });
  await story.close();
  return told;
}

function save(told: Readonly<Record<string, Example>>): void {
  const file = new URL('../../src/api/examples.ts', import.meta.url);
  const text = `/** Requests and what they were really answered; written and checked by test/api/openapi.spec.ts. */

/** An exchange of one route. */
export interface Example {
  readonly request?: unknown;
  readonly answer?: unknown;
  readonly problem?: { readonly status: number; readonly [member: string]: unknown };
}

/** Examples by the name of their route. */
export const EXAMPLES: Readonly<Record<string, Example>> = ${JSON.stringify(told)};
`;
  writeFileSync(file, text);
}
