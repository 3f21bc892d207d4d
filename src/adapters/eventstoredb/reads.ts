import type { ReadReq, ReadResp } from '@eventstore/db-client/generated/streams_pb.js';
import { sleep, type Clock } from '../../ports/clock.js';
import {
  STREAM_PREFIX,
  type LogRange,
  type Position,
  type RecordedEvent,
  type Revision,
  type StreamRange,
} from '../../ports/event-store.js';
import { Fault } from '../../ports/faults.js';
import type { Connection } from './connection.js';
import { isNotLeader, isRefused, readFault, streamDeleted } from './failures.js';
import {
  isWithin,
  logRequest,
  positionOf,
  streamRequest,
  toRecorded,
  type PageRange,
} from './messages.js';
import { readPage } from './read-call.js';
import type { Session } from './session.js';

/** What reads work with. */
export interface ReadsOptions {
  readonly session: Session;
  readonly clock: Clock;
  /** Chance from 0 to below 1, for jitter. */
  readonly random: () => number;
  /** How long the server may be silent during a read. Milliseconds. */
  readonly timeoutMs: number;
  /** What the server's names of our streams begin with. */
  readonly streamPrefix: string;
}

/** Events of one page: one round trip, a few hundred KiB at the usual size. */
const PAGE_SIZE = 500;
/** The end of the log is searched in pages that grow from this. */
const HEAD_PAGE_MIN = 8;
/** How often a read is tried: on a new connection, or at the leader that was named. */
const ATTEMPTS_MAX = 3;
const RETRY_MS = 20;
/** `$tb` of a deleted stream: nothing below this revision is shown. */
const DELETED_BEFORE = 2n ** 63n - 1n;

/** Where the log's end was: its last event of ours up to a position. */
interface KnownEnd {
  readonly upTo: Position;
  readonly head: Position | null;
}
const NOTHING_KNOWN: KnownEnd = { upTo: 0n, head: null };

interface LogPage {
  readonly events: readonly RecordedEvent[];
  readonly last: Position | null;
}

/** Reads pages. Everything is asked of the leader, so that what was acknowledged is seen. */
export class Reads {
  readonly #options: ReadsOptions;
  readonly #ours: Uint8Array;
  #known: KnownEnd = NOTHING_KNOWN;
  /** The look for the last event of ours that is under way, and the one after it. */
  #looking: Promise<Position | null> | null = null;
  #nextLook: Promise<Position | null> | null = null;

  constructor(options: ReadsOptions) {
    this.#options = options;
    this.#ours = Buffer.from(options.streamPrefix + STREAM_PREFIX);
  }

  /** The last event of ours that is known; 0 when none is. */
  get knownHead(): Position {
    return this.#known.head ?? 0n;
  }

  /** Reads a stream, by the server's name, in pages; none when there is no such stream. */
  async *stream(stream: string, range: StreamRange): AsyncGenerator<readonly RecordedEvent[]> {
    let rest: StreamRange | null = range;
    while (rest !== null) {
      const request = pageOf(rest);
      if (request.count <= 0) return;
      const page = await this.#streamPage(stream, request);
      const events = page.filter(({ revision }) => !isPast(revision, range));
      if (events.length > 0) yield events;
      rest = events.length < request.count ? null : restOf(rest, events);
    }
  }

  /** Reads our events of the whole log in pages, up to a position; a page ahead of who takes them. */
  async *log(
    { after = 0n, limit = Infinity }: LogRange,
    end: Promise<Position | null>,
  ): AsyncGenerator<readonly RecordedEvent[]> {
    assertPosition(after);
    const upTo = (await end) ?? 0n;
    const ahead = (from: Position | null, wanted: number): Promise<LogPage> | null => {
      if (from === null || from >= upTo || wanted <= 0) return null;
      const page = this.#logPage(from, upTo);
      // Who leaves in between does not hear of its failure any more.
      page.catch(() => undefined);
      return page;
    };
    let left = limit;
    let next = ahead(after, left);
    while (next !== null) {
      const { events, last } = await next;
      const wanted = events.slice(0, left);
      left -= wanted.length;
      next = ahead(last, left);
      if (wanted.length > 0) yield wanted;
    }
  }

