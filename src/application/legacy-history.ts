/**
 * What must have happened to a deployment whose states were never advanced, by what a dump says of it.
 *
 * Pure. Every step is a command that the rules decide, so that a derived history is one that they can have
 * made; what the rows do not tell becomes `unknown`, by the command that says so.
 */
import { decide } from '../domain/decide.js';
import type { Circumstances } from '../domain/decision.js';
import { evolve, unrecorded, type Deployment } from '../domain/deployment.js';
import {
  given,
  type Actor,
  type AttemptId,
  type Fact,
  type Instant,
  type JsonObject,
  type LossCause,
  type Result,
  type ScopeKind,
} from '../domain/event-schema.js';
import { accept, prepared, type Accepted } from './accept.js';
import { COMMANDS, type BusCommand, type CommandName } from './commands.js';
import { instanceOf } from './fields.js';
import { sha256 } from './ids.js';
import type { PreparedEvent } from './lanes.js';
import { shown, type LegacyAttempt, type LegacyDeployment } from './legacy-rows.js';
import { Refused } from './refused.js';

/** Why an attempt is unknown, in words. */
export const UNDECIDED = {
  no_end: 'it was started, and has no end',
  not_started: 'it was opened, and has neither start nor end',
  no_end_time: 'status or exit code say how it ended, but nothing says when',
  no_outcome: 'it has an end, but neither status nor exit code say how it ended',
  status_unknown: 'its status means that nobody knows',
  status_not_mapped: 'its status is not in the map',
  impossible_order: 'its times contradict each other',
  overtaken: 'a later attempt was opened before it had ended',
} as const;
type Undecided = keyof typeof UNDECIDED;

/** What became of an attempt's row; `why` null: all that it says became events. */
interface AttemptVerdict {
  readonly why: Undecided | null;
  readonly detail: string;
}

/** What the rules and the metadata need beside the rows. */
export interface LegacyContext {
  /** When it is recorded. */
  readonly now: Instant;
  readonly kindOf: (scope: string) => ScopeKind | undefined;
  readonly defaults: Circumstances['defaults'];
  /** Who answers for going on after an attempt whose end nobody knows. */
  readonly operator: Actor;
  /** Why that was right; null: then such a deployment is refused. */
  readonly acknowledgeUnknown: string | null;
  /** Whether the dump knows starts; else an attempt that ended is taken as started when it was opened. */
  readonly knowsStarts: boolean;
}

/** The history of one deployment, or why there is none. */
export type Derived =
  | {
      readonly ok: true;
      readonly deployment: Deployment;
      /** Events of one command each; none of them is empty. */
      readonly commands: readonly (readonly PreparedEvent[])[];
      readonly verdicts: ReadonlyMap<AttemptId, AttemptVerdict>;
    }
  | ({ readonly ok: false } & Failure);
/** What can not be derived, and of which attempt; null: of the deployment itself. */
interface Failure {
  readonly attemptId: AttemptId | null;
  readonly detail: string;
}

/** Who says what the rows say. */
const LEGACY: Actor = { id: 'legacy-import', kind: 'system' };
/** Two times of one row that are closer than this are not told apart: databases round them. */
const ROUNDING_MS = 1_000;
/** Evidence has 8 KiB at most; a status of a dump may have been anything. Letters. */
const STATUS_MAX = 200;

/** Derives a history. The same rows give the same ids, whenever and in whatever order they come. */
export function derive(
  row: LegacyDeployment,
  attempts: readonly LegacyAttempt[],
  context: LegacyContext,
): Derived {
  const createdAt = row.createdAt ?? earliest(attempts.map(openingOf));
  if (createdAt === undefined) {
    return { ok: false, attemptId: null, detail: 'neither it nor an attempt of it has a time' };
  }
  const untimed = attempts.find((attempt) => openingOf(attempt) === undefined);
  if (untimed !== undefined) {
    return { ok: false, attemptId: untimed.attemptId, detail: 'it has no time at all' };
  }
  const readings = attempts.map((attempt) => readingOf(attempt, createdAt, context)).sort(byTime);
  const stories = readings.map((reading, place) =>
    storyOf(reading, readings[place + 1]?.openedAt ?? null),
  );
  const steps = stories.flatMap(({ steps: own }, place) => own.map((step) => ({ ...step, place })));
  steps.sort((a, b) => compared(a.at, b.at) || a.place - b.place);
  const history = new History(row, context);
  const failed = history.tell([createdOf(row, createdAt), ...steps]);
  if (failed !== null) return { ok: false, ...failed };
  const { deployment, commands } = history;
  const verdicts = new Map(stories.map(({ attemptId, verdict }) => [attemptId, verdict]));
  return { ok: true, deployment, commands, verdicts };
}

