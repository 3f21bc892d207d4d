/** A subscription to `$all`: what is there after a position, then what comes. */
import { randomUUID } from 'node:crypto';
import type { ReadReq } from '@eventstore/db-client/generated/streams_pb.js';
import {
  fail,
  invalidPosition,
  resetWithoutReason,
  unavailable,
  type Failure,
} from './failures.js';
import type { LoggedEvent } from './log.js';
import type { Node } from './node.js';
import {
  caughtUp,
  checkpoint,
  confirmation,
  encodedEvent,
  type ReadAnswer,
  type ReadCall,
} from './wire.js';

type Filter = (event: LoggedEvent) => boolean;

/** Begins a subscription; it lives as long as its call. */
export function follow(node: Node, call: ReadCall, options: ReadReq.Options): void {
  const from = options.getAll();
  const given = from?.hasPosition() === true ? from.getPosition()?.getCommitPosition() : undefined;
  // After the end is accepted, and then everything up to there is passed over in silence.
  const after = from?.hasEnd() === true ? (node.log.last?.position ?? 0n) : BigInt(given ?? 0);
  const first = node.log.indexOf(after);
  if (first === null) {
    fail(call, invalidPosition());
    return;
  }
  const feed = new Feed(node, call, {
    after,
    first,
    filter: filterOf(options),
    checkpointEvery: checkpointIntervalOf(options),
  });
  feed.begin();
}

function filterOf(options: ReadReq.Options): Filter {
  const filter = options.getFilter();
  const onStream = filter?.getStreamIdentifier();
  const onType = filter?.getEventType();
  const expression = onStream ?? onType;
  if (expression === undefined) return () => true;
  const prefixes = expression.getPrefixList();
  const regex = expression.getRegex() === '' ? null : new RegExp(expression.getRegex());
  return ({ stream, type }) => {
    const text = onStream === undefined ? type : stream;
    return regex === null ? prefixes.some((prefix) => text.startsWith(prefix)) : regex.test(text);
  };
}

const SEARCH_WINDOW = 32;

function checkpointIntervalOf(options: ReadReq.Options): number {
  const filter = options.getFilter();
  if (filter === undefined) return Infinity;
  const window = filter.hasMax() ? filter.getMax() : SEARCH_WINDOW;
  return window * Math.max(1, filter.getCheckpointintervalmultiplier());
}

interface FeedOptions {
  readonly after: bigint;
  readonly first: number;
  readonly filter: Filter;
  readonly checkpointEvery: number;
}

/** Sends the events of one subscription, no faster than the reader takes them. */
class Feed {
  #next: number;
  #scanned = 0;
  #isBusy = false;
  #isLive = false;
  #isOver = false;
  #isMuted = false;
  #held: LoggedEvent | null = null;
  #release: () => void = () => undefined;

  constructor(
    private readonly node: Node,
    private readonly call: ReadCall,
    private readonly options: FeedOptions,
  ) {
    this.#next = options.first;
  }

  begin(): void {
    this.node.openCalls.add(this.#fail);
    this.call.write(confirmation(randomUUID()));
    this.#release = this.node.log.onAppend(() => this.#wake());
    this.call.on('cancelled', () => this.#stop());
    this.call.on('close', () => this.#stop());
    this.call.on('error', () => this.#stop());
    this.#wake();
  }

  #stop(): void {
    this.#isOver = true;
    this.#release();
    this.node.openCalls.delete(this.#fail);
  }

  readonly #fail = (why: Failure): void => this.#end(() => fail(this.call, why));

  #wake(): void {
    if (this.#isBusy || this.#isOver) return;
    this.#isBusy = true;
    this.node.whenThawed(() => void this.#run());
  }

  async #run(): Promise<void> {
    const { all } = this.node.log;
    while (!this.#isQuiet) {
      const event = all[this.#next];
      if (event === undefined) break;
      this.#next += 1;
      if (event.position > this.options.after) await this.#pass(event);
    }
    this.#isBusy = false;
    if (this.#isQuiet) return;
    await this.#letGo();
    if (!this.#isLive) await this.#send(caughtUp());
    this.#isLive = true;
    if (this.#next < all.length) this.#wake();
  }

  get #isQuiet(): boolean {
    return this.#isOver || this.#isMuted || this.node.isSilent;
  }

  async #pass(event: LoggedEvent): Promise<void> {
    if (this.options.filter(event)) await this.#deliver(event);
    this.#scanned += 1;
    if (this.#scanned % this.options.checkpointEvery === 0)
      await this.#send(checkpoint(event.position));
  }

  async #deliver(event: LoggedEvent): Promise<void> {
    this.node.eventsSent += 1;
    const fault = this.node.switchboard.take('subscription', event.stream);
    switch (fault?.fault) {
      case undefined:
        await this.#send(encodedEvent(event));
        return this.#letGo();
      case 'silence':
        this.#isMuted = true;
        return;
      case 'unavailable': {
        this.#end(() => fail(this.call, unavailable('Connection reset by peer')));
        return;
      }
      case 'internal': {
        this.#end(() => fail(this.call, resetWithoutReason()));
        return;
      }
      case 'reset': {
        this.#end(() => this.node.resetConnection(this.call.getPeer()));
        return;
      }
      case 'ok_end': {
        this.#end(() => this.call.end());
        return;
      }
      case 'duplicate':
        await this.#send(encodedEvent(event));
        return this.#send(encodedEvent(event));
      case 'reorder':
        await this.#letGo();
        this.#held = event;
        return;
      case 'late':
        setTimeout(() => void this.#send(encodedEvent(event)), fault.delayMs).unref();
        return;
      case 'checkpoint_past':
        await this.#send(checkpoint(event.position + 1_000_000n));
        return this.#send(encodedEvent(event));
      case 'caught_up_again':
        await this.#send(caughtUp());
        return this.#send(encodedEvent(event));
      case 'slow':
        await new Promise((resolve) => setTimeout(resolve, fault.delayMs).unref());
        return this.#send(encodedEvent(event));
    }
  }

  async #letGo(): Promise<void> {
    const held = this.#held;
    this.#held = null;
    if (held !== null) await this.#send(encodedEvent(held));
  }

  #end(how: () => void): void {
    this.#stop();
    how();
  }

  async #send(answer: ReadAnswer): Promise<void> {
    if (this.#isOver || this.call.write(answer)) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        this.call.off('drain', done);
        this.call.off('close', done);
        this.call.off('cancelled', done);
        resolve();
      };
      this.call.once('drain', done);
      this.call.once('close', done);
      this.call.once('cancelled', done);
    });
  }
}
