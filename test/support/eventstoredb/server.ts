/**
 * A test server that speaks EventStoreDB's protocol on loopback, to the unmodified client.
 *
 * It keeps the rules of a single real node, and plays faults on demand. It cannot prove durability,
 * quorum, elections or speed: the suites that use it run against a real server too.
 */
import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Server,
  ServerCredentials,
  type handleServerStreamingCall,
  type sendUnaryData,
  type ServerUnaryCall,
} from '@grpc/grpc-js';
import gossipService from '@eventstore/db-client/generated/gossip_grpc_pb.js';
import gossipPb from '@eventstore/db-client/generated/gossip_pb.js';
import type { ClusterInfo } from '@eventstore/db-client/generated/gossip_pb.js';
import featuresService from '@eventstore/db-client/generated/serverfeatures_grpc_pb.js';
import featuresPb from '@eventstore/db-client/generated/serverfeatures_pb.js';
import type { SupportedMethods } from '@eventstore/db-client/generated/serverfeatures_pb.js';
import sharedPb from '@eventstore/db-client/generated/shared_pb.js';
import type { Empty } from '@eventstore/db-client/generated/shared_pb.js';
import streamsService from '@eventstore/db-client/generated/streams_grpc_pb.js';
import type { ReadReq } from '@eventstore/db-client/generated/streams_pb.js';
import type { Certificate } from './certificate.js';
import { append, batchAppend, deleteStream, tombstoneStream } from './appends.js';
import { resetWithoutReason, unavailable, type Failure } from './failures.js';
import { Log, type LogFile } from './log.js';
import type { EndPoint, Member, Node } from './node.js';
import { read } from './reads.js';
import { Switchboard } from './switchboard.js';
import type { ReadAnswer } from './wire.js';

export interface TestServerOptions {
  /** 0, the default, takes any that is free. */
  readonly port?: number;
  /** Time until an append is indexed, in which a repeat of it is dropped. Default 20 ms, as measured. */
  readonly indexLagMs?: number;
  /** How long a dropped request hangs until it times out. Default 2.5 s, as measured. */
  readonly dropMs?: number;
  /** Requests are refused for so long after the start. Default 0. */
  readonly notReadyMs?: number;
  readonly file?: LogFile;
  /** Whether this node leads; a lone one does. */
  readonly isLeader?: boolean;
  /** Speaks TLS with this certificate. */
  readonly tls?: Certificate;
  /** Only who brings these credentials may read and write; others may ask who leads. */
  readonly user?: { readonly name: string; readonly password: string };
}

const HOST = '127.0.0.1';
const VERSION = '24.6.0';
const METHODS = ['append', 'batchappend', 'delete', 'read', 'tombstone'];
const { VNodeState } = gossipPb.MemberInfo;
const STATES = {
  leader: VNodeState.LEADER,
  follower: VNodeState.FOLLOWER,
  initializing: VNodeState.INITIALIZING,
} as const;

/** A running test server. */
export class TestServer implements Node {
  readonly openCalls = new Set<(why: Failure) => void>();
  openReads = 0;
  eventsSent = 0;
  readonly calls = new Map<string, number>();
  readonly switchboard = new Switchboard();
  readonly dropMs: number;
  readonly authorization: string | null;
  isReady: boolean;
  isSilent = false;
  isLeader: boolean;
  leader: EndPoint | null = null;
  members: readonly Member[] = [];
  port = 0;
  readonly #sockets = new Map<string, Socket>();
  readonly #grpc = new Server();
  readonly #front: NetServer;
  readonly #http: HttpServer;
  #waiting: (() => void)[] | null = null;
  #log: Log;

