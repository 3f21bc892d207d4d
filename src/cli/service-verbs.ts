/** The verbs of the table as commands: flags in, one request, its answer out. */
import { Option, type Command } from 'commander';
import { pathOf, type Answer, type Client } from '../client/client.js';
import { ServiceError } from '../client/service-error.js';
import { adviceFor, type Asked } from './advice.js';
import { addAskingFlags, clientOf, type AskingContext, type AskingOptions } from './asking.js';
import { EXIT, exitCodeOf } from './exit-codes.js';
import { examplesText } from './examples.js';
import {
  argumentName,
  argumentsOf,
  bodyFlags,
  isAgo,
  queryFlags,
  sayerOf,
  spanOf,
  type Flag,
  type Members,
} from './flags.js';
import { toldAs, type Page } from './answers.js';
import { inWords } from './progress.js';
import { dashed, type Verb } from './verb-table.js';
import { usageError } from './usage.js';

/** Values of flags, by the name that commander gives them. */
type Options = AskingOptions &
  Readonly<Record<string, unknown>> & {
    readonly jsonl?: true;
    readonly all?: true;
    readonly at?: string;
    readonly asOf?: string;
    readonly key?: string;
    readonly ifMatch?: string;
    readonly deploymentId?: string;
  };

/** Adds a command for each verb. */
export function addServiceVerbs(
  program: Command,
  verbs: readonly Verb[],
  context: AskingContext,
): void {
  for (const verb of verbs) addVerb(program, verb, context);
}

function addVerb(program: Command, verb: Verb, context: AskingContext): void {
  const [summary = verb.doc] = verb.doc.split(/(?<=\.) /);
  const command = program.command(verb.name).description(verb.doc).summary(summary);
  const args = argumentsOf(verb);
  for (const { name, isNeeded } of args) {
    // The current attempt is meant where none is named.
    const isOptional = name === 'attemptId' || !isNeeded;
    command.argument(isOptional ? `[${argumentName(name)}]` : `<${argumentName(name)}>`);
  }
  const hasEnds = args.some(({ name }) => name === 'from');
  const flags = { body: bodyFlags(verb), query: queryFlags(verb, context.clock) };
  for (const { option } of [...flags.body, ...flags.query]) command.addOption(option);
  addAskingFlags(command);
  if (verb.isCommand) addCommandFlags(command, verb);
  if (verb.isList) {
    command
      .addOption(
        new Option('--jsonl', 'print JSON, one item a line, all of them').conflicts('json'),
      )
      .addOption(new Option('--all', 'all items, not only the first page'));
  }
  command.addHelpText('after', () => examplesText(verb));
  // How long ago, `-24h`, would else be taken for a flag.
  if (hasEnds) command.allowUnknownOption();
  command.action(async () => {
    const given = command.args;
    const unknown = given.find((each) => each.startsWith('-') && !isAgo(each));
    if (unknown !== undefined) command.error(`error: unknown option '${unknown}'`, UNKNOWN_OPTION);
    const options = command.opts<Options>();
    const ids = Object.fromEntries(args.map(({ name }, n) => [name, given[n]]));
    await ask({ verb, flags, options, ids }, context);
  });
}

function addCommandFlags(command: Command, { needsRevision }: Verb): void {
  command.option('--key <text>', 'makes the command safe to repeat (Idempotency-Key)');
  command.option(
    '--if-match <revision>',
    needsRevision
      ? 'the revision that you looked at; the newest one, when absent'
      : 'only if this is still the newest revision; * for any',
  );
}

/** A verb with what was said on the command line. */
interface Asking {
  readonly verb: Verb;
  readonly flags: { readonly body: readonly Flag[]; readonly query: readonly Flag[] };
  readonly options: Options;
  readonly ids: Readonly<Record<string, string | undefined>>;
}

async function ask(asking: Asking, context: AskingContext): Promise<void> {
  const { options, ids, verb, flags } = asking;
  const client = clientOf(context, options);
  try {
    await send(asking, client, context);
    context.exit(EXIT.ok);
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    const { deploymentId = options.deploymentId, attemptId } = ids;
    await refuse(error, context, {
      verb: verb.name,
      client,
      asJson: options.json === true,
      sayerOf: (path) => sayerOf(verb, [...flags.body, ...flags.query], path),
      ...(deploymentId !== undefined && { deploymentId }),
      ...(attemptId !== undefined && { attemptId }),
    });
  }
}

/** Tells why the service did not do it, and what to type next; takes the exit code for it. */
export async function refuse(
  error: ServiceError,
  { terminal: { err }, exit }: Pick<AskingContext, 'terminal' | 'exit'>,
  asked: Asked & {
    readonly asJson?: boolean;
    /** The flag or the argument that says a member; null where none does. */
    readonly sayerOf?: (path: readonly string[]) => string | null;
  },
): Promise<void> {
  const { message, status, code, problem } = error;
  exit(status === null ? EXIT.unreachable : exitCodeOf(status, code));
  if (asked.asJson === true) {
    await err.line(JSON.stringify(problem ?? { code, detail: message }));
    return;
  }
  const wrong = (problem?.errors ?? []).map(({ pointer, message: why }) => {
    const path = pointer.split('/').slice(1);
    const sayer =
      HEADER_FLAGS[pointer] ?? asked.sayerOf?.(path) ?? `--${path.map(dashed).join('-')}`;
    return `  ${sayer} ${why}`;
  });
  const told = wrong.length > 0 ? `${code}\n${wrong.join('\n')}` : message;
  await err.line(`shipslog ${asked.verb}: ${told}`);
  const advice = await adviceFor(error, asked);
  if (advice !== null) await err.line(`${err.paint('dim', 'next:')} ${advice}`);
}

