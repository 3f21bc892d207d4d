import type { Declaration, Resolution, State } from '../../src/domain/event-schema.js';
import { idOf } from './events.js';
import { became, created, ended, lost, opened, resolved, started, type Told } from './facts.js';

/** What a history of the specs is about; attempt `a1` is the first one. */
interface Plot {
  /** Scope of the attempt: `full`, `configure`, `teardown` or `snapshot`. */
  readonly scope?: string;
  readonly declaration?: Partial<Declaration>;
}

/** A deployment that was only created. */
export const fresh = ({ declaration }: Plot = {}): readonly Told[] => [
  created(declaration),
  became('pending'),
];

/** … whose attempt `a1` waits to be started. */
export const pending = (plot: Plot = {}): readonly Told[] => [
  ...fresh(plot),
  opened(1, { scope: plot.scope ?? 'full' }),
];

/** … whose attempt `a1` runs by `r1`, without a lease token. */
export const running = (plot: Plot = {}): readonly Told[] => [
  ...pending(plot),
  started('a1', { runner: { id: 'r1' } }),
  became('deploying'),
];

/** … whose attempt `a1` was lost before it was started. */
export const lostPending = (plot: Plot = {}): readonly Told[] => [
  ...pending(plot),
  lost('a1', 'start_timeout'),
  became('unknown'),
];

/** … whose attempt `a1` was lost while it ran by `r1`. */
export const lostRunning = (plot: Plot = {}): readonly Told[] => [
  ...running(plot),
  lost('a1', 'lease_expired'),
  became('unknown'),
];

/** … that `a1` made ready. */
export const ready = (plot: Plot = {}): readonly Told[] => [
  ...running(plot),
  ended('a1', 'succeeded', { exitCode: 0 }),
  became('ready'),
];

/** … that `a1` left failed. */
export const failed = (plot: Plot = {}): readonly Told[] => [
  ...running(plot),
  ended('a1', 'failed', { exitCode: 1 }),
  became('failed'),
];

/** … that `a1` tore down. */
export const tornDown = ({ declaration = {} }: Plot = {}): readonly Told[] => [
  ...running({ declaration, scope: 'teardown' }),
  ended('a1', 'succeeded', { exitCode: 0 }),
  became('pending'),
];

const STATE_OF: Readonly<Record<Resolution, State>> = {
  ready: 'ready',
  failed: 'failed',
  torn_down: 'pending',
};
/** The same history with a human's word about the lost attempt `a1`. */
export const closed = (as: Resolution, history = lostRunning()): readonly Told[] => [
  ...history,
  resolved(as, { attemptId: idOf('a1') }),
  became(STATE_OF[as]),
];
