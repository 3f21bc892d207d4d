import { MemoryEventStore } from '../../src/adapters/memory/event-store.js';
import type {
  Appended,
  NewEvent,
  RecordedEvent,
  Revision,
  StreamRange,
} from '../../src/ports/event-store.js';
import { Fault } from '../../src/ports/faults.js';
import { settled } from './fake-clock.js';

/** What happens to the next appends, in order; afterwards all is well again. */
type Trouble =
  | 'unavailable' // refused, nothing written
  | 'written, then unknown' // committed, the answer is lost
  | 'not written, then unknown' // lost on the way
  | 'slow' // written, after some turns of the event loop
  | 'written later'; // lost on the way, committed when the next append comes

/** The memory log with the ways in which a network loses an append or its answer. */
export class FlakyStore extends MemoryEventStore {
  override readonly exclusive: boolean;
  appends = 0;
  isUnreachable = false;
  readonly #troubles: Trouble[] = [];
  #late: (() => Promise<unknown>) | null = null;

  constructor({ exclusive = false } = {}) {
    super();
    this.exclusive = exclusive;
  }

  /** Plans the trouble of the next appends. */
  next(...troubles: readonly Trouble[]): void {
    this.#troubles.push(...troubles);
  }

  /** From now on all is well. */
  recover(): void {
    this.#troubles.length = 0;
  }

  override async append(
    stream: string,
    expected: Revision | 'no_stream',
    events: readonly NewEvent[],
  ): Promise<Appended> {
    this.appends += 1;
    const late = this.#late;
    this.#late = null;
    await late?.().catch(() => undefined);
    const write = () => super.append(stream, expected, events);
    switch (this.#troubles.shift()) {
      case undefined:
        return write();
      case 'slow':
        await settled();
        return write();
      case 'unavailable':
        throw new Fault('STORE_UNAVAILABLE');
      case 'written, then unknown':
        await write();
        throw new Fault('OUTCOME_UNKNOWN');
      case 'not written, then unknown':
        throw new Fault('OUTCOME_UNKNOWN');
      case 'written later':
        this.#late = write;
        throw new Fault('OUTCOME_UNKNOWN');
    }
  }

  override async *read(
    stream: string,
    range?: StreamRange,
  ): AsyncGenerator<readonly RecordedEvent[]> {
    if (this.isUnreachable) throw new Fault('STORE_UNAVAILABLE');
    yield* super.read(stream, range);
  }
}