  /** The position of the last event in the log, whoever wrote it; null when there is none. */
  async end(): Promise<Position | null> {
    const range: PageRange<Position> = { from: 'end', count: 1, backward: true };
    const [last] = await this.#page(logRequest(range), positionOf);
    return last ?? null;
  }

  /**
   * The position of the last event of ours in the log; null when there is none.
   * Cost: a round trip, and more for what others have written since it was asked last; shared by those
   * who ask at one time.
   */
  head(): Promise<Position | null> {
    const under = this.#looking;
    if (under === null) return this.#look();
    // It may have looked before the caller's last append; all who ask meanwhile share the next look.
    this.#nextLook ??= under
      .catch(() => undefined)
      .then(() => {
        this.#nextLook = null;
        return this.#look();
      });
    return this.#nextLook;
  }

  #look(): Promise<Position | null> {
    const looking = this.#findHead().finally(() => (this.#looking = null));
    this.#looking = looking;
    return looking;
  }

  async #findHead(): Promise<Position | null> {
    let range: PageRange<Position> = { from: 'end', count: HEAD_PAGE_MIN, backward: true };
    let upTo: Position | null = null;
    while (true) {
      const page: readonly Place[] = await this.#page(logRequest(range), (event) => ({
        position: positionOf(event),
        isOurs: isWithin(event, this.#ours),
      }));
      upTo ??= this.#beginKnowing(page);
      const [found, last] = [positionOfFirst(page.filter(({ isOurs }) => isOurs)), page.at(-1)];
      if (found > this.#known.upTo) return this.#know({ upTo, head: found });
      if (last === undefined || last.position <= this.#known.upTo || page.length < range.count) {
        return this.#know({ upTo, head: this.#known.head });
      }
      range = { ...range, from: last.position, count: Math.min(PAGE_SIZE, range.count * 4) };
    }
  }

  /** The position of an event; that of the log's end when a truncation hides it. */
  async positionAt(stream: string, revision: Revision): Promise<Position> {
    const [event] = await this.#streamPage(stream, { from: revision, count: 1 });
    return event?.revision === revision ? event.position : ((await this.end()) ?? 0n);
  }

  /** The log's end; one that has become shorter is another log than the one that was known. */
  #beginKnowing(lastPage: readonly Place[]): Position {
    const upTo = positionOfFirst(lastPage);
    if (upTo < this.#known.upTo) this.#known = NOTHING_KNOWN;
    return upTo;
  }

  #know(end: KnownEnd): Position | null {
    if (end.upTo > this.#known.upTo) this.#known = end;
    return end.head;
  }

  async #streamPage(stream: string, range: PageRange<Revision>): Promise<readonly RecordedEvent[]> {
    const { streamPrefix } = this.#options;
    const take = (event: ReadResp.ReadEvent): RecordedEvent => toRecorded(event, streamPrefix);
    const page = await this.#attempt(streamRequest(stream, range), take, stream);
    if (page !== null) return page;
    // Deleted and missing look alike; that a history was hidden must not pass for its absence.
    const settingsRange: PageRange<Revision> = { from: 'end', count: 1, backward: true };
    const settings = await this.#attempt(streamRequest(`$$${stream}`, settingsRange), take, stream);
    const before = /"\$tb":\s*(\d{1,19})\b/.exec(settings?.[0]?.data ?? '')?.[1] ?? 0;
    if (BigInt(before) === DELETED_BEFORE) throw streamDeleted(stream);
    return [];
  }

  /**
   * Our events after a position, and where to go on; null at the end. The log may be shared: what is not
   * ours is passed over here, since the server filters nothing but subscriptions.
   */
  async #logPage(after: Position, upTo: Position): Promise<LogPage> {
    // The event at the position comes again, so one more is asked for.
    const count = PAGE_SIZE + 1;
    const request = logRequest({ from: after === 0n ? 'start' : after, count });
    let last = after;
    const page = await this.#page(request, (event) => {
      last = positionOf(event);
      const isWanted = last > after && last <= upTo && isWithin(event, this.#ours);
      return isWanted ? toRecorded(event, this.#options.streamPrefix) : null;
    });
    const events = page.filter((event) => event !== null);
    return { events, last: page.length === count ? last : null };
  }

  async #page<T>(request: ReadReq, take: (event: ReadResp.ReadEvent) => T): Promise<readonly T[]> {
    return (await this.#attempt(request, take, 'the log')) ?? [];
  }

  /** Reads one page, and again where that may help. `what` names it to people. */
  async #attempt<T>(
    request: ReadReq,
    take: (event: ReadResp.ReadEvent) => T,
    what: string,
  ): Promise<readonly T[] | null> {
    const { session, clock, random, timeoutMs } = this.#options;
    for (let attempt = 1; ; attempt += 1) {
      const connection = await session.connection();
      const { node } = connection;
      try {
        return await readPage({ connection, clock, timeoutMs, request, take });
      } catch (error) {
        const fault = readFault(error, what);
        const mayPass = fault.code === 'STORE_UNAVAILABLE' && !isRefused(error);
        if (mayPass && !isNotLeader(error)) this.#giveUp(connection, node, error);
        if (!mayPass || error instanceof Fault || attempt === ATTEMPTS_MAX) throw fault;
        await sleep(clock, RETRY_MS * attempt * (0.5 + random()));
      }
    }
  }

  /** A server that answers others is slow, and not gone. */
  #giveUp(connection: Connection, node: string | null, error: unknown): void {
    const { session, clock, timeoutMs } = this.#options;
    const silentMs = clock.monotonicMs() - connection.heardAtMs;
    if (error instanceof Fault && silentMs < timeoutMs / 2) return;
    session.retire(connection, { silent: error instanceof Fault ? node : null });
  }
}

