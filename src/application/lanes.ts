/**
 * The mailbox of each deployment: its folded state, and the order in which its commands are decided.
 */
import { evolve, unrecorded, type Deployment } from '../domain/deployment.js';
import {
  parseEvent,
  type DeploymentEvent,
  type DeploymentId,
  type State,
} from '../domain/event-schema.js';
import { sleep, type Clock } from '../ports/clock.js';
import {
  STREAM_PREFIX,
  type Appended,
  type EventStore,
  type NewEvent,
  type Position,
  type RecordedEvent,
  type Revision,
} from '../ports/event-store.js';
import { Fault, isFault } from '../ports/faults.js';
import { emit } from '../ports/signals.js';

/** A deployment folded up to a revision; -1 and null before the first event. */
export interface Folded {
  readonly deployment: Deployment;
  readonly revision: Revision;
  readonly position: Position | null;
}

/** An event ready to be appended: as bytes for the log, and as the fold takes it. */
export interface PreparedEvent {
  readonly stored: NewEvent;
  readonly event: DeploymentEvent;
}

/** What a command makes of a state: events to append, and the answer once they are durable. */
export interface Plan<T> {
  readonly commandId: string;
  readonly events: readonly PreparedEvent[];
  /** Called when everything that the plan was made on, and its own events, is durable. */
  readonly answer: (after: Folded) => T | Promise<T>;
}

/**
 * Where the events of a command stand in their stream, one after the other, and the state that they left:
 * enough to answer a repeat. Revisions are numbers here: a small one takes no memory of its own.
 */
export interface Written {
  readonly first: number;
  readonly last: number;
  readonly state: State;
}

/** What a lane works with. */
export interface LaneOptions {
  readonly store: EventStore;
  readonly clock: Clock;
  /** How long a command may take, repeats of an append included. Milliseconds. */
  readonly deadlineMs: number;
  /** A number in [0, 1) for jitter. */
  readonly random: () => number;
}

/** How often a command is decided again after a conflict with another process. */
const CONFLICTS_MAX = 5;
const BACKOFF_MS = 10;
/** Commands of one deployment that may wait for their turn. */
const WAITING_MAX = 1_000;
/** What an answer may be late by, so that the store's own word comes first. */
const GRACE_MS = 100;

/**
 * Folds stored events into a deployment. One that can not be read stops the fold: it is never skipped.
 * @throws {Fault} STORE_CORRUPT naming the event.
 */
export function foldRecorded(
  folded: Folded,
  events: readonly RecordedEvent[],
  seen?: (commandId: string, revision: Revision, state: State) => void,
): Folded {
  let { deployment, revision, position } = folded;
  for (const recorded of events) {
    const event = eventOf(recorded);
    deployment = evolve(deployment, event);
    ({ revision, position } = recorded);
    seen?.(event.metadata.commandId, revision, deployment.state);
  }
  return { deployment, revision, position };
}

/**
 * Reads a stored event.
 * @throws {Fault} STORE_CORRUPT naming the event.
 */
export function eventOf({
  type,
  data,
  metadata,
  revision,
  stream,
}: RecordedEvent): DeploymentEvent {
  const parsed = parseEvent(type, data, metadata);
  if (parsed.ok) return parsed.event;
  const where = `event ${String(revision)} of ${stream}`;
  throw new Fault('STORE_CORRUPT', `${where} can not be read: ${parsed.problem}`);
}

/** Nothing recorded yet. */
export function foldedFrom(deploymentId: DeploymentId): Folded {
  return { deployment: unrecorded(deploymentId), revision: -1n, position: null };
}

/**
 * Decides the commands of one deployment one after the other, each on the state that its predecessor
 * leaves.
 *
 * Where this process is the only writer, a command is decided and sent before its predecessor is
 * durable, so that a contended deployment fills commit groups; it is answered only after it. Elsewhere
 * another process may take the revision in between, so each command waits for its turn.
 */
export class Lane {
  readonly stream: string;
  /** What each command id has written; a repeat is found at any age. */
  readonly #written = new Map<string, { -readonly [K in keyof Written]: Written[K] }>();
  #durable: Folded;
  #tip: Folded | null = null;
  #tail: Promise<unknown> = Promise.resolve();
  #turn: Promise<unknown> = Promise.resolve();
  #loading: Promise<Folded> | null = null;
  readonly #inFlight = new Set<Promise<unknown>>();
  #users = 0;
  /** How often the cached states were given up. */
  #failures = 0;

  constructor(
    deploymentId: DeploymentId,
    readonly options: LaneOptions,
  ) {
    this.stream = STREAM_PREFIX + deploymentId;
    this.#durable = foldedFrom(deploymentId);
  }

