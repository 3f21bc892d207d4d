/** The floor under every durable append: the same rows, the same driver, one thread, no checks. */
import { openDatabase } from '../src/adapters/sqlite/driver.js';
import { EVENT_LOG } from '../src/adapters/sqlite/event-log.js';
import type { NewEvent } from '../src/ports/event-store.js';

/** One append as it reached a store. */
export interface RecordedAppend {
  readonly stream: string;
  readonly first: number;
  readonly events: readonly NewEvent[];
}

const INSERT =
  'INSERT INTO events (stream, revision, event_id, type, data, metadata) VALUES (?, ?, ?, ?, ?, ?)';

/**
 * Writes appends in groups of `groupSize`, each in one transaction that waits for the disk.
 * Shape: milliseconds that each group took.
 */
export function writeRaw(
  file: string,
  appends: readonly RecordedAppend[],
  groupSize: number,
): number[] {
  const database = openDatabase(file, { kind: EVENT_LOG, synchronous: 'full' });
  const insert = database.prepare(INSERT);
  const begin = database.prepare('BEGIN IMMEDIATE');
  const commit = database.prepare('COMMIT');
  const took: number[] = [];
  for (let from = 0; from < appends.length; from += groupSize) {
    const startedAt = performance.now();
    begin.run();
    for (const { stream, first, events } of appends.slice(from, from + groupSize)) {
      for (const [index, { id, type, data, metadata }] of events.entries()) {
        const bytes = Buffer.from(id.replaceAll('-', ''), 'hex');
        insert.run(stream, first + index, bytes, type, data, metadata);
      }
    }
    commit.run();
    took.push(performance.now() - startedAt);
  }
  database.close();
  return took;
}
