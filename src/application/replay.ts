/** Replay for audits: what was, by the log alone, and whether the read models say the same. */
import { evolve, unrecorded, type Deployment } from '../domain/deployment.js';
import { STATES, type DeploymentId, type Instant, type State } from '../domain/event-schema.js';
import type { Clock } from '../ports/clock.js';
import {
  STREAM_PREFIX,
  type EventStore,
  type Position,
  type RecordedEvent,
  type Revision,
} from '../ports/event-store.js';
import { turn } from '../ports/pace.js';
import { readEvent, type Poison } from './fold.js';
import { foldedFrom, foldRecorded } from './lanes.js';

/** A deployment as it was, with the event that made it so. */
export type StateAt =
  | {
      readonly found: true;
      readonly deployment: Deployment;
      readonly revision: Revision;
      readonly position: Position;
    }
  /** Nothing was recorded of it then; or the asked revision is beyond the last one, `head`. */
  | { readonly found: false; readonly head: Revision | null };

/** Which moment of a deployment: an exact revision, or an instant; without either, now. */
export interface StateQuery {
  readonly store: EventStore;
  readonly deploymentId: DeploymentId;
  readonly revision?: Revision;
  readonly at?: Instant;
}

/**
 * Folds a deployment's stream up to a revision exactly, or up to its last event recorded at an instant or
 * before. The order of the stream is what happened: where a clock was set back, an event that precedes
 * one recorded in time counts, whatever its own time says, so that the answer is a state that there was.
 * @throws {Fault} STORE_CORRUPT when an event of the stream cannot be understood.
 */
export async function stateAt({ store, deploymentId, revision, at }: StateQuery): Promise<StateAt> {
  const range = revision === undefined ? {} : { to: revision };
  let folded = foldedFrom(deploymentId);
  let pending: RecordedEvent[] = [];
  for await (const page of store.read(STREAM_PREFIX + deploymentId, range)) {
    pending.push(...page);
    const last = at === undefined ? pending.length - 1 : lastRecordedBy(pending, at);
    folded = foldRecorded(folded, pending.slice(0, last + 1));
    pending = pending.slice(last + 1);
  }
  const { deployment, position } = folded;
  if (position === null) return { found: false, head: null };
  if (revision !== undefined && folded.revision < revision) {
    return { found: false, head: folded.revision };
  }
  return { found: true, deployment, revision: folded.revision, position };
}

/** What a replay of the whole log found. */
export interface ReplayReport {
  readonly events: number;
  /** Deployments, each one stream. */
  readonly streams: number;
  /** Deployments in each state; one with a bad event counts as it was before that. */
  readonly byState: Readonly<Record<State, number>>;
  /** Streams with an event that cannot be understood, the first of each, at most 1,000 of them. */
  readonly poison: readonly Poison[];
  readonly poisonedStreams: number;
  /** The last event's position; null for an empty log. */
  readonly position: Position | null;
  readonly ms: number;
  readonly eventsPerSecond: number;
}

/** How far a pass over the log is. `total` is the log's end; compare it with `position`. */
export interface ReplayProgress {
  readonly events: number;
  readonly position: Position;
  readonly head: Position;
}

const POISON_LISTED_MAX = 1000;

/**
 * Folds every deployment of the log from nothing and counts. Reads only.
 *
 * Cost: one pass, and 2 to 3 KB of memory for each deployment.
 */
export async function replayLog(options: {
  readonly store: EventStore;
  readonly clock: Clock;
  readonly onProgress?: (progress: ReplayProgress) => void;
  readonly signal?: AbortSignal;
}): Promise<ReplayReport> {
  const { store, clock, onProgress, signal } = options;
  const startedAtMs = clock.monotonicMs();
  const head = await store.head();
  const deployments = new Map<string, Deployment>();
  const poison = new Map<string, Poison>();
  let events = 0;
  let position: Position | null = null;
  for await (const page of store.readAll()) {
    signal?.throwIfAborted();
    for (const record of page) events += replayed(record, deployments, poison);
    position = page.at(-1)?.position ?? position;
    if (position !== null) onProgress?.({ events, position, head: head ?? position });
    await turn();
  }
  const ms = clock.monotonicMs() - startedAtMs;
  return {
    events,
    streams: new Set([...deployments.keys(), ...poison.keys()]).size,
    byState: countByState(deployments.values()),
    poison: [...poison.values()].slice(0, POISON_LISTED_MAX),
    poisonedStreams: poison.size,
    position,
    ms,
    eventsPerSecond: ms === 0 ? 0 : Math.round((events * 1000) / ms),
  };
}

/** Folds one event into its deployment, unless its stream went bad before; answers how many it was: 0 or 1. */
function replayed(
  record: RecordedEvent,
  deployments: Map<string, Deployment>,
  poison: Map<string, Poison>,
): 0 | 1 {
  const read = readEvent(record);
  if (read === null) return 0;
  const { stream, revision, position, parsed } = read;
  if (poison.has(stream)) return 1;
  if (!parsed.ok) {
    poison.set(stream, { stream, revision, position, problem: parsed.problem });
    return 1;
  }
  const before = deployments.get(stream) ?? unrecorded(parsed.event.deploymentId);
  // Earlier attempts say nothing about the state, and their chain would hold the whole history.
  deployments.set(stream, { ...evolve(before, parsed.event), earlierAttempts: null });
  return 1;
}

function countByState(deployments: Iterable<Deployment>): Record<State, number> {
  const counts = Object.fromEntries(STATES.map((state) => [state, 0])) as Record<State, number>;
  for (const { state } of deployments) counts[state]++;
  return counts;
}

function lastRecordedBy(events: readonly RecordedEvent[], at: Instant): number {
  return events.findLastIndex(({ metadata }) => {
    const { recordedAt } = JSON.parse(metadata) as { readonly recordedAt: Instant };
    return recordedAt <= at;
  });
}