  /** The newest state known here; another process may have moved on. */
  get known(): Folded {
    return this.#tip ?? this.#durable;
  }

  /** What a command has written to the stream as far as it is known here; undefined when nothing. */
  writtenBy(commandId: string): Written | undefined {
    return this.#written.get(commandId);
  }

  /** Command ids that are known here. */
  get commandIds(): number {
    return this.#written.size;
  }

  /** Whether nobody waits for an answer of this lane. */
  get idle(): boolean {
    return this.#users === 0;
  }

  /**
   * Runs one command: plans it on the newest state, appends, and answers.
   * @throws {Fault} REVISION_CONFLICT after too many conflicts; whatever the store threw.
   */
  run<T>(plan: (folded: Folded) => Plan<T>): Promise<T> {
    this.#users += 1;
    const { store, clock, deadlineMs } = this.options;
    if (this.#users > WAITING_MAX) {
      this.#users -= 1;
      return Promise.reject(
        unwritten(`${String(WAITING_MAX)} commands of this deployment wait already`),
      );
    }
    const deadline = clock.monotonicMs() + deadlineMs;
    const attempt = (): Promise<T> => this.#attempt(plan, deadline);
    const work = store.exclusive ? attempt() : this.#turn.then(attempt);
    const leave = (): void => void (this.#users -= 1);
    const done = work.then(leave, leave);
    if (!store.exclusive) this.#turn = done;
    return this.#inTime(work);
  }

  /** Answers at the deadline whatever the store does; what is under way goes on. */
  #inTime<T>(work: Promise<T>): Promise<T> {
    const { clock, deadlineMs } = this.options;
    return new Promise((resolve, reject) => {
      const cancel = clock.after(deadlineMs + GRACE_MS, () => {
        reject(
          new Fault('OUTCOME_UNKNOWN', `the log gave no answer within ${String(deadlineMs)} ms`),
        );
      });
      const settled =
        <S>(settle: (outcome: S) => void) =>
        (outcome: S): void => {
          cancel();
          settle(outcome);
        };
      work.then(settled(resolve), settled(reject));
    });
  }

  /** The newest durable state, read from the stream where others may have written. */
  async read(): Promise<Folded> {
    return this.run<Folded>(() => ({ commandId: '', events: [], answer: (folded) => folded }));
  }

  async #attempt<T>(plan: (folded: Folded) => Plan<T>, deadline: number): Promise<T> {
    const { clock, random } = this.options;
    for (let conflicts = 0; ; conflicts += 1) {
      if (clock.monotonicMs() >= deadline) throw unwritten('the log did not get to it in time');
      if (this.#tip === null) await this.#load();
      // Whoever waited for the same read may have moved the tip before this one goes on.
      const tip = this.#tip ?? this.#durable;
      const planned = plan(tip);
      try {
        const after = await this.#carryOut(planned, tip, deadline);
        if (after !== null) return await planned.answer(after);
      } catch (error) {
        if (!isFault(error, 'REVISION_CONFLICT') || conflicts >= CONFLICTS_MAX) throw error;
        await sleep(clock, BACKOFF_MS * 2 ** conflicts * random());
      }
    }
  }