/** An event's place in the log, and whether it is one of ours. */
interface Place {
  readonly position: Position;
  readonly isOurs: boolean;
}

/**
 * Refuses what can be no position.
 * @throws {Fault} POSITION_INVALID.
 */
export function assertPosition(position: Position): void {
  if (position < 0n || position >= 2n ** 63n) {
    throw new Fault('POSITION_INVALID', `${String(position)} is no position in the log`);
  }
}

/** The next page of a range of a stream. */
function pageOf(range: StreamRange): PageRange<Revision> {
  const backward = range.direction === 'backward';
  const { from, to, limit = Infinity } = range;
  const [low, high] = backward ? [to ?? 0n, from] : [from ?? 0n, to];
  const length = high === undefined ? Infinity : Number(high - low) + 1;
  return {
    from: from ?? (backward ? 'end' : 'start'),
    count: Math.min(PAGE_SIZE, limit, length),
    backward,
  };
}

/** What remains of a range after these events; null when nothing can come any more. */
function restOf(range: StreamRange, events: readonly RecordedEvent[]): StreamRange | null {
  const last = events.at(-1)?.revision ?? 0n;
  const isBackward = range.direction === 'backward';
  if (isBackward && last === 0n) return null;
  const { limit } = range;
  return {
    ...range,
    from: isBackward ? last - 1n : last + 1n,
    ...(limit !== undefined && { limit: limit - events.length }),
  };
}

function isPast(revision: Revision, { to, direction }: StreamRange): boolean {
  if (to === undefined) return false;
  return direction === 'backward' ? revision < to : revision > to;
}

function positionOfFirst([first]: readonly Place[]): Position {
  return first?.position ?? 0n;
}
