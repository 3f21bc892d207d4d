/** The composition root: options → adapters → providers. */
import {
  Inject,
  Injectable,
  Module,
  type DynamicModule,
  type FactoryProvider,
  type ModuleMetadata,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type Provider,
  type Type,
} from '@nestjs/common';
import { CommandHandler, CqrsModule, QueryHandler } from '@nestjs/cqrs';
import { hostname } from 'node:os';
import { inspect } from 'node:util';
import { ManualClock } from './adapters/memory/manual-clock.js';
import { systemClock } from './adapters/system-clock.js';
import { Answers, QUERIES } from './application/answers.js';
import { COMMANDS, Heartbeat, type BusCommand, type CommandName } from './application/commands.js';
import { CommandPath, type HeartbeatReceipt } from './application/handle.js';
import { chance } from './application/ids.js';
import { LeaseWatch } from './application/lease-watch.js';
import { ParkedStreams } from './application/parked-streams.js';
import { Projector } from './application/projector.js';
import { GetDeployment, GetStateAt } from './application/queries.js';
import { Reaper } from './application/reaper.js';
import { nearestTo } from './application/spelling.js';
import { Tail, type Following } from './application/tail.js';
import { eventView, type DeploymentView, type EventView } from './application/views.js';
import type { ScopeKind } from './domain/event-schema.js';
import type { PolicyDefaults } from './domain/lease.js';
import type { Clock } from './ports/clock.js';
import type { Fault } from './ports/faults.js';
import { PROJECTIONS } from './projections/registry.js';
import { readSettings, type Role, type Settings } from './settings.js';
import { assertPlaces, closeStores, openStores, type Stores } from './stores.js';

/** What a host may set; what is absent has the defaults of the settings. The environment is not read. */
export interface ShipslogOptions {
  /** `sqlite:<file>`, `memory:` or `esdb://…`. In memory under test, `sqlite:./data/events.db` otherwise. */
  readonly eventStore?: string;
  /** `sqlite:<file>`, `memory:` or `postgres://…`; in memory under test, `sqlite:./data/read-models.db` otherwise. */
  readonly readModels?: string;
  /** More scopes beside `full`, `configure` and `teardown`. */
  readonly scopes?: Readonly<Record<string, ScopeKind>>;
  /** Durations of deployments whose policy is silent, ms. */
  readonly policy?: Partial<PolicyDefaults>;
  /** Time between two looks for silent attempts, 50..60,000 ms. */
  readonly reaperIntervalMs?: number;
  /** What this process does; all of it by default. */
  readonly roles?: readonly Role[];
  readonly clock?: Clock;
  /** Goes on with a log that is shorter than what was acknowledged. */
  readonly acceptLoss?: boolean;
  /**
   * Called once when the disk of the log has failed: from then on every command is refused, and only
   * reopening tells what was written. The server ends with code 74; a host should end likewise.
   */
  readonly onFatal?: (fault: Fault) => void;
}

/** Options made by a factory of the host. */
export interface ShipslogAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  readonly inject?: FactoryProvider['inject'];
  readonly useFactory: (...dependencies: never[]) => ShipslogOptions | Promise<ShipslogOptions>;
  readonly isGlobal?: boolean;
}

