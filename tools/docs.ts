/**
 * Writes the parts of the documents that are made from tables of the code.
 *
 * A page holds `<!-- made from code: <name> -->` … `<!-- end -->`; what lies between is replaced.
 * Usage: npm run docs [-- --check]    (--check writes nothing and ends with 1 when something differs)
 */
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { format, resolveConfig } from 'prettier';
import ts from 'typescript';
import { HTTP_PROBLEMS, STATUS, type ProblemCode } from '../src/api/problem.filter.js';
import { ROUTES } from '../src/api/routes.js';
import { systemClock } from '../src/adapters/system-clock.js';
import { NAMESPACE } from '../src/application/ids.js';
import { lifecycleMermaid, lifecycleSvg } from '../src/application/lifecycle.js';
import { EXIT, EXIT_MEANINGS } from '../src/cli/exit-codes.js';
import { programOf, type CommandLine } from '../src/cli/program.js';
import { STATES, type EventMetadata } from '../src/domain/event-schema.js';
import { REFUSALS } from '../src/domain/refusals.js';
import { TRANSITIONS, type Transition } from '../src/domain/transitions.js';
import { FAULTS } from '../src/ports/faults.js';
import { SETTINGS } from '../src/settings.js';
import { serviceVerbs } from '../src/verbs.js';

const PICTURE = 'docs/images/lifecycle.svg';
const ROWS: readonly Transition[] = TRANSITIONS;

/** Where each member of the metadata comes from; the compiler finds one that is missing. */
const METADATA: Readonly<Record<keyof EventMetadata, string>> = {
  schemaVersion: 'version of the data shapes on this page',
  commandId: 'the `Idempotency-Key` as given, else a UUIDv7 made by the service',
  commandDigest:
    "SHA-256, lower-case hex, of the command's type and content (not its actor, not its headers); tells a repeat from a reuse of its id",
  actor: 'who asked: `X-Shipslog-Actor`, else `service:anonymous`; `system` is the service itself',
  occurredAt: 'when it happened: as told with the command, else `recordedAt`',
  recordedAt: "when it was written: the service's own wall clock",
  correlationId: 'the trace id of `traceparent`, else the command id',
  causationId: 'the command id',
  traceparent: 'the header, if a well-formed one came with the command',
};

const PARTS: Readonly<Record<string, () => string>> = {
  settings: () =>
    table(
      ['name', 'default', 'meaning', 'bounds'],
      Object.entries(SETTINGS).map(([name, { fallback, meaning, bounds }]) => [
        code(name),
        fallback === '' ? '–' : code(fallback),
        meaning,
        bounds.includes('<') ? code(bounds) : bounds,
      ]),
    ),
  refusals: () => codes(REFUSALS),
  faults: () => codes(FAULTS),
  'http problems': () => codes(HTTP_PROBLEMS),
  routes: () =>
    table(
      ['method and path', 'does', 'success'],
      ROUTES.map(({ method, path, doc, ...route }) => [
        code(`${method} ${path}`),
        route.does === 'command' ? `${code(route.command)}. ${doc}` : doc,
        route.does === 'query' ? '200' : String(route.success),
      ]),
    ),
  'lifecycle table': () =>
    table(
      ['row', 'command', 'from', 'to', 'when, in this order', 'events', 'else refused with'],
      ROWS.map((row) => [
        row.row,
        row.commands.join(', '),
        row.from.length === STATES.length ? 'any' : row.from.join(', '),
        row.to.join(', '),
        row.when,
        row.events.map(code).join(', '),
        row.refuses.join(', '),
      ]),
    ),
  'lifecycle diagram': () => ['```mermaid', lifecycleMermaid(), '```'].join('\n'),
  events: () =>
    table(
      ['event', 'in rows', 'data'],
      [...membersOf('EventData')].map(([name, members]) => [
        code(name),
        rowsOf(name),
        members.map(memberText).join(', '),
      ]),
    ),
  'parts of events': () =>
    (['Policy', 'Runner'] as const)
      .map((name) => `- ${name}: ${membersIn(name).map(memberText).join(', ')}`)
      .join('\n'),
  metadata: () => {
    const members = [...membersOf('EventMetadata').keys()] as (keyof EventMetadata)[];
    return table(
      ['member', 'source'],
      members.map((name) => [code(name), METADATA[name]]),
    );
  },
  verbs: () => table(['verb', 'does'], verbs()),
  'exit codes': () =>
    table(
      ['code', 'meaning'],
      Object.entries(EXIT).map(([name, code]) => [
        String(code),
        EXIT_MEANINGS[name as keyof typeof EXIT],
      ]),
    ),
  namespace: () => `The namespace is \`${NAMESPACE}\`.`,
};

const SCHEMA = 'src/domain/event-schema.ts';
const program = ts.createProgram([SCHEMA], {
  ...{ strict: true, exactOptionalPropertyTypes: true, target: ts.ScriptTarget.ES2023 },
  types: [],
});

/** Types of the sources in words that need no TypeScript. */
const WORDS: readonly (readonly [RegExp, string])[] = [
  [/\b(AttemptId|DeploymentId)\b/g, 'id'],
  [/\bReadonly<Record<string, string>>/g, 'object of texts'],
  [/\bReadonly<Record<string, unknown>>|\bJsonObject\b/g, 'object'],
  [/\bInstant\b/g, 'time'],
  [/\bNullable<Policy>/g, 'Policy'],
  [/\{ readonly (\w+): string; \}/g, '{ $1: text }'],
  [/\bstring\b/g, 'text'],
  [new RegExp(STATES.map((state) => `"${state}"`).join(' \\| ')), 'state'],
  [/ \| /g, ' or '],
];

