/** Read of the Streams service: a stream, `$all`, or a subscription to it. */
import streamsPb from '@eventstore/db-client/generated/streams_pb.js';
import type { ReadReq } from '@eventstore/db-client/generated/streams_pb.js';
import {
  fail,
  invalidPosition,
  NOT_READY,
  notLeader,
  streamDeleted,
  unauthenticated,
  unavailable,
  type Failure,
} from './failures.js';
import type { LoggedEvent } from './log.js';
import type { Node } from './node.js';
import { follow } from './subscriptions.js';
import type { ReadFault } from './switchboard.js';
import { encodedEvent, streamNotFound, streamOf, type ReadCall } from './wire.js';

const { CountOptionCase, StreamOptionCase } = streamsPb.ReadReq.Options;

/** Answers a read, or plays the fault that is planned for it. */
export function read(node: Node, call: ReadCall): void {
  call.on('error', () => undefined);
  count(node, call);
  node.whenThawed(() => {
    const options = call.request.getOptions();
    if (options === undefined) return;
    const fault = node.switchboard.take('read', nameOf(options));
    const refusal = refusalOf(node, call);
    if (fault !== null) play(node, call, fault);
    else if (refusal !== null) fail(call, refusal);
    else if (options.getCountOptionCase() === CountOptionCase.SUBSCRIPTION)
      follow(node, call, options);
    else if (options.getStreamOptionCase() === StreamOptionCase.ALL) readAll(node, call, options);
    else readStream(node, call, options);
  });
}

/** Why this node does not serve this call; null when it does. */
function refusalOf(node: Node, call: ReadCall): Failure | null {
  const { authorization, leader } = node;
  const brought = call.metadata.get('authorization');
  if (authorization !== null && !brought.includes(authorization)) return unauthenticated();
  if (!node.isReady) return unavailable(NOT_READY);
  const wantsLeader = call.metadata.get('requires-leader').at(0) === 'true';
  if (!wantsLeader || node.isLeader) return null;
  return leader === null ? unavailable(NOT_READY) : notLeader(leader);
}

/** Counts a read until it has ended, whoever ended it. */
function count(node: Node, call: ReadCall): void {
  node.calls.set('read', (node.calls.get('read') ?? 0) + 1);
  node.openReads += 1;
  const ended = new Promise<void>((resolve) => {
    for (const event of ['finish', 'close', 'cancelled', 'error'])
      call.once(event, () => resolve());
  });
  void ended.then(() => (node.openReads -= 1));
}

function play(node: Node, call: ReadCall, fault: ReadFault): void {
  switch (fault.fault) {
    case 'silence':
      return;
    case 'unavailable': {
      fail(call, unavailable('Connection reset by peer'));
      return;
    }
    case 'not_ready': {
      fail(call, unavailable(NOT_READY));
      return;
    }
    case 'reset': {
      node.resetConnection(call.getPeer());
      return;
    }
    case 'not_leader': {
      fail(call, notLeader(fault));
      return;
    }
  }
}

function nameOf(options: ReadReq.Options): string {
  return streamOf(options.getStream()?.getStreamIdentifier());
}

function readStream(node: Node, call: ReadCall, options: ReadReq.Options): void {
  const stream = nameOf(options);
  if (node.log.isTombstoned(stream)) {
    fail(call, streamDeleted(stream));
    return;
  }
  const events = node.log.visible(stream);
  if (events === null) {
    call.write(streamNotFound(stream));
    call.end();
    return;
  }
  hand(call, streamRange(events, options));
}

function streamRange(
  events: readonly LoggedEvent[],
  options: ReadReq.Options,
): readonly LoggedEvent[] {
  const count = Number(options.getCount());
  const from = options.getStream();
  const first = from?.hasRevision() === true ? BigInt(from.getRevision()) : null;
  if (isBackwards(options)) {
    if (from?.hasStart() === true) return events.slice(0, 1);
    const before = events.filter(({ revision }) => first === null || revision <= first);
    return before.toReversed().slice(0, count);
  }
  if (from?.hasEnd() === true) return [];
  return events.filter(({ revision }) => first === null || revision >= first).slice(0, count);
}

function readAll(node: Node, call: ReadCall, options: ReadReq.Options): void {
  const from = options.getAll();
  if (from?.hasPosition() !== true) {
    hand(call, fromEitherEnd(node.log.all, options));
    return;
  }
  const index = node.log.indexOf(BigInt(from.getPosition()?.getCommitPosition() ?? '0'));
  if (index === null) {
    fail(call, invalidPosition());
    return;
  }
  const count = Number(options.getCount());
  // Forwards the event at the position is the first one, backwards the one before it is.
  const range = isBackwards(options)
    ? node.log.all.slice(Math.max(0, index - count), index).toReversed()
    : node.log.all.slice(index, index + count);
  hand(call, range);
}

function fromEitherEnd(
  all: readonly LoggedEvent[],
  options: ReadReq.Options,
): readonly LoggedEvent[] {
  const count = Number(options.getCount());
  const fromEnd = options.getAll()?.hasEnd() === true;
  if (isBackwards(options)) return fromEnd ? all.slice(-count).toReversed() : [];
  return fromEnd ? [] : all.slice(0, count);
}

function isBackwards(options: ReadReq.Options): boolean {
  return options.getReadDirection() === streamsPb.ReadReq.Options.ReadDirection.BACKWARDS;
}

/** Sends events as fast as the reader takes them, then ends the call. */
function hand(call: ReadCall, events: readonly LoggedEvent[]): void {
  let next = 0;
  const send = (): void => {
    while (next < events.length && !call.cancelled) {
      const event = events[next];
      next += 1;
      if (event !== undefined && !call.write(encodedEvent(event)) && next < events.length) {
        call.once('drain', send);
        return;
      }
    }
    call.end();
  };
  send();
}
