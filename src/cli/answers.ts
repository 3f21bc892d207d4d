/** Answers of a service as a person, a pipe or a script wants them. */
import type {
  Attempt,
  AttemptCount,
  Change,
  Counts,
  Deployment,
  DeploymentThen,
  Event,
  Heartbeat,
  Receipt,
  TimeInState,
  Transition,
  Unknown,
} from '../client/answers.js';
import type { Clock } from '../ports/clock.js';
import { drawHistory } from './history-picture.js';
import { inWords } from './progress.js';
import { paintState, stateText, symbolOf } from './states.js';
import { onOneLine, writeTable, type Column } from './table.js';
import type { Terminal } from './terminal.js';
import type { Verb } from './verb-table.js';

/** A page of a list: how it goes on is told by one of two members. */
export interface Page {
  readonly items: readonly unknown[];
  readonly nextCursor?: string | null;
  readonly nextAfter?: string;
}

/** What an answer is told with. */
export interface Telling {
  readonly terminal: Terminal;
  readonly clock: Clock;
  readonly verb: Verb;
  readonly options: {
    readonly json?: true;
    readonly jsonl?: true;
    readonly at?: string;
    readonly asOf?: string;
  };
}

/** Where a list comes from. */
interface Listing {
  readonly page: (more: Record<string, unknown>) => Promise<{ readonly body: Page }>;
  /** Whether all pages are wanted. */
  readonly wants: boolean;
  readonly ids: Readonly<Record<string, string | undefined>>;
}

/** How answers are told: a single thing, and a list. */
export const toldAs = { one, list };

async function one(telling: Telling, body: unknown): Promise<void> {
  const { terminal, verb, options } = telling;
  if (options.json) {
    await terminal.out.line(JSON.stringify(body));
    return;
  }
  if (verb.isCommand) return tellReceipt(terminal, body as Receipt);
  const tell = ONE[verb.operation] ?? tellMembers;
  await tell(telling, body as never);
}

async function list(telling: Telling, { page, wants, ids }: Listing): Promise<void> {
  const { terminal, verb, options } = telling;
  const { out, err } = terminal;
  const pages = pagesOf(page, wants);
  if (options.jsonl) {
    for await (const { items } of pages) {
      for (const item of items) await out.line(JSON.stringify(item));
    }
    return;
  }
  const items: unknown[] = [];
  let last: Page = { items };
  for await (last of pages) items.push(...last.items);
  if (options.json) {
    await out.line(JSON.stringify({ ...last, items }));
    return;
  }
  const tell = LISTS[verb.operation] ?? tellRows;
  await tell(telling, items as never, ids);
  const next = last.nextCursor ?? null;
  if (next !== null && !wants) await err.line(`There are more: --all, or --cursor ${next}`);
}

/** The first page, or all of them. A log has no last page but an empty one. */
async function* pagesOf(page: Listing['page'], wantsAll: boolean): AsyncGenerator<Page> {
  let more: Record<string, unknown> = {};
  for (;;) {
    const { body } = await page(more);
    yield body;
    const { nextCursor, nextAfter, items } = body;
    if (!wantsAll || items.length === 0) return;
    if (nextCursor === null || (nextCursor ?? nextAfter) === undefined) return;
    more = nextCursor === undefined ? { after: nextAfter } : { cursor: nextCursor };
  }
}

async function tellReceipt({ out }: Terminal, receipt: Receipt): Promise<void> {
  const { deploymentId, state, revision, changed, replayed, attemptId, number } = receipt;
  const details = [
    ...(attemptId === undefined ? [] : [`attempt ${number ?? '?'} ${attemptId}`]),
    `revision ${revision}`,
    ...(receipt.leaseExpiresAt === undefined ? [] : [`lease until ${receipt.leaseExpiresAt}`]),
    ...(changed ? [] : ['nothing had to be written']),
    ...(replayed ? ['answered before'] : []),
  ];
  await out.line(`${deploymentId} is ${paintState(state, state, out)} (${details.join(', ')})`);
}

const ONE: Readonly<Record<string, (telling: Telling, body: never) => Promise<void>>> = {
  getDeployment: tellDeployment,
  getAttempt: (telling: Telling, attempt: Attempt) => tellMembers(telling, attemptMembers(attempt)),
  countByState: tellCounts,
  heartbeat: ({ terminal: { out } }: Telling, { leaseExpiresAt, cancelRequested }: Heartbeat) =>
    out.line(
      `lease until ${leaseExpiresAt}${cancelRequested ? ', STOP: a cancel was requested' : ''}`,
    ),
};

