/** Append, BatchAppend, Delete and Tombstone of the Streams service. */
import type {
  sendUnaryData,
  ServerDuplexStream,
  ServerReadableStream,
  ServerUnaryCall,
} from '@grpc/grpc-js';
import sharedPb from '@eventstore/db-client/generated/shared_pb.js';
import type { Status } from '@eventstore/db-client/generated/status_pb.js';
import streamsPb from '@eventstore/db-client/generated/streams_pb.js';
import type {
  AppendReq,
  AppendResp,
  BatchAppendReq,
  BatchAppendResp,
  DeleteReq,
  DeleteResp,
  TombstoneReq,
  TombstoneResp,
} from '@eventstore/db-client/generated/streams_pb.js';
import {
  appendTooLarge,
  fail,
  IN_BATCH,
  NOT_READY,
  notLeader,
  operationTimedOut,
  resetWithoutReason,
  streamDeleted,
  unauthenticated,
  unavailable,
  wrongExpectedVersion,
  type Failure,
} from './failures.js';
import type { AppendOutcome, Expected, ProposedEvent } from './log.js';
import type { Node } from './node.js';
import type { AppendFault } from './switchboard.js';
import { streamOf, toExpected, toIdentifier, toProposed } from './wire.js';

/** An append, whichever way it came. */
interface Request {
  readonly stream: string;
  readonly expected: Expected;
  readonly events: ProposedEvent[];
}

/** How an append is answered; both ways of appending have all of these. */
interface Reply {
  readonly peer: string;
  outcome(request: Request, outcome: Exclude<AppendOutcome, { kind: 'not_indexed' }>): void;
  timeout(): void;
  notReady(): void;
  denied(): void;
  /** Ends the call, and with it every other append on the same stream. */
  fail(failure: Failure): void;
  endOk(): void;
}

/** Carries out an append, or plays the fault that is planned for it. */
function handle(node: Node, request: Request, reply: Reply): void {
  const fault = node.switchboard.take('append', request.stream);
  if (fault !== null) play(node, { request, reply, fault });
  else if (!node.isReady) reply.notReady();
  else if (!node.isLeader && node.leader !== null) reply.fail(notLeader(node.leader));
  else if (!node.isLeader) reply.notReady();
  else write(node, request, reply);
}

function write(node: Node, request: Request, reply: Reply): void {
  const outcome = node.log.append(request);
  if (outcome.kind === 'not_indexed') setTimeout(() => reply.timeout(), node.dropMs).unref();
  else reply.outcome(request, outcome);
}

interface Play {
  readonly request: Request;
  readonly reply: Reply;
  readonly fault: AppendFault;
}

function play(node: Node, { request, reply, fault }: Play): void {
  const commit = (): AppendOutcome => node.log.append(request, false);
  const later = (delayMs: number, task: () => void): void => {
    setTimeout(task, delayMs).unref();
  };
  switch (fault.fault) {
    case 'silence':
      return;
    case 'commit_then_unavailable':
      commit();
      {
        reply.fail(unavailable('Connection reset by peer'));
        return;
      }
    case 'commit_then_deadline':
      commit();
      {
        reply.timeout();
        return;
      }
    case 'reject_then_commit':
      later(fault.delayMs, commit);
      {
        reply.timeout();
        return;
      }
    case 'deadline': {
      reply.timeout();
      return;
    }
    case 'late_reply': {
      const outcome = commit();
      later(fault.delayMs, () => {
        if (outcome.kind === 'not_indexed') reply.timeout();
        else reply.outcome(request, outcome);
      });
      return;
    }
    case 'ok_end':
      if (fault.commit) commit();
      {
        reply.endOk();
        return;
      }
    case 'reset':
      if (fault.commit) commit();
      {
        node.resetConnection(reply.peer);
        return;
      }
    case 'internal':
      if (fault.commit) commit();
      {
        reply.fail(resetWithoutReason());
        return;
      }
    case 'not_ready': {
      reply.notReady();
      return;
    }
    case 'not_leader': {
      reply.fail(notLeader(fault));
      return;
    }
  }
}

