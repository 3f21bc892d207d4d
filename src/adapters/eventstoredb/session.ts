import { sleep, type Clock } from '../../ports/clock.js';
import { Fault, isFault } from '../../ports/faults.js';
import { Connection } from './connection.js';
import type { ConnectionString } from './connection-string.js';
import { callEndOf, isRefused, wordsOf } from './failures.js';

/** What a session works with. */
export interface SessionOptions {
  readonly server: ConnectionString;
  readonly clock: Clock;
  /** Chance from 0 to below 1, for jitter. */
  readonly random: () => number;
  /** How long connecting may take, discovery included. Milliseconds. */
  readonly connectTimeoutMs: number;
  /** Is told of each success and each failure to reach the server. */
  readonly onReach: (problem: Fault | null) => void;
}

/** After a failure nobody tries again for so long, give or take a half: callers fail at once. */
const PAUSE_MS = 150;
/** Two clients of one process never share a TCP connection, whoever made them. */
let ordinals = 0;

/**
 * Keeps one connection for one purpose, and replaces it when it fails: nobody gets the old one any more,
 * it is closed in bounded time, and whoever asks next makes a new one, which discovers the nodes anew and
 * shares nothing with the old one.
 */
export class Session {
  readonly #options: SessionOptions;
  #current: Promise<Connection> | null = null;
  #open: Connection | null = null;
  readonly #closing = new Set<Promise<void>>();
  #pausedUntilMs = 0;
  #problem: Fault | null = null;
  /** The node that was silent last: who leads is asked of the others only, until they do not answer either. */
  #avoid: string | null = null;
  #isClosed = false;
  /** How often a connection was made. */
  connects = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  /** Whether any node leads, as far as it is known. */
  get leaderKnown(): boolean | null {
    return this.#open?.leaderKnown ?? null;
  }

  /**
   * The connection; made when there is none.
   * @throws {Fault} STORE_UNAVAILABLE when the server is out of reach; nothing was sent then.
   */
  connection(): Promise<Connection> {
    if (this.#isClosed) return Promise.reject(closed());
    if (this.#current !== null) return this.#current;
    if (this.#options.clock.monotonicMs() < this.#pausedUntilMs && this.#problem !== null) {
      return Promise.reject(this.#problem);
    }
    const connecting = this.#connect();
    this.#current = connecting;
    connecting.catch(() => {
      if (this.#current === connecting) this.#current = null;
    });
    return connecting;
  }

  /**
   * Gives nobody this connection any more, and closes it once what is under way on it has ended. Does
   * nothing when it is not the current one any more. A node that was silent is not asked who leads: it
   * would be silent again, where one that is gone refuses at once. (By the time of the call the client may be
   * on its way to another node.)
   */
  retire(
    connection: Connection,
    {
      ended,
      silent = null,
    }: { readonly ended?: Promise<void>; readonly silent?: string | null } = {},
  ): void {
    if (this.#open !== connection) return;
    this.#avoid = silent;
    this.#current = null;
    this.#open = null;
    this.#close(connection, ended);
  }

  /** Looks again who leads, when that was not known or was asked long ago. Never rejects. */
  async refresh(): Promise<void> {
    const connection = await this.connection().catch(() => null);
    if (connection === null) return;
    const { node } = connection;
    try {
      await this.#inTime(connection.greet());
      this.#options.onReach(null);
    } catch (error) {
      this.#options.onReach(this.#unreachable(error));
      this.retire(connection, { silent: isFault(error) ? node : null });
    }
  }

  /** Releases the connection. Safe to repeat. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#current?.catch(() => null);
    if (this.#open !== null) this.retire(this.#open);
    await Promise.all(this.#closing);
  }

  #close(connection: Connection, ended?: Promise<void>): void {
    const closed = Promise.resolve(ended).then(() => connection.close());
    this.#closing.add(closed);
    void closed.then(() => this.#closing.delete(closed));
  }

  async #connect(): Promise<Connection> {
    const { server, clock, random, onReach } = this.#options;
    const connection = new Connection(server.toClient((ordinals += 1), this.#avoid), clock);
    try {
      await this.#inTime(connection.greet());
    } catch (error) {
      this.#close(connection);
      // The others did not do: all are asked again.
      this.#avoid = null;
      this.#pausedUntilMs = clock.monotonicMs() + PAUSE_MS * (0.5 + random());
      this.#problem = this.#unreachable(error);
      onReach(this.#problem);
      throw this.#problem;
    }
    if (this.#isClosed) {
      this.#close(connection);
      throw closed();
    }
    this.connects += 1;
    this.#open = connection;
    this.#problem = null;
    onReach(null);
    return connection;
  }

  async #inTime(greeting: Promise<void>): Promise<void> {
    const { clock, connectTimeoutMs } = this.#options;
    const late = new AbortController();
    const timeout = sleep(clock, connectTimeoutMs, late.signal).then(() => {
      if (!late.signal.aborted) {
        throw new Fault('STORE_UNAVAILABLE', `no answer within ${String(connectTimeoutMs)} ms`);
      }
    });
    try {
      await Promise.race([greeting, timeout]);
    } finally {
      late.abort();
      greeting.catch(() => undefined);
    }
  }

  #unreachable(error: unknown): Fault {
    const why = isFault(error) ? error.message : wordsOf(callEndOf(error));
    const how = isRefused(error) ? 'refuses us' : 'is out of reach';
    const detail = `EventStoreDB at ${this.#options.server.display} ${how}: ${why}`;
    return new Fault('STORE_UNAVAILABLE', detail, { cause: error });
  }
}

function closed(): Fault {
  return new Fault('STORE_UNAVAILABLE', 'the log is closed');
}