async function tellDeployment(telling: Telling, deployment: Deployment): Promise<void> {
  const { terminal, clock } = telling;
  const { state, since, currentAttempt: attempt, attention, labels } = deployment;
  const ago = since === null ? '' : ` since ${since} (${ageOf(since, clock)})`;
  await tellMembers(telling, {
    deployment: deployment.deploymentId,
    ...(deployment.name !== deployment.deploymentId && { name: deployment.name }),
    state: `${paintState(stateText(state, terminal), state, terminal.out)}${ago}`,
    reason: deployment.reason,
    environment: deployment.environment,
    labels: Object.entries(labels)
      .map(([key, value]) => `${key}=${value}`)
      .join(' '),
    attempt: attempt === null ? null : attemptText(attempt, terminal),
    heard: deployment.observedAt,
    'last ready': deployment.lastReadyAttempt,
    'torn down': deployment.tornDown || null,
    archived: deployment.archived || null,
    attention:
      attention === null
        ? null
        : `attempt ${attention.attemptId} reported ${attention.outcome} at ${attention.at}, against what a human said`,
    lease: inWords(deployment.policy.leaseMs),
    revision: deployment.revision,
    allowed: deployment.allowed.join(' '),
  });
}

function attemptText(
  { number, attemptId, scope, state, exitCode }: Attempt,
  terminal: Terminal,
): string {
  const exit = exitCode === null ? '' : `, exit code ${exitCode}`;
  return `${number} ${attemptId} (${scope}) ${stateText(state, terminal)}${exit}`;
}

function attemptMembers(attempt: Attempt): Readonly<Record<string, unknown>> {
  const { resolved, runner, meta, progress, ...rest } = attempt;
  return {
    ...rest,
    resolved: resolved === null ? null : `${resolved.as} by ${resolved.by.kind}:${resolved.by.id}`,
    runner:
      runner === null
        ? null
        : Object.entries(runner)
            .map((pair) => pair.join('='))
            .join(' '),
    meta: meta === null ? null : JSON.stringify(meta),
    progress: progress === null ? null : JSON.stringify(progress),
  };
}

async function tellCounts({ terminal }: Telling, counts: Counts): Promise<void> {
  const rows = Object.entries(counts);
  await writeTable<(typeof rows)[number]>(
    terminal,
    [
      {
        title: 'STATE',
        text: ([state]) => state,
        symbol: ([state]) => symbolOf(state, terminal),
        paint: (text, [state], out) => paintState(text, state, out),
      },
      { title: 'DEPLOYMENTS', text: ([, count]) => String(count), isNumber: true },
    ],
    { rows, empty: '' },
  );
}

/** Members by name, those without a value left out. */
async function tellMembers({ terminal: { out } }: Telling, body: object): Promise<void> {
  const members = Object.entries(body).filter(([, value]) => value !== null && value !== '');
  const width = Math.max(0, ...members.map(([name]) => name.length));
  for (const [name, value] of members) {
    const text = textOf(value);
    const shown = out.isTerminal ? text : onOneLine(text);
    await out.line(
      out.isTerminal ? `${out.paint('dim', name.padEnd(width))}  ${shown}` : `${name}\t${shown}`,
    );
  }
}

type TellList = (telling: Telling, items: never, ids: Listing['ids']) => Promise<void>;
const LISTS: Readonly<Record<string, TellList>> = {
  listDeployments: (telling: Telling, rows: never) =>
    isOfPast(telling) ? tellThen(telling, rows) : tellDeployments(telling, rows),
  listAttempts: tellAttempts,
  listTransitions: tellTransitions,
  listChanges: tellChanges,
  getTimeInState: tellTimeInState,
  getAttemptStats: tellAttemptStats,
  listUnknowns: tellUnknowns,
  getHistory: ({ terminal, clock }: Telling, events: readonly Event[]) =>
    drawHistory(events, terminal, clock),
};

const ago =
  (clock: Clock) =>
  (instant: string | null): string =>
    instant === null ? '' : ageOf(instant, clock);

