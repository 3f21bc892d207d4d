import type { Freshness } from '../application/freshness.js';
import type { CommandPath } from '../application/handle.js';
import type { ParkedStreams } from '../application/parked-streams.js';
import type { Projector } from '../application/projector.js';
import type { Tail } from '../application/tail.js';
import type { Clock } from '../ports/clock.js';
import type { EventStore } from '../ports/event-store.js';

/** What HTTP works with beside the buses. */
export interface ApiServices {
  readonly clock: Clock;
  readonly commands: Pick<CommandPath, 'heartbeat'>;
  readonly projector: Pick<Projector, 'status' | 'askRebuild' | 'isCaughtUp'>;
  readonly parked: Pick<ParkedStreams, 'list' | 'decide'>;
  readonly store: Pick<EventStore, 'health'>;
  readonly freshness: Pick<Freshness, 'staleSeconds'>;
  readonly tail: Pick<Tail, 'beginning' | 'follow'>;
  readonly metrics: MetricsText;
  /** Version of the package, for the documents. */
  readonly version: string;
}

/** Metrics as a monitoring system reads them. */
export interface MetricsText {
  readonly contentType: string;
  text(): Promise<string>;
}

/** Injects `ApiServices`. */
export const API_SERVICES = Symbol('ApiServices');
