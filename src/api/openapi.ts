/** The OpenAPI 3.1 document, made from the tables that the routes, the commands and the codes are made of. */
import { COMMANDS } from '../application/commands.js';
import { fieldsOf, type Field, type FieldsClass, type JsonSchema } from '../application/fields.js';
import { ID_PATTERN } from '../domain/event-schema.js';
import { NDJSON_TYPE } from './accept.js';
import { EXAMPLES, type Example } from './examples.js';
import type { Parameters } from './parameters.js';
import { pathParametersOf } from './paths.js';
import { STATUS, TITLES, type ProblemCode } from './problem.filter.js';
import {
  readsReadModels,
  ROUTES,
  type CommandRoute,
  type QueryRoute,
  type Route,
} from './routes.js';
import { SCHEMAS } from './schemas.js';
import type { ServiceRoute } from './service-routes.js';

type Json = Readonly<Record<string, unknown>>;

const ref = (name: keyof typeof SCHEMAS): Json => ({ $ref: `#/components/schemas/${name}` });
/** A schema, or another one where a past time is asked about. */
const refTo = (now: keyof typeof SCHEMAS, then: keyof typeof SCHEMAS | undefined): Json =>
  then === undefined ? ref(now) : { anyOf: [ref(now), ref(then)] };

/** Headers of requests, by the name under which routes refer to them. */
const HEADERS = {
  idempotencyKey: {
    name: 'Idempotency-Key',
    schema: { type: 'string', minLength: 1, maxLength: 255, pattern: '^[ -~]+$' },
    description:
      'Makes the request safe to repeat, at any age: the same key with the same content gives the first answer again.',
  },
  ifMatch: {
    name: 'If-Match',
    schema: { type: 'string', pattern: '^("(0|[1-9][0-9]*)"|\\*)$' },
    description:
      'The revision that was looked at, as its entity tag; 412 when there is a newer one.',
  },
  ifNoneMatch: {
    name: 'If-None-Match',
    schema: { type: 'string' },
    description: 'A revision that is known already: 304 when there is no newer one.',
  },
  lastEventId: {
    name: 'Last-Event-ID',
    schema: { type: 'string', pattern: '^[0-9]{1,19}$' },
    description: 'The id of the last event that was got; wins over after.',
  },
  actor: {
    name: 'X-Shipslog-Actor',
    schema: { type: 'string', pattern: '^(human|service|runner):.{1,128}$' },
    description: 'Who asks, e.g. human:alice; service:anonymous when absent.',
  },
  traceparent: {
    name: 'traceparent',
    schema: { type: 'string' },
    description: 'W3C trace context, kept with the events.',
  },
} as const;
type HeaderName = keyof typeof HEADERS;

/** Makes the document. */
export function openApiDocument(version: string): Json {
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of ROUTES) {
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Shipslog',
      version,
      summary: "A ship's log for your deployments.",
      description:
        'Revisions and positions are decimal strings, times ISO-8601 UTC with milliseconds. Every error is application/problem+json with a stable `code`.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    security: [],
    paths,
    components: {
      schemas: SCHEMAS,
      headers: RESPONSE_HEADERS,
      responses: { Problem: problemResponse() },
      parameters: Object.fromEntries(
        Object.entries(HEADERS).map(([name, header]) => [name, { in: 'header', ...header }]),
      ),
    },
  };
}

const RESPONSE_HEADERS = {
  ETag: { schema: { type: 'string' }, description: 'The revision, in quotes.' },
  Location: { schema: { type: 'string' }, description: 'The path of what was created.' },
  IdempotentReplayed: {
    schema: { type: 'string', enum: ['true'] },
    description: 'This is the answer of an earlier request with the same key.',
  },
  ShipslogStale: {
    schema: { type: 'integer', minimum: 1 },
    description:
      'Seconds since the read models were last seen level with the log, when that is more than one: the log is out of reach, or they are behind.',
  },
} as const;
const header = (name: keyof typeof RESPONSE_HEADERS): Json => ({
  $ref: `#/components/headers/${name}`,
});

function operation(route: Route): Json {
  const { name, doc, path } = route;
  const [summary = doc] = doc.split(/(?<=\.) /);
  return {
    operationId: name,
    summary,
    description: doc,
    tags: [tagOf(route)],
    parameters: [...pathParameters(path), ...parametersOf(route)],
    ...bodyOf(route),
    responses: { ...responsesOf(route), default: { $ref: '#/components/responses/Problem' } },
  };
}

function tagOf({ does, path }: Route): string {
  if (path.startsWith('/v1/projections')) return 'projections';
  if (does === 'service' && !path.startsWith('/v1/deployments')) return 'service';
  return path.includes('/attempts') ? 'attempts' : 'deployments';
}

function pathParameters(path: string): readonly Json[] {
  return pathParametersOf(path).map((name) => ({
    name,
    in: 'path',
    required: true,
    schema: name.endsWith('Id') ? { type: 'string', pattern: ID_PATTERN } : { type: 'string' },
  }));
}

function parametersOf(route: Route): readonly Json[] {
  switch (route.does) {
    case 'command':
      return headersFor(['idempotencyKey', 'ifMatch', 'actor', 'traceparent'], route);
    case 'query':
      return [
        ...queryParameters(route.parameters),
        ...(route.tagged === true ? headersFor(['ifNoneMatch'], route) : []),
      ];
    case 'stream':
      return [...queryParameters(route.parameters), ...headersFor(['lastEventId'], route)];
    case 'service':
      return route.body === undefined ? [] : headersFor(['actor', 'traceparent'], route);
  }
}

