/** A check of values against the part of JSON Schema (2020-12) that the documents use. */
type Schema = Readonly<Record<string, unknown>>;

/** What is wrong with a value, each with where; empty when nothing is. */
export function schemaProblems(value: unknown, schema: Schema, root: Schema): readonly string[] {
  return problemsOf(value, schema, { root, at: '' });
}

interface Place {
  readonly root: Schema;
  readonly at: string;
}

function problemsOf(value: unknown, schema: Schema, place: Place): readonly string[] {
  const { $ref, anyOf } = schema;
  if (typeof $ref === 'string') return problemsOf(value, resolve($ref, place.root), place);
  if (Array.isArray(anyOf)) {
    const tries = (anyOf as readonly Schema[]).map((each) => problemsOf(value, each, place));
    return tries.some((problems) => problems.length === 0) ? [] : tries.flat();
  }
  const wrong = ownProblem(value, schema);
  if (wrong !== null) return [`${place.at || '/'}: ${wrong}`];
  if (Array.isArray(value)) {
    const items = (schema['items'] ?? {}) as Schema;
    return value.flatMap((item, n) =>
      problemsOf(item, items, { ...place, at: `${place.at}/${n}` }),
    );
  }
  return isOf(value, 'object') ? memberProblems(value as Schema, schema, place) : [];
}

/** What is wrong with a value apart from what is inside it. */
function ownProblem(value: unknown, { type, enum: words, pattern }: Schema): string | null {
  const types = [type ?? []].flat().map(String);
  const shown = JSON.stringify(value);
  if (types.length > 0 && !types.some((each) => isOf(value, each))) {
    return `is ${shown}, not ${types.join(' or ')}`;
  }
  if (Array.isArray(words) && !words.includes(value)) return `${shown} is not listed`;
  const isText = typeof pattern === 'string' && typeof value === 'string';
  return isText && !new RegExp(pattern, 'u').test(value) ? `${value} is not ${pattern}` : null;
}

function memberProblems(value: Schema, schema: Schema, place: Place): readonly string[] {
  const properties = (schema['properties'] ?? {}) as Readonly<Record<string, Schema>>;
  const required = (schema['required'] ?? []) as readonly string[];
  const { additionalProperties: others } = schema;
  const missing = required.filter((name) => !Object.hasOwn(value, name));
  const members = Object.entries(value).flatMap(([name, member]) => {
    const at = `${place.at}/${name}`;
    const declared = properties[name];
    if (declared !== undefined) return problemsOf(member, declared, { ...place, at });
    if (others === false) return [`${at}: is not declared`];
    return typeof others === 'object' ? problemsOf(member, others as Schema, { ...place, at }) : [];
  });
  return [...missing.map((name) => `${place.at}/${name}: is missing`), ...members];
}

function resolve(ref: string, root: Schema): Schema {
  let found: unknown = root;
  for (const step of ref.replace('#/', '').split('/')) found = (found as Schema)[step];
  return found as Schema;
}

function isOf(value: unknown, type: string): boolean {
  switch (type) {
    case 'null':
      return value === null;
    case 'integer':
      return Number.isInteger(value);
    case 'array':
      return Array.isArray(value);
    case 'object':
      return typeof value === 'object' && value !== null && !Array.isArray(value);
    default:
      return typeof value === type;
  }
}
