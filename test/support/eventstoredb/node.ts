import type { Failure } from './failures.js';
import type { Log } from './log.js';
import type { Switchboard } from './switchboard.js';

export interface EndPoint {
  readonly host: string;
  readonly port: number;
}

/** A member of a cluster, as gossip tells it. */
export interface Member extends EndPoint {
  readonly state: 'leader' | 'follower' | 'initializing';
  readonly isAlive: boolean;
}

/** What the services of one server share. */
export interface Node {
  readonly log: Log;
  readonly switchboard: Switchboard;
  /** Whether requests are served: not for some seconds after a start, and not while it is stopped. */
  isReady: boolean;
  /** Null while nobody leads. */
  leader: EndPoint | null;
  isLeader: boolean;
  members: readonly Member[];
  /** What a request has to bring; null when all are welcome. */
  readonly authorization: string | null;
  /** How long a request that came too early a second time hangs until it times out. Milliseconds. */
  readonly dropMs: number;
  /** Ends calls that are open, each in its own way. */
  readonly openCalls: Set<(why: Failure) => void>;
  /** Reads and subscriptions that the server still serves. */
  openReads: number;
  /** Events handed to subscriptions since the start. */
  eventsSent: number;
  /** Calls begun since the start, by method. */
  readonly calls: Map<string, number>;
  /** Subscriptions are told nothing any more, as while a server stops. */
  isSilent: boolean;
  /** Runs a task now, or, while the server is frozen, when it is thawed. */
  whenThawed(task: () => void): void;
  /** Resets the connection of a peer, `host:port`. */
  resetConnection(peer: string): void;
}