function openingOf({ openedAt, startedAt, endedAt }: LegacyAttempt): Instant | undefined {
  return openedAt ?? startedAt ?? endedAt;
}

function earliest(times: readonly (Instant | undefined)[]): Instant | undefined {
  return times.filter((time) => time !== undefined).toSorted()[0];
}

function compared(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** An attempt with the times that can be believed, and how it ended, where that is known. */
interface Reading {
  readonly attempt: LegacyAttempt;
  readonly openedAt: Instant;
  readonly startedAt: Instant | null;
  /** The last time that can be believed. */
  readonly lastAt: Instant;
  readonly end: { readonly at: Instant; readonly result: Result } | null;
  readonly verdict: AttemptVerdict;
}

function byTime(a: Reading, b: Reading): number {
  const [one, other] = [a.attempt.attemptId, b.attempt.attemptId];
  // Numbers count as numbers: of two attempts of one second, 9 comes before 10.
  const byId = one.length - other.length || compared(one, other);
  return compared(a.openedAt, b.openedAt) || byId;
}

function readingOf(
  attempt: LegacyAttempt,
  createdAt: Instant,
  { knowsStarts }: LegacyContext,
): Reading {
  const times = believed(attempt, createdAt);
  const undecided = (why: Undecided, detail: string = UNDECIDED[why]): Reading => {
    const { openedAt, startedAt, endedAt } = times;
    const lastAt = endedAt ?? startedAt ?? openedAt;
    return { attempt, openedAt, startedAt, lastAt, end: null, verdict: { why, detail } };
  };
  if (times.contradiction !== null) return undecided('impossible_order', times.contradiction);
  const outcome = outcomeOf(attempt);
  if (typeof outcome === 'object') return undecided(outcome.why, outcome.detail);
  if (times.endedAt === null) return undecided('no_end_time');
  const { code, reason, exitCode } = attempt;
  // Who succeeded has started; when, nobody wrote down.
  const isStarted = outcome === 'succeeded' || !knowsStarts;
  return {
    attempt,
    openedAt: times.openedAt,
    startedAt: times.startedAt ?? (isStarted ? times.openedAt : null),
    lastAt: times.endedAt,
    end: { at: times.endedAt, result: given<Result>({ outcome, exitCode, code, reason }) },
    verdict: { why: null, detail: '' },
  };
}

interface Times {
  readonly openedAt: Instant;
  readonly startedAt: Instant | null;
  readonly endedAt: Instant | null;
  readonly contradiction: string | null;
}

/** The times of an attempt from its deployment's creation on, as far as they are in order. */
function believed(attempt: LegacyAttempt, createdAt: Instant): Times {
  const points = [
    ['openedAt', openingOf(attempt)],
    ['startedAt', attempt.startedAt],
    ['endedAt', attempt.endedAt],
  ] as const;
  const found: Partial<Record<(typeof points)[number][0], Instant>> = {};
  let [before, last] = ['createdAt of the deployment', createdAt];
  let contradiction: string | null = null;
  for (const [name, time] of points) {
    if (time === undefined || contradiction !== null) continue;
    if (Date.parse(last) - Date.parse(time) >= ROUNDING_MS) {
      contradiction = `${name} ${time} is before ${before} ${last}`;
    } else {
      last = time < last ? last : time;
      before = name;
      found[name] = last;
    }
  }
  const { openedAt = createdAt, startedAt = null, endedAt = null } = found;
  return { openedAt, startedAt, endedAt, contradiction };
}

function outcomeOf(
  attempt: LegacyAttempt,
): Result['outcome'] | { readonly why: Undecided; readonly detail?: string } {
  const { status, meaning, exitCode, endedAt, startedAt } = attempt;
  if (status !== undefined && meaning === undefined) {
    const detail = `its status ${shown(status)} is not in the map (outcomes)`;
    return { why: 'status_not_mapped', detail };
  }
  if (meaning === 'unknown') return { why: 'status_unknown' };
  if (meaning !== null && meaning !== undefined) return meaning;
  if (exitCode !== undefined) return exitCode === 0 ? 'succeeded' : 'failed';
  if (endedAt !== undefined) return { why: 'no_outcome' };
  return { why: startedAt === undefined ? 'not_started' : 'no_end' };
}

/** A command that must have been given, and when. */
interface Step {
  readonly at: Instant;
  readonly command: CommandName;
  readonly members: Readonly<Record<string, unknown>>;
  /** Of an attempt, its id; with the name of the step it makes the command's id. */
  readonly attemptId: AttemptId | null;
  readonly name: 'create' | 'open' | 'start' | 'end' | 'lost' | 'resolve';
  /** Of a loss after a start: the last sign of life. */
  readonly heardAt?: Instant;
}

interface Story {
  readonly attemptId: AttemptId;
  readonly steps: readonly Step[];
  readonly verdict: AttemptVerdict;
}

/** The steps of an attempt, in their order. `nextAt` is when the next one was opened; null for the last one. */
function storyOf(reading: Reading, nextAt: Instant | null): Story {
  const { attempt, openedAt, end } = reading;
  const { attemptId, scope, meta, runner } = attempt;
  const startedAt = isLater(reading.startedAt, nextAt) ? null : reading.startedAt;
  const isOvertaken = end !== null && isLater(end.at, nextAt);
  const verdict = isOvertaken ? OVERTAKEN : reading.verdict;
  const steps: Step[] = [];
  const add = (at: Instant, name: keyof typeof COMMAND_OF, members: Step['members']): void => {
    const all = given({ attemptId, ...members });
    const heard = name === 'lost' &&
      startedAt !== null && { heardAt: isOvertaken ? startedAt : at };
    steps.push({ at, name, command: COMMAND_OF[name], attemptId, members: all, ...heard });
  };
  add(openedAt, 'open', { scope, meta });
  if (startedAt !== null) add(startedAt, 'start', runnerOf(runner));
  if (verdict.why !== null) {
    const cause: LossCause = isOvertaken ? 'abandoned' : 'orphaned';
    const at = isLater(reading.lastAt, nextAt) ? nextAt : reading.lastAt;
    add(at ?? openedAt, 'lost', { cause, evidence: evidenceOf(attempt, verdict) });
  }
  // Of one that was overtaken the rules keep the result, and let it change nothing.
  if (end !== null) add(end.at, 'end', { ...end.result });
  return { attemptId, steps, verdict };
}

function isLater(at: Instant | null, limit: Instant | null): boolean {
  return at !== null && limit !== null && at > limit;
}

function runnerOf(id: string | undefined): Step['members'] {
  return id === undefined ? {} : { runner: { id } };
}

const OVERTAKEN: AttemptVerdict = { why: 'overtaken', detail: UNDECIDED.overtaken };
const COMMAND_OF = {
  open: 'OpenAttempt',
  start: 'StartAttempt',
  lost: 'MarkUnknown',
  end: 'EndAttempt',
} as const satisfies Partial<Record<Step['name'], CommandName>>;

/** What the row says, for whoever resolves it. */
function evidenceOf(attempt: LegacyAttempt, { detail: why }: AttemptVerdict): JsonObject {
  const { openedAt, startedAt, endedAt, status, exitCode } = attempt;
  const told = status?.slice(0, STATUS_MAX).toWellFormed();
  return given({ why, openedAt, startedAt, endedAt, status: told, exitCode });
}

function createdOf(row: LegacyDeployment, at: Instant): Step {
  const { name, environment, labels } = row;
  const members = given({ name, environment, labels });
  return { at, name: 'create', command: 'CreateDeployment', members, attemptId: null };
}

/** A history that grows command by command, each decided by the rules. */
class History {
  deployment: Deployment;
  readonly commands: (readonly PreparedEvent[])[] = [];
  #revision = -1n;
  /** Attempts that the rules did not open, since there was nothing to tear down. */
  readonly #idle = new Set<AttemptId>();

  constructor(
    { deploymentId }: LegacyDeployment,
    private readonly context: LegacyContext,
  ) {
    this.deployment = unrecorded(deploymentId);
  }

  /** Takes steps in their order; the first that the rules do not take, or null. */
  tell(steps: readonly Step[]): Failure | null {
    for (const step of steps) {
      if (step.attemptId !== null && this.#idle.has(step.attemptId)) continue;
      const detail = this.#take(step);
      if (detail !== null) return { attemptId: step.attemptId, detail };
    }
    return null;
  }

  #take(step: Step): string | null {
    const { acknowledgeUnknown: reason, kindOf, operator } = this.context;
    const opensUnknown = step.name === 'open' && this.deployment.state === 'unknown';
    if (!opensUnknown) return this.#decide(step, LEGACY);
    if (reason === null) {
      return 'it follows an attempt whose end nobody knows: give the map a reason to go on (acknowledgeUnknown)';
    }
    // No teardown opens in unknown: whoever imports says that the deployment counts as failed.
    if (kindOf(String(step.members['scope'])) === 'teardown') {
      const members = { as: 'failed', reason, expectedRevision: this.#revision };
      const resolution: Step = { ...step, name: 'resolve', command: 'ResolveUnknown', members };
      return this.#decide(resolution, operator) ?? this.#decide(step, LEGACY);
    }
    const members = { ...step.members, acknowledgeUnknown: { reason } };
    return this.#decide({ ...step, members }, operator);
  }

  /** Decides one command and takes its events; why it can not be, in words. */
  #decide(step: Step, actor: Actor): string | null {
    const accepted = this.#accepted(step, actor);
    if (typeof accepted === 'string') return accepted;
    const { kindOf, defaults } = this.context;
    const circumstances: Circumstances = {
      ...{ revision: this.#revision, kindOf, defaults, silentTooLong: true },
      ...(step.heardAt !== undefined && { lastHeartbeatAt: step.heardAt }),
    };
    const decision = decide(accepted.command, this.deployment, circumstances);
    const facts = decision.ok ? decision.events : decision.record;
    if (facts.length === 0) {
      if (!decision.ok) return decision.refusal.detail;
      if (step.name === 'open' && step.attemptId !== null) this.#idle.add(step.attemptId);
      return null;
    }
    const told = step.name === 'resolve' ? facts : facts.map(recovered);
    const events = prepared(told, accepted);
    this.deployment = events.reduce((before, { event }) => evolve(before, event), this.deployment);
    this.#revision += BigInt(events.length);
    this.commands.push(events);
    return null;
  }

  #accepted(
    { command: type, members, at, attemptId, name }: Step,
    actor: Actor,
  ): Accepted | string {
    const { deploymentId } = this.deployment;
    const key = attemptId === null ? `deployments:${deploymentId}` : `attempts:${attemptId}`;
    const envelope = { deploymentId, actor, commandId: `legacy:${key}:${name}` };
    try {
      const input = instanceOf<BusCommand>(COMMANDS[type], { ...members, ...envelope });
      const accepted = accept(type, input, this.context.now);
      // Not every command tells its time; what the row says of it is content all the same.
      const commandDigest = sha256(JSON.stringify([accepted.metadata.commandDigest, at]));
      return { ...accepted, metadata: { ...accepted.metadata, commandDigest, occurredAt: at } };
    } catch (error) {
      if (error instanceof Refused) return error.refusal.detail;
      throw error;
    }
  }
}

/** What a row tells was recovered; that nobody knows is no recovery. */
function recovered(fact: Fact): Fact {
  return fact.type === 'state_transition' && fact.data.to !== 'unknown'
    ? { ...fact, data: { ...fact.data, recovered: true } }
    : fact;
}
