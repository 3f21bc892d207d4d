/** How the server says no: trailers of a call, and errors inside a batch. */
import { Metadata, status, type ServiceError, type StatusObject } from '@grpc/grpc-js';
import anyPb from 'google-protobuf/google/protobuf/any_pb.js';
import emptyPb from 'google-protobuf/google/protobuf/empty_pb.js';
import sharedPb from '@eventstore/db-client/generated/shared_pb.js';
import statusPb from '@eventstore/db-client/generated/status_pb.js';
import type { Status } from '@eventstore/db-client/generated/status_pb.js';
import { APPEND_SIZE_MAX, type Expected } from './log.js';

/** Status and trailers that end a call. */
export type Failure = Pick<ServiceError, 'code' | 'details' | 'metadata'>;

export const NOT_READY = 'Server Is Not Ready';

/** Ends a call with a status other than OK. */
export function fail(
  call: { emit(event: 'error', failure: Failure): boolean },
  why: Failure,
): void {
  call.emit('error', why);
}

export function unavailable(details: string): Failure {
  return failure(status.UNAVAILABLE, details);
}

/** What a client sees of a stream that the server resets without saying why. */
export function resetWithoutReason(): Failure {
  return failure(status.INTERNAL, 'Received RST_STREAM with code 0');
}

export function unauthenticated(): Failure {
  return failure(status.UNAUTHENTICATED, 'Bad credentials');
}

export function streamDeleted(stream: string): Failure {
  return failure(status.FAILED_PRECONDITION, `Event stream '${stream}' is deleted.`, {
    exception: 'stream-deleted',
    'stream-name': stream,
  });
}

export function notLeader(leader: { readonly host: string; readonly port: number }): Failure {
  return failure(status.NOT_FOUND, 'Leader info available', {
    exception: 'not-leader',
    'leader-endpoint-host': leader.host,
    'leader-endpoint-port': String(leader.port),
  });
}

export function wrongExpectedVersion(
  stream: string,
  expected: Expected,
  current: bigint | null,
): Failure {
  return failure(
    status.FAILED_PRECONDITION,
    `Append failed due to WrongExpectedVersion. Stream: ${stream}, Expected version: ${String(expected)}, Actual version: ${String(current)}`,
    {
      exception: 'wrong-expected-version',
      'stream-name': stream,
      'expected-version': typeof expected === 'bigint' ? String(expected) : '-1',
      ...(current !== null && { 'actual-version': String(current) }),
    },
  );
}

export function appendTooLarge(): Failure {
  return failure(
    status.INVALID_ARGUMENT,
    `Maximum Append Size of ${String(APPEND_SIZE_MAX)} Exceeded.`,
    {
      exception: 'maximum-append-size-exceeded',
      'maximum-append-size': String(APPEND_SIZE_MAX),
    },
  );
}

export function operationTimedOut(): Failure {
  return failure(status.DEADLINE_EXCEEDED, '');
}

export function invalidPosition(): Failure {
  return failure(status.INVALID_ARGUMENT, 'Trying to read from an invalid position.');
}

/** The same failures as an error of one append among the others of a batch stream. */
export const IN_BATCH = {
  wrongExpectedVersion(expected: Expected, current: bigint | null): Status {
    const details = new sharedPb.WrongExpectedVersion();
    if (current === null) details.setCurrentNoStream(new emptyPb.Empty());
    else details.setCurrentStreamRevision(String(current));
    if (typeof expected === 'bigint') details.setExpectedStreamPosition(String(expected));
    else if (expected === 'no_stream') details.setExpectedNoStream(new emptyPb.Empty());
    else if (expected === 'stream_exists') details.setExpectedStreamExists(new emptyPb.Empty());
    else details.setExpectedAny(new emptyPb.Empty());
    return inBatch('WrongExpectedVersion', details);
  },
  streamDeleted(stream: string): Status {
    const details = new sharedPb.StreamDeleted();
    const identifier = new sharedPb.StreamIdentifier();
    identifier.setStreamName(Buffer.from(stream));
    details.setStreamIdentifier(identifier);
    return inBatch('StreamDeleted', details);
  },
  tooLarge(): Status {
    const details = new sharedPb.MaximumAppendSizeExceeded();
    details.setMaxappendsize(APPEND_SIZE_MAX);
    return inBatch('MaximumAppendSizeExceeded', details);
  },
  accessDenied(): Status {
    return inBatch('AccessDenied', new sharedPb.AccessDenied());
  },
  timeout(): Status {
    return inBatch('Timeout', new sharedPb.Timeout());
  },
  /** The request never reached the writer; its details are empty, only the text tells. */
  notReady(): Status {
    return packed('google.protobuf.Empty', new emptyPb.Empty(), NOT_READY);
  },
} as const;

function inBatch(name: string, details: { serializeBinary(): Uint8Array }): Status {
  return packed(`event_store.client.${name}`, details, name);
}

function packed(type: string, details: { serializeBinary(): Uint8Array }, message: string): Status {
  const any = new anyPb.Any();
  any.pack(details.serializeBinary(), type);
  const error = new statusPb.Status();
  error.setMessage(message);
  error.setDetails(any);
  return error;
}

function failure(
  code: StatusObject['code'],
  details: string,
  trailers: Readonly<Record<string, string>> = {},
): Failure {
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(trailers)) metadata.set(name, value);
  return { code, details, metadata };
}
