import type { Instant, JsonObject } from '../domain/event-schema.js';

/** An attempt among all deployments. */
export interface AttemptKey {
  readonly deploymentId: string;
  readonly attemptId: string;
}

/** The last sign of life of a runner. `count` grows with each; `at` is for people, never for judging. */
export interface Beat {
  readonly count: number;
  readonly at: Instant;
  readonly progress: JsonObject | null;
}

/**
 * Signs of life of running attempts: operational data, never in the log, lost with its store without harm
 * (every lease then counts anew). A counter, not a time: clocks of two machines are never compared.
 */
export interface Leases {
  /** Notes a sign of life; answers it as it is noted. */
  beat(key: AttemptKey, at: Instant, progress?: JsonObject): Promise<Beat>;
  /** The last beat of each attempt asked for, in the same order; null where there is none. */
  read(keys: readonly AttemptKey[]): Promise<readonly (Beat | null)[]>;
  /** The attempts that have a beat, in no order. */
  keys(): Promise<readonly AttemptKey[]>;
  /** Forgets an attempt that has ended. */
  drop(key: AttemptKey): Promise<void>;
  close(): Promise<void>;
}
