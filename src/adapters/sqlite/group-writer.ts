import { Worker } from 'node:worker_threads';
import type { Clock } from '../../ports/clock.js';
import type { Appended } from '../../ports/event-store.js';
import { Fault } from '../../ports/faults.js';
import { emit } from '../../ports/signals.js';
import { NO_REVISION, type AppendRequest } from './event-log.js';
import type { LogWriterOptions } from './log-writer.js';
import { toMessage, type Failure, type FromWriter, type ToWriter } from './writer-messages.js';

export interface GroupWriterOptions {
  readonly log: LogWriterOptions;
  readonly clock: Clock;
  /** Called once when nothing can be written any more until the log is opened again. */
  readonly onFatal: (fault: Fault) => void;
}

/** Appends that may wait, and for how long: beyond it a caller is better served by a quick no. */
const WAITING_MAX = 1_000;
const WAITING_MS_MAX = 2_000;
/** Characters that may wait; so many appends of one mebibyte would fill the memory. */
const WAITING_LENGTH_MAX = 64 * 1024 * 1024;
/** A larger group saves little (2 % of a commit are shared), and its first append waits for its last. */
const GROUP_MAX = 256;
const GROUP_LENGTH_MAX = 8 * 1024 * 1024;
/** Time between two looks for room on a full disk. */
const ROOM_PROBE_MS = 1_000;

interface Waiting {
  readonly request: AppendRequest;
  /** Characters of data and metadata. */
  readonly length: number;
  readonly sinceMs: number;
  readonly resolve: (appended: Appended) => void;
  readonly reject: (error: Error) => void;
}

type Opened = Extract<FromWriter, { type: 'opened' }>;

/**
 * The writer thread as its store sees it: appends that come while a group is being written form the next
 * group, so the number of waits for the disk falls as the load grows.
 */
export class GroupWriter {
  /** What the thread said when it had opened the log. */
  readonly opened: Opened;
  /** Called with the last position of each group that reached the disk, before its appends are answered. */
  onCommit: (position: number) => void = () => undefined;
  /** Groups that reached the disk. */
  groups = 0;
  readonly #options: GroupWriterOptions;
  readonly #thread: Worker;
  #waiting: Waiting[] = [];
  #waitingLength = 0;
  #inFlight: readonly Waiting[] = [];
  #inFlightSinceMs = 0;
  #lastGroupSize = 0;
  #sendIsScheduled = false;
  #cancelExpiry: (() => void) | null = null;
  #problem: Problem | null = null;
  #drained: (() => void) | null = null;
  #isLeaving = false;

