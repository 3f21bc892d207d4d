import type { NewEvent } from '../../ports/event-store.js';
import type { FaultCode } from '../../ports/faults.js';
import type { AppendOutcome, AppendRequest } from './event-log.js';
import type { LogWriter } from './log-writer.js';

/**
 * What travels between the store and its writer thread: one message for a group each way. A group is two
 * flat lists, which cost a third of what nested objects cost to copy between threads.
 */
export type ToWriter =
  | {
      readonly type: 'group';
      /** Of each append: stream, expected revision, number of events. */
      readonly appends: readonly (string | number)[];
      /** Of each event: id, type, data, metadata. */
      readonly events: readonly string[];
    }
  | { readonly type: 'room' }
  | { readonly type: 'close' };

export type FromWriter =
  | ({ readonly type: 'opened' } & Pick<
      LogWriter,
      'position' | 'sqliteVersion' | 'synchronous' | 'loss' | 'endWasKnown'
    >)
  /** The group is on the disk. Of each append: revision, position. */
  | { readonly type: 'committed'; readonly places: readonly number[] }
  /** Nothing of the group was written, and the writer goes on. */
  | ({ readonly type: 'failed' } & Failure)
  | { readonly type: 'room'; readonly hasRoom: boolean }
  /** Perhaps the group was written; nothing more will be. Also the answer when it could not be opened. */
  | ({ readonly type: 'stopped' } & Failure)
  | { readonly type: 'closed' };

/** A fault as it crosses the border of a thread. */
export interface Failure {
  readonly code: FaultCode;
  readonly detail: string;
}

/** A group as a message. */
export function toMessage(group: readonly AppendRequest[]): ToWriter {
  const appends: (string | number)[] = [];
  const texts: string[] = [];
  for (const { stream, expected, events } of group) {
    appends.push(stream, expected, events.length);
    for (const { id, type, data, metadata } of events) texts.push(id, type, data, metadata);
  }
  return { type: 'group', appends, events: texts };
}

/** The group of a message. */
export function toGroup({
  appends,
  events,
}: Extract<ToWriter, { type: 'group' }>): AppendRequest[] {
  const group: AppendRequest[] = [];
  let next = 0;
  const text = (): string => events[next++] ?? '';
  for (let index = 0; index < appends.length; index += FIELDS_PER_APPEND) {
    const end = next + TEXTS_PER_EVENT * Number(appends[index + 2]);
    const held: NewEvent[] = [];
    while (next < end) held.push({ id: text(), type: text(), data: text(), metadata: text() });
    const [stream, expected] = [String(appends[index]), Number(appends[index + 1])];
    group.push({ stream, expected, events: held });
  }
  return group;
}

/** Id, type, data, metadata. */
const TEXTS_PER_EVENT = 4;
/** Stream, expected revision, number of events. */
const FIELDS_PER_APPEND = 3;

/** Whether a message is a group of one append. */
export function isLone(message: ToWriter): boolean {
  return message.type === 'group' && message.appends.length === FIELDS_PER_APPEND;
}

/** The answer to a group. */
export function toPlaces(outcomes: readonly AppendOutcome[]): number[] {
  return outcomes.flatMap(({ revision, position }) => [revision, position]);
}