/** The stream on which a client sends all its appends, each with an id to find its answer by. */
export function batchAppend(
  node: Node,
  call: ServerDuplexStream<BatchAppendReq, BatchAppendResp>,
): void {
  node.calls.set('batchAppend', (node.calls.get('batchAppend') ?? 0) + 1);
  const begun = new Map<string, Request>();
  const batch = new Batch(node, call);
  const mayWrite =
    node.authorization === null || call.metadata.get('authorization').includes(node.authorization);
  call.on('data', (message: BatchAppendReq) => {
    node.whenThawed(() => {
      const id = message.getCorrelationId()?.getString() ?? '';
      const options = message.getOptions();
      const request = begun.get(id) ?? (options === undefined ? null : toRequest(options));
      if (request === null) return;
      request.events.push(...message.getProposedMessagesList().map(toProposed));
      begun.set(id, request);
      if (!message.getIsFinal()) return;
      begun.delete(id);
      const reply = batch.replyTo(message, request.stream);
      if (mayWrite) handle(node, request, reply);
      else reply.denied();
    });
  });
  call.on('end', () => batch.end());
  call.on('cancelled', () => batch.close());
  call.on('error', () => batch.close());
}

function toRequest(options: BatchAppendReq.Options): Request {
  return {
    stream: streamOf(options.getStreamIdentifier()),
    expected: toExpected(options, options.getStreamPosition()),
    events: [],
  };
}

/** The answers on one batch stream. */
class Batch {
  #isOpen = true;