  /** The state after the plan, durable; null when the state it was made on is no longer the newest. */
  async #carryOut(
    { commandId, events }: Plan<unknown>,
    tip: Folded,
    deadline: number,
  ): Promise<Folded | null> {
    if (events.length === 0) return this.#confirm(tip);
    const after: { -readonly [K in keyof Folded]: Folded[K] } = {
      deployment: events.reduce(
        (deployment, { event }) => evolve(deployment, event),
        tip.deployment,
      ),
      revision: tip.revision + BigInt(events.length),
      position: null,
    };
    const failures = this.#failures;
    this.#tip = after;
    this.#written.set(commandId, {
      first: Number(tip.revision) + 1,
      last: Number(after.revision),
      state: after.deployment.state,
    });
    const written = this.#append(events, tip.revision, deadline);
    this.#tail = written;
    this.#inFlight.add(written);
    try {
      after.position = (await written).position;
      // After a failure of another command the stream is read again, from the last state that was whole.
      if (failures === this.#failures) this.#durable = after;
      return after;
    } catch (error) {
      this.#distrust();
      throw error;
    } finally {
      this.#inFlight.delete(written);
    }
  }

  /** Waits until a state is durable and, where others write too, checks that it is still the newest. */
  async #confirm(tip: Folded): Promise<Folded | null> {
    if (this.options.store.exclusive) {
      const durable = await this.#tail.then(
        () => true,
        () => false,
      );
      return durable && (tip.position !== null || tip.revision === -1n) ? tip : null;
    }
    const newest = await this.#load();
    return newest.revision === tip.revision ? newest : null;
  }

  async #append(
    events: readonly PreparedEvent[],
    revision: Revision,
    deadline: number,
  ): Promise<Appended> {
    const { store, clock, random } = this.options;
    const before = this.#tail;
    const expected = revision === -1n ? 'no_stream' : revision;
    const stored = events.map((prepared) => prepared.stored);
    const sentAtMs = clock.monotonicMs();
    let unknown: Fault | null = null;
    for (let repeats = 0; ; repeats += 1) {
      try {
        const appended = await store.append(this.stream, expected, stored);
        emit('append', { events: stored.length, ms: clock.monotonicMs() - sentAtMs });
        return appended;
      } catch (error) {
        if (isFault(error, 'OUTCOME_UNKNOWN')) unknown = error;
        else if (unknown === null || !isFault(error, 'STORE_UNAVAILABLE')) throw error;
      }
      // The same ids at the same revision, one at a time: only so can a late commit be told from none.
      await before.catch(ignored);
      const leftMs = deadline - clock.monotonicMs();
      if (leftMs <= 0) throw unknown;
      await sleep(
        clock,
        Math.min(leftMs, BACKOFF_MS * 2 ** Math.min(repeats, 6) * (0.5 + random() / 2)),
      );
    }
  }

  /** After a failure nothing cached beyond the durable state counts: the stream is read first. */
  #distrust(): void {
    this.#failures += 1;
    this.#tip = null;
    for (const [commandId, { first }] of this.#written) {
      if (first > this.#durable.revision) this.#written.delete(commandId);
    }
  }

  /** The events of a command stand together; should its id come once more elsewhere, the first ones count. */
  readonly #note = (commandId: string, revision: Revision, state: State): void => {
    const at = Number(revision);
    const known = this.#written.get(commandId);
    if (known === undefined) this.#written.set(commandId, { first: at, last: at, state });
    else if (at === known.last + 1) {
      known.last = at;
      known.state = state;
    }
  };

  /** Reads what the stream holds beyond the durable state; all who ask meanwhile share one read. */
  #load(): Promise<Folded> {
    this.#loading ??= this.#readOn().finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #readOn(): Promise<Folded> {
    await Promise.allSettled(this.#inFlight);
    let folded = this.#durable;
    const from = folded.revision + 1n;
    for await (const page of this.options.store.read(this.stream, { from })) {
      folded = foldRecorded(folded, page, this.#note);
    }
    this.#durable = folded;
    this.#tip = folded;
    this.#tail = Promise.resolve();
    return folded;
  }
}

/** Deployments whose fold is kept; a folded deployment takes about 2 KiB. */
const LANES_MAX = 10_000;
/** Command ids kept for all of them, some 150 bytes each, and how often they are counted. */
const COMMAND_IDS_MAX = 500_000;
const COUNT_EVERY = 1_000;

/** The lanes in use and, up to a bound, those used last. */
export class Lanes {
  readonly #lanes = new Map<DeploymentId, Lane>();
  #asked = 0;

  constructor(
    private readonly options: LaneOptions,
    private readonly lanesMax: number = LANES_MAX,
  ) {}

  /** The lane of a deployment. */
  of(deploymentId: DeploymentId): Lane {
    const known = this.#lanes.get(deploymentId);
    if (known === undefined && this.#lanes.size >= this.lanesMax) this.#evict(this.lanesMax - 1);
    const lane = known ?? new Lane(deploymentId, this.options);
    this.#lanes.delete(deploymentId);
    this.#lanes.set(deploymentId, lane);
    this.#asked += 1;
    if (this.#asked % COUNT_EVERY === 0) this.#forgetIds();
    return lane;
  }

  /** Gives up lanes that were used longest ago, but none that somebody waits at. */
  #evict(keep: number): void {
    for (const [deploymentId, lane] of this.#lanes) {
      if (this.#lanes.size <= keep) return;
      if (lane.idle) this.#lanes.delete(deploymentId);
    }
  }

  #forgetIds(): void {
    let ids = 0;
    let lanes = 0;
    for (const { commandIds } of [...this.#lanes.values()].reverse()) {
      ids += commandIds;
      if (ids > COMMAND_IDS_MAX) break;
      lanes += 1;
    }
    this.#evict(Math.max(1, lanes));
  }
}

function unwritten(why: string): Fault {
  return new Fault('STORE_UNAVAILABLE', `${why}; nothing was written`);
}

function ignored(): void {
  // Whoever appended handles the failure; here only the order counts.
}
