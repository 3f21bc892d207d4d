import { randomUUID } from 'node:crypto';
import {
  STREAM_PREFIX,
  type EventStore,
  type NewEvent,
  type Position,
  type RecordedEvent,
} from '../../src/ports/event-store.js';

/** So many events that no store has seen yet. */
export function newEvents(count = 1, content: Partial<NewEvent> = {}): NewEvent[] {
  return Array.from({ length: count }, (_, index) => ({
    id: randomUUID(),
    type: 'state_transition',
    data: JSON.stringify({ index }),
    metadata: '{"schemaVersion":1}',
    ...content,
  }));
}

/** All events of some pages, in order. */
export async function eventsOf(
  pages: AsyncIterable<readonly RecordedEvent[]>,
): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for await (const page of pages) events.push(...page);
  return events;
}

/** The ids, in order. */
export function idsOf(events: readonly NewEvent[]): string[] {
  return events.map(({ id }) => id);
}

/** A stream that no store has seen yet. */
export function newStream(): string {
  return `${STREAM_PREFIX}${randomUUID()}`;
}

/** So many streams that no store has seen yet. */
export function newStreams(count: number): string[] {
  return Array.from({ length: count }, newStream);
}

/** Where the log ends, as a place to begin after. */
export async function headOf(store: EventStore): Promise<Position> {
  return (await store.head()) ?? 0n;
}

/** The events of these streams; a log may be shared. */
export function within(
  streams: readonly string[],
  events: readonly RecordedEvent[],
): RecordedEvent[] {
  const names = new Set(streams);
  return events.filter(({ stream }) => names.has(stream));
}

/** Whether the events stand in log order, none twice. */
export function isGrowing(events: readonly RecordedEvent[]): boolean {
  return events.every(({ position }, index) => {
    const before = events[index - 1];
    return before === undefined || position > before.position;
  });
}

/** The first of at least one. */
export function one<T>(items: readonly T[]): T {
  const [item] = items;
  if (item === undefined) throw new Error('nothing there');
  return item;
}

/** Takes the first thing that comes, and leaves. */
export async function firstOf<T>(source: AsyncIterable<T>): Promise<T | undefined> {
  const iterator = source[Symbol.asyncIterator]();
  const result = await iterator.next();
  await iterator.return?.();
  return result.done === true ? undefined : result.value;
}
