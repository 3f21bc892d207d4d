import { EventStoreDBClient, type SingleNodeOptions } from '@eventstore/db-client';
import gossipService from '@eventstore/db-client/generated/gossip_grpc_pb.js';
import gossipPb from '@eventstore/db-client/generated/gossip_pb.js';
import type { ClusterInfo } from '@eventstore/db-client/generated/gossip_pb.js';
import sharedPb from '@eventstore/db-client/generated/shared_pb.js';
import streamsService from '@eventstore/db-client/generated/streams_grpc_pb.js';
import type { StreamsClient } from '@eventstore/db-client/generated/streams_grpc_pb.js';
import type { ReadReq } from '@eventstore/db-client/generated/streams_pb.js';
import { sleep, type Clock } from '../../ports/clock.js';
import type { ClientSettings } from './connection-string.js';

/** A read in progress. */
export type ReadCall = ReturnType<StreamsClient['read']>;
/** The stream on which appends are sent and answered. */
export type BatchCall = ReturnType<StreamsClient['batchAppend']>;
type Channel = ReturnType<StreamsClient['getChannel']>;
/** Gets a new call before it can fail. */
type Begin<Call> = (call: Call) => void;

const { LEADER } = gossipPb.MemberInfo.VNodeState;
/** A client whose streams were cut at a bad moment never finishes its `dispose`. Milliseconds. */
const DISPOSE_MAX_MS = 500;
/** Statuses of a server that is reached but keeps its gossip to itself. */
const REFUSALS: ReadonlySet<unknown> = new Set([7, 12, 16]);

/**
 * One client object with its channel: made for one purpose, and thrown away when it fails.
 *
 * The client brings channels with discovery, redirection to the leader, credentials and TLS, and the
 * messages of the protocol. Its public calls are not used: they keep the appends of all clients of the
 * process in one table, know no time limit, and hand over parsed JSON where the log's exact bytes are
 * wanted. What it keeps for extensions of its own, as protected members, is used here instead.
 */
export class Connection extends EventStoreDBClient {
  /** When the server was last heard on this connection, by the monotonic clock. */
  heardAtMs: number;
  /** Whether any node leads, as the node at the other end sees it; null when it does not say. */
  leaderKnown: boolean | null = null;
  readonly #clock: Clock;
  #channel: Channel | null = null;
  /** The client goes over to another channel, to that of the leader for example: the old one is closed in it. */
  #handling: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(settings: ClientSettings, clock: Clock) {
    // The client's three signatures differ only in how the nodes are named.
    super(settings.nodes as SingleNodeOptions, settings.channel, settings.user);
    this.#clock = clock;
    this.heardAtMs = clock.monotonicMs();
    // The client calls this for each stream that fails, and catches nothing: while it discovers in vain
    // that would be an unhandled rejection, which ends the process.
    const handle = this.handleError;
    this.handleError = (grpc, error) =>
      (this.#handling = handle(grpc, error).catch(() => undefined));
  }

  /** The node at the other end, `host:port`; null before one was chosen. */
  get node(): string | null {
    return this.#channel?.getTarget().replace(/^[a-z0-9+.-]+:(?=.*:)/, '') ?? null;
  }

  /** Notes that the server was heard. */
  heard(): void {
    this.heardAtMs = this.#clock.monotonicMs();
  }

  /** Connects, and asks whether there is a leader. Rejects with what the client says. */
  async greet(): Promise<void> {
    try {
      const info = await this.#gossip();
      const members = info.getMembersList();
      this.leaderKnown = members.some((each) => each.getIsAlive() && each.getState() === LEADER);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.leaderKnown = null;
    }
    this.heard();
  }

  /** Begins a read. */
  async read(request: ReadReq, requiresLeader: boolean, begin: Begin<ReadCall>): Promise<void> {
    await this.#handling;
    const [metadata, options] = this.callArguments({ requiresLeader }, { deadline: Infinity });
    await this.GRPCStreamCreator(streamsService.StreamsClient, 'read', (grpc) => {
      this.#use(grpc.getChannel());
      const call = grpc.read(request, metadata, options);
      begin(call);
      return call;
    })();
  }

  /** Opens a stream for appends. */
  async batch(begin: Begin<BatchCall>): Promise<void> {
    await this.#handling;
    const [metadata, options] = this.callArguments({}, { deadline: Infinity });
    await this.GRPCStreamCreator(streamsService.StreamsClient, 'append', (grpc) => {
      this.#use(grpc.getChannel());
      const call = grpc.batchAppend(metadata, options);
      begin(call);
      return call;
    })();
  }

  /** Cancels what is open and gives the channel up, in bounded time. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const disposed = this.dispose().catch(() => undefined);
    await Promise.race([disposed, sleep(this.#clock, DISPOSE_MAX_MS)]);
    this.#channel?.close();
  }

  /** Keeps hold of the channel, which the client has no call to close. Discovery may end after us. */
  #use(channel: Channel): void {
    this.#channel = channel;
    if (!this.#isClosed) return;
    channel.close();
    throw new Error('the connection is closed');
  }

  #gossip(): Promise<ClusterInfo> {
    const [metadata, options] = this.callArguments({});
    return this.execute(gossipService.GossipClient, 'gossip', (grpc) => {
      this.#use(grpc.getChannel());
      return new Promise((resolve, reject) => {
        grpc.read(new sharedPb.Empty(), metadata, options, (error, info) => {
          if (error === null) resolve(info);
          else reject(error);
        });
      });
    });
  }
}

function isRefusal(error: unknown): boolean {
  return error instanceof Error && 'code' in error && REFUSALS.has(error.code);
}
