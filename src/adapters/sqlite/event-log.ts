import type { NewEvent, RecordedEvent } from '../../ports/event-store.js';
import type { FileKind } from './driver.js';

/**
 * The log's file. Positions count up without gaps, because one connection writes them in order; ids are
 * 16 bytes instead of 36 letters, which saves a sixth of the file.
 */
export const EVENT_LOG: FileKind = {
  name: 'event store',
  applicationId: 0x5348_4c45, // SHLE
  userVersion: 1,
  schema: `
    CREATE TABLE events (
      position INTEGER PRIMARY KEY AUTOINCREMENT,
      stream TEXT NOT NULL,
      revision INTEGER NOT NULL,
      event_id BLOB NOT NULL UNIQUE,
      type TEXT NOT NULL,
      data TEXT NOT NULL,
      metadata TEXT NOT NULL,
      UNIQUE (stream, revision)
    ) STRICT;
    -- Positions that were acknowledged, then gone, and given up by an operator.
    CREATE TABLE losses (first INTEGER NOT NULL, last INTEGER NOT NULL) STRICT;
    -- Written and deleted again to see whether the disk has room.
    CREATE TABLE room (filler BLOB NOT NULL) STRICT`,
};

/**
 * What an event is read as, in this order. Making the id's text from a blob in SQL costs half of what a
 * blob costs on its way into JavaScript, and small integers are cheaper than bigints.
 */
export const EVENT_COLUMNS =
  'position, stream, revision, lower(hex(event_id)), type, data, metadata';
export type EventRow = readonly [number, string, number, string, string, string, string];

/** An event of the port from a row of `EVENT_COLUMNS`. */
export function toEvent(row: EventRow): RecordedEvent {
  const [position, stream, revision, hex, type, data, metadata] = row;
  return {
    id: `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`,
    type,
    data,
    metadata,
    stream,
    revision: BigInt(revision),
    position: BigInt(position),
  };
}

/** The revision before the first: what a stream that does not exist is at. */
export const NO_REVISION = -1;

/** One append as the writer sees it. Revisions and positions stay far below 2^53. */
export interface AppendRequest {
  readonly stream: string;
  /** Revision that the stream must be at; `NO_REVISION` for none. */
  readonly expected: number;
  readonly events: readonly NewEvent[];
}

/** What became of one append: where it ended, or (position 0) the revision that the stream is at. */
export interface AppendOutcome {
  readonly revision: number;
  readonly position: number;
}
