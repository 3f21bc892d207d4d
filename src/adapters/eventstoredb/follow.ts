import type { ReadResp } from '@eventstore/db-client/generated/streams_pb.js';
import { sleep, type Clock } from '../../ports/clock.js';
import {
  STREAM_PREFIX,
  type Delivery,
  type Position,
  type RecordedEvent,
  type Subscription,
} from '../../ports/event-store.js';
import { Fault, isFault } from '../../ports/faults.js';
import type { Connection, ReadCall } from './connection.js';
import { isConnectionLost, isNotLeader, readFault } from './failures.js';
import { followRequest, toRecorded } from './messages.js';
import { assertPosition, type Reads } from './reads.js';
import type { Session } from './session.js';

/** What subscriptions work with. */
export interface FollowOptions {
  readonly session: Session;
  readonly reads: Reads;
  readonly clock: Clock;
  /** Chance from 0 to below 1, for jitter. */
  readonly random: () => number;
  /** Silence after which it is looked whether events are missing. Milliseconds. */
  readonly silenceMs: number;
  /** What the server's names of our streams begin with. */
  readonly streamPrefix: string;
  /** Aborted when the store is closed. */
  readonly closed: AbortSignal;
}

/** Events handed over at once. */
const DELIVERY_EVENTS_MAX = 1_000;
/** Events of one burst that are waited for together. */
const BURST_EVENTS_MAX = 250;
/** Events held for a reader that is slow; then the server waits. Bytes, roughly. */
const HELD_BYTES_MAX = 8 * 1024 * 1024;
/** The server says how far it is after so many events of others: a sign of life, nothing more. */
const CHECKPOINT_EVERY = 32 * 1024;
const BACKOFF_MIN_MS = 50;
const BACKOFF_MAX_MS = 1_000;
/** Positions remembered to tell a duplicate from an event that was left out before. */
const RECENT_MAX = 4_096;
/** How often a resumed reader looks for a log's end that has fallen behind it; then the tail is lost. */
const SHORT_LOG_LOOKS_MAX = 5;

/** One reader that follows the log. Resumes by itself, always after the last event that it has seen. */
export class Follower {
  readonly #options: FollowOptions;
  readonly #signal: AbortSignal;
  readonly #recent = new RecentPositions();
  #last: Position;
  #hasBegun = false;
  #failures = 0;
  #looks = 0;
  /** How often a subscription that had begun was dropped, and begun again. */
  resumes = 0;

  constructor(options: FollowOptions, { after = 0n, signal }: Subscription) {
    this.#options = options;
    this.#last = after;
    this.#signal =
      signal === undefined ? options.closed : AbortSignal.any([signal, options.closed]);
  }

  /** The position of the last event that was handed over, or of where it begins. */
  get last(): Position {
    return this.#last;
  }

