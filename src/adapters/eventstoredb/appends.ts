import { randomUUID } from 'node:crypto';
import type { BatchAppendResp } from '@eventstore/db-client/generated/streams_pb.js';
import type { Clock } from '../../ports/clock.js';
import type { Appended, Position, Revision } from '../../ports/event-store.js';
import { Fault } from '../../ports/faults.js';
import type { BatchCall, Connection } from './connection.js';
import {
  appendFault,
  callEndOf,
  isNotLeader,
  isNotReady,
  notSent,
  outcomeUnknown,
  streamDeleted,
  wordsOf,
} from './failures.js';
import { appendMessage, type AppendRequest } from './messages.js';
import type { Session } from './session.js';

/** What appends work with. */
export interface AppendsOptions {
  readonly session: Session;
  readonly clock: Clock;
  /** How long an append may be without an answer. Milliseconds. */
  readonly timeoutMs: number;
  /** Finds the position of an event that the server answered without one. */
  readonly positionAt: (stream: string, revision: Revision) => Promise<Position>;
}

/** Appends without an answer at one time; more are refused. */
const IN_FLIGHT_MAX = 1_000;
/** What they hold together. Bytes. */
const IN_FLIGHT_BYTES_MAX = 32 * 1024 * 1024;

/**
 * Sends appends on one stream and finds their answers.
 *
 * An append that was sent and not answered may be written at any later time; that is OUTCOME_UNKNOWN,
 * and the caller repeats it with the same ids at the same revision. STORE_UNAVAILABLE is said only when
 * nothing was sent, or the server said that it did not take it.
 */
export class Appends {
  readonly #options: AppendsOptions;
  #batch: Promise<Batch> | null = null;
  readonly #underWay = new Set<Promise<unknown>>();
  #bytes = 0;
  #isClosed = false;
  /** Appends whose outcome the server did not say, since the start. */
  unknownOutcomes = 0;
  /** When the last append was acknowledged; null before the first. */
  lastAt: string | null = null;
  /** Where the last append ended that was acknowledged; 0 before the first. */
  lastPosition: Position = 0n;

  constructor(options: AppendsOptions) {
    this.#options = options;
  }

  get inFlight(): number {
    return this.#underWay.size;
  }

  /** Appends events at an exact revision; `bytes` is what they take. */
  async append(request: AppendRequest, bytes: number): Promise<Appended> {
    this.#admit(bytes);
    this.#bytes += bytes;
    const work = this.#carryOut(request);
    this.#underWay.add(work);
    try {
      return await work;
    } finally {
      this.#underWay.delete(work);
      this.#bytes -= bytes;
    }
  }

  /** Waits for what is under way, each in its time, and takes nothing more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled(this.#underWay);
  }

  #admit(bytes: number): void {
    if (this.#isClosed) throw new Fault('STORE_UNAVAILABLE', 'the log is closed');
    if (this.#underWay.size >= IN_FLIGHT_MAX || this.#bytes + bytes > IN_FLIGHT_BYTES_MAX) {
      throw new Fault(
        'STORE_UNAVAILABLE',
        `${String(this.#underWay.size)} appends wait for EventStoreDB; nothing was written`,
      );
    }
  }

  async #carryOut(request: AppendRequest): Promise<Appended> {
    const { clock } = this.#options;
    const batch = await this.#open().catch((error: unknown) => {
      throw notSent(error);
    });
    try {
      const answer = await batch.send(request, this.#options.timeoutMs);
      const appended = await this.#read(answer, request);
      this.lastAt = clock.now();
      if (appended.position > this.lastPosition) this.lastPosition = appended.position;
      return appended;
    } catch (error) {
      if (error instanceof Fault && error.code === 'OUTCOME_UNKNOWN') this.unknownOutcomes += 1;
      throw error;
    }
  }

  async #read(answer: BatchAppendResp, request: AppendRequest): Promise<Appended> {
    const error = answer.getError();
    if (error !== undefined) throw appendFault(error, request);
    const revision = BigInt(answer.getSuccess()?.getCurrentRevision() ?? -1);
    const { stream, expected, events } = request;
    const before = expected === 'no_stream' ? -1n : expected;
    // A deleted stream that is begun again goes on with the revisions of the old one.
    if (revision !== before + BigInt(events.length)) throw streamDeleted(stream);
    const at = answer.getSuccess()?.getPosition();
    if (at !== undefined) return { revision, position: BigInt(at.getCommitPosition()) };
    return { revision, position: await this.#positionAt(stream, revision) };
  }

  /** It was written: that its position cannot be read must not pass for the contrary. */
  async #positionAt(stream: string, revision: Revision): Promise<Position> {
    try {
      return await this.#options.positionAt(stream, revision);
    } catch (error) {
      throw outcomeUnknown(stream, 'it wrote, and its position could not be read', error);
    }
  }

  /** The stream for appends; opened when there is none. */
  #open(): Promise<Batch> {
    if (this.#batch !== null) return this.#batch;
    const opening = this.#openOn();
    this.#batch = opening;
    opening.catch(() => {
      if (this.#batch === opening) this.#batch = null;
    });
    return opening;
  }

  async #openOn(): Promise<Batch> {
    const { session, clock } = this.#options;
    const connection = await session.connection();
    const batch = new Batch(connection, clock, {
      onNotReady: () => {
        this.#batch = null;
        session.retire(connection, { ended: batch.ended });
      },
      onOver: (error) => {
        if (!batch.isLeft) this.#batch = null;
        // The client itself follows the leader's address that came with the refusal.
        const silent = error instanceof Fault ? batch.node : null;
        if (!isNotLeader(error)) session.retire(connection, { silent });
      },
    });
    try {
      await connection.batch((call) => batch.begin(call));
    } catch (error) {
      session.retire(connection);
      throw error;
    }
    return batch;
  }
}

