import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import type { LogEntry, LogFile, LoggedEvent } from './log.js';

/** An event as a line of the file holds it. */
type StoredEvent = Record<keyof LoggedEvent, string>;

/**
 * Opens a file, one line for each append, that brings a test server's log over kill -9. What a killed
 * process has written stays in the page cache: that is enough for tests, not for a power cut.
 */
export function openLogFile(file: string): LogFile & { close(): void } {
  const handle = openSync(file, 'a');
  return {
    load: () => readFileSync(file, 'utf8').split('\n').filter(isWhole).map(toEntry),
    append: (entry) => {
      writeSync(handle, `${JSON.stringify(toLine(entry))}\n`);
    },
    close: () => closeSync(handle),
  };
}

/** A kill in the middle of a write leaves a last line that was never acknowledged. */
function isWhole(line: string): boolean {
  return line.endsWith('}');
}

type Line =
  | { readonly events: readonly StoredEvent[] }
  | { readonly tombstone: string; readonly position: string };

function toLine(entry: LogEntry): Line {
  return 'tombstone' in entry
    ? { tombstone: entry.tombstone, position: String(entry.position) }
    : { events: entry.events.map(toStored) };
}

function toEntry(line: string): LogEntry {
  const parsed = JSON.parse(line) as Line;
  return 'tombstone' in parsed
    ? { tombstone: parsed.tombstone, position: BigInt(parsed.position) }
    : { events: parsed.events.map(toEvent) };
}

function toEvent(stored: StoredEvent): LoggedEvent {
  const { revision, position, created, data, metadata } = stored;
  return {
    ...stored,
    revision: BigInt(revision),
    position: BigInt(position),
    created: BigInt(created),
    data: Buffer.from(data, 'base64'),
    metadata: Buffer.from(metadata, 'base64'),
  };
}

function toStored(event: LoggedEvent): StoredEvent {
  const { revision, position, created, data, metadata } = event;
  return {
    ...event,
    revision: String(revision),
    position: String(position),
    created: String(created),
    data: data.toString('base64'),
    metadata: metadata.toString('base64'),
  };
}