/** Columns that show a deployment; `watch` shows the same. */
export function deploymentColumns(terminal: Terminal, clock: Clock): readonly Column<Deployment>[] {
  const isPerson = terminal.out.isTerminal;
  return [
    stateColumn('STATE', terminal, ({ state }) => state),
    { title: 'DEPLOYMENT', text: ({ deploymentId }) => deploymentId },
    { title: 'ENVIRONMENT', text: ({ environment }) => environment ?? '' },
    {
      title: 'ATTEMPT',
      text: ({ currentAttempt: attempt }) =>
        attempt === null ? '' : `${attempt.number} ${attempt.scope} ${attempt.state}`,
    },
    {
      title: 'SINCE',
      text: ({ since }) => (isPerson ? ago(clock)(since) : (since ?? '')),
    },
    { title: 'REASON', text: ({ reason }) => reason ?? '' },
  ];
}

async function tellDeployments(
  { terminal, clock }: Telling,
  rows: readonly Deployment[],
): Promise<void> {
  if (rows.some(({ labels }) => labels['demo'] === 'true')) {
    await terminal.err.line('DEMO data: the deployments with the label demo=true are made up.');
  }
  const empty = 'No deployment here; create one: shipslog create NAME';
  await writeTable(terminal, deploymentColumns(terminal, clock), { rows, empty });
}

/** Whether it was asked what was at a time. */
function isOfPast({ options: { at, asOf } }: Telling): boolean {
  return at !== undefined || asOf !== undefined;
}

async function tellThen({ terminal }: Telling, rows: readonly DeploymentThen[]): Promise<void> {
  const columns: readonly Column<DeploymentThen>[] = [
    stateColumn('STATE', terminal, ({ state }) => state),
    { title: 'DEPLOYMENT', text: ({ deploymentId }) => deploymentId },
    { title: 'SINCE', text: ({ since }) => since },
    { title: 'BY', text: ({ trigger }) => trigger },
    { title: 'ATTEMPT', text: ({ attemptId }) => attemptId ?? '' },
    { title: 'REASON', text: ({ reason }) => reason ?? '' },
    { title: 'ACTOR', text: ({ actor }) => `${actor.kind}:${actor.id}` },
  ];
  await writeTable(terminal, columns, { rows, empty: 'There was no deployment then.' });
}

async function tellChanges({ terminal }: Telling, rows: readonly Change[]): Promise<void> {
  const columns: readonly Column<Change>[] = [
    { title: 'DEPLOYMENT', text: ({ deploymentId }) => deploymentId },
    stateColumn('BEFORE', terminal, ({ before }) => before ?? 'none'),
    stateColumn('AFTER', terminal, ({ after }) => after),
    { title: 'AT', text: ({ last }) => last.occurredAt },
    { title: 'BY', text: ({ last }) => last.trigger },
    { title: 'ACTOR', text: ({ last: { actor } }) => `${actor.kind}:${actor.id}` },
    { title: 'ATTEMPT', text: ({ last }) => last.attemptId ?? '' },
    { title: 'REASON', text: ({ last }) => last.reason ?? '' },
  ];
  await writeTable(terminal, columns, { rows, empty: 'Nothing changed.' });
}

async function tellTimeInState({ terminal }: Telling, rows: readonly TimeInState[]): Promise<void> {
  const columns: readonly Column<TimeInState>[] = [
    stateColumn('STATE', terminal, ({ state }) => state),
    { title: 'STAYS', text: ({ stays }) => String(stays), isNumber: true },
    { title: 'NOW', text: ({ open }) => String(open), isNumber: true },
    { title: 'TIME', text: ({ totalMs }) => inWords(totalMs) },
    {
      title: 'MEAN',
      text: ({ stays, totalMs }) => (stays === 0 ? '' : inWords(totalMs / stays)),
    },
  ];
  await writeTable(terminal, columns, { rows, empty: '' });
}

async function tellAttemptStats(
  { terminal }: Telling,
  rows: readonly AttemptCount[],
): Promise<void> {
  const columns: readonly Column<AttemptCount>[] = [
    { title: 'SCOPE', text: ({ scope }) => scope },
    stateColumn('OUTCOME', terminal, ({ state }) => state),
    { title: 'ATTEMPTS', text: ({ attempts }) => String(attempts), isNumber: true },
    { title: 'MEAN', text: ({ meanMs }) => (meanMs === null ? '' : inWords(meanMs)) },
  ];
  await writeTable(terminal, columns, { rows, empty: 'No attempt yet.' });
}

