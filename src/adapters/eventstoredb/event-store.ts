import { randomInt } from 'node:crypto';
import { sleep, type Clock } from '../../ports/clock.js';
import {
  assertAppendable,
  type Appended,
  type Delivery,
  type EventStore,
  type LogRange,
  type NewEvent,
  type Position,
  type RecordedEvent,
  type Revision,
  type StoreHealth,
  type StreamRange,
  type Subscription,
} from '../../ports/event-store.js';
import { isFault, type Fault } from '../../ports/faults.js';
import { emit } from '../../ports/signals.js';
import { Appends } from './appends.js';
import { parseConnectionString, type ConnectionString } from './connection-string.js';
import { isRefused } from './failures.js';
import { Follower } from './follow.js';
import { Reads } from './reads.js';
import { Session } from './session.js';

/** How EventStoreDB is used. */
export interface EventStoreDBOptions {
  /**
   * Connection string: `esdb://host:2113?tls=false` for one node, several hosts with commas or
   * `esdb+discover://` for a cluster, credentials as `user:password@`, certificates by `tlsCAFile`;
   * `streamPrefix` sets our streams apart from those of another service on the same server.
   */
  readonly url: string;
  readonly clock: Clock;
  /**
   * How long an append may be without an answer before its outcome counts as unknown and is asked for
   * again. Milliseconds, 100..60000, default 2000: with 2 s a leader change heals in 1.2 to 2.3 s, with 5 s
   * in 5.2 s.
   */
  readonly appendTimeoutMs?: number;
  /** How long the server may be silent during a read. Milliseconds, 100..60000, default 2000. */
  readonly readTimeoutMs?: number;
  /** How long connecting may take, discovery included. Milliseconds, 100..60000, default 2000. */
  readonly connectTimeoutMs?: number;
  /**
   * Silence of a subscription after which it is looked whether events are missing. Milliseconds, default
   * twice the connection's keep-alive interval.
   */
  readonly silenceMs?: number;
  /** Chance from 0 to below 1, for jitter. */
  readonly random?: () => number;
  /** Ends the waiting for a server that is not there yet. */
  readonly signal?: AbortSignal;
}

const TIMEOUT_MS = 2_000;
const TIMEOUT_BOUNDS_MS = { min: 100, max: 60_000 } as const;
/** Time between two tries to reach a server that is not there yet. */
const WAIT_MS = 250;
/** Who leads is asked again when health is asked for, and the last answer is older than this. */
const LEADER_KNOWN_MS = 5_000;

/**
 * Opens a log in EventStoreDB; waits for the server when it is not there yet, and says so once.
 *
 * Each store has connections of its own: one for appends, one for reads and subscriptions, so that a
 * redirected read never moves the appends.
 * @throws {Error} of one line when the connection string is wrong.
 * @throws {Fault} STORE_UNAVAILABLE when the server refuses us, or the waiting was aborted.
 */
export async function openEventStoreDB(options: EventStoreDBOptions): Promise<EventStore> {
  const store = new EventStoreDB(options, parseConnectionString(options.url));
  // Nothing else may be under way yet, and timers of the clock let a process end.
  const waiting = setInterval(() => undefined, WAIT_MS);
  try {
    await store.reach(options.signal);
    return store;
  } catch (error) {
    await store.close();
    throw error;
  } finally {
    clearInterval(waiting);
  }
}

class EventStoreDB implements EventStore {
  /** Other processes, and people, may write to the same streams. */
  readonly exclusive = false;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #silenceMs: number;
  readonly #server: ConnectionString;
  readonly #appending: Session;
  readonly #reading: Session;
  readonly #appends: Appends;
  readonly #reads: Reads;
  readonly #followers = new Set<Follower>();
  /** Reads of the log's end that began before later appends. */
  readonly #ends = new Set<Promise<unknown>>();
  readonly #closed = new AbortController();
  #resumes = 0;
  #problem: Fault | null = null;
  #isReached = false;
  #refreshedAtMs = 0;

