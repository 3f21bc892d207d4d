import { STREAM_PREFIX, type EventStore, type Position } from '../ports/event-store.js';
import { Fault } from '../ports/faults.js';
import type { Checkpoint, Generation, ParkedStream, ReadModels } from '../ports/read-models.js';
import { deployments, type DeploymentRow } from '../projections/deployments.js';
import type { Projection } from '../projections/projection.js';
import { isAfter, TableFold } from './fold.js';

/** The tables as they are stored: how far each has come and what it left, as they were found last. */
export class StoredTables {
  private constructor(
    private readonly checkpoints: readonly Checkpoint[],
    private readonly parked: readonly ParkedStream[],
  ) {}

  static async read(readModels: ReadModels): Promise<StoredTables> {
    return new StoredTables(await readModels.checkpoints(), await readModels.parked());
  }

  /** The checkpoint of a generation, whatever version made it. */
  at(table: string, generation: Generation): Checkpoint | null {
    const isIt = (at: Checkpoint): boolean => at.table === table && at.generation === generation;
    return this.checkpoints.find(isIt) ?? null;
  }

  /** The position that a table shows in this version; null when it has not begun, or is not there. */
  shown({ name, version }: Projection): Position | null {
    const at = this.at(name, 'live');
    return at?.version === version ? at.position : null;
  }

  /** Streams that live tables had to leave, and that nobody decided to leave out. */
  waitingIn(table: string): readonly ParkedStream[] {
    return this.#leftIn(table).filter(({ decided }) => decided?.decision !== 'skip');
  }

  /** Streams that somebody decided to leave out of a live table. */
  skippedIn(table: string): readonly ParkedStream[] {
    return this.#leftIn(table).filter(({ decided }) => decided?.decision === 'skip');
  }

  /** Streams of live tables that are to be tried again. */
  get toRetry(): readonly ParkedStream[] {
    return this.parked.filter(
      ({ generation, decided }) => generation === 'live' && decided?.decision === 'retry',
    );
  }

  /** The fold that goes on where a generation stands; null when it is not there in this version. */
  fold(projection: Projection, generation: Generation): TableFold | null {
    const at = this.at(projection.name, generation);
    if (at?.version !== projection.version) return null;
    const left = this.parked.filter(
      (entry) => entry.table === projection.name && entry.generation === generation,
    );
    return new TableFold(projection, generation, {
      position: at.position,
      parked: new Map(left.map(({ stream, position }) => [stream, position])),
    });
  }

  /**
   * Refuses read models that this log, or this program, can not have made: going on would serve rows of
   * events that are gone, or spoil a table that a newer program made.
   * @throws {Fault} STORE_CORRUPT, STORE_FOREIGN
   */
  assertUsable(projections: readonly Projection[], head: Position | null): void {
    for (const { table, position, version } of this.checkpoints) {
      if (isAfter(position, head)) {
        throw new Fault(
          'STORE_CORRUPT',
          `the log is shorter than the read models: it ends at ${String(head ?? 'nothing')}, but ` +
            `${table} has folded position ${String(position)}`,
        );
      }
      const known = projections.find(({ name }) => name === table)?.version ?? version;
      if (version > known) {
        throw new Fault(
          'STORE_FOREIGN',
          `table ${table} has version ${version}, this program knows version ${known}: start the ` +
            'newer program, or remove the read models to have them built anew',
        );
      }
    }
  }

  /**
   * Refuses read models that were folded from another log: their positions mean nothing here, and what this log
   * holds below them would never be folded. One of the newest rows must be of an event that this log has in that
   * place; by default the very newest, more where a row may be damaged.
   * @throws {Fault} STORE_FOREIGN
   */
  async assertOfThisLog(store: EventStore, readModels: ReadModels, rows = 1): Promise<void> {
    if (this.shown(deployments) === null) return;
    const newest = await readModels.find<DeploymentRow>(deployments, {
      orderBy: { column: 'position', direction: 'descending' },
      limit: rows,
    });
    for (const row of newest) if (await isOf(store, row)) return;
    const [first] = newest;
    if (first === undefined) return;
    const { deploymentId, revision, position } = first;
    throw new Fault(
      'STORE_FOREIGN',
      `the read models were folded from another log: theirs has revision ${String(revision)} of ${deploymentId} at ` +
        `position ${String(position)}. Set SHIPSLOG_READ_MODELS to a new place, or remove them to have them built anew`,
    );
  }

  #leftIn(table: string): readonly ParkedStream[] {
    return this.parked.filter((at) => at.table === table && at.generation === 'live');
  }
}

/** Whether the log has the last event of a row in the row's place. */
async function isOf(
  store: EventStore,
  { deploymentId, revision, position }: DeploymentRow,
): Promise<boolean> {
  for await (const [event] of store.read(`${STREAM_PREFIX}${deploymentId}`, {
    from: revision,
    limit: 1,
  })) {
    if (event?.position === position) return true;
  }
  return false;
}