  constructor(
    private readonly node: Node,
    private readonly call: ServerDuplexStream<BatchAppendReq, BatchAppendResp>,
  ) {
    node.openCalls.add(this.#fail);
  }

  replyTo(message: BatchAppendReq, stream: string): Reply {
    const answer = (content: Status | BatchAppendResp.Success): void => {
      if (!this.#isOpen) return;
      const response = new streamsPb.BatchAppendResp();
      response.setCorrelationId(message.getCorrelationId());
      response.setStreamIdentifier(toIdentifier(stream));
      if (content instanceof streamsPb.BatchAppendResp.Success) response.setSuccess(content);
      else response.setError(content);
      this.call.write(response);
    };
    return {
      peer: this.call.getPeer(),
      outcome: (request, outcome) => answer(inBatch(request, outcome)),
      timeout: () => answer(IN_BATCH.timeout()),
      notReady: () => answer(IN_BATCH.notReady()),
      denied: () => answer(IN_BATCH.accessDenied()),
      fail: this.#fail,
      endOk: () => this.end(),
    };
  }

  end(): void {
    if (this.#isOpen) this.call.end();
    this.close();
  }

  close(): void {
    this.#isOpen = false;
    this.node.openCalls.delete(this.#fail);
  }

  readonly #fail = (why: Failure): void => {
    if (this.#isOpen) fail(this.call, why);
    this.close();
  };
}

function inBatch(
  { stream, expected }: Request,
  outcome: Exclude<AppendOutcome, { kind: 'not_indexed' }>,
): Status | BatchAppendResp.Success {
  switch (outcome.kind) {
    case 'wrong_expected':
      return IN_BATCH.wrongExpectedVersion(expected, outcome.current);
    case 'deleted':
      return IN_BATCH.streamDeleted(stream);
    case 'too_large':
      return IN_BATCH.tooLarge();
    case 'written':
    case 'repeated': {
      const success = new streamsPb.BatchAppendResp.Success();
      success.setCurrentRevision(String(outcome.revision));
      if (outcome.position !== null) success.setPosition(positionOf(outcome.position));
      return success;
    }
  }
}

/** One append in a call of its own: the way of requests with credentials of their own. */
export function append(
  node: Node,
  call: ServerReadableStream<AppendReq, AppendResp>,
  answer: sendUnaryData<AppendResp>,
): void {
  node.calls.set('append', (node.calls.get('append') ?? 0) + 1);
  let request: Request | null = null;
  call.on('data', (message: AppendReq) => {
    const options = message.getOptions();
    if (options !== undefined) {
      const stream = streamOf(options.getStreamIdentifier());
      request = { stream, expected: toExpected(options, options.getRevision()), events: [] };
    }
    const proposed = message.getProposedMessage();
    if (proposed !== undefined) request?.events.push(toProposed(proposed));
  });
  call.on('end', () => {
    const whole = request;
    if (whole === null) return;
    node.whenThawed(() => handle(node, whole, replyToCall(call.getPeer(), answer)));
  });
  call.on('error', () => undefined);
}

function replyToCall(peer: string, answer: sendUnaryData<AppendResp>): Reply {
  return {
    peer,
    outcome: ({ stream, expected }, outcome) => {
      switch (outcome.kind) {
        case 'wrong_expected': {
          answer(wrongExpectedVersion(stream, expected, outcome.current));
          return;
        }
        case 'deleted': {
          answer(streamDeleted(stream));
          return;
        }
        case 'too_large': {
          answer(appendTooLarge());
          return;
        }
        case 'written':
        case 'repeated': {
          const success = new streamsPb.AppendResp.Success();
          success.setCurrentRevision(String(outcome.revision));
          if (outcome.position === null) success.setNoPosition(new sharedPb.Empty());
          else success.setPosition(appendPositionOf(outcome.position));
          const response = new streamsPb.AppendResp();
          response.setSuccess(success);
          answer(null, response);
          return;
        }
      }
    },
    timeout: () => answer(operationTimedOut()),
    notReady: () => answer(unavailable(NOT_READY)),
    denied: () => answer(unauthenticated()),
    fail: (failure) => answer(failure),
    endOk: () => answer(null, new streamsPb.AppendResp()),
  };
}

/** Hides a stream. */
export function deleteStream(
  node: Node,
  call: ServerUnaryCall<DeleteReq, DeleteResp>,
  answer: sendUnaryData<DeleteResp>,
): void {
  const options = call.request.getOptions();
  if (options === undefined) {
    answer(unavailable('no options'));
    return;
  }
  const stream = streamOf(options.getStreamIdentifier());
  const expected = toExpected(options, options.getRevision());
  if (node.log.isTombstoned(stream)) {
    answer(streamDeleted(stream));
    return;
  }
  const position = node.log.softDelete(stream, expected);
  if (position === null) {
    answer(notAsExpected(node, stream, expected));
    return;
  }
  const at = new streamsPb.DeleteResp.Position();
  at.setCommitPosition(String(position));
  at.setPreparePosition(String(position));
  const response = new streamsPb.DeleteResp();
  response.setPosition(at);
  answer(null, response);
}

/** Ends a stream for ever. */
export function tombstoneStream(
  node: Node,
  call: ServerUnaryCall<TombstoneReq, TombstoneResp>,
  answer: sendUnaryData<TombstoneResp>,
): void {
  const options = call.request.getOptions();
  if (options === undefined) {
    answer(unavailable('no options'));
    return;
  }
  const stream = streamOf(options.getStreamIdentifier());
  const expected = toExpected(options, options.getRevision());
  if (node.log.isTombstoned(stream)) {
    answer(streamDeleted(stream));
    return;
  }
  const position = node.log.tombstone(stream, expected);
  if (position === null) {
    answer(notAsExpected(node, stream, expected));
    return;
  }
  const at = new streamsPb.TombstoneResp.Position();
  at.setCommitPosition(String(position));
  at.setPreparePosition(String(position));
  const response = new streamsPb.TombstoneResp();
  response.setPosition(at);
  answer(null, response);
}

function notAsExpected(node: Node, stream: string, expected: Expected): Failure {
  const current = node.log.visible(stream)?.at(-1)?.revision ?? null;
  return wrongExpectedVersion(stream, expected, current);
}

function positionOf(position: bigint): InstanceType<typeof sharedPb.AllStreamPosition> {
  const at = new sharedPb.AllStreamPosition();
  at.setCommitPosition(String(position));
  at.setPreparePosition(String(position));
  return at;
}

function appendPositionOf(position: bigint): AppendResp.Position {
  const at = new streamsPb.AppendResp.Position();
  at.setCommitPosition(String(position));
  at.setPreparePosition(String(position));
  return at;
}
