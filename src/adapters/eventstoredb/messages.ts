/** Between the messages of the protocol and the words of the port. */
import sharedPb from '@eventstore/db-client/generated/shared_pb.js';
import streamsPb from '@eventstore/db-client/generated/streams_pb.js';
import type {
  BatchAppendReq,
  ReadReq,
  ReadResp,
} from '@eventstore/db-client/generated/streams_pb.js';
import type { NewEvent, Position, RecordedEvent, Revision } from '../../ports/event-store.js';
import { Fault } from '../../ports/faults.js';

const JSON_TYPE = 'application/json';
const { ReadDirection } = streamsPb.ReadReq.Options;

/** Which part of a stream, or of the log, a page is read from. */
export interface PageRange<T> {
  readonly from: T | 'start' | 'end';
  /** Events at most: the server is asked for exactly as many as are taken. */
  readonly count: number;
  readonly backward?: boolean;
}

/** Asks for a page of a stream; `from` is inclusive. */
export function streamRequest(stream: string, range: PageRange<Revision>): ReadReq {
  const from = new streamsPb.ReadReq.Options.StreamOptions();
  from.setStreamIdentifier(identifierOf(stream));
  if (range.from === 'start') from.setStart(new sharedPb.Empty());
  else if (range.from === 'end') from.setEnd(new sharedPb.Empty());
  else from.setRevision(String(range.from));
  const options = pageOptions(range);
  options.setStream(from);
  return requestOf(options);
}

/** Asks for a page of the whole log. `from` is inclusive forward, exclusive backward. */
export function logRequest(range: PageRange<Position>): ReadReq {
  const options = pageOptions(range);
  options.setAll(logFrom(range.from));
  return requestOf(options);
}

/**
 * Asks for everything after a position, now and later, of streams whose names begin with a prefix.
 * `checkpointEvery`: events that the server may pass over before it says how far it is; a multiple of 32.
 */
export function followRequest({
  after,
  prefix,
  checkpointEvery,
}: {
  readonly after: Position | null;
  readonly prefix: string;
  readonly checkpointEvery: number;
}): ReadReq {
  const expression = new streamsPb.ReadReq.Options.FilterOptions.Expression();
  expression.setPrefixList([prefix]);
  const filter = new streamsPb.ReadReq.Options.FilterOptions();
  filter.setStreamIdentifier(expression);
  filter.setMax(SEARCH_WINDOW);
  filter.setCheckpointintervalmultiplier(Math.ceil(checkpointEvery / SEARCH_WINDOW));
  const options = baseOptions();
  options.setSubscription(new streamsPb.ReadReq.Options.SubscriptionOptions());
  options.setAll(logFrom(after ?? 'start'));
  options.setFilter(filter);
  return requestOf(options);
}

const SEARCH_WINDOW = 32;

/** An append as it is asked for. */
export interface AppendRequest {
  readonly stream: string;
  readonly expected: Revision | 'no_stream';
  readonly events: readonly NewEvent[];
}

/**
 * Proposes events for a stream at an exact revision.
 *
 * The bytes of data and metadata are sent as they are, marked as JSON. No deadline is sent: it would be
 * a time of our clock, and a server whose clock is ahead of it would refuse every append.
 */
export function appendMessage(correlationId: string, request: AppendRequest): BatchAppendReq {
  const options = expecting(request.expected);
  options.setStreamIdentifier(identifierOf(request.stream));
  const message = new streamsPb.BatchAppendReq();
  message.setCorrelationId(uuidOf(correlationId));
  message.setOptions(options);
  message.setProposedMessagesList(request.events.map(toProposed));
  message.setIsFinal(true);
  return message;
}

/** `no_stream` as the protocol writes it: field 3, of no length. */
const NO_STREAM = Uint8Array.of(0x1a, 0);