const check = process.argv.includes('--check');
const stale: string[] = [];
await put(PICTURE, lifecycleSvg());
for (const page of ['README.md', ...(await pagesBelow('docs'))]) {
  const text = await readFile(page, 'utf8');
  await put(page, await formatted(page, filled(page, text)));
}
for (const path of stale)
  console.error(`${path} ${check ? 'is not what the code makes' : 'written'}`);
if (check && stale.length > 0) {
  console.error('run: npm run docs');
  process.exitCode = 1;
}

async function put(path: string, text: string): Promise<void> {
  const before = await readFile(path, 'utf8').catch(() => null);
  if (before === text) return;
  stale.push(path);
  if (!check) await writeFile(path, text);
}

function filled(page: string, text: string): string {
  return text.replaceAll(
    /<!-- made from code: ([a-z ]+) -->\n[\s\S]*?<!-- end -->/g,
    (_, name: string) => {
      const part = PARTS[name];
      if (part === undefined) throw new Error(`${page}: there is no part "${name}"`);
      return `<!-- made from code: ${name} -->\n\n${part()}\n\n<!-- end -->`;
    },
  );
}

async function formatted(page: string, text: string): Promise<string> {
  return format(text, { ...(await resolveConfig(page)), filepath: page });
}

async function pagesBelow(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true });
  return entries.filter((entry) => entry.endsWith('.md')).map((entry) => join(folder, entry));
}

function codes(meanings: Readonly<Partial<Record<ProblemCode, string>>>): string {
  const known = Object.entries(meanings) as [ProblemCode, string][];
  const sorted = known.sort(([a], [b]) => STATUS[a] - STATUS[b]);
  return table(
    ['status', 'code', 'meaning'],
    sorted.map(([name, meaning]) => [String(STATUS[name]), code(name), sentence(meaning)]),
  );
}

/** Each verb of the command line as it is typed, and the first sentence of its help. */
function verbs(): readonly (readonly [string, string])[] {
  const nowhere = {
    write: () => Promise.resolve(),
    line: () => Promise.resolve(),
    isTerminal: false,
  };
  const output = { ...nowhere, columns: 80, paint: (_: string, text: string) => text };
  const line: CommandLine = {
    args: [],
    environment: {},
    terminal: { out: output, err: output, isUnicode: true },
    version: '0.0.0',
    clock: systemClock,
    verbs: serviceVerbs('0.0.0'),
    workshop: () => Promise.reject(new Error('no stores')),
    serve: () => Promise.reject(new Error('no service')),
  };
  const program = programOf(line, () => undefined);
  const help = program.createHelp();
  return help.visibleCommands(program).map((command) => {
    const args = command.registeredArguments.map((argument) => {
      const name = `${argument.name()}${argument.variadic ? '…' : ''}`.toUpperCase();
      return argument.required ? name : `[${name}]`;
    });
    return [
      code(['shipslog', command.name(), ...args].join(' ')),
      command.summary() || command.description(),
    ];
  });
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${text.endsWith('.') ? '' : '.'}`;
}

function rowsOf(event: string): string {
  if (event === 'state_transition') return 'all that change the state';
  const rows = ROWS.filter(({ events }) => (events as readonly string[]).includes(event));
  return rows.map(({ row }) => row).join(', ');
}

function memberText({ name, type, optional }: Member): string {
  const words = WORDS.reduce((text, [found, word]) => text.replace(found, word), type);
  return `${code(optional ? `${name}?` : name)} ${words.replaceAll('"', '')}`;
}

interface Member {
  readonly name: string;
  readonly type: string;
  readonly optional: boolean;
}

type Interface = 'EventData' | 'EventMetadata' | 'Policy' | 'Runner';

/** The members of an interface of the event schema, as the compiler sees them. */
function membersIn(name: Interface): readonly Member[] {
  return membersOfType(name, (type) => type);
}

/** The members of each member. */
function membersOf(name: Interface): Map<string, readonly Member[]> {
  const names = membersIn(name).map((member) => member.name);
  return new Map(
    names.map((member) => {
      const inside = (type: ts.Type, checker: ts.TypeChecker, at: ts.Node): ts.Type => {
        const symbol = checker.getPropertyOfType(type, member);
        if (symbol === undefined) throw new Error(`${name} has no ${member}`);
        return checker.getTypeOfSymbolAtLocation(symbol, at);
      };
      return [member, membersOfType(name, inside)];
    }),
  );
}

function membersOfType(
  name: Interface,
  select: (type: ts.Type, checker: ts.TypeChecker, at: ts.Node) => ts.Type,
): readonly Member[] {
  const checker = program.getTypeChecker();
  const declared = program
    .getSourceFile(SCHEMA)
    ?.statements.find(
      (statement) => ts.isInterfaceDeclaration(statement) && statement.name.text === name,
    );
  if (declared === undefined) throw new Error(`${SCHEMA} has no ${name}`);
  const type = select(checker.getTypeAtLocation(declared), checker, declared);
  return checker.getPropertiesOfType(type).map((symbol) => ({
    name: symbol.name,
    type: checker.typeToString(
      checker.getTypeOfSymbolAtLocation(symbol, declared),
      declared,
      ts.TypeFormatFlags.NoTruncation,
    ),
    optional: (symbol.flags & ts.SymbolFlags.Optional) !== 0,
  }));
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

function code(text: string): string {
  return `\`${text}\``;
}
