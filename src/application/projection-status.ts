import type { Instant } from '../domain/event-schema.js';
import type { Position } from '../ports/event-store.js';
import type { Ownership } from '../ports/read-models.js';
import type { RebuildProgress } from './rebuild.js';

/** How one projection does, for people and for health. */
export interface ProjectionStatus {
  readonly name: string;
  readonly version: number;
  /** The last position folded in; null before the first. */
  readonly position: Position | null;
  /** The log's end; the last one known when the log cannot be asked. */
  readonly headPosition: Position | null;
  /**
   * Events not folded in yet. Exact where positions have no gaps; elsewhere an estimate from the
   * distance to the end and the density of the events seen since the start; null before any was seen.
   */
  readonly lagEvents: number | null;
  /** Seconds since it was last seen level with the log; 0 when it is, null when that is not known. */
  readonly lagSeconds: number | null;
  /** `degraded`: something fails, or streams are parked. `rebuilding`: the live table serves meanwhile. */
  readonly status: 'live' | 'catching_up' | 'rebuilding' | 'degraded' | 'stopped';
  /** What failed last and is tried again; null once it succeeded. */
  readonly lastError: string | null;
  /** Streams that this projection could not fold and left; they wait for a fix, or for a decision. */
  readonly parked: number;
  /** Streams that somebody decided to leave out. */
  readonly skipped: number;
  readonly rebuild: RebuildProgress | null;
  /** Who folds; null when nobody does. */
  readonly owner: OwnerStatus | null;
}

/** The process that folds, or folded last. */
export interface OwnerStatus {
  readonly name: string;
  readonly since: Instant;
  readonly isThisProcess: boolean;
  /** How often other processes asked for its place. */
  readonly denials: number;
}

/** What is known of a projection before it is put into one word. */
export type ProjectionFacts = Omit<ProjectionStatus, 'status' | 'owner'> & {
  readonly isStopped: boolean;
  readonly isRebuilding: boolean;
  readonly isCaughtUp: boolean;
  readonly owner: (Ownership & { readonly isThisProcess: boolean }) | null;
};

/** Tells what is known of a projection. */
export function projectionStatus(facts: ProjectionFacts): ProjectionStatus {
  const { isStopped, isRebuilding, isCaughtUp, owner, ...rest } = facts;
  const lastError = facts.lastError ?? (isFolded(facts) ? null : NOBODY);
  return {
    ...rest,
    lastError,
    status: wordOf({ ...facts, lastError }),
    owner: owner && {
      name: owner.owner,
      since: owner.since,
      isThisProcess: owner.isThisProcess,
      denials: owner.denials,
    },
  };
}

const NOBODY = 'nobody folds the log into the read models: start a process with the role projector';

/** Whether somebody holds the tables, so that they do not only grow old. */
function isFolded({ isStopped, owner }: ProjectionFacts): boolean {
  return isStopped || (owner !== null && (owner.isThisProcess || owner.remainingMs > 0));
}

function wordOf(facts: ProjectionFacts): ProjectionStatus['status'] {
  if (facts.isStopped) return 'stopped';
  if (facts.lastError !== null || facts.parked > 0) return 'degraded';
  if (facts.isRebuilding) return 'rebuilding';
  return facts.isCaughtUp ? 'live' : 'catching_up';
}