  constructor(options: EventStoreDBOptions, server: ConnectionString) {
    const { clock, random = () => randomInt(2 ** 30) / 2 ** 30 } = options;
    const onReach = (problem: Fault | null): void => this.#noteReach(problem);
    const connectTimeoutMs = timeoutOf(options, 'connectTimeoutMs');
    const session = { server, clock, random, connectTimeoutMs, onReach };
    this.#clock = clock;
    this.#random = random;
    this.#server = server;
    this.#silenceMs = options.silenceMs ?? 2 * server.keepAliveMs;
    this.#appending = new Session(session);
    this.#reading = new Session(session);
    this.#reads = new Reads({
      session: this.#reading,
      clock,
      random,
      timeoutMs: timeoutOf(options, 'readTimeoutMs'),
      streamPrefix: server.streamPrefix,
    });
    this.#appends = new Appends({
      session: this.#appending,
      clock,
      timeoutMs: timeoutOf(options, 'appendTimeoutMs'),
      positionAt: (stream, revision) => this.#reads.positionAt(stream, revision),
    });
  }

  /** Resolves when the server has answered once. */
  async reach(signal?: AbortSignal): Promise<void> {
    while (true) {
      try {
        await this.#reads.end();
        return;
      } catch (error) {
        if (!isFault(error, 'STORE_UNAVAILABLE') || isRefused(error.cause)) throw error;
        this.#noteReach(error);
        if (signal?.aborted === true) throw error;
      }
      await sleep(this.#clock, WAIT_MS * (0.5 + this.#random()), signal);
    }
  }

  async append(
    stream: string,
    expected: Revision | 'no_stream',
    events: readonly NewEvent[],
  ): Promise<Appended> {
    assertAppendable(events);
    if (this.#ends.size > 0) await Promise.allSettled(this.#ends);
    const name = this.#server.streamPrefix + stream;
    return this.#appends.append({ stream: name, expected, events }, sizeOf(events));
  }

  read(stream: string, range: StreamRange = {}): AsyncGenerator<readonly RecordedEvent[]> {
    return this.#reads.stream(this.#server.streamPrefix + stream, range);
  }

  readAll(range: LogRange = {}): AsyncGenerator<readonly RecordedEvent[]> {
    // Asked for now, whenever the reading begins; a failure is the reader's.
    const end = this.#reads.end();
    this.#ends.add(end);
    void end.catch(() => undefined).then(() => this.#ends.delete(end));
    return this.#reads.log(range, end);
  }

  async *subscribe(subscription: Subscription = {}): AsyncGenerator<Delivery> {
    const follower = new Follower(
      {
        session: this.#reading,
        reads: this.#reads,
        clock: this.#clock,
        random: this.#random,
        silenceMs: this.#silenceMs,
        streamPrefix: this.#server.streamPrefix,
        closed: this.#closed.signal,
      },
      subscription,
    );
    this.#followers.add(follower);
    try {
      yield* follower.deliveries();
    } finally {
      this.#followers.delete(follower);
      this.#resumes += follower.resumes;
    }
  }

  head(): Promise<Position | null> {
    return this.#reads.head();
  }

  health(): StoreHealth {
    this.#refresh();
    const isClosed = this.#closed.signal.aborted;
    return {
      reachable: this.#isReached && !isClosed,
      problem: isClosed ? 'closed' : this.#whyNoWrites(),
      details: {
        kind: 'eventstoredb',
        server: this.#server.display,
        leaderKnown: this.#appending.leaderKnown,
        lastAppendAt: this.#appends.lastAt,
        appendsInFlight: this.#appends.inFlight,
        unknownOutcomes: this.#appends.unknownOutcomes,
        reconnects:
          Math.max(0, this.#appending.connects - 1) + Math.max(0, this.#reading.connects - 1),
        subscriptions: this.#followers.size,
        subscriptionsResumed: this.#resumesSoFar(),
        subscriptionLag: this.#lag(),
      },
    };
  }

  async close(): Promise<void> {
    this.#closed.abort();
    await this.#appends.close();
    await Promise.all([this.#appending.close(), this.#reading.close()]);
  }

  /** Health is what was seen last; being asked for it is a reason to look again. */
  #refresh(): void {
    const now = this.#clock.monotonicMs();
    if (this.#closed.signal.aborted || now - this.#refreshedAtMs < LEADER_KNOWN_MS) return;
    this.#refreshedAtMs = now;
    void this.#appending.refresh();
  }

  #whyNoWrites(): string | null {
    if (this.#problem !== null) return this.#problem.message;
    return this.#appending.leaderKnown === false
      ? `no node of ${this.#server.display} leads: nothing can be written`
      : null;
  }

  /** Tells an outage once, however many calls meet it. */
  #noteReach(problem: Fault | null): void {
    const isNews = problem !== null && this.#problem === null;
    this.#problem = problem;
    this.#isReached = problem === null;
    if (isNews) emit('trouble', { where: 'eventstoredb', error: problem });
  }

  #resumesSoFar(): number {
    return [...this.#followers].reduce((sum, { resumes }) => sum + resumes, this.#resumes);
  }

  /** Bytes of log between its last known event and the subscription that is furthest behind. */
  #lag(): number | null {
    const [first, ...others] = [...this.#followers].map(({ last }) => last);
    if (first === undefined) return null;
    const behind = others.reduce((least, last) => (last < least ? last : least), first);
    const head =
      this.#appends.lastPosition > this.#reads.knownHead
        ? this.#appends.lastPosition
        : this.#reads.knownHead;
    return Number(head > behind ? head - behind : 0n);
  }
}

function sizeOf(events: readonly NewEvent[]): number {
  // Counted in UTF-16 units: near enough for a bound on what is held.
  return events.reduce((sum, { data, metadata }) => sum + data.length + metadata.length, 0);
}

function timeoutOf(
  options: EventStoreDBOptions,
  name: 'appendTimeoutMs' | 'readTimeoutMs' | 'connectTimeoutMs',
): number {
  const value = options[name] ?? TIMEOUT_MS;
  const { min, max } = TIMEOUT_BOUNDS_MS;
  if (value >= min && value <= max) return value;
  throw new Error(`${name} is ${String(min)} to ${String(max)} ms, not ${String(value)}`);
}