interface Pending {
  readonly stream: string;
  readonly resolve: (answer: BatchAppendResp) => void;
  readonly reject: (fault: Fault) => void;
  readonly cancelTimeout: () => void;
}

/** What a batch tells, each at most once. */
interface BatchEvents {
  /** The server turns appends away; another node may take them. What was sent is still answered. */
  readonly onNotReady: () => void;
  /** The stream is of no use any more. */
  readonly onOver: (error: unknown) => void;
}

/** One stream for appends. Each append has an id by which its answer is found; late answers find none. */
class Batch {
  /** Resolves when nothing waits for an answer and nothing more is sent, once that is so. */
  readonly ended: Promise<void>;
  /** The node at the other end; null before it has begun. */
  node: string | null = null;
  #resolveEnded: () => void = () => undefined;
  readonly #pending = new Map<string, Pending>();
  #call: BatchCall | null = null;
  #isOver = false;
  #isLeft = false;

  constructor(
    private readonly connection: Connection,
    private readonly clock: Clock,
    private readonly events: BatchEvents,
  ) {
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
  }

  /** Whether another batch has taken its place. */
  get isLeft(): boolean {
    return this.#isLeft;
  }

  begin(call: BatchCall): void {
    this.node = this.connection.node;
    this.#call = call;
    call.on('data', (answer: BatchAppendResp) => this.#take(answer));
    call.on('error', (error) => this.#end(error));
    // A stream that the server ends as if all were well leaves everything on it without an answer.
    call.on('end', () => this.#end(new Error('it ended the stream')));
  }

  send(request: AppendRequest, timeoutMs: number): Promise<BatchAppendResp> {
    return new Promise((resolve, reject) => {
      const { stream } = request;
      const call = this.#call;
      if (this.#isOver || call === null) {
        reject(notSent(new Error('the stream for appends is closed')));
        return;
      }
      const id = randomUUID();
      const cancelTimeout = this.clock.after(timeoutMs, () => this.#giveUp(id, timeoutMs));
      this.#pending.set(id, { stream, resolve, reject, cancelTimeout });
      call.write(appendMessage(id, request));
    });
  }

  #take(answer: BatchAppendResp): void {
    this.connection.heard();
    this.#settle(answer.getCorrelationId()?.getString() ?? '')?.resolve(answer);
    const error = answer.getError();
    if (error !== undefined && isNotReady(error)) this.#leave();
  }

  #leave(): void {
    if (this.#isLeft || this.#isOver) return;
    this.#isLeft = true;
    this.events.onNotReady();
    if (this.#pending.size === 0) this.#resolveEnded();
  }

  #giveUp(id: string, timeoutMs: number): void {
    const pending = this.#settle(id);
    if (pending === undefined) return;
    const why = `no answer within ${String(timeoutMs)} ms`;
    pending.reject(outcomeUnknown(pending.stream, why));
    // One request that the server dropped, among others that it answers, is no reason to cut them off.
    const silentMs = this.clock.monotonicMs() - this.connection.heardAtMs;
    if (silentMs >= timeoutMs / 2) this.#end(new Fault('STORE_UNAVAILABLE', why));
  }

  #settle(id: string): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.cancelTimeout();
    if (this.#isLeft && this.#pending.size === 0) this.#resolveEnded();
    return pending;
  }

  #end(error: unknown): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const why = wordsOf(callEndOf(error));
    for (const id of [...this.#pending.keys()]) {
      const pending = this.#settle(id);
      pending?.reject(outcomeUnknown(pending.stream, why, error));
    }
    this.#resolveEnded();
    this.events.onOver(error);
  }
}
