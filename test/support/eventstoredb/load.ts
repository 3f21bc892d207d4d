import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { MemoryAuditJournal } from '../../../src/adapters/memory/audit-journal.js';
import { MemoryLeases } from '../../../src/adapters/memory/leases.js';
import { systemClock } from '../../../src/adapters/system-clock.js';
import {
  CreateDeployment,
  UpdateDeployment,
  type Receipt,
} from '../../../src/application/commands.js';
import { CommandPath } from '../../../src/application/handle.js';
import { LeaseWatch } from '../../../src/application/lease-watch.js';
import {
  STREAM_PREFIX,
  type EventStore,
  type RecordedEvent,
} from '../../../src/ports/event-store.js';
import { isFault } from '../../../src/ports/faults.js';
import { eventsOf } from '../stored-events.js';

/** A command that was acknowledged. */
interface Acknowledged {
  readonly writer: number;
  readonly stream: string;
  readonly commandId: string;
  readonly receipt: Receipt;
}

export interface LoadOptions {
  readonly store: EventStore;
  readonly writers: number;
  /** How long a command may take. Milliseconds. */
  readonly deadlineMs: number;
}

/** How long a writer waits after a failure before it sends the same command again. */
const PAUSE_MS = 10;
/** Commands that a deployment gets; then the writer goes on with another one. */
const LIFE = 200;

/**
 * Writers that work as the service does: each has deployments of its own, sends a command, and sends the
 * same one again, with the same id, until it is acknowledged.
 */
export class Load {
  readonly acknowledged: Acknowledged[] = [];
  /** Answers by result: `accepted`, or the code of a fault. */
  readonly answers = new Map<string, number>();
  /** The longest time in which a command was answered. Milliseconds. */
  slowestMs = 0;
  /** When a command was acknowledged last, by the monotonic clock. */
  lastAtMs = 0;
  readonly #path: CommandPath;
  readonly #prefix = randomUUID().slice(0, 8);
  readonly #workers: Promise<void>[];
  #isStopping = false;
  #isAbandoned = false;

  constructor(private readonly options: LoadOptions) {
    const leases = new LeaseWatch(systemClock, new MemoryLeases());
    this.#path = new CommandPath({
      store: options.store,
      leases,
      journal: new MemoryAuditJournal(),
      clock: systemClock,
      scopes: new Map([['full', 'deploy']] as const),
      defaults: { heartbeatMs: 30_000, leaseMs: 90_000, startTimeoutMs: 90_000 },
      deadlineMs: options.deadlineMs,
    });
    this.#workers = [
      ...Array.from({ length: options.writers }, (_, n) => this.#write(n)),
      this.#read(),
    ];
  }

  /** Prefix of the streams that are written. */
  get streamPrefix(): string {
    return `${STREAM_PREFIX}${this.#prefix}`;
  }

  /** Resolves when so many more commands are acknowledged. */
  async more(count: number): Promise<void> {
    const goal = this.acknowledged.length + count;
    while (this.acknowledged.length < goal) await sleep(2);
  }

  /** Resolves when every writer has had an acknowledgement from now on. */
  async everyWriter(): Promise<void> {
    const from = this.acknowledged.length;
    const seen = new Set<number>();
    for (let next = from; seen.size < this.options.writers;) {
      for (; next < this.acknowledged.length; next += 1) {
        const { writer } = this.acknowledged[next] ?? {};
        if (writer !== undefined) seen.add(writer);
      }
      if (seen.size < this.options.writers) await sleep(2);
    }
  }

  /** Ends when each writer has its last command acknowledged. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    await Promise.all(this.#workers);
  }

  /** Ends without waiting for what is not acknowledged yet: for a test that has failed. */
  abandon(): void {
    this.#isStopping = true;
    this.#isAbandoned = true;
  }

  /**
   * Compares what was acknowledged with what the log holds.
   * Shape: commands that are missing or stand elsewhere than was said, and commands that stand there twice.
   */
  async compare(store: EventStore): Promise<{ lost: string[]; doubled: string[]; events: number }> {
    const held = new Map<string, RecordedEvent[]>();
    for (const stream of new Set(this.acknowledged.map((each) => each.stream))) {
      for (const event of await eventsOf(store.read(stream))) {
        const commandId = commandIdOf(event);
        held.set(commandId, [...(held.get(commandId) ?? []), event]);
      }
    }
    const isHeld = ({ commandId, receipt }: Acknowledged): boolean =>
      held.get(commandId)?.at(-1)?.revision === receipt.revision;
    return {
      lost: this.acknowledged.filter((each) => !isHeld(each)).map(({ commandId }) => commandId),
      doubled: [...held].filter(([, events]) => isDoubled(events)).map(([commandId]) => commandId),
      events: [...held.values()].reduce((sum, { length }) => sum + length, 0),
    };
  }

  /** Someone reads all the time: a stream, and the log's end. */
  async #read(): Promise<void> {
    const { store } = this.options;
    while (!this.#isStopping) {
      const { stream } = this.acknowledged.at(-1) ?? { stream: this.streamPrefix };
      const read = Promise.all([
        eventsOf(store.read(stream, { direction: 'backward', limit: 1 })),
        store.head(),
      ]);
      const answer = await read.catch((error: unknown) => error);
      if (answer instanceof Error && !isFault(answer, 'STORE_UNAVAILABLE')) throw answer;
      await sleep(PAUSE_MS / 2);
    }
  }

  async #write(writer: number): Promise<void> {
    for (let n = 0; !this.#isStopping; n += 1) {
      const deploymentId = `${this.#prefix}-${String(writer)}-${String(Math.floor(n / LIFE))}`;
      const commandId = randomUUID();
      const receipt = await this.#untilAcknowledged(() =>
        n % LIFE === 0
          ? this.#path.execute('CreateDeployment', CreateDeployment.of({ deploymentId, commandId }))
          : this.#path.execute(
              'UpdateDeployment',
              UpdateDeployment.of({ deploymentId, commandId, name: `name ${String(n)}` }),
            ),
      );
      if (receipt === null) return;
      const stream = STREAM_PREFIX + deploymentId;
      this.acknowledged.push({ writer, stream, commandId, receipt });
      this.lastAtMs = performance.now();
    }
  }

  async #untilAcknowledged(send: () => Promise<Receipt>): Promise<Receipt | null> {
    while (!this.#isAbandoned) {
      const startedAtMs = performance.now();
      const answer = await send().catch((error: unknown) => error);
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startedAtMs);
      const result = isFault(answer)
        ? answer.code
        : answer instanceof Error
          ? 'defect'
          : 'accepted';
      this.answers.set(result, (this.answers.get(result) ?? 0) + 1);
      if (result === 'accepted') return answer as Receipt;
      if (result === 'defect') throw answer as Error;
      await sleep(PAUSE_MS);
    }
    return null;
  }
}

function commandIdOf({ metadata }: RecordedEvent): string {
  return (JSON.parse(metadata) as { readonly commandId: string }).commandId;
}

/** Events of one command are those of one append: their types differ. */
function isDoubled(events: readonly RecordedEvent[]): boolean {
  return new Set(events.map(({ type }) => type)).size < events.length;
}