/** The flags of headers. */
const HEADER_FLAGS: Readonly<Record<string, string>> = {
  '/X-Shipslog-Actor': '--actor (or SHIPSLOG_ACTOR)',
  '/Idempotency-Key': '--key',
  '/If-Match': '--if-match',
};

const UNKNOWN_OPTION = { code: 'commander.unknownOption', exitCode: 1 };

async function send(asking: Asking, client: Client, context: AskingContext): Promise<void> {
  const { verb, options } = asking;
  const ids = await completed(asking, client);
  const request = {
    method: verb.method,
    ...(verb.body !== null && { body: bodyOf(asking, ids) }),
  };
  const query = { ...queryOf(asking), ...spanOf(verb, ids, context.clock) };
  const path = (more: Members): string =>
    pathOf(verb.path, { ...pathIds(verb, ids), ...query, ...more } as Parameters<typeof pathOf>[1]);
  const told = { ...context, options, verb };
  if (verb.isList) {
    let staleSeconds: number | null = null;
    const page = async (more: Members): Promise<Answer<Page>> => {
      const answer = await client.request<Page>({ ...request, path: path(more) });
      ({ staleSeconds } = answer);
      return answer;
    };
    await toldAs.list(told, { page, wants: wantsAll(options), ids });
    await tellStale(staleSeconds, context);
    return;
  }
  const answer = await client.request<unknown>(
    { ...request, path: path({}) },
    {
      ...(options.key !== undefined && { key: options.key }),
      ...(await revisionOf(asking, client)),
    },
  );
  await toldAs.one(told, answer.body);
  await tellStale(answer.staleSeconds, context);
}

/** What is old must not be taken for what is so now. */
async function tellStale(
  seconds: number | null,
  { terminal: { err } }: Pick<AskingContext, 'terminal'>,
): Promise<void> {
  if (seconds === null) return;
  const age = inWords(seconds * 1_000);
  await err.line(
    `shipslog: up to ${age} old: the log is out of reach, or the tables are behind it`,
  );
}

function wantsAll({ all, jsonl, limit }: Options): boolean {
  return all === true || (jsonl === true && limit === undefined);
}

/** Ids as given; the current attempt where the path needs one and none was named. */
async function completed({ verb, ids }: Asking, client: Client): Promise<Asking['ids']> {
  const { deploymentId, attemptId } = ids;
  const isNeeded = verb.path.includes('{attemptId}') && attemptId === undefined;
  if (!isNeeded || deploymentId === undefined) return ids;
  const { currentAttempt } = await client.call('getDeployment', {
    deploymentId,
    consistency: 'strong',
  });
  if (currentAttempt === null) {
    throw usageError(`${deploymentId} has no attempt yet; open one: shipslog open ${deploymentId}`);
  }
  return { ...ids, attemptId: currentAttempt.attemptId };
}

function pathIds({ path }: Verb, ids: Asking['ids']): Members {
  return Object.fromEntries(Object.entries(ids).filter(([name]) => path.includes(`{${name}}`)));
}

function bodyOf({ verb, flags, options }: Asking, ids: Asking['ids']): Members {
  const body: Members = {};
  for (const [name, value] of Object.entries(ids)) {
    if (value !== undefined && !verb.path.includes(`{${name}}`)) body[name] = value;
  }
  putAll(flags.body, options, body);
  return body;
}

/** What a person who has just written reads is what was written, unless something else is asked for. */
function queryOf({ verb, flags, options }: Asking): Members {
  const query: Members = {};
  putAll(flags.query, options, query);
  const canBeStrong = verb.parameters.some(({ name }) => name === 'consistency');
  return canBeStrong && Object.keys(query).length === 0 ? { consistency: 'strong' } : query;
}

function putAll(flags: readonly Flag[], options: Options, into: Members): void {
  for (const { option, put } of flags) {
    const value = options[option.attributeName()];
    if (value !== undefined) put(into, value);
  }
}

/** The revision to decide on: as given, else, where one is needed, the newest one. */
async function revisionOf(
  { verb, options, ids }: Asking,
  client: Client,
): Promise<{ readonly ifMatch?: string }> {
  const { ifMatch } = options;
  if (ifMatch !== undefined) return { ifMatch };
  const { deploymentId } = ids;
  if (!verb.needsRevision || deploymentId === undefined) return {};
  const { revision } = await client.call('getDeployment', { deploymentId, consistency: 'strong' });
  return { ifMatch: revision };
}