  /** Hands over what is there, then what comes, until it is left or aborted. */
  async *deliveries(): AsyncGenerator<Delivery> {
    assertPosition(this.#last);
    while (!this.#signal.aborted) {
      const feed = await this.#begin();
      if (feed === null) continue;
      try {
        let delivery: Delivery | null;
        while ((delivery = await this.#next(feed)) !== null) yield delivery;
      } finally {
        feed.cancel();
      }
      if (feed.problem === null) return;
      this.resumes += 1;
      const silent = feed.problem instanceof Fault ? feed.node : null;
      if (isConnectionLost(feed.problem)) this.#options.session.retire(feed.connection, { silent });
      await this.#backOff(feed.problem);
    }
  }

  /** Subscribes; null when that failed and was waited out. */
  async #begin(): Promise<Feed | null> {
    try {
      await this.#assertWithinLog();
      const { session, streamPrefix } = this.#options;
      const connection = await session.connection();
      const feed = new Feed(connection, streamPrefix);
      const request = followRequest({
        after: this.#last === 0n ? null : this.#last,
        prefix: streamPrefix + STREAM_PREFIX,
        checkpointEvery: CHECKPOINT_EVERY,
      });
      await connection.read(request, false, (call) => feed.begin(call));
      this.#hasBegun = true;
      return feed;
    } catch (error) {
      if (isFault(error, 'POSITION_INVALID')) throw error;
      await this.#backOff(error);
      return null;
    }
  }

  /**
   * A server takes a position beyond its end, and then leaves out all events below it in silence. A new
   * leader may need a moment to show all that the old one had shown.
   */
  async #assertWithinLog(): Promise<void> {
    if (this.#last === 0n) return;
    const end = await this.#options.reads.end();
    if (end !== null && this.#last <= end) {
      this.#looks = 0;
      return;
    }
    this.#looks += 1;
    const [at, ends] = [String(this.#last), String(end ?? 'its start')];
    if (!this.#hasBegun) {
      throw new Fault('POSITION_INVALID', `position ${at} is beyond the log's end, ${ends}`);
    }
    if (this.#looks >= SHORT_LOG_LOOKS_MAX) {
      const detail = `the log ends at ${ends}, before position ${at} that was read from it: it lost its tail`;
      throw new Fault('POSITION_INVALID', detail);
    }
    throw new Fault('STORE_UNAVAILABLE', `the log ends at ${ends}, before position ${at}`);
  }

  async #next(feed: Feed): Promise<Delivery | null> {
    while (!this.#signal.aborted) {
      const delivery = await feed.next({
        signal: this.#signal,
        clock: this.#options.clock,
        silenceMs: this.#options.silenceMs,
      });
      if (delivery === 'over') return null;
      if (delivery === 'silent') {
        if (await this.#isMissingEvents()) feed.end(new Error('it fell silent'));
        continue;
      }
      this.#failures = 0;
      const events = this.#inOrder(delivery.events);
      this.#last = events.at(-1)?.position ?? this.#last;
      if (events.length > 0 || delivery.events.length === 0) return { ...delivery, events };
    }
    return null;
  }

  /** A quiet log and a connection that is dead look alike: the log's end tells them apart. */
  async #isMissingEvents(): Promise<boolean> {
    try {
      return ((await this.#options.reads.head()) ?? 0n) > this.#last;
    } catch {
      return true;
    }
  }

  /** The events after the last one, each once and in order. */
  #inOrder(events: readonly RecordedEvent[]): readonly RecordedEvent[] {
    let last = this.#last;
    const isGrowing = events.every(({ position }) => {
      const isNext = position > last;
      last = position;
      return isNext;
    });
    const ordered = isGrowing ? events : this.#sorted(events);
    for (const { position } of ordered) this.#recent.add(position);
    return ordered;
  }

  #sorted(events: readonly RecordedEvent[]): readonly RecordedEvent[] {
    const byPosition = new Map(events.map((event) => [event.position, event]));
    const ordered = [...byPosition.values()].sort((a, b) => (a.position < b.position ? -1 : 1));
    const late = ordered.find(
      ({ position }) => position <= this.#last && !this.#recent.has(position),
    );
    if (late !== undefined) {
      const detail = `event ${String(late.revision)} of ${late.stream} came after later ones: the reading must begin again before it`;
      throw new Fault('STORE_UNAVAILABLE', detail);
    }
    return ordered.filter(({ position }) => position > this.#last);
  }

  /** Waits before it is tried again. */
  async #backOff(error: unknown): Promise<void> {
    if (this.#signal.aborted) return;
    const fault = readFault(error, 'the log');
    if (fault.code === 'POSITION_INVALID') throw fault;
    const { clock, random } = this.#options;
    const backoffMs = Math.min(BACKOFF_MAX_MS, BACKOFF_MIN_MS * 2 ** Math.min(this.#failures, 10));
    this.#failures += isNotLeader(error) ? 0 : 1;
    await sleep(clock, backoffMs * (0.5 + random() / 2), this.#signal);
  }
}

interface Patience {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly silenceMs: number;
}

/** One subscription at the server, with what it has sent and nobody has taken yet. */
class Feed {
  #events: RecordedEvent[] = [];
  #heldBytes = 0;
  #call: ReadCall | null = null;
  #isPaused = false;
  #isLive = false;
  /** Whether it was told that the end is reached. */
  #isTold = false;
  #problem: unknown = null;
  #isOver = false;
  #isWaking = false;
  #wake: () => void = () => undefined;
  /** The node at the other end; null before it has begun. */
  node: string | null = null;

  constructor(
    readonly connection: Connection,
    private readonly streamPrefix: string,
  ) {}

  /** Why it is over; null while it is not, and when it was left. */
  get problem(): unknown {
    return this.#problem;
  }

  begin(call: ReadCall): void {
    this.node = this.connection.node;
    this.#call = call;
    // First of all: an error without a listener would end the process.
    call.on('error', (error) => this.end(error));
    call.on('end', () => this.end(new Error('it ended the subscription')));
    call.on('data', (message: ReadResp) => this.#take(message));
  }

  cancel(): void {
    this.#call?.cancel();
  }

  /** What has come; waits until something has. */
  async next(patience: Patience): Promise<Delivery | 'silent' | 'over'> {
    if (!this.#hasNews) await this.#news(patience);
    if (this.#hasNews) return this.#handOver();
    return this.#isOver || patience.signal.aborted ? 'over' : 'silent';
  }

  get #hasNews(): boolean {
    return this.#events.length > 0 || (this.#isLive && !this.#isTold);
  }

  #handOver(): Delivery {
    const isAll = this.#events.length <= DELIVERY_EVENTS_MAX;
    const events = isAll ? this.#events : this.#events.slice(0, DELIVERY_EVENTS_MAX);
    this.#events = isAll ? [] : this.#events.slice(DELIVERY_EVENTS_MAX);
    if (isAll) this.#heldBytes = 0;
    const caughtUp = isAll && this.#isLive;
    this.#isTold ||= caughtUp;
    if (isAll && this.#isPaused) {
      this.#isPaused = false;
      this.#call?.resume();
    }
    return { events, caughtUp };
  }

  #news({ signal, clock, silenceMs }: Patience): Promise<void> {
    if (this.#isOver || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        cancelSilence();
        signal.removeEventListener('abort', done);
        this.#wake = () => undefined;
        resolve();
      };
      const cancelSilence = clock.after(silenceMs, done);
      signal.addEventListener('abort', done, { once: true });
      this.#wake = done;
    });
  }

  #take(message: ReadResp): void {
    this.connection.heard();
    const event = message.getEvent();
    if (event !== undefined) this.#hold(event);
    else if (message.hasCaughtUp()) this.#isLive = true;
    else if (message.hasFellBehind()) [this.#isLive, this.#isTold] = [false, false];
    if (this.#hasNews) this.#wakeSoon();
  }

  #hold(event: ReadResp.ReadEvent): void {
    try {
      const recorded = toRecorded(event, this.streamPrefix);
      this.#events.push(recorded);
      this.#heldBytes += recorded.data.length + recorded.metadata.length;
    } catch (error) {
      this.end(error);
      return;
    }
    const isFull = this.#events.length >= DELIVERY_EVENTS_MAX || this.#heldBytes >= HELD_BYTES_MAX;
    if (!isFull || this.#isPaused) return;
    this.#isPaused = true;
    this.#call?.pause();
  }

  /** What comes in one go is handed over in one go: as long as each turn brings more, up to a bound. */
  #wakeSoon(): void {
    if (this.#isWaking) return;
    this.#isWaking = true;
    const wakeUnlessMore = (seen: number): void => {
      const { length } = this.#events;
      if (length > seen && length < BURST_EVENTS_MAX) {
        setImmediate(wakeUnlessMore, length);
        return;
      }
      this.#isWaking = false;
      this.#wake();
    };
    setImmediate(wakeUnlessMore, this.#events.length);
  }

  end(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#problem = error;
    this.#wakeSoon();
  }
}

/** Remembers positions, the last few thousand. */
class RecentPositions {
  #young = new Set<Position>();
  #old = new Set<Position>();

  add(position: Position): void {
    this.#young.add(position);
    if (this.#young.size < RECENT_MAX / 2) return;
    this.#old = this.#young;
    this.#young = new Set();
  }

  has(position: Position): boolean {
    return this.#young.has(position) || this.#old.has(position);
  }
}
