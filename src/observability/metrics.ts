/** Metrics in the format of Prometheus: one prefix, base units, never an id as a label. */
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import { listen } from '../ports/signals.js';

/** What is asked for at each scrape, since nobody counts it along. */
export interface Gauges {
  /** Deployments in each state, archived ones left out. */
  readonly deploymentsByState: () => Promise<Readonly<Record<string, number>>>;
  /** How far each read model is behind; null where that is not known. */
  readonly lag: () => Promise<
    readonly {
      readonly name: string;
      readonly lagEvents: number | null;
      readonly lagSeconds: number | null;
      readonly parked: number;
      readonly skipped: number;
    }[]
  >;
  /** What the log says of itself. */
  readonly log: () => {
    readonly reachable: boolean;
    readonly details: Readonly<Record<string, Fact>>;
  };
}

type Fact = string | number | boolean | null;

/** Metrics of one service, from its signals and, at each scrape, its gauges. */
export interface Metrics {
  readonly contentType: string;
  /** All metrics as text. */
  text(): Promise<string>;
  /** Ends listening. */
  close(): void;
}

/** Seconds; a command on the embedded log takes 0.2 to 10 ms, one on a remote log or in a queue more. */
const SHORT = [0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** Fewer, since there is one series for each route and status. */
const REQUESTS = [0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5];

/** Begins to count. */
export function startMetrics(gauges: Gauges): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry, prefix: 'shipslog_' });
  const ends = [countCommands(registers), countRequests(registers), countWork(registers)];
  registerGauges(registers, gauges);
  registerLog(registers, gauges.log);
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    close: () => {
      for (const end of ends) end();
      registry.clear();
    },
  };
}

function countCommands(registers: Registry[]): () => void {
  const commands = new Counter({
    name: 'shipslog_commands_total',
    help: 'Commands answered, by result: accepted, unchanged, replayed, or the code of the refusal.',
    labelNames: ['command', 'result'],
    registers,
  });
  const seconds = new Histogram({
    name: 'shipslog_command_duration_seconds',
    help: 'Time from a validated command to its answer.',
    labelNames: ['command'],
    buckets: SHORT,
    registers,
  });
  const transitions = new Counter({
    name: 'shipslog_transitions_total',
    help: 'Changes of state of deployments.',
    labelNames: ['from', 'to'],
    registers,
  });
  const ends = [
    listen('command', ({ command, result, ms }) => {
      commands.inc({ command, result });
      seconds.observe({ command }, ms / 1_000);
    }),
    listen('transition', ({ from, to }) => transitions.inc({ from: from ?? 'none', to })),
  ];
  return () => ends.forEach((end) => end());
}

function countRequests(registers: Registry[]): () => void {
  const seconds = new Histogram({
    name: 'shipslog_http_request_duration_seconds',
    help: 'Time from the head of a request to the end of its answer.',
    labelNames: ['method', 'route', 'status'],
    buckets: REQUESTS,
    registers,
  });
  return listen('request', ({ method, route, status, ms }) => {
    seconds.observe({ method, route: route ?? 'none', status }, ms / 1_000);
  });
}

function countWork(registers: Registry[]): () => void {
  const appends = new Histogram({
    name: 'shipslog_append_duration_seconds',
    help: 'Time until an append was durable.',
    buckets: SHORT,
    registers,
  });
  const appended = new Counter({
    name: 'shipslog_events_appended_total',
    help: 'Events appended to the log.',
    registers,
  });
  const batches = new Histogram({
    name: 'shipslog_projection_batch_duration_seconds',
    help: 'Time to fold one batch of events into the read models.',
    buckets: SHORT,
    registers,
  });
  const projected = new Counter({
    name: 'shipslog_events_projected_total',
    help: 'Events folded into the read models.',
    registers,
  });
  const visible = new Histogram({
    name: 'shipslog_projection_delay_seconds',
    help: 'Age of the newest event of a batch when it became visible in the read models.',
    buckets: SHORT,
    registers,
  });
  const trouble = new Counter({
    name: 'shipslog_trouble_total',
    help: 'Failures outside that are tried again, or need a person.',
    registers,
  });
  const ends = [
    listen('append', ({ events, ms }) => {
      appends.observe(ms / 1_000);
      appended.inc(events);
    }),
    listen('projected', ({ events, ms, lagMs }) => {
      batches.observe(ms / 1_000);
      projected.inc(events);
      visible.observe(lagMs / 1_000);
    }),
    listen('trouble', () => trouble.inc()),
  ];
  return () => ends.forEach((end) => end());
}

