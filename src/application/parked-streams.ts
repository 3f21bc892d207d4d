/** Streams that projections had to leave: what people see of them and decide, and another try of one. */
import type { Actor, Instant } from '../domain/event-schema.js';
import type { AuditJournal } from '../ports/audit-journal.js';
import type { Clock } from '../ports/clock.js';
import {
  STREAM_PREFIX,
  type EventStore,
  type Position,
  type Revision,
} from '../ports/event-store.js';
import type { ParkedStream, ReadModels } from '../ports/read-models.js';
import { assertRight } from './accept.js';
import { Text } from './fields.js';
import { FoldBatch, isAfter, readEvent, TableFold, type ReadEvent } from './fold.js';

/** Leaves a parked stream out for good, with a reason: it harms no health any more. */
export class SkipParked {
  @Text({ doc: 'Why it may be left out.', max: 1_000, lines: true }) readonly reason!: string;
}

/** Has a parked stream tried again, once its events can be folded. */
export class RetryParked {
  @Text({ doc: 'What was mended.', max: 1_000, lines: true, optional: true })
  readonly reason?: string;
}

/** A parked stream for people. */
export interface ParkedView {
  readonly projection: string;
  readonly deploymentId: string;
  /** The first event that could not be folded, and why. */
  readonly revision: Revision;
  readonly position: Position;
  readonly problem: string;
  readonly parkedAt: Instant;
  /** `folded`: it is parked no more. */
  readonly state: 'waiting' | 'skipped' | 'retrying' | 'folded';
  readonly decidedBy: Actor | null;
  readonly decidedAt: Instant | null;
  readonly reason: string | null;
}

/** A decision about a parked stream, with who took it. */
export interface Deciding {
  readonly projection: string;
  readonly deploymentId: string;
  readonly decision: SkipParked | RetryParked;
  readonly actor: Actor;
  readonly commandId: string;
}

/** What parked streams are looked at with. */
export interface ParkedStreamsOptions {
  readonly readModels: ReadModels;
  readonly journal: AuditJournal;
  readonly clock: Clock;
  /** Has decisions acted on at once, where this process folds. */
  readonly act: () => Promise<void>;
}

/** The streams that projections had to leave, and decisions about them. */
export class ParkedStreams {
  constructor(private readonly options: ParkedStreamsOptions) {}

  /** Those of one projection, by position. */
  async list(projection: string): Promise<readonly ParkedView[]> {
    const parked = await this.options.readModels.parked();
    return parked.flatMap((entry) =>
      entry.table === projection && entry.generation === 'live' ? [viewOf(entry)] : [],
    );
  }

  /**
   * Notes a decision, in the journal too, and has it acted on by whoever folds: at once here, within a second
   * elsewhere. Shape: null when the projection did not leave that deployment. Refuses INVALID_BODY.
   */
  async decide({ decision, ...asked }: Deciding): Promise<ParkedView | null> {
    assertRight(decision);
    const { readModels, clock, act } = this.options;
    const { projection: table, deploymentId, actor: by } = asked;
    const isSkip = decision instanceof SkipParked;
    const stream = `${STREAM_PREFIX}${deploymentId}`;
    const { reason = null } = decision;
    const decided = { decision: isSkip ? 'skip' : 'retry', by, reason, at: clock.now() } as const;
    const find = async (): Promise<ParkedView | undefined> =>
      (await this.list(table)).find((parked) => parked.deploymentId === deploymentId);
    const before = await find();
    if (before === undefined) return null;
    if (!(await readModels.decideParked({ table, stream }, decided))) return null;
    this.#record(asked, { ...decided, revision: before.revision });
    await act();
    return (await find()) ?? { ...before, state: 'folded' };
  }

  #record(
    { projection, deploymentId, actor, commandId }: Omit<Deciding, 'decision'>,
    decided: {
      readonly decision: 'skip' | 'retry';
      readonly reason: string | null;
      readonly at: Instant;
      readonly revision: Revision;
    },
  ): void {
    const isSkip = decided.decision === 'skip';
    const from = `revision ${String(decided.revision)} on`;
    this.options.journal.record({
      at: decided.at,
      deploymentId,
      attemptId: null,
      command: isSkip ? 'SkipParked' : 'RetryParked',
      commandId,
      actor,
      code: isSkip ? 'STREAM_SKIPPED' : 'STREAM_RETRIED',
      detail: `${projection}, from ${from}${decided.reason === null ? '' : `: ${decided.reason}`}`,
    });
  }
}

const STATE_OF = { skip: 'skipped', retry: 'retrying' } as const;

function viewOf(entry: ParkedStream): ParkedView {
  const { table, stream, revision, position, problem, parkedAt, decided } = entry;
  return {
    projection: table,
    deploymentId: stream.slice(STREAM_PREFIX.length),
    revision,
    position,
    problem,
    parkedAt,
    state: decided === null ? 'waiting' : STATE_OF[decided.decision],
    decidedBy: decided?.by ?? null,
    decidedAt: decided?.at ?? null,
    reason: decided?.reason ?? null,
  };
}

/** Where a stream's events and rows are. */
interface Stores {
  readonly store: EventStore;
  readonly readModels: ReadModels;
}

/**
 * Folds a parked stream from its bad event to where its table is, and takes it back into the fold.
 *
 * Rows are those of one stream: what a projection of ours makes of a deployment's events depends on no other
 * deployment. The fold must have nothing uncommitted.
 * Shape: what is still wrong with it; null when it is parked no more.
 */
export async function readmit(
  { store, readModels }: Stores,
  fold: TableFold,
  { stream, revision }: Pick<ParkedStream, 'stream' | 'revision'>,
): Promise<string | null> {
  const { projection: table, generation, position } = fold;
  if (position === null) return null;
  const events: ReadEvent[] = [];
  for await (const page of store.read(stream, { from: revision })) {
    for (const recorded of page) {
      if (isAfter(recorded.position, position)) continue;
      const event = readEvent(recorded);
      if (event !== null) events.push(event);
    }
  }
  const batch = new FoldBatch();
  const again = new TableFold(table, generation, { position: null, parked: new Map() });
  await again.fold(events, (keys) => readModels.load(table, generation, keys), batch);
  const poison = batch.poison.get(stream);
  if (poison !== undefined) return poison.problem;
  const rows = [...batch.changed.values()];
  await readModels.readmit({ table, generation, rows, from: position, to: position }, stream);
  fold.readmit(stream, batch);
  return null;
}