  private constructor(options: GroupWriterOptions, thread: Worker, opened: Opened) {
    this.#options = options;
    this.#thread = thread;
    this.opened = opened;
    thread.on('message', (message: FromWriter) => {
      this.#receive(message);
    });
    thread.on('error', (error) => {
      this.#stop(error.message);
    });
    thread.on('exit', () => {
      if (!this.#isLeaving) this.#stop('the writer thread has ended');
    });
    // An idle writer does not keep the process alive; one at work does.
    thread.unref();
  }

  /** Starts the thread and opens the log in it. @throws {Fault} as `LogWriter.open`. */
  static start(options: GroupWriterOptions): Promise<GroupWriter> {
    const thread = newThread(options.log);
    return new Promise((resolve, reject) => {
      thread.once('error', reject);
      thread.once('exit', () => {
        reject(new Fault('STORE_UNAVAILABLE', 'the writer thread has ended'));
      });
      thread.once('message', (message: FromWriter) => {
        if (message.type === 'opened') resolve(new GroupWriter(options, thread, message));
        else if (message.type === 'stopped') reject(new Fault(message.code, message.detail));
      });
    });
  }

  /** How many appends wait for the next group. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Why nothing can be written now, in words; null when it can. */
  get problem(): string | null {
    if (this.#problem !== null) return this.#problem.detail;
    const ageMs = this.#options.clock.monotonicMs() - this.#inFlightSinceMs;
    if (this.#inFlight.length === 0 || ageMs < WAITING_MS_MAX) return null;
    return `the disk has not answered for ${String(Math.round(ageMs))} ms`;
  }

  /** Whether the log takes appends again without being reopened. */
  get isUsable(): boolean {
    return this.#problem === null || this.#problem.type === 'full';
  }

  /** Appends with the next group; see `EventStore.append`. */
  append(request: AppendRequest): Promise<Appended> {
    const length = lengthOf(request);
    const refusal = this.#refusalOf(length);
    if (refusal !== null) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      const sinceMs = this.#options.clock.monotonicMs();
      this.#waiting.push({ request, length, sinceMs, resolve, reject });
      this.#waitingLength += length;
      this.#cancelExpiry ??= this.#expireAfter(WAITING_MS_MAX);
      if (this.#inFlight.length > 0) return;
      // A caller who is alone has nobody to wait for: 10 µs of his 190.
      if (this.#lastGroupSize === 1) this.#send();
      else this.#sendSoon();
    });
  }

  /** Waits for what was accepted, then ends the thread. Safe to repeat. */
  async close(): Promise<void> {
    const before = this.#problem;
    if (before?.type === 'closed') return;
    this.#problem = { type: 'closed', code: 'STORE_UNAVAILABLE', detail: 'the log is closed' };
    if (before?.type !== 'stopped') {
      await this.#drain();
      await this.#leave();
    }
    this.#cancelExpiry?.();
    this.#isLeaving = true;
    await this.#thread.terminate();
  }

  #refusalOf(length: number): Fault | null {
    if (this.#problem !== null) return new Fault(this.#problem.code, this.#problem.detail);
    if (this.#waiting.length < WAITING_MAX && this.#waitingLength + length <= WAITING_LENGTH_MAX) {
      return null;
    }
    const waiting = String(this.#waiting.length);
    return new Fault('STORE_UNAVAILABLE', `${waiting} appends wait already; nothing was written`);
  }

  /** Lets everything that is ready now append first: callers that were just answered come back at once. */
  #sendSoon(): void {
    if (this.#sendIsScheduled) return;
    this.#sendIsScheduled = true;
    setImmediate(() => {
      this.#sendIsScheduled = false;
      this.#send();
    });
  }

  #send(): void {
    if (this.#inFlight.length > 0) return;
    if (this.#waiting.length === 0) {
      if (this.#problem?.type !== 'closed') this.#thread.unref();
      this.#drained?.();
      return;
    }
    const count = groupSizeOf(this.#waiting);
    this.#inFlight = this.#take(count);
    this.#inFlightSinceMs = this.#options.clock.monotonicMs();
    this.#thread.ref();
    this.#post(toMessage(this.#inFlight.map(({ request }) => request)));
  }

  #take(count: number): Waiting[] {
    const taken = this.#waiting.splice(0, count);
    for (const { length } of taken) this.#waitingLength -= length;
    return taken;
  }

  #post(message: ToWriter): void {
    this.#thread.postMessage(message);
  }

  #receive(message: FromWriter): void {
    switch (message.type) {
      case 'committed':
        this.#answer(message.places);
        return;
      case 'failed':
        this.#fail(message);
        return;
      case 'room':
        if (message.hasRoom && this.#problem?.type === 'full') this.#problem = null;
        else if (!message.hasRoom) this.#probeLater();
        return;
      case 'stopped':
        this.#stop(message.detail);
        return;
      case 'opened':
      case 'closed':
    }
  }

  #answer(places: readonly number[]): void {
    const group = this.#inFlight;
    this.#inFlight = [];
    this.#lastGroupSize = group.length;
    this.groups += 1;
    // Enough wait already: the thread begins with them while this one answers.
    if (this.#waiting.length >= group.length) this.#send();
    else this.#sendSoon();
    this.onCommit(endOf(places));
    for (const [index, { request, resolve, reject }] of group.entries()) {
      const revision = places[2 * index] ?? NO_REVISION;
      const position = places[2 * index + 1] ?? 0;
      if (position === 0) reject(conflictOf(request, revision));
      else resolve({ revision: BigInt(revision), position: BigInt(position) });
    }
  }

  #fail({ code, detail }: Failure): void {
    const group = this.#inFlight;
    this.#inFlight = [];
    const isFull = code === 'STORE_FULL';
    if (isFull) {
      this.#problem ??= { type: 'full', code, detail };
      this.#probeLater();
      emit('trouble', { where: 'event log', error: new Fault(code, detail) });
    }
    const refused = isFull ? [...group, ...this.#take(this.#waiting.length)] : group;
    rejectAll(refused, new Fault(code, detail));
    this.#sendSoon();
  }

  /** Reading goes on while the disk is full; writing, when something could be written again. */
  #probeLater(): void {
    this.#options.clock.after(ROOM_PROBE_MS, () => {
      if (this.#problem?.type === 'full') this.#post({ type: 'room' });
    });
  }

  /** Nothing is written from now on; what was under way is unknown, what waited was not written. */
  #stop(detail: string): void {
    if (this.#problem?.type === 'stopped') return;
    const isClosing = this.#problem?.type === 'closed';
    const fault = new Fault('OUTCOME_UNKNOWN', detail);
    const refusal = `the log was stopped by an error and must be opened again: ${detail}`;
    this.#problem = { type: 'stopped', code: 'STORE_UNAVAILABLE', detail: refusal };
    rejectAll(this.#inFlight, fault);
    this.#inFlight = [];
    rejectAll(this.#take(this.#waiting.length), new Fault('STORE_UNAVAILABLE', refusal));
    this.#thread.unref();
    this.#drained?.();
    emit('trouble', { where: 'event log', error: fault });
    if (!isClosing) this.#options.onFatal(fault);
  }

  #expireAfter(delayMs: number): () => void {
    return this.#options.clock.after(delayMs, () => {
      const dueMs = this.#options.clock.monotonicMs() - WAITING_MS_MAX;
      const fresh = this.#waiting.findIndex(({ sinceMs }) => sinceMs > dueMs);
      const late = this.#take(fresh === -1 ? this.#waiting.length : fresh);
      const detail = `no answer from the disk for ${String(WAITING_MS_MAX)} ms; nothing was written`;
      rejectAll(late, new Fault('STORE_UNAVAILABLE', detail));
      const next = this.#waiting[0];
      this.#cancelExpiry = next === undefined ? null : this.#expireAfter(next.sinceMs - dueMs);
    });
  }

  #drain(): Promise<void> {
    if (this.#inFlight.length === 0 && this.#waiting.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#drained = resolve;
    });
  }

  /** Has the thread close the log and waits for its end. */
  #leave(): Promise<void> {
    if (this.#problem?.type === 'stopped') return Promise.resolve();
    this.#isLeaving = true;
    return new Promise((resolve) => {
      this.#thread.ref();
      this.#thread.once('exit', () => {
        resolve();
      });
      this.#post({ type: 'close' });
    });
  }
}