function expecting(expected: Revision | 'no_stream'): BatchAppendReq.Options {
  if (expected === 'no_stream')
    return streamsPb.BatchAppendReq.Options.deserializeBinary(NO_STREAM);
  const options = new streamsPb.BatchAppendReq.Options();
  options.setStreamPosition(String(expected));
  return options;
}

function toProposed({ id, type, data, metadata }: NewEvent): BatchAppendReq.ProposedMessage {
  const proposed = new streamsPb.BatchAppendReq.ProposedMessage();
  proposed.setId(uuidOf(id));
  proposed.getMetadataMap().set('type', type).set('content-type', JSON_TYPE);
  proposed.setData(Buffer.from(data, 'utf8'));
  proposed.setCustomMetadata(Buffer.from(metadata, 'utf8'));
  return proposed;
}

/** An event of a read, with its bytes as text just as they are stored, and its stream without the prefix. */
export function toRecorded(read: ReadResp.ReadEvent, streamPrefix: string): RecordedEvent {
  const recorded = read.getEvent();
  if (recorded === undefined) throw new Fault('STORE_FOREIGN', 'a read gave a link without event');
  const position = BigInt(recorded.getCommitPosition());
  return {
    id: recorded.getId()?.getString() ?? '',
    type: recorded.getMetadataMap().get('type') ?? '',
    data: textOf(recorded.getData_asU8()),
    metadata: textOf(recorded.getCustomMetadata_asU8()),
    stream: textOf(recorded.getStreamIdentifier()?.getStreamName_asU8() ?? NO_BYTES).slice(
      streamPrefix.length,
    ),
    revision: BigInt(recorded.getStreamRevision()),
    position,
  };
}

const NO_BYTES = new Uint8Array(0);

/** Where an event stands in the log; less than `toRecorded` does. */
export function positionOf(read: ReadResp.ReadEvent): Position {
  return BigInt(read.getEvent()?.getCommitPosition() ?? 0);
}

/** Whether an event's stream begins with these bytes; a log may hold many that do not. */
export function isWithin(read: ReadResp.ReadEvent, prefix: Uint8Array): boolean {
  const stream = read.getEvent()?.getStreamIdentifier()?.getStreamName_asU8() ?? NO_BYTES;
  return prefix.every((byte, n) => stream[n] === byte);
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

function pageOptions({ count, backward = false }: PageRange<unknown>): ReadReq.Options {
  const options = baseOptions();
  options.setCount(String(count));
  options.setReadDirection(backward ? ReadDirection.BACKWARDS : ReadDirection.FORWARDS);
  options.setNoFilter(new sharedPb.Empty());
  return options;
}

function baseOptions(): ReadReq.Options {
  const uuids = new streamsPb.ReadReq.Options.UUIDOption();
  uuids.setString(new sharedPb.Empty());
  const options = new streamsPb.ReadReq.Options();
  options.setResolveLinks(false);
  options.setUuidOption(uuids);
  return options;
}

function requestOf(options: ReadReq.Options): ReadReq {
  const request = new streamsPb.ReadReq();
  request.setOptions(options);
  return request;
}

function logFrom(from: Position | 'start' | 'end'): ReadReq.Options.AllOptions {
  const options = new streamsPb.ReadReq.Options.AllOptions();
  if (from === 'start') options.setStart(new sharedPb.Empty());
  else if (from === 'end') options.setEnd(new sharedPb.Empty());
  else {
    const position = new streamsPb.ReadReq.Options.Position();
    // From server 24 on both are the same number.
    position.setCommitPosition(String(from));
    position.setPreparePosition(String(from));
    options.setPosition(position);
  }
  return options;
}

function identifierOf(stream: string): InstanceType<typeof sharedPb.StreamIdentifier> {
  const identifier = new sharedPb.StreamIdentifier();
  identifier.setStreamName(Buffer.from(stream, 'utf8'));
  return identifier;
}

function uuidOf(text: string): InstanceType<typeof sharedPb.UUID> {
  const uuid = new sharedPb.UUID();
  uuid.setString(text);
  return uuid;
}