function headersFor(names: readonly HeaderName[], route: Route): readonly Json[] {
  const needsRevision = route.does === 'command' && route.command === 'ResolveUnknown';
  return names.map((name) =>
    name === 'ifMatch' && needsRevision
      ? { in: 'header', ...HEADERS[name], required: true }
      : { $ref: `#/components/parameters/${name}` },
  );
}

function queryParameters(parameters: Parameters): readonly Json[] {
  return Object.entries(parameters).map(([name, { schema, doc, repeats, needed }]) => ({
    name,
    in: 'query',
    ...(needed === true && { required: true }),
    description: doc,
    schema: repeats === true ? { type: 'array', items: schema } : schema,
    ...(repeats === true && { style: 'form', explode: true }),
  }));
}

function bodyOf(route: Route): Json {
  const schema = bodySchemaOf(route);
  if (schema === null) return {};
  const required = Array.isArray(schema['required']) && schema['required'].length > 0;
  const example = exampleOf(route)?.request;
  const content = {
    'application/json': { schema, ...(example !== undefined && { example }) },
  };
  return { requestBody: { required, content } };
}

function bodySchemaOf(route: Route): JsonSchema | null {
  if (route.does === 'command') {
    const hidden = [...pathParametersOf(route.path), ...(route.without ?? [])];
    hidden.push(...Object.keys(route.fixed ?? {}));
    // A deployment without an id is given one here, so its id is needed by the bus only.
    const optional = route.command === 'CreateDeployment' ? ['deploymentId'] : [];
    return objectOf(COMMANDS[route.command], { hidden, optional });
  }
  const body = route.does === 'service' ? route.body : undefined;
  return body === undefined ? null : objectOf(body, { hidden: pathParametersOf(route.path) });
}

/** Members that a body does not hold, and that it may leave out though the command needs them. */
interface BodyOptions {
  readonly hidden?: readonly string[];
  readonly optional?: readonly string[];
}

function objectOf(cls: FieldsClass, { hidden = [], optional = [] }: BodyOptions = {}): JsonSchema {
  const fields = fieldsOf(cls).filter(({ name }) => !hidden.includes(name));
  const required = fields.filter((field) => field.required && !optional.includes(field.name));
  return {
    type: 'object',
    properties: Object.fromEntries(fields.map((field) => [field.name, schemaOf(field)])),
    ...(required.length > 0 && { required: required.map(({ name }) => name) }),
    additionalProperties: false,
  };
}

function schemaOf({ schema, nested }: Field): JsonSchema {
  return nested === undefined ? schema : { ...objectOf(nested), ...schema };
}

function responsesOf(route: Route): Json {
  switch (route.does) {
    case 'command':
      return commandResponses(route);
    case 'query':
      return queryResponses(route);
    case 'stream':
      return STREAM_RESPONSES;
    case 'service':
      return serviceResponses(route);
  }
}

function commandResponses(route: CommandRoute): Json {
  const { success, location } = route;
  const headers = { ETag: header('ETag'), 'Idempotent-Replayed': header('IdempotentReplayed') };
  const example = exampleOf(route);
  const receipt = (description: string, shown?: unknown, more: Json = {}): Json => ({
    description,
    headers: { ...headers, ...more },
    content: jsonContent(ref('Receipt'), shown),
  });
  const located = location === undefined ? {} : { Location: header('Location') };
  const problem = example?.problem;
  return {
    ...(success !== 200 && { 200: receipt('Accepted; nothing had to be written.') }),
    [success]: receipt('Done, durably.', example?.answer, located),
    ...(problem !== undefined && { [problem.status]: problemResponse(problem) }),
  };
}

function queryResponses(route: QueryRoute): Json {
  const headers: Json = {
    ...(route.tagged === true && { ETag: header('ETag') }),
    ...(readsReadModels(route) && { 'Shipslog-Stale': header('ShipslogStale') }),
  };
  const { answers, tagged, lines } = route;
  return {
    200: {
      description: 'The answer.',
      ...(Object.keys(headers).length > 0 && { headers }),
      content: {
        ...jsonContent(refTo(answers, route.answersThen), exampleOf(route)?.answer),
        ...(lines === true && { [NDJSON_TYPE]: { schema: ref('Event') } }),
      },
    },
    ...(tagged === true && { 304: { description: 'The revision given is the newest one.' } }),
  };
}

const STREAM_RESPONSES: Json = {
  200: {
    description: 'Events for as long as the caller stays; a ping every 15 s.',
    content: {
      'text/event-stream': { schema: { type: 'string' } },
      [NDJSON_TYPE]: { schema: ref('Event') },
    },
  },
};

function serviceResponses(route: ServiceRoute): Json {
  const { answers, makes, success } = route;
  const content =
    answers === undefined
      ? {
          [makes]: {
            schema: makes === 'application/json' ? { type: 'object' } : { type: 'string' },
          },
        }
      : jsonContent(ref(answers), exampleOf(route)?.answer);
  const unready = { description: 'Not ready, with the reasons.', content };
  return {
    [success]: { description: 'The answer.', ...(success !== 302 && { content }) },
    ...(route.name === 'isReady' && { 503: unready }),
  };
}

function jsonContent(schema: Json, example: unknown): Json {
  return { 'application/json': { schema, ...(example !== undefined && { example }) } };
}

function problemResponse(example?: unknown): Json {
  const codes = (Object.keys(STATUS) as ProblemCode[])
    .map((code) => `- \`${code}\` (${STATUS[code]}): ${TITLES[code]}`)
    .join('\n');
  return {
    description: example === undefined ? `An error, told by its code:\n\n${codes}` : 'Refused.',
    content: {
      'application/problem+json': {
        schema: ref('Problem'),
        ...(example !== undefined && { example }),
      },
    },
  };
}

function exampleOf({ name }: Route): Example | undefined {
  return EXAMPLES[name];
}