  private constructor(private readonly options: TestServerOptions) {
    const { dropMs = 2_500, notReadyMs = 0, isLeader = true } = options;
    this.isLeader = isLeader;
    this.#log = this.#openLog();
    this.dropMs = dropMs;
    const { user } = options;
    this.authorization =
      user === undefined
        ? null
        : `Basic ${Buffer.from(`${user.name}:${user.password}`).toString('base64')}`;
    this.isReady = notReadyMs === 0;
    if (!this.isReady) setTimeout(() => (this.isReady = true), notReadyMs).unref();
    this.#http = createHttpServer((request, response) => {
      response.statusCode = request.url === '/health/live' ? (this.isReady ? 204 : 503) : 404;
      response.end();
    });
    this.#addServices();
    const injector = this.#grpc.createConnectionInjector(credentialsOf(options));
    this.#front = createServer((socket) => {
      this.#accept(socket);
      injector.injectConnection(socket);
    });
  }

  /** Starts a server; it is ready to be connected to when this resolves. */
  static async start(options: TestServerOptions = {}): Promise<TestServer> {
    const server = new TestServer(options);
    server.#front.listen(options.port ?? 0, HOST);
    server.#http.listen(0, HOST);
    await Promise.all([once(server.#front, 'listening'), once(server.#http, 'listening')]);
    server.port = portOf(server.#front);
    server.members = [
      {
        host: HOST,
        port: server.port,
        state: server.isLeader ? 'leader' : 'follower',
        isAlive: true,
      },
    ];
    return server;
  }

  get log(): Log {
    return this.#log;
  }

  /** Connection string of this server. */
  get url(): string {
    return `esdb://${HOST}:${String(this.port)}?tls=false`;
  }

  /** Tells by 204 that the server is ready. A real one does so on its only port. */
  get healthUrl(): string {
    return `http://${HOST}:${String(portOf(this.#http))}/health/live`;
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Stops taking and answering requests, without closing anything, until `thaw`. */
  freeze(): void {
    this.#waiting ??= [];
  }

  /** Handles what came meanwhile, in its order. */
  thaw(): void {
    const tasks = this.#waiting ?? [];
    this.#waiting = null;
    for (const task of tasks) task();
  }

  whenThawed(task: () => void): void {
    if (this.#waiting === null) task();
    else this.#waiting.push(task);
  }

  resetConnection(peer: string): void {
    this.#sockets.get(peer)?.resetAndDestroy();
  }

  /** Resets every connection; the server goes on to listen. */
  resetConnections(): void {
    for (const socket of this.#sockets.values()) socket.resetAndDestroy();
  }

  /** Becomes the leader: reads what its predecessor left in the file that they share. */
  takeOver(): void {
    this.#endCalls(unavailable('Leader changed'));
    this.#log = this.#openLog();
    this.isLeader = true;
    this.leader = null;
  }

  /**
   * Stops as a real server does on SIGTERM: what is in flight is written and told to have timed out,
   * then nothing is taken any more, subscriptions hear nothing, and at last every call is reset.
   */
  async terminate({ busyMs = 30, silenceMs = 5_000 } = {}): Promise<void> {
    this.isSilent = true;
    this.switchboard.plan({ on: 'append', play: { fault: 'commit_then_deadline' } });
    await sleep(busyMs);
    this.switchboard.clear();
    this.isReady = false;
    await sleep(silenceMs);
    this.#endCalls(resetWithoutReason());
    await this.stop();
  }

  /** Ends every connection and stops listening. Safe to repeat. */
  async stop(): Promise<void> {
    this.resetConnections();
    this.#grpc.forceShutdown();
    this.#http.close();
    if (!this.#front.listening) return;
    this.#front.close();
    await once(this.#front, 'close');
  }

  #openLog(): Log {
    const { indexLagMs = 20, file } = this.options;
    return new Log({ indexLagMs, isNew: this.isLeader, ...(file !== undefined && { file }) });
  }

  #endCalls(why: Failure): void {
    for (const end of [...this.openCalls]) end(why);
  }

  #accept(socket: Socket): void {
    const peer = `${String(socket.remoteAddress)}:${String(socket.remotePort)}`;
    this.#sockets.set(peer, socket);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sockets.delete(peer));
    socket.setNoDelay(true);
  }

  #addServices(): void {
    const { read: readMethod, ...others } = streamsService.StreamsService;
    const serialize = readMethod.responseSerialize;
    const encodedReads = {
      ...readMethod,
      responseSerialize: (answer: ReadAnswer) =>
        Buffer.isBuffer(answer) ? answer : serialize(answer),
    };
    const onRead: handleServerStreamingCall<ReadReq, ReadAnswer> = (call) => read(this, call);
    this.#grpc.addService(
      { ...others, read: encodedReads },
      {
        read: onRead,
        append: append.bind(null, this),
        batchAppend: batchAppend.bind(null, this),
        delete: deleteStream.bind(null, this),
        tombstone: tombstoneStream.bind(null, this),
      },
    );
    this.#grpc.addService(featuresService.ServerFeaturesService, {
      getSupportedMethods: (
        _call: ServerUnaryCall<Empty, SupportedMethods>,
        answer: sendUnaryData<SupportedMethods>,
      ) => this.whenThawed(() => answer(null, supportedMethods())),
    });
    this.#grpc.addService(gossipService.GossipService, {
      read: (_call: ServerUnaryCall<Empty, ClusterInfo>, answer: sendUnaryData<ClusterInfo>) =>
        this.whenThawed(() => answer(null, clusterInfo(this.members))),
    });
  }
}

function credentialsOf({ tls }: TestServerOptions): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const pair = { private_key: tls.key, cert_chain: tls.certificate };
  return ServerCredentials.createSsl(null, [pair]);
}

function portOf(server: NetServer): number {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has a port');
  return address.port;
}

/** Service and method names are lower case on the server; the client compares them so. */
function supportedMethods(): SupportedMethods {
  const supported = new featuresPb.SupportedMethods();
  supported.setEventStoreServerVersion(VERSION);
  supported.setMethodsList(
    METHODS.map((name) => {
      const method = new featuresPb.SupportedMethod();
      method.setServiceName('event_store.client.streams.streams');
      method.setMethodName(name);
      return method;
    }),
  );
  return supported;
}

function clusterInfo(members: readonly Member[]): ClusterInfo {
  const info = new gossipPb.ClusterInfo();
  info.setMembersList(
    members.map(({ host, port, state, isAlive }) => {
      const endPoint = new gossipPb.EndPoint();
      endPoint.setAddress(host);
      endPoint.setPort(port);
      const id = new sharedPb.UUID();
      id.setString(crypto.randomUUID());
      const member = new gossipPb.MemberInfo();
      member.setInstanceId(id);
      member.setTimeStamp(String(BigInt(Date.now()) * 10_000n));
      member.setState(STATES[state]);
      member.setIsAlive(isAlive);
      member.setHttpEndPoint(endPoint);
      return member;
    }),
  );
  return info;
}
