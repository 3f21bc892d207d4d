import type { RecordedEvent, Revision } from '../ports/event-store.js';
import { Fault } from '../ports/faults.js';
import { RecentMap, type ReadEvent } from './fold.js';

/** Where a feed left something out: the stream, and the revision that should have come next. */
export interface Hole {
  readonly stream: string;
  readonly expected: Revision;
}

/** Streams whose last revision is remembered. A stream that was forgotten is not checked. */
const STREAMS_MAX = 20_000;

/**
 * Sees to it that a feed leaves no event out: revisions of a stream follow each other without gaps.
 *
 * The first time that one is missing, the batch fails, so that the feed is asked again from the last
 * checkpoint. If it is missing again, the log itself has the hole, and the stream is poison from there.
 */
export class FeedGuard {
  readonly #last = new RecentMap<Revision>(STREAMS_MAX);
  #hole: Hole | null;

  /** `hole` is one that an earlier guard met: where it is met again, it is confirmed. */
  constructor(hole: Hole | null) {
    this.#hole = hole;
  }

  /** The hole that was met; null when there is none, or it was closed. */
  get hole(): Hole | null {
    return this.#hole;
  }

  /**
   * Gives back the events, those after a confirmed hole as poison.
   * @throws {Fault} STORE_UNAVAILABLE when an event is missing for the first time.
   */
  inspect(events: readonly ReadEvent[]): readonly ReadEvent[] {
    const seen = new Map<string, Revision>();
    return events.map((event) => {
      const { stream, revision } = event;
      const last = seen.get(stream) ?? this.#last.get(stream);
      seen.set(stream, revision);
      const asked = this.#hole?.stream === stream ? this.#hole.expected : null;
      const expected = last === undefined ? asked : last + 1n;
      if (asked !== null && revision >= asked) this.#hole = null;
      // Without a memory of the stream, only what lies beyond the hole that was asked about is odd.
      const follows =
        expected === null || (last === undefined ? revision <= expected : revision === expected);
      return follows ? event : this.#odd(event, expected, asked === expected);
    });
  }

  #odd(event: ReadEvent, expected: Revision, confirmed: boolean): ReadEvent {
    const { stream, revision } = event;
    const problem = `revision ${String(revision)} of ${stream} came instead of ${String(expected)}`;
    if (confirmed)
      return { ...event, parsed: { ok: false, problem: `${problem}: the log has a hole` } };
    this.#hole = { stream, expected };
    throw new Fault('STORE_UNAVAILABLE', `${problem}: the feed left events out`);
  }

  /** Takes note of events that are committed. */
  passed(events: readonly ReadEvent[]): void {
    for (const { stream, revision } of events) this.#last.set(stream, revision);
  }
}

/** The events by position, each once; the same list when it is in order already. */
export function inOrder(records: readonly RecordedEvent[]): readonly RecordedEvent[] {
  const sorted = records.every(
    ({ position }, n) => n === 0 || position > (records[n - 1]?.position ?? position),
  );
  if (sorted) return records;
  const byPosition = new Map(records.map((record) => [record.position, record]));
  return [...byPosition.values()].sort((a, b) => (a.position < b.position ? -1 : 1));
}
