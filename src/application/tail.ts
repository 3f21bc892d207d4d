import { sleep, type Clock } from '../ports/clock.js';
import {
  STREAM_PREFIX,
  type EventStore,
  type Position,
  type RecordedEvent,
} from '../ports/event-store.js';
import { Fault } from '../ports/faults.js';
import { emit } from '../ports/signals.js';

/** From where and how long a reader follows. */
export interface Following {
  /** Position after which to begin, exclusive; `start` for all events; the next event when absent. */
  readonly after?: Position | 'start';
  /** Only the events of this deployment. */
  readonly deploymentId?: string;
  readonly signal?: AbortSignal;
}

/** Events that may wait for one reader; one that falls behind further reads the log itself again. */
const WAITING_MAX = 256;
/** Events read ahead for a reader that is behind: it may take its time, and what was read is kept meanwhile. */
const PAST_EVENTS = 32;
const RETRY_MS = 1_000;
/** Before the first event of any log. */
const BEFORE_ALL: Position = -1n;

/** A reader that has caught up: what came since it last looked, and how to wake it. */
interface Reader {
  waiting: RecordedEvent[];
  /** Whether more came than may wait: what waited is gone, and the log has it. */
  overrun: boolean;
  wake: () => void;
}

/**
 * One subscription to the log for any number of readers.
 *
 * Readers that have caught up share it; one that begins in the past, or reads too slowly, reads the log
 * by itself until it is level again. So a slow reader costs a bounded queue and delays nobody, and every
 * reader gets each event once and in order.
 */
export class Tail {
  readonly #readers = new Set<Reader>();
  readonly #stop = new AbortController();
  /** The end of each reader: the tail outlives them, and AbortSignal.any would keep a trace of each. */
  readonly #following = new Set<AbortController>();
  /** The last position that was handed to the readers; null before the tail is level with the log. */
  #position: Position | null = null;
  #running: Promise<void> | null = null;
  #level: (() => void)[] = [];

  constructor(
    private readonly store: EventStore,
    private readonly clock: Clock,
  ) {}

  /**
   * Follows the log. Ends by `break`, by the signal, or when the tail is closed.
   * Shape: pages of at least one event, in log order.
   * @throws {Fault} POSITION_INVALID when `after` is beyond the end of the log.
   */
  async *follow(following: Following = {}): AsyncGenerator<readonly RecordedEvent[], void, void> {
    const { after, deploymentId, signal } = following;
    const isWanted = wantedBy(deploymentId);
    let position = await this.beginning(after);
    const end = this.#endOf(signal);
    try {
      for await (const page of this.#pages(position, end.signal)) {
        // Where the log was read last and where the tail is may overlap.
        const from = position;
        const fresh = page.filter((event) => event.position > from);
        position = fresh.at(-1)?.position ?? position;
        const wanted = fresh.filter(isWanted);
        if (wanted.length > 0) yield wanted;
      }
    } finally {
      this.#following.delete(end.controller);
      signal?.removeEventListener('abort', end.stop);
    }
  }

  /** What ends a reader: its own signal, or the tail's. */
  #endOf(signal: AbortSignal | undefined): {
    readonly controller: AbortController;
    readonly signal: AbortSignal;
    readonly stop: () => void;
  } {
    const controller = new AbortController();
    const stop = (): void => controller.abort();
    if (this.#stop.signal.aborted || signal?.aborted === true) stop();
    this.#following.add(controller);
    signal?.addEventListener('abort', stop);
    return { controller, signal: controller.signal, stop };
  }

  /**
   * The position after which a reader begins; before the first event, -1.
   * @throws {Fault} POSITION_INVALID when `after` is beyond the end of the log.
   */
  async beginning(after: Following['after']): Promise<Position> {
    if (after === 'start' || after === BEFORE_ALL) return BEFORE_ALL;
    const head = (await this.store.head()) ?? BEFORE_ALL;
    if (after === undefined) return head;
    if (after > head) {
      throw new Fault(
        'POSITION_INVALID',
        `the log ends at ${String(head)}, before ${String(after)}`,
      );
    }
    return after;
  }

  /** Pages of the log in order: by an own read while behind, from the tail while level with it. */
  async *#pages(from: Position, ends: AbortSignal): AsyncGenerator<readonly RecordedEvent[]> {
    let position = from;
    while (!ends.aborted) {
      await this.#started(ends);
      const reader = this.#join(position);
      const pages = reader === null ? this.#past(position) : this.#shared(reader, ends);
      for await (const page of pages) {
        yield page;
        const reached = page.at(-1)?.position ?? position;
        if (reached > position) position = reached;
        if (isAborted(ends)) return;
      }
    }
  }

  #past(position: Position): AsyncIterable<readonly RecordedEvent[]> {
    const limit = PAST_EVENTS;
    return this.store.readAll(position === BEFORE_ALL ? { limit } : { after: position, limit });
  }

  async *#shared(reader: Reader, ends: AbortSignal): AsyncGenerator<readonly RecordedEvent[]> {
    const wake = (): void => reader.wake();
    ends.addEventListener('abort', wake);
    try {
      while (!isAborted(ends) && !reader.overrun) {
        if (reader.waiting.length === 0) await nextHanding(reader);
        const page = reader.waiting.splice(0);
        if (page.length > 0) yield page;
      }
    } finally {
      ends.removeEventListener('abort', wake);
      this.#readers.delete(reader);
    }
  }

  /** Ends all following. */
  async close(): Promise<void> {
    this.#stop.abort();
    for (const end of this.#following) end.abort();
    await this.#running;
  }

  /** Starts the tail with its first reader and waits until it is level with the log. */
  #started(ends: AbortSignal): Promise<void> {
    this.#running ??= this.#run();
    if (this.#position !== null) return Promise.resolve();
    return new Promise((resolve) => {
      this.#level.push(resolve);
      ends.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** A place among those who share the tail, for a reader that is level with it; null for one that is behind. */
  #join(position: Position): Reader | null {
    if (this.#position === null || position < this.#position) return null;
    const reader: Reader = { waiting: [], overrun: false, wake: () => undefined };
    this.#readers.add(reader);
    return reader;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const after = this.#position ?? (await this.store.head());
        this.#reach(after ?? BEFORE_ALL);
        const subscription =
          after === null || after === BEFORE_ALL ? { signal } : { after, signal };
        for await (const { events } of this.store.subscribe(subscription)) this.#hand(events);
      } catch (error) {
        emit('trouble', { where: 'tail', error });
      }
      await sleep(this.clock, RETRY_MS, signal);
    }
    for (const reader of this.#readers) reader.wake();
  }

  #reach(position: Position): void {
    this.#position = position;
    for (const resolve of this.#level.splice(0)) resolve();
  }

  #hand(events: readonly RecordedEvent[]): void {
    const last = events.at(-1);
    if (last === undefined) return;
    this.#position = last.position;
    for (const reader of this.#readers) {
      if (reader.waiting.length + events.length > WAITING_MAX) {
        reader.overrun = true;
        reader.waiting = [];
      } else if (!reader.overrun) {
        reader.waiting.push(...events);
      }
      reader.wake();
    }
  }
}

function nextHanding(reader: Reader): Promise<void> {
  return new Promise((resolve) => {
    reader.wake = resolve;
  });
}

function wantedBy(deploymentId: string | undefined): (event: RecordedEvent) => boolean {
  if (deploymentId === undefined) return ({ stream }) => stream.startsWith(STREAM_PREFIX);
  const own = STREAM_PREFIX + deploymentId;
  return ({ stream }) => stream === own;
}

/** Asked anew each time: others abort while we wait. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
