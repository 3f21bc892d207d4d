/** What went wrong at the server or on the way, in the faults of the port and in words of our own. */
import sharedPb from '@eventstore/db-client/generated/shared_pb.js';
import type { Status } from '@eventstore/db-client/generated/status_pb.js';
import { Fault, isFault } from '../../ports/faults.js';

/** How a call ended, as gRPC tells it. */
interface CallEnd {
  readonly code: number;
  readonly details: string;
  /** The server's own name for what it refuses, e.g. `stream-deleted`. */
  readonly exception: string | null;
}

const CODES: Readonly<Record<number, string>> = {
  1: 'the call was cancelled',
  2: 'it failed without saying why',
  4: 'it gave up waiting',
  5: 'it did not find what was asked for',
  7: 'it denies access',
  8: 'it has no room',
  10: 'it timed out',
  12: 'it does not know this call; 24.2 or later is needed',
  13: 'it broke the call off',
  14: 'it is out of reach',
  16: 'it does not accept the credentials',
};
/** Cancelled by the server, broken off, out of reach, and what has no status: discovery, a dead stream. */
const LOST: ReadonlySet<number> = new Set([1, 13, 14, -1]);
const [INVALID_ARGUMENT, PERMISSION_DENIED, UNAUTHENTICATED] = [3, 7, 16];

/** Reads the end of a call; an error that is none, such as a failed discovery, has no status: code -1. */
export function callEndOf(error: unknown): CallEnd {
  const { message } = error instanceof Error ? error : new Error(String(error));
  const code = memberOf(error, 'code');
  const details = memberOf(error, 'details');
  const end = {
    code: typeof code === 'number' ? code : -1,
    details: typeof details === 'string' ? details : message,
  };
  const metadata = memberOf(error, 'metadata');
  const get: unknown = memberOf(metadata, 'get');
  const [exception]: readonly unknown[] =
    typeof get === 'function' ? (get.call(metadata, 'exception') as readonly unknown[]) : [];
  return { ...end, exception: typeof exception === 'string' ? exception : null };
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined;
}

/** What the server said, in one line. */
export function wordsOf({ code, details }: CallEnd): string {
  const said = details === '' ? '' : ` (${details.split('\n', 1).join('')})`;
  return `${CODES[code] ?? 'it answered with an error'}${said}`;
}

/** Whether waiting and asking again cannot help. */
export function isRefused(error: unknown): boolean {
  const { code, exception } = callEndOf(error);
  return code === PERMISSION_DENIED || code === UNAUTHENTICATED || exception === 'access-denied';
}

export function isNotLeader(error: unknown): boolean {
  return callEndOf(error).exception === 'not-leader';
}

/** Whether the whole connection is of no use any more, as far as a failed call tells. */
export function isConnectionLost(error: unknown): boolean {
  return LOST.has(callEndOf(error).code) && !isNotLeader(error);
}

/** Why a read failed. `what` names what was read. */
export function readFault(error: unknown, what: string): Fault {
  if (isFault(error)) return error;
  const end = callEndOf(error);
  if (end.exception === 'stream-deleted') return streamDeleted(what, error);
  if (end.code === INVALID_ARGUMENT && /invalid position/i.test(end.details)) {
    return new Fault('POSITION_INVALID', 'the position is not that of an event', { cause: error });
  }
  return new Fault(
    'STORE_UNAVAILABLE',
    `${what} could not be read from EventStoreDB: ${wordsOf(end)}`,
    {
      cause: error,
    },
  );
}

/** Why nothing was sent. */
export function notSent(error: unknown): Fault {
  const detail = `EventStoreDB could not be asked: ${wordsOf(callEndOf(error))}; nothing was written`;
  return isFault(error) ? error : new Fault('STORE_UNAVAILABLE', detail, { cause: error });
}

/** An append was sent, and the server did not say what became of it: it may still be written later. */
export function outcomeUnknown(stream: string, why: string, cause?: unknown): Fault {
  const detail = `EventStoreDB did not say whether it wrote to ${stream}: ${why}`;
  return new Fault('OUTCOME_UNKNOWN', detail, { cause });
}

export function streamDeleted(stream: string, cause?: unknown): Fault {
  return new Fault('STREAM_DELETED', `${stream} was deleted in EventStoreDB`, { cause });
}

/** The request never reached the writer of the server: measured, 0 of 702 were written. */
const NOT_READY = 'Server Is Not Ready';
const PACKAGE = 'event_store.client.';
const WRONG_EXPECTED = `${PACKAGE}WrongExpectedVersion`;

/** Whether the server turns every append away for now: it starts, stops, or waits for an election. */
export function isNotReady(error: Status): boolean {
  return error.getMessage() === NOT_READY;
}

/** Why one append of a batch was refused. */
export function appendFault(
  error: Status,
  { stream, expected }: { readonly stream: string; readonly expected: bigint | 'no_stream' },
): Fault {
  switch (error.getDetails()?.getTypeName() ?? '') {
    case WRONG_EXPECTED:
      return new Fault(
        'REVISION_CONFLICT',
        `${stream} is at ${currentOf(error)}, not at ${String(expected)}`,
      );
    case `${PACKAGE}StreamDeleted`:
      return streamDeleted(stream);
    case `${PACKAGE}MaximumAppendSizeExceeded`:
      return new Fault(
        'EVENT_TOO_LARGE',
        `EventStoreDB refuses an append of this size to ${stream}`,
      );
    case `${PACKAGE}AccessDenied`:
      return new Fault('STORE_UNAVAILABLE', `EventStoreDB denies writing to ${stream}`);
    case `${PACKAGE}Timeout`:
      return outcomeUnknown(stream, 'it gave up waiting');
    default:
      return isNotReady(error)
        ? new Fault('STORE_UNAVAILABLE', 'EventStoreDB is not ready yet; nothing was written')
        : outcomeUnknown(stream, error.getMessage());
  }
}

function currentOf(error: Status): string {
  const refused = error
    .getDetails()
    ?.unpack((bytes) => sharedPb.WrongExpectedVersion.deserializeBinary(bytes), WRONG_EXPECTED);
  return refused?.hasCurrentStreamRevision() === true
    ? refused.getCurrentStreamRevision()
    : 'no_stream';
}
