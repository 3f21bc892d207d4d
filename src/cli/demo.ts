/** Fills a store with data to look at: the demo's story, decided by the rules like anything else. */
import { accept, prepared } from '../application/accept.js';
import { BulkAppender, patienceWith, type Append } from '../application/bulk-append.js';
import { COMMANDS, type BusCommand } from '../application/commands.js';
import { instanceOf } from '../application/fields.js';
import { uuidV5 } from '../application/ids.js';
import { decide } from '../domain/decide.js';
import { evolve, unrecorded, type Deployment } from '../domain/deployment.js';
import { parseId, type DeploymentId, type State } from '../domain/event-schema.js';
import { STREAM_PREFIX, type EventStore } from '../ports/event-store.js';
import { isFault } from '../ports/faults.js';
import { Client } from '../client/client.js';
import { OPERATIONS, type Operations } from '../client/operations.js';
import { keepComing } from './demo-live.js';
import { demoStory, type Ask, type Plot } from './demo-story.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { Progress, withCommas } from './progress.js';
import { usageError } from './usage.js';
import type { LocalContext, Workshop } from './workshop.js';

/** A thing that was asked for, with what the rules made of it. */
export interface Step extends Append {
  readonly ask: Ask;
  readonly commandId: string;
}

/** Decides a story from its beginning. The same story gives the same events, ids and bytes. */
export function decidedDemo(
  plot: Plot,
  { scopes, defaults }: Pick<Workshop, 'scopes' | 'defaults'>,
): { readonly steps: readonly Step[]; readonly byState: ReadonlyMap<State | 'archived', number> } {
  const deployments = new Map<string, { deployment: Deployment; revision: bigint; asks: number }>();
  const steps = demoStory(plot).map((ask): Step => {
    const { deploymentId, command: type, members, actor, atMs } = ask;
    const id = parseId<DeploymentId>(deploymentId);
    if (id === null) throw new Error(`${deploymentId} is no id`);
    const at = deployments.get(id) ?? { deployment: unrecorded(id), revision: -1n, asks: 0 };
    const { deployment, revision, asks } = at;
    const commandId = uuidV5(`demo/${String(plot.seed)}/${plot.until}/${id}/${String(asks)}`);
    const needsRevision = type === 'ResolveUnknown' && { expectedRevision: revision };
    const all = { deploymentId: id, ...members, actor, commandId, ...needsRevision };
    const input = instanceOf<BusCommand>(COMMANDS[type], all);
    const accepted = accept(type, input, new Date(atMs).toISOString());
    const kindOf = (scope: string): ReturnType<typeof scopes.get> => scopes.get(scope);
    const circumstances = { revision, kindOf, defaults, silentTooLong: true };
    const decision = decide(accepted.command, deployment, circumstances);
    if (!decision.ok) throw new Error(`${type} of ${id}: ${decision.refusal.detail}`);
    const events = prepared(decision.events, accepted);
    deployments.set(id, {
      deployment: events.reduce((before, { event }) => evolve(before, event), deployment),
      revision: revision + BigInt(events.length),
      asks: asks + 1,
    });
    const expected = revision === -1n ? 'no_stream' : revision;
    const stored = events.map((event) => event.stored);
    return { stream: STREAM_PREFIX + id, expected, events: stored, ask, commandId };
  });
  const byState = new Map<State | 'archived', number>();
  for (const { deployment } of deployments.values()) {
    const state = deployment.archived ? 'archived' : deployment.state;
    byState.set(state, (byState.get(state) ?? 0) + 1);
  }
  return { steps, byState };
}

/** What the demo is asked to do. */
export interface DemoOptions {
  readonly seed: string;
  readonly until?: string;
  readonly intoExisting?: true;
  /** Goes on with one event a second; needs a service. */
  readonly live?: true;
  readonly url?: string;
}

/** Fills the log of the settings, or, while a service has it, asks that service for the same. */
export async function demo(
  { terminal, urlOf }: LocalContext,
  workshop: Workshop,
  options: DemoOptions,
): Promise<ExitCode> {
  const { clock } = workshop;
  const plot = plotOf(options, clock.now());
  const { steps, byState } = decidedDemo(plot, workshop);
  const progress = new Progress(terminal, clock, { verb: 'demo', unit: 'commands' });
  const report = (done: number): void => progress.update({ done, total: steps.length });
  try {
    const store = await openUnlessOwned(workshop);
    if (store !== null && options.live === true) {
      await store.close();
      throw usageError(
        '--live needs a service that has the log of the settings: start shipslog serve',
      );
    }
    const filling = {
      steps,
      report,
      intoExisting: options.intoExisting === true,
      goesOn: options.live === true,
    };
    const where =
      store === null ? await fillService(urlOf(options), filling) : await fillLog(store, filling);
    progress.end();
    const events = steps.reduce((sum, step) => sum + step.events.length, 0);
    const states = [...byState].map(([state, count]) => `${count} ${state}`).join(', ');
    const { out } = terminal;
    await out.line(`DEMO  ${withCommas(events)} events up to ${plot.until}, in ${where}`);
    await out.line(`      200 deployments: ${states}; all have the label demo=true`);
    return options.live === true ? await keepComing(urlOf(options), plot, terminal) : EXIT.ok;
  } finally {
    progress.end();
  }
}

