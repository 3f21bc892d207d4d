import { MemoryReadModels, MemoryTables } from '../../src/adapters/memory/read-models.js';
import { Projector, type ProjectorOptions } from '../../src/application/projector.js';
import { verify } from '../../src/application/verify.js';
import type { EventStore } from '../../src/ports/event-store.js';
import type { ReadModels, Row, Table } from '../../src/ports/read-models.js';
import { listen, type Signals } from '../../src/ports/signals.js';
import { deployments, type DeploymentRow } from '../../src/projections/deployments.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { FakeClock } from './fake-clock.js';
import { newLog } from './log-under-test.js';

/** A log, read models and projectors on them, with a clock moved by hand and ears on the signals. */
export class Projecting {
  readonly clock = new FakeClock();
  readonly #tables = new MemoryTables(this.clock);
  readModels: ReadModels = this.beside();
  readonly projected: Signals['projected'][] = [];
  readonly parked: Signals['parked'][] = [];
  readonly troubles: Signals['trouble'][] = [];
  readonly #made: Projector[] = [];
  readonly #deafen = [
    listen('projected', (signal) => this.projected.push(signal)),
    listen('parked', (signal) => this.parked.push(signal)),
    listen('trouble', (signal) => this.troubles.push(signal)),
  ];

  private constructor(
    public store: EventStore,
    private readonly disposeLog: () => Promise<void>,
  ) {}

  /** On an empty log. */
  static async begin(): Promise<Projecting> {
    const { store, dispose } = await newLog();
    return new Projecting(store, dispose);
  }

  /** Another handle on the same tables, as another process has it. */
  beside(): ReadModels {
    return new MemoryReadModels(this.#tables);
  }

  /** A projector that is not started yet. */
  projector(options: Partial<ProjectorOptions> = {}): Projector {
    const { store, readModels, clock } = this;
    const random = (): number => 1 / 2;
    const projections = PROJECTIONS;
    const made = new Projector({
      store,
      readModels,
      projections,
      clock,
      random,
      owner: 'test',
      ...options,
    });
    this.#made.push(made);
    return made;
  }

  /** A projector that has caught up. */
  async started(options: Partial<ProjectorOptions> = {}): Promise<Projector> {
    const projector = this.projector(options);
    await projector.start();
    await projector.caughtUp;
    return projector;
  }

  /** Stops all projectors; answers how many tasks still wait for the clock, which must be none. */
  async end(): Promise<number> {
    await Promise.all(this.#made.map((each) => each.stop()));
    for (const deafen of this.#deafen) deafen();
    await this.disposeLog();
    return this.clock.waiting;
  }

  /** Moves the clock on until a condition holds. */
  async pass(holds: () => boolean): Promise<void> {
    while (!holds()) await this.clock.advance(100);
  }

  async rows<R extends Row>(table: Table<R>): Promise<R[]> {
    const rows: R[] = [];
    for await (const page of this.readModels.scan(table)) rows.push(...page);
    return rows;
  }

  /** State by deployment, as the read model has it. */
  async states(): Promise<Record<string, string>> {
    const rows = await this.rows<DeploymentRow>(deployments);
    return Object.fromEntries(rows.map((row) => [row.deploymentId, row.state]));
  }

  /** Rows of all tables that are not what the log says. */
  async differences(): Promise<number> {
    const { store, readModels } = this;
    const reports = await verify({ store, readModels, projections: PROJECTIONS });
    return reports.reduce((sum, report) => sum + report.differencesTotal, 0);
  }

  /** The log, but for what a test has go wrong. */
  storeWith(members: Partial<EventStore>): EventStore {
    return overlaid(this.store, members);
  }

  /** The read models, but for what a test has go wrong. */
  readModelsWith(members: Partial<ReadModels>): ReadModels {
    return overlaid(this.readModels, members);
  }
}

function overlaid<T extends object>(whole: T, members: Partial<T>): T {
  return new Proxy(whole, {
    get: (target, name): unknown => {
      if (name in members) return Reflect.get(members, name);
      const member: unknown = Reflect.get(target, name);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}
