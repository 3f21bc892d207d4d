/**
 * A process that owns a log, for tests that kill, freeze or starve one. It prints a line of JSON for
 * whatever happens and ends by itself when all is done.
 *
 * Arguments: the file, then options as JSON.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { openSqliteEventStore } from '../../src/adapters/sqlite/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import type { EventStore } from '../../src/ports/event-store.js';
import { isFault } from '../../src/ports/faults.js';
import { eventsOf, idsOf, newEvents, newStream } from './stored-events.js';

export interface LogProcessOptions {
  /** Appends at the same time, each to a stream of its own. */
  readonly writers: number;
  /** Appends of each writer. */
  readonly appends: number;
  /** Events of each append; one by default. */
  readonly events?: number;
  /** Characters of the data of each event. */
  readonly length?: number;
  /** Tells first what the log holds. */
  readonly reads?: true;
  /** When commits wait for the disk, if not always. */
  readonly synchronous?: 'normal';
  /** A file that fills the disk with so many bytes, and goes away when an append finds no room. */
  readonly filler?: { readonly file: string; readonly bytes: number };
  /** What happens when the work is done. */
  readonly then: 'close' | 'wait' | 'end';
}

/** One line of it. */
export type LogProcessLine =
  | { readonly type: 'opened' | 'closed' | 'resumed' }
  | { readonly type: 'read' | 'acknowledged'; readonly ids: readonly string[] }
  | { readonly type: 'refused' | 'fatal'; readonly code: string; readonly detail: string }
  | { readonly type: 'full'; readonly problem: string | null; readonly readable: number };

const [file = '', json = '{}'] = process.argv.slice(2);
const options = JSON.parse(json) as LogProcessOptions;
const say = (line: LogProcessLine): void => {
  process.stdout.write(`${JSON.stringify(line)}\n`);
};

try {
  const store = await openSqliteEventStore({
    file,
    clock: systemClock,
    ...(options.synchronous !== undefined && { unsafeSynchronous: options.synchronous }),
    onFatal: ({ code, message }) => {
      say({ type: 'fatal', code, detail: message });
      process.exitCode = 74;
    },
  });
  say({ type: 'opened' });
  if (options.reads) say({ type: 'read', ids: idsOf(await eventsOf(store.readAll())) });
  const { filler, writers } = options;
  if (filler !== undefined) writeFileSync(filler.file, Buffer.alloc(filler.bytes));
  await Promise.all(Array.from({ length: writers }, () => write(store)));
  if (options.then === 'close') await store.close();
  if (options.then === 'close') say({ type: 'closed' });
  if (options.then === 'wait') process.stdin.resume();
} catch (error) {
  if (!isFault(error)) throw error;
  say({ type: 'refused', code: error.code, detail: error.message });
}

async function write(store: EventStore): Promise<void> {
  const stream = newStream();
  const data = JSON.stringify('x'.repeat(options.length ?? 300));
  const { appends, events: count = 1 } = options;
  const metadata = JSON.stringify({ events: count });
  for (let append = 0; append < appends; append++) {
    const events = newEvents(count, { data, metadata });
    const expected = append === 0 ? 'no_stream' : BigInt(append * count - 1);
    try {
      await store.append(stream, expected, events);
    } catch (error) {
      if (!isFault(error)) throw error;
      say({ type: 'refused', code: error.code, detail: error.message });
      if (error.code !== 'STORE_FULL' || options.filler === undefined) return;
      await makeRoom(store, options.filler.file);
      await store.append(stream, expected, events);
    }
    say({ type: 'acknowledged', ids: idsOf(events) });
  }
}

/** Reads all that is there on the full disk, makes room, and waits until the store has noticed it. */
async function makeRoom(store: EventStore, filler: string): Promise<void> {
  const readable = (await eventsOf(store.readAll())).length;
  say({ type: 'full', problem: store.health().problem, readable });
  rmSync(filler);
  while (store.health().problem !== null) await setTimeout(20); // keeps the process alive
  say({ type: 'resumed' });
}