interface Filling {
  readonly steps: readonly Step[];
  readonly report: (done: number) => void;
  readonly intoExisting: boolean;
  /** Whether an earlier demo is gone on with, and not told again. */
  readonly goesOn: boolean;
}

const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?Z$/;
const HOUR_MS = 3_600_000;

function plotOf({ seed, until }: DemoOptions, now: string): Plot {
  if (!/^\d{1,9}$/.test(seed)) throw usageError('--seed is a whole number');
  if (until !== undefined && (!INSTANT.test(until) || Number.isNaN(Date.parse(until)))) {
    throw usageError('--until is an instant like 2026-11-25T13:00:00Z');
  }
  const endMs =
    until === undefined ? Math.floor(Date.parse(now) / HOUR_MS) * HOUR_MS : Date.parse(until);
  return { seed: Number(seed), until: new Date(endMs).toISOString() };
}

async function openUnlessOwned({ openLog }: Workshop): Promise<EventStore | null> {
  try {
    return await openLog();
  } catch (error) {
    if (isFault(error, 'STORE_OWNED')) return null;
    throw error;
  }
}

async function fillLog(
  store: EventStore,
  { steps, report, intoExisting }: Filling,
): Promise<string> {
  try {
    const head = await store.head();
    if (head !== null && !intoExisting) throw notEmpty(`the log, at position ${String(head)},`);
    const appender = new BulkAppender<Step>(store, head, patienceWith(store));
    for (const [n, step] of steps.entries()) {
      await appender.add(step);
      report(n);
    }
    await appender.finish();
    const { conflict } = appender;
    if (conflict !== null) throw new Error(`the log has another ${conflict.ask.deploymentId}`);
    return 'the log of the settings';
  } finally {
    await store.close();
  }
}

/** Deployments that are filled at the same time. */
const AT_ONCE = 32;

async function fillService(url: string, { steps, report, intoExisting }: Filling): Promise<string> {
  const client = new Client({ url });
  const { total } = await client.call('countByState', { archived: 'include' });
  if (total > 0 && !intoExisting)
    throw notEmpty(`the service at ${url}, with ${total} deployments,`);
  const queues = new Map<string, Step[]>();
  for (const step of steps) queues.set(step.stream, [...(queues.get(step.stream) ?? []), step]);
  const waiting = [...queues.values()];
  let done = 0;
  const work = async (): Promise<void> => {
    for (let queue = waiting.shift(); queue !== undefined; queue = waiting.shift()) {
      for (const step of queue) {
        await send(url, step);
        report((done += 1));
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return `the service at ${url}, whose log says that all of it happened now`;
}

type Operation = keyof Operations;

/** Asks a service for a step, as its actor. What only the service itself may say is said by others. */
async function send(url: string, { ask, commandId, expected }: Step): Promise<void> {
  const { command, deploymentId, members, actor } = ask;
  const { attemptId, cause, ...rest } = members as Readonly<Record<string, string>>;
  const kind = actor.kind === 'system' ? 'service' : actor.kind;
  const client = new Client({ url, actor: `${kind}:${actor.id}` });
  const operation: Operation = lowerFirst(command) as Operation;
  const isPath = OPERATIONS[operation].path.includes('{attemptId}');
  const body = {
    ...rest,
    ...(command === 'CreateDeployment' && { deploymentId }),
    ...(!isPath && attemptId !== undefined && { attemptId }),
    ...(cause !== undefined && { cause: cause === 'lease_expired' ? 'orphaned' : cause }),
  };
  const path = { deploymentId, ...(isPath && { attemptId }) };
  const takes = { ...(command === 'CreateDeployment' ? {} : path), body };
  const ifMatch = command === 'ResolveUnknown' ? { ifMatch: String(expected) } : {};
  await client.call(operation, takes, { key: commandId, ...ifMatch });
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function notEmpty(what: string): Error {
  return usageError(
    `${what} is not empty, and the demo would lie among real data: choose an empty one (SHIPSLOG_EVENT_STORE=sqlite:./demo/events.db), or say --into-existing`,
  );
}
