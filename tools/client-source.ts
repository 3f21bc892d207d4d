/** The client's types as TypeScript, made from the OpenAPI document. */
import { format, resolveConfig } from 'prettier';
import { openApiDocument } from '../src/api/openapi.js';
import { COMMAND_TYPES } from '../src/domain/command.js';
import {
  EVENT_TYPES,
  LOSS_CAUSES,
  OUTCOMES,
  RESOLUTIONS,
  STATES,
} from '../src/domain/event-schema.js';

interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly (string | null)[];
  readonly anyOf?: readonly Schema[];
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
  readonly description?: string;
}
interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required?: boolean;
  readonly description?: string;
  readonly schema: Schema;
}
interface Operation {
  readonly operationId: string;
  readonly summary: string;
  readonly parameters: readonly (Parameter | { readonly $ref: string })[];
  readonly requestBody?: { readonly required: boolean; readonly content: Content };
  readonly responses: Readonly<Record<string, { readonly content?: Content }>>;
}
type Content = Readonly<Record<string, { readonly schema: Schema }>>;
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

const JSON_TYPE = 'application/json';

/** Makes the sources by their paths, formatted like the rest. */
export async function clientSources(): Promise<ReadonlyMap<string, string>> {
  const { paths, components } = parsedDocument();
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([, operation]) => answerOf(operation) !== null && path.startsWith('/v1/'))
      .flatMap(([method, operation]) =>
        thenApart(operation).map((each) => ({
          method: method.toUpperCase(),
          path,
          operation: each,
        })),
      ),
  );
  const used = namesIn(
    operations.map(({ operation }) => operation),
    components.schemas,
  );
  const answers = Object.entries(components.schemas)
    .filter(([name]) => used.has(name) || name === 'Problem')
    .map(([name, schema]) => typeSource(name, schema));
  const table = [
    '/** What each operation takes, and what it answers. */',
    'export interface Operations {',
    ...operations.map(({ operation }) => operationSource(operation)),
    '}',
    '/** Method and path of each operation; parameters of the path in braces. */',
    'export const OPERATIONS = {',
    ...operations.map(
      ({ method, path, operation: { operationId } }) =>
        `${operationId}: { method: '${method}', path: '${path}' },`,
    ),
    '} as const satisfies Readonly<Record<keyof Operations, { readonly method: string; readonly path: string }>>;',
  ];
  const folder = 'src/client';
  return new Map([
    [`${folder}/answers.ts`, await formatted(answers)],
    [`${folder}/operations.ts`, await formatted(table, Object.keys(components.schemas))],
  ]);
}

/** Parameters of a past time. */
const PAST: readonly string[] = ['at', 'asOf'];

/** An operation that answers something else of a past time, as two: of which the second is `…At`. */
function thenApart(operation: Operation): readonly Operation[] {
  const [now, then] = answerOf(operation)?.anyOf ?? [];
  if (now === undefined || then === undefined) return [operation];
  const { operationId, parameters } = operation;
  const answering = (schema: Schema): Operation['responses'] => ({
    200: { content: { [JSON_TYPE]: { schema } } },
  });
  return [
    {
      ...operation,
      parameters: parameters.filter((each) => !('name' in each && PAST.includes(each.name))),
      responses: answering(now),
    },
    { ...operation, operationId: `${operationId}At`, responses: answering(then) },
  ];
}

/** The schemas that something refers to, by way of others, too. */
function namesIn(something: unknown, schemas: Document['components']['schemas']): Set<string> {
  const found = new Set<string>();
  const waiting: unknown[] = [something];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    for (const [, name = ''] of JSON.stringify(next).matchAll(/#\/components\/schemas\/(\w+)/g)) {
      if (!found.has(name)) waiting.push(schemas[name]);
      found.add(name);
    }
  }
  return found;
}

const HEAD = '/** Made from the OpenAPI document by `npm run client`; a change is made there. */';

/** Puts together what a file needs: only the types that it names are imported. */
async function formatted(
  lines: readonly string[],
  answers: readonly string[] = [],
): Promise<string> {
  const body = lines.join('\n');
  const named = (names: readonly string[]): string =>
    names.filter((name) => new RegExp(`\\b${name}\\b`).test(body)).join(', ');
  const imports = [
    ['../domain/command.js', named(['CommandType'])],
    [
      '../domain/event-schema.js',
      named(['EventType', 'LossCause', 'Outcome', 'Resolution', 'State']),
    ],
    ['./answers.js', named(answers)],
  ]
    .filter(([, names]) => names !== '')
    .map(([from, names]) => `import type { ${String(names)} } from '${String(from)}';`);
  const text = [HEAD, ...imports, '', body].join('\n');
  return format(text, { ...(await resolveConfig('src/client')), parser: 'typescript' });
}

