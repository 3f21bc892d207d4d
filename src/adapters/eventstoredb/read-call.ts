import type { ReadReq, ReadResp } from '@eventstore/db-client/generated/streams_pb.js';
import type { Clock } from '../../ports/clock.js';
import { Fault } from '../../ports/faults.js';
import type { Connection, ReadCall } from './connection.js';

/** A page to read. */
export interface PageCall<T> {
  readonly connection: Connection;
  readonly clock: Clock;
  /** How long the server may be silent. Milliseconds. */
  readonly timeoutMs: number;
  readonly request: ReadReq;
  /** Makes of an event what is kept of it. */
  readonly take: (event: ReadResp.ReadEvent) => T;
}

/**
 * Reads one page to its end.
 * Shape: what was made of each event; null when there is no such stream. Rejects with what gRPC says.
 * @throws {Fault} STORE_UNAVAILABLE when the server is silent.
 */
export function readPage<T>(page: PageCall<T>): Promise<readonly T[] | null> {
  return new Promise((resolve, reject) => {
    const reading = new Reading(page, { resolve, reject });
    const begin = (call: ReadCall): void => reading.begin(call);
    // Decisions are made on what is read, so it is asked of the leader.
    page.connection.read(page.request, true, begin).catch((error: unknown) => reading.fail(error));
  });
}

interface Settle<T> {
  readonly resolve: (items: readonly T[] | null) => void;
  readonly reject: (error: unknown) => void;
}

class Reading<T> {
  readonly #items: T[] = [];
  readonly #startedAtMs: number;
  #call: ReadCall | null = null;
  #isMissing = false;
  #isOver = false;
  #cancelTimeout: () => void = () => undefined;

  constructor(
    private readonly page: PageCall<T>,
    private readonly settle: Settle<T>,
  ) {
    this.#startedAtMs = page.clock.monotonicMs();
    this.#watch();
  }

  begin(call: ReadCall): void {
    this.#call = call;
    // Listeners stay: an error without one would end the process.
    call.on('error', (error) => this.fail(error));
    call.on('data', (message: ReadResp) => this.#take(message));
    call.on('end', () =>
      this.#end(() => this.settle.resolve(this.#isMissing ? null : this.#items)),
    );
    if (this.#isOver) call.cancel();
  }

  fail(error: unknown): void {
    this.#end(() => this.settle.reject(error));
  }

  #take(message: ReadResp): void {
    this.page.connection.heard();
    const event = message.getEvent();
    if (message.hasStreamNotFound()) this.#isMissing = true;
    if (event === undefined || this.#isOver) return;
    try {
      this.#items.push(this.page.take(event));
    } catch (error) {
      this.fail(error);
    }
  }

  #watch(): void {
    const { clock, connection, timeoutMs } = this.page;
    const heardAtMs = Math.max(
      this.#startedAtMs,
      this.#items.length > 0 ? connection.heardAtMs : 0,
    );
    const leftMs = heardAtMs + timeoutMs - clock.monotonicMs();
    if (leftMs <= 0) {
      this.fail(new Fault('STORE_UNAVAILABLE', `no answer within ${String(timeoutMs)} ms`));
      return;
    }
    this.#cancelTimeout = clock.after(leftMs, () => this.#watch());
  }

  #end(settle: () => void): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#cancelTimeout();
    settle();
    // After its end this does nothing; before, it frees what the server holds for us.
    this.#call?.cancel();
  }
}
