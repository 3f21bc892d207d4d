import type { DeploymentId } from '../domain/event-schema.js';
import { STREAM_PREFIX, type RecordedEvent, type Revision } from '../ports/event-store.js';
import { Fault } from '../ports/faults.js';
import { BoundedMap, deploymentIdOf, readEventOf, type ReadEvent } from './fold.js';

/** Where a feed left something out: the stream, and the revision that should have come next. */
export interface Hole {
  readonly stream: string;
  readonly expected: Revision;
}

/** What is known of a stream that was read. */
interface Known {
  readonly deploymentId: DeploymentId | null;
  last: Revision;
}

/** Streams that are remembered. The next event of one that was forgotten is not checked. */
const STREAMS_MAX = 20_000;

/**
 * Reads the events of a feed and sees to it that none is left out: revisions of a stream follow each
 * other without gaps.
 *
 * The first time that one is missing, reading fails, so that the feed is asked again from the last
 * checkpoint. If it is missing again, the log itself has the hole, and the stream is poison from there.
 */
export class FeedReader {
  readonly #known = new BoundedMap<Known>(STREAMS_MAX);
  #hole: Hole | null;

  /** `hole` is one that an earlier reader met: where it is met again, it is confirmed. */
  constructor(hole: Hole | null) {
    this.#hole = hole;
  }

  /** The hole that was met; null when there is none, or it was closed. */
  get hole(): Hole | null {
    return this.#hole;
  }

  /**
   * Reads the next events of our streams.
   * @throws {Fault} STORE_UNAVAILABLE when one is missing for the first time; begin with a new reader.
   */
  read(records: readonly RecordedEvent[]): readonly ReadEvent[] {
    const events: ReadEvent[] = [];
    for (const record of records) {
      const { stream, revision } = record;
      let known = this.#known.get(stream);
      let expected = known === undefined ? this.#askedAgain(record) : known.last + 1n;
      if (known === undefined) {
        if (!stream.startsWith(STREAM_PREFIX)) continue;
        known = { deploymentId: deploymentIdOf(stream), last: revision };
        this.#known.set(stream, known);
        expected ??= revision;
      }
      known.last = revision;
      const event = readEventOf(known.deploymentId, record);
      events.push(revision === expected ? event : this.#odd(event, expected ?? revision));
    }
    return events;
  }

  /** The revision that is asked for again, when an event of its stream comes that lies beyond it. */
  #askedAgain({ stream, revision }: RecordedEvent): Revision | null {
    const hole = this.#hole;
    return hole?.stream === stream && revision > hole.expected ? hole.expected : null;
  }

  #odd(event: ReadEvent, expected: Revision): ReadEvent {
    const { stream, revision } = event;
    const problem = `revision ${String(revision)} of ${stream} came instead of ${String(expected)}`;
    if (this.#hole?.stream === stream && this.#hole.expected === expected) {
      this.#hole = null;
      return { ...event, parsed: { ok: false, problem: `${problem}: the log has a hole` } };
    }
    this.#hole = { stream, expected };
    throw new Fault('STORE_UNAVAILABLE', `${problem}: the feed left events out`);
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
