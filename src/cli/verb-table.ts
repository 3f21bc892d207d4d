/** The verbs that ask a service, made from the description of its interface: none is written by hand. */

/** The part of JSON Schema that flags are made from. */
export interface Schema {
  readonly type?: string | readonly string[];
  readonly enum?: readonly (string | null)[];
  readonly description?: string;
  readonly default?: string | number;
  readonly format?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: boolean | Schema;
}

/** A parameter of the query. */
export interface QueryParameter {
  readonly name: string;
  readonly schema: Schema;
  readonly doc: string;
  readonly isNeeded?: true;
}

/** A verb that asks a service. */
export interface Verb {
  readonly name: string;
  readonly operation: string;
  readonly method: string;
  readonly path: string;
  readonly doc: string;
  readonly parameters: readonly QueryParameter[];
  /** Null for a request without a body. */
  readonly body: Schema | null;
  /** Whether it must say which revision it was decided on. */
  readonly needsRevision: boolean;
  /** Whether it takes a key that makes it safe to repeat, and a revision. */
  readonly isCommand: boolean;
  /** Whether it answers a list of items. */
  readonly isList: boolean;
}

/** The part of an OpenAPI document that verbs are made from. */
export interface ApiDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}
interface Operation {
  readonly operationId: string;
  readonly description: string;
  readonly tags: readonly string[];
  readonly parameters: readonly Parameter[];
  readonly requestBody?: {
    readonly content: Readonly<Record<string, { readonly schema: Schema }>>;
  };
  readonly responses: Readonly<Record<string, Response>>;
}
interface Response {
  readonly content?: Readonly<Record<string, { readonly schema: Reference }>>;
}
interface Reference {
  readonly $ref?: string;
  readonly anyOf?: readonly Reference[];
}
interface Parameter {
  readonly $ref?: string;
  readonly name?: string;
  readonly in?: string;
  readonly required?: boolean;
  readonly description?: string;
  readonly schema?: Schema;
}

const JSON_TYPE = 'application/json';
const TAGS: ReadonlySet<string> = new Set(['deployments', 'attempts', 'projections']);
/** Done on the stores of the settings, with progress, by a verb of its own. */
const ELSEWHERE: ReadonlySet<string> = new Set(['rebuildProjection']);
/** Where the first word of an operation says too little. */
const WORDS: Readonly<Record<string, string>> = { markUnknown: 'unknown', listChanges: 'diff' };

/** Makes the table of verbs, in the order of the document. */
export function verbTable({ paths, components }: ApiDocument): readonly Verb[] {
  const taken = new Set<string>();
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, operation]) => {
      const answer = answerOf(operation);
      const isOurs =
        operation.tags.some((tag) => TAGS.has(tag)) && !ELSEWHERE.has(operation.operationId);
      if (answer === null || !isOurs) return [];
      const schema = components.schemas[answer];
      const isList = schema?.properties?.['items'] !== undefined;
      const isCommand = operation.parameters.some((each) => refersTo(each, 'idempotencyKey'));
      const name = nameOf(operation.operationId, taken);
      taken.add(name);
      return [{ ...verbOf(operation, { method, path }), name, isCommand, isList }];
    }),
  );
}

function verbOf(
  operation: Operation,
  { method, path }: { readonly method: string; readonly path: string },
): Omit<Verb, 'name' | 'isCommand' | 'isList'> {
  const { operationId, description, parameters, requestBody } = operation;
  return {
    operation: operationId,
    method: method.toUpperCase(),
    path,
    doc: description,
    parameters: parameters.flatMap(
      ({ name, in: place, description: doc = '', schema, required }) =>
        place === 'query' && name !== undefined && schema !== undefined
          ? [{ name, schema, doc, ...(required === true && { isNeeded: required }) }]
          : [],
    ),
    body: requestBody?.content[JSON_TYPE]?.schema ?? null,
    needsRevision: parameters.some(
      ({ name, required }) => name === 'If-Match' && required === true,
    ),
  };
}

/** The schema of the answer, the first one where there are several; null for one that does not answer JSON. */
function answerOf({ responses }: Operation): string | null {
  const success = Object.entries(responses).find(([status]) => status.startsWith('2'))?.[1];
  const schema = success?.content?.[JSON_TYPE]?.schema ?? {};
  const { $ref } = schema.anyOf?.[0] ?? schema;
  return $ref?.split('/').at(-1) ?? null;
}

function refersTo({ $ref }: Parameter, name: string): boolean {
  return $ref?.endsWith(`/${name}`) === true;
}

/** The first word of an operation, else all that follows it: openAttempt is open, openTeardown teardown. */
function nameOf(operationId: string, taken: ReadonlySet<string>): string {
  const [first = '', ...rest] = operationId.split(/(?=[A-Z])/).map((word) => word.toLowerCase());
  const named = WORDS[operationId] ?? first;
  return taken.has(named) ? rest.join('-') : named;
}

/** camelCase as words with dashes. */
export function dashed(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}