interface Problem extends Failure {
  readonly type: 'full' | 'stopped' | 'closed';
}

/** The thread's file stands beside this one: compiled, or as a source that its own loader compiles. */
function newThread(log: LogWriterOptions): Worker {
  const isSource = import.meta.url.endsWith('.ts');
  const file = new URL(isSource ? './writer.worker.ts' : './writer.worker.js', import.meta.url);
  const loader = new URL('../../../scripts/typescript-loader.mjs', import.meta.url);
  const execArgv = ['--import', loader.href];
  return new Worker(file, { workerData: log, ...(isSource && { execArgv }) });
}

function lengthOf({ events }: AppendRequest): number {
  let length = 0;
  for (const { data, metadata } of events) length += data.length + metadata.length;
  return length;
}

/** As many from the front as fit into one group; at least one. */
function groupSizeOf(waiting: readonly Waiting[]): number {
  let length = 0;
  const end = waiting.findIndex((item, index) => {
    length += item.length;
    return index === GROUP_MAX || (index > 0 && length > GROUP_LENGTH_MAX);
  });
  return end === -1 ? waiting.length : end;
}

function endOf(places: readonly number[]): number {
  let end = 0;
  for (let index = 1; index < places.length; index += 2) end = Math.max(end, places[index] ?? 0);
  return end;
}

function conflictOf({ stream, expected }: AppendRequest, actual: number): Fault {
  const [is, asked] = [actual, expected].map((revision) =>
    revision === NO_REVISION ? 'no_stream' : String(revision),
  );
  const detail = `${stream} is at ${String(is)}, not at ${String(asked)}`;
  return new Fault('REVISION_CONFLICT', detail);
}

function rejectAll(group: readonly Waiting[], error: Fault): void {
  for (const { reject } of group) reject(error);
}