/** What a service is opened with. */
interface Opening extends Pick<ShipslogOptions, 'acceptLoss' | 'onFatal'> {
  readonly settings: Settings;
  readonly clock: Clock;
}
const OPENING = Symbol('Opening');
/** One running service: its stores and what works on them. */
@Injectable()
export class ShipslogRuntime
  implements OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown
{
  readonly commands: CommandPath;
  readonly answers: Answers;
  readonly projector: Projector;
  readonly parked: ParkedStreams;
  readonly tail: Tail;
  readonly #watch: LeaseWatch;
  readonly #reaper: Reaper;

  constructor(
    readonly stores: Stores,
    readonly clock: Clock,
    readonly settings: Settings,
  ) {
    const { store, readModels, journal, leases } = stores;
    const { policy: defaults, scopes, reaperIntervalMs: intervalMs } = settings;
    const { roles } = settings;
    this.#watch = new LeaseWatch(clock, leases, { forgets: !roles.has('reaper') });
    this.tail = new Tail(store, clock);
    const watch = this.#watch;
    this.commands = new CommandPath({ store, leases: watch, journal, clock, scopes, defaults });
    const { commands } = this;
    this.projector = new Projector({
      store,
      readModels,
      projections: PROJECTIONS,
      clock,
      random: chance,
      owner: `${hostname()}/${String(process.pid)}`,
      folds: roles.has('projector'),
    });
    const act = (): Promise<void> => this.projector.doWhatIsAsked();
    this.parked = new ParkedStreams({ readModels, journal, clock, act });
    const visibility = this.projector;
    const asked = { store, readModels, leases, commands, visibility, defaults, clock };
    this.answers = new Answers(asked);
    this.#reaper = new Reaper({ commands, readModels, leases: watch, clock, defaults, intervalMs });
  }

  /** Begins to fold and to watch; leases are judged once the read models have caught up. */
  async onApplicationBootstrap(): Promise<void> {
    await this.projector.start();
    this.#watch.start();
    const { roles } = this.settings;
    if (roles.has('reaper')) void this.projector.caughtUp.then(() => this.#reaper.start());
  }

  /** Ends streams first: a server does not close while one is open. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.tail.close();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.#reaper.stop();
    this.#watch.stop();
    await this.projector.stop();
    await closeStores(this.stores);
  }
}

/** What other modules of a host use beside its buses. */
@Injectable()
export class Shipslog {
  constructor(@Inject(ShipslogRuntime) private readonly runtime: ShipslogRuntime) {}

  /** A deployment folded from its stream now: never behind. @throws {Refused} DEPLOYMENT_NOT_FOUND. */
  read(deploymentId: string): Promise<DeploymentView> {
    return this.runtime.answers.getDeployment(
      GetDeployment.of({ deploymentId, consistency: 'strong' }),
    );
  }

  /** A deployment as it was at a revision, or after all events recorded up to an instant. */
  replay(
    deploymentId: string,
    at: { readonly revision: bigint } | { readonly at: string },
  ): Promise<DeploymentView> {
    return this.runtime.answers.getStateAt(GetStateAt.of({ deploymentId, ...at }));
  }

  /** Takes a sign of life of a running attempt. */
  heartbeat(
    members: Pick<Heartbeat, 'deploymentId' | 'attemptId' | 'leaseToken' | 'progress' | 'actor'>,
  ): Promise<HeartbeatReceipt> {
    return this.runtime.commands.heartbeat(Heartbeat.of(members));
  }

  /**
   * Follows the events of all deployments in log order: from the position given, else from the next one.
   *
   * Ends by `break` or by the signal; the next event is fetched when the last one was taken.
   */
  async *subscribe(from: Following = {}): AsyncGenerator<EventView, void, void> {
    for await (const events of this.runtime.tail.follow(from)) yield* events.map(eventView);
  }
}

/** Makes the handler of one command: the bus finds it by the class, the path does the work. */
function commandHandler(name: CommandName): Type {
  class Handler {
    constructor(readonly runtime: ShipslogRuntime) {}

    execute(command: BusCommand): Promise<unknown> {
      return this.runtime.commands.execute(name, command);
    }
  }
  return injected(Handler, CommandHandler(COMMANDS[name]));
}

function queryHandler([query, method]: (typeof QUERIES)[number]): Type {
  class Handler {
    constructor(readonly runtime: ShipslogRuntime) {}

    execute(asked: never): Promise<unknown> {
      return this.runtime.answers[method](asked);
    }
  }
  return injected(Handler, QueryHandler(query));
}

function injected(handler: Type, decorator: ClassDecorator): Type {
  Inject(ShipslogRuntime)(handler, undefined, 0);
  Injectable()(handler);
  decorator(handler);
  return handler;
}

const COMMAND_NAMES = Object.keys(COMMANDS) as CommandName[];

/** Deployments with an honest state, on the host's command and query bus. */
@Module({})
export class ShipslogModule {
  /** Registers the service. With no options: in memory under test, on SQLite in ./data otherwise. */
  static forRoot(options: ShipslogOptions & { readonly isGlobal?: boolean } = {}): DynamicModule {
    const { isGlobal = false, ...rest } = options;
    return moduleOf({ provide: OPENING, useValue: openingOf(rest) }, { global: isGlobal });
  }

  /** Registers the service with options that a factory of the host makes. */
  static forRootAsync(options: ShipslogAsyncOptions): DynamicModule {
    const { imports = [], inject = [], useFactory, isGlobal = false } = options;
    const opening = async (...dependencies: never[]): Promise<Opening> =>
      openingOf(await useFactory(...dependencies));
    return moduleOf(
      { provide: OPENING, inject, useFactory: opening },
      { global: isGlobal, imports },
    );
  }

  /** Registers the service by the settings of a process of its own. */
  static forSettings(
    settings: Settings,
    options: Omit<Opening, 'settings' | 'clock'> = {},
  ): DynamicModule {
    const opening: Opening = { ...options, settings, clock: systemClock };
    return moduleOf({ provide: OPENING, useValue: opening }, { global: true });
  }
}

/** The service in memory, with a clock that moves by hand: inject `ManualClock` to move it. */
@Module({})
export class ShipslogTestingModule {
  /** Registers the service for a test. */
  static forRoot(options: Omit<ShipslogOptions, 'clock'> = {}): DynamicModule {
    const clock = new ManualClock();
    const inMemory = { eventStore: 'memory:', readModels: 'memory:', ...options, clock };
    const {
      providers = [],
      exports = [],
      ...rest
    } = moduleOf({ provide: OPENING, useValue: openingOf(inMemory) }, { global: true });
    const clockProvider = { provide: ManualClock, useValue: clock };
    return {
      ...rest,
      providers: [...providers, clockProvider],
      exports: [...exports, ManualClock],
    };
  }
}

function moduleOf(
  options: Provider,
  { imports = [], global }: Pick<ModuleMetadata, 'imports'> & { readonly global: boolean },
): DynamicModule {
  return {
    module: ShipslogModule,
    global,
    imports: [CqrsModule, ...imports],
    providers: [
      options,
      { provide: ShipslogRuntime, inject: [OPENING], useFactory: openRuntime },
      Shipslog,
      ...COMMAND_NAMES.map(commandHandler),
      ...QUERIES.map(queryHandler),
    ],
    exports: [Shipslog, ShipslogRuntime, CqrsModule],
  };
}

async function openRuntime({ settings, clock, ...options }: Opening): Promise<ShipslogRuntime> {
  return new ShipslogRuntime(await openStores({ ...settings, ...options, clock }), clock, settings);
}

/** What an option has to be before it can be read; null where its setting says what is wrong with it. */
const OPTIONS = {
  eventStore: null,
  readModels: null,
  scopes: ["an object like { snapshot: 'maintenance' }", isObject],
  policy: ['an object like { leaseMs: 90000 }', isObject],
  reaperIntervalMs: null,
  roles: ["a list like ['api', 'projector']", Array.isArray],
  clock: ['a clock', isObject],
  acceptLoss: null,
  onFatal: ['a function', (value: unknown) => typeof value === 'function'],
} as const satisfies Record<
  keyof ShipslogOptions,
  null | readonly [what: string, isIt: (value: unknown) => boolean]
>;
const POLICY: readonly (keyof PolicyDefaults)[] = ['heartbeatMs', 'leaseMs', 'startTimeoutMs'];

/**
 * Checks what the compiler does not see: a host may be JavaScript, and what a factory returns may have any members.
 * @throws {Error} of one line that names the option.
 */
function assertOptions(options: ShipslogOptions): void {
  if (!isObject(options)) throw new Error('the options of ShipslogModule must be an object');
  const known = Object.keys(OPTIONS) as (keyof typeof OPTIONS)[];
  assertKnown(options, known, '');
  for (const name of known) {
    const form = OPTIONS[name];
    const given = options[name];
    if (given === undefined || form === null || form[1](given)) continue;
    const shown = inspect(given, { breakLength: Infinity, depth: 1 });
    throw new Error(`${name} of ShipslogModule must be ${form[0]}, and is ${shown}`);
  }
  assertKnown(options.policy ?? {}, POLICY, 'policy.');
}

function assertKnown(given: object, known: readonly string[], within: string): void {
  const unknown = Object.keys(given).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  const nearest = nearestTo(unknown, known) ?? 'another';
  throw new Error(
    `${within}${unknown} is not an option of ShipslogModule; did you mean ${nearest}?`,
  );
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function openingOf(given: ShipslogOptions): Opening {
  assertOptions(given);
  const { clock = systemClock, ...options } = given;
  const { acceptLoss = false, onFatal } = options;
  return {
    settings: settingsOf(options),
    clock,
    acceptLoss,
    ...(onFatal !== undefined && { onFatal }),
  };
}

/** Options as settings: they pass through the same checks as the environment. */
function settingsOf(options: ShipslogOptions): Settings {
  const { policy = {}, scopes = {}, roles, reaperIntervalMs } = options;
  const place = process.env['NODE_ENV'] === 'test' ? 'memory:' : undefined;
  const given = {
    SHIPSLOG_EVENT_STORE: options.eventStore ?? place,
    SHIPSLOG_READ_MODELS: options.readModels ?? place,
    SHIPSLOG_SCOPES: Object.entries(scopes)
      .map((scope) => scope.join(':'))
      .join(','),
    SHIPSLOG_ROLES: roles?.join(','),
    SHIPSLOG_REAPER_INTERVAL_MS: reaperIntervalMs,
    SHIPSLOG_HEARTBEAT_MS: policy.heartbeatMs,
    SHIPSLOG_LEASE_MS: policy.leaseMs,
    SHIPSLOG_START_TIMEOUT_MS: policy.startTimeoutMs,
  };
  const set = Object.entries(given).filter(([, value]) => value !== undefined);
  const settings = readSettings(
    Object.fromEntries(set.map(([name, value]) => [name, String(value)])),
  );
  assertPlaces(settings);
  return settings;
}