async function tellUnknowns({ terminal }: Telling, rows: readonly Unknown[]): Promise<void> {
  const columns: readonly Column<Unknown>[] = [
    { title: 'DEPLOYMENT', text: ({ deploymentId }) => deploymentId },
    { title: 'FOR', text: ({ ageMs }) => inWords(ageMs) },
    { title: 'SINCE', text: ({ since }) => since },
    { title: 'ATTEMPT', text: ({ attemptId }) => attemptId ?? '' },
    { title: 'REASON', text: ({ reason }) => reason ?? '' },
    { title: 'ACTOR', text: ({ actor }) => `${actor.kind}:${actor.id}` },
    { title: 'TIMES', text: ({ times }) => String(times), isNumber: true },
  ];
  await writeTable(terminal, columns, { rows, empty: 'Nothing is unknown.' });
}

/** A column of states, by symbol, word and colour. */
function stateColumn<R>(title: string, terminal: Terminal, stateOf: (row: R) => string): Column<R> {
  return {
    title,
    text: stateOf,
    symbol: (row) => symbolOf(stateOf(row), terminal),
    paint: (text, row, out) => paintState(text, stateOf(row), out),
  };
}

async function tellAttempts({ terminal, clock }: Telling, rows: readonly Attempt[]): Promise<void> {
  const isPerson = terminal.out.isTerminal;
  const columns: readonly Column<Attempt>[] = [
    { title: '#', text: ({ number }) => String(number), isNumber: true },
    { title: 'ATTEMPT', text: ({ attemptId }) => attemptId },
    { title: 'SCOPE', text: ({ scope }) => scope },
    {
      title: 'STATE',
      text: ({ state, cancelRequested }) =>
        cancelRequested && state === 'running' ? 'running, to be cancelled' : state,
      symbol: ({ state }) => symbolOf(state, terminal),
      paint: (text, { state }, out) => paintState(text, state, out),
    },
    {
      title: 'OPENED',
      text: ({ openedAt }) => (isPerson ? ageOf(openedAt, clock) : openedAt),
    },
    {
      title: 'TOOK',
      text: ({ startedAt, endedAt }) =>
        startedAt === null || endedAt === null
          ? ''
          : inWords(Date.parse(endedAt) - Date.parse(startedAt)),
    },
    {
      title: 'EXIT',
      text: ({ exitCode }) => (exitCode === null ? '' : String(exitCode)),
      isNumber: true,
    },
    { title: 'REASON', text: ({ reason, code, cause }) => reason ?? code ?? cause ?? '' },
  ];
  const empty = 'No attempt yet; open one: shipslog open NAME';
  await writeTable(terminal, columns, { rows, empty });
}

async function tellTransitions({ terminal }: Telling, rows: readonly Transition[]): Promise<void> {
  const columns: readonly Column<Transition>[] = [
    { title: 'POSITION', text: ({ position }) => position, isNumber: true },
    { title: 'RECORDED', text: ({ recordedAt }) => recordedAt },
    { title: 'DEPLOYMENT', text: ({ deploymentId }) => deploymentId },
    { title: 'FROM', text: ({ from }) => from ?? 'none' },
    stateColumn('TO', terminal, ({ to }) => to),
    { title: 'BY', text: ({ trigger }) => trigger },
    { title: 'ATTEMPT', text: ({ attemptId }) => attemptId ?? '' },
    { title: 'REASON', text: ({ reason }) => reason ?? '' },
    { title: 'ACTOR', text: ({ actor }) => `${actor.kind}:${actor.id}` },
  ];
  await writeTable(terminal, columns, { rows, empty: 'No change of state like that.' });
}

/** Rows of a list that has no columns of its own: its plain members. */
async function tellRows({ terminal }: Telling, rows: readonly object[]): Promise<void> {
  const names = Object.entries(rows[0] ?? {})
    .filter(([, value]) => typeof value !== 'object')
    .map(([name]) => name);
  const columns = names.map((name) => ({
    title: name.toUpperCase(),
    text: (row: object) => textOf((row as Readonly<Record<string, unknown>>)[name]),
  }));
  await writeTable(terminal, columns, { rows, empty: 'Nothing there.' });
}

/** A plain value as it stands, anything else as JSON. */
function textOf(value: unknown): string {
  if (value === null || value === undefined) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** How long ago an instant was. */
function ageOf(instant: string, clock: Clock): string {
  const ms = Date.parse(clock.now()) - Date.parse(instant);
  return ms < 1_000 ? 'just now' : inWords(ms);
}