/** The document as JSON tells it: what the schemas of answers and bodies have in common. */
function parsedDocument(): Document {
  return JSON.parse(JSON.stringify(openApiDocument('0.0.0'))) as Document;
}

function answerOf({ responses }: Operation): Schema | null {
  const [, success] = Object.entries(responses).find(([status]) => status.startsWith('2')) ?? [];
  return success?.content?.[JSON_TYPE]?.schema ?? null;
}

function typeSource(name: string, schema: Schema): string {
  const doc = schema.description ?? DOCS[name] ?? `What the interface calls ${name}.`;
  return `/** ${doc} */\nexport type ${name} = ${typeOf(schema)};`;
}

const DOCS: Readonly<Record<string, string>> = {
  Receipt: 'What an accepted command answers.',
  Deployment: 'A deployment, now or as it was.',
  Attempt: 'An attempt.',
  Event: 'An event as it stands in the log.',
  DeploymentThen: 'A deployment as it was: its last change of state by then.',
  Transition: 'A change of state.',
  Change: 'A deployment whose state changed between two times.',
  Counts: 'How many deployments are in each state.',
  Heartbeat: 'What a heartbeat answers.',
};

function operationSource({
  operationId,
  summary,
  parameters,
  requestBody,
  ...rest
}: Operation): string {
  const told = parameters.filter((parameter) => 'name' in parameter);
  const members = told
    .filter((parameter) => parameter.in !== 'header')
    .map(({ name, required, description, schema }) =>
      member(name, {
        required: required === true,
        ...(description !== undefined && { description }),
        schema,
      }),
    );
  const body = requestBody?.content[JSON_TYPE]?.schema;
  if (body !== undefined) {
    members.push(`readonly body${requestBody?.required === true ? '' : '?'}: ${typeOf(body)};`);
  }
  const answer = answerOf({ operationId, summary, parameters, ...rest });
  return [
    `/** ${summary} */`,
    `readonly ${operationId}: {`,
    `readonly takes: ${members.length === 0 ? 'Readonly<Record<string, never>>' : `{${members.join('\n')}}`};`,
    `readonly answers: ${answer === null ? 'unknown' : typeOf(answer)};`,
    '};',
  ].join('\n');
}

function member(
  name: string,
  { required, description, schema }: { required: boolean; description?: string; schema: Schema },
): string {
  const doc = description ?? schema.description;
  const comment = doc === undefined ? '' : `/** ${doc} */\n`;
  return `${comment}readonly ${name}${required ? '' : '?'}: ${typeOf(schema)};`;
}

function typeOf(schema: Schema): string {
  if (schema.$ref !== undefined) return schema.$ref.split('/').at(-1) ?? 'unknown';
  if (schema.anyOf !== undefined) return schema.anyOf.map(typeOf).join(' | ');
  if (schema.enum !== undefined) return wordsType(schema.enum);
  const types = [schema.type ?? 'unknown'].flat();
  return types.map((type) => plainType(type, schema)).join(' | ');
}

/** Words that the domain has a type for. */
const NAMED: readonly (readonly [string, readonly string[]])[] = [
  ['State', STATES],
  ['Outcome', OUTCOMES],
  ['EventType', EVENT_TYPES],
  ['CommandType', COMMAND_TYPES],
  ['LossCause', LOSS_CAUSES],
  ['Resolution', RESOLUTIONS],
];
/** More words than this are codes, to which later versions add. */
const WORDS_MAX = 20;

function wordsType(words: readonly (string | null)[]): string {
  if (words.length > WORDS_MAX) return 'string';
  const named = NAMED.find(([, all]) => all.every((word) => words.includes(word)));
  const rest =
    named === undefined ? words : words.filter((word) => word === null || !named[1].includes(word));
  return [...(named === undefined ? [] : [named[0]]), ...rest.map(quoted)].join(' | ');
}

function quoted(word: string | null): string {
  return word === null ? 'null' : `'${word}'`;
}

function plainType(type: string, schema: Schema): string {
  switch (type) {
    case 'integer':
    case 'number':
      return 'number';
    case 'array':
      return `readonly (${typeOf(schema.items ?? {})})[]`;
    case 'object':
      return objectType(schema);
    default:
      return type;
  }
}

function objectType({ properties, required = [], additionalProperties }: Schema): string {
  if (properties === undefined) {
    const values =
      typeof additionalProperties === 'object' ? typeOf(additionalProperties) : 'unknown';
    return `Readonly<Record<string, ${values}>>`;
  }
  const members = Object.entries(properties).map(([name, schema]) =>
    member(name, { required: required.includes(name), schema }),
  );
  return `{${members.join('\n')}}`;
}