function registerGauges(registers: Registry[], { deploymentsByState, lag }: Gauges): void {
  const deployments = new Gauge({
    name: 'shipslog_deployments',
    help: 'Deployments by state, archived ones left out.',
    labelNames: ['state'],
    registers,
    collect: async () => {
      for (const [state, count] of Object.entries(await deploymentsByState())) {
        if (state !== 'total') deployments.set({ state }, count);
      }
    },
  });
  // One look serves the gauges of one scrape.
  let looking: ReturnType<Gauges['lag']> | null = null;
  const look = (): ReturnType<Gauges['lag']> =>
    (looking ??= lag().finally(() => {
      looking = null;
    }));
  for (const { name, help, member } of LAG_GAUGES) {
    const gauge: Gauge = new Gauge({
      name,
      help,
      labelNames: ['projection'],
      registers,
      collect: async () => {
        for (const projection of await look()) {
          const value = projection[member];
          if (value !== null) gauge.set({ projection: projection.name }, value);
        }
      },
    });
  }
}

const LAG_GAUGES = [
  {
    name: 'shipslog_projection_lag_events',
    help: 'Events that the read model does not show yet.',
    member: 'lagEvents',
  },
  {
    name: 'shipslog_projection_lag_seconds',
    help: 'Time since the read model was last level with the log.',
    member: 'lagSeconds',
  },
  {
    name: 'shipslog_projection_parked_streams',
    help: 'Streams that could not be folded and wait.',
    member: 'parked',
  },
  {
    name: 'shipslog_projection_skipped_streams',
    help: 'Streams that somebody decided to leave out.',
    member: 'skipped',
  },
] as const;

/** What a log says of itself, labelled by its kind; what a kind does not know has no series. */
function registerLog(registers: Registry[], log: Gauges['log']): void {
  const told = (member: string): { readonly kind: string; readonly value: number | null } => {
    const { reachable, details } = log();
    const facts: Readonly<Record<string, Fact>> = { ...details, reachable };
    return { kind: String(facts['kind']), value: numberOf(facts[member] ?? null) };
  };
  for (const { name, help, member } of LOG_GAUGES) {
    const gauge: Gauge = new Gauge({
      name,
      help,
      labelNames: ['log'],
      registers,
      collect: () => {
        const { kind, value } = told(member);
        if (value === null) gauge.remove(kind);
        else gauge.set({ log: kind }, value);
      },
    });
  }
  for (const { name, help, member } of LOG_COUNTERS) {
    const counter: Counter = new Counter({
      name,
      help,
      labelNames: ['log'],
      registers,
      collect: () => {
        const { kind, value } = told(member);
        counter.reset();
        if (value !== null) counter.inc({ log: kind }, value);
      },
    });
  }
}

/** Truth as 1 and 0, an instant as seconds. */
function numberOf(value: Fact): number | null {
  if (value === null) return null;
  return typeof value === 'string' ? Date.parse(value) / 1_000 : Number(value);
}

const LOG_GAUGES = [
  {
    name: 'shipslog_log_reachable',
    help: '1 when the log answered last time, else 0.',
    member: 'reachable',
  },
  {
    name: 'shipslog_log_leader_known',
    help: '1 when a node of the log leads, else 0: then nothing can be written.',
    member: 'leaderKnown',
  },
  {
    name: 'shipslog_log_last_append_timestamp_seconds',
    help: 'When the last append was acknowledged, since 1970.',
    member: 'lastAppendAt',
  },
  {
    name: 'shipslog_log_subscription_lag_bytes',
    help: 'Bytes of log between its last known event and the reader that is furthest behind.',
    member: 'subscriptionLag',
  },
] as const;
const LOG_COUNTERS = [
  {
    name: 'shipslog_log_reconnects_total',
    help: 'Connections to the log that were replaced.',
    member: 'reconnects',
  },
  {
    name: 'shipslog_log_unknown_outcomes_total',
    help: 'Appends that the log did not answer; each was repeated until it was clear.',
    member: 'unknownOutcomes',
  },
] as const;
