/**
 * Every route, as data: the controllers, the OpenAPI document, `Allow` and the tests are made from this
 * table. A new command or query is one entry.
 */
import type { CommandName, Receipt } from '../application/commands.js';
import {
  CountByState,
  CountByStateAt,
  GetAttempt,
  GetAttemptStats,
  GetDeployment,
  GetHistory,
  GetStateAt,
  GetTimeInState,
  ListAttempts,
  ListChanges,
  ListDeployments,
  ListDeploymentsAt,
  ListTransitions,
  ListUnknowns,
} from '../application/queries.js';
import { STATES } from '../domain/event-schema.js';
import {
  after,
  anyRevision,
  archived,
  cursor,
  id,
  instant,
  invalidQuery,
  label,
  limit,
  minPosition,
  needed,
  text,
  word,
  type Parameters,
  type ValuesOf,
} from './parameters.js';
import { ATTEMPT, DEPLOYMENT, type PathValues, type RouteOptions } from './paths.js';
import { SERVICE_ROUTES, type ServiceRoute } from './service-routes.js';

/** A route that dispatches a command: what the table of the interface says of it. */
export interface CommandRoute extends RouteOptions {
  readonly does: 'command';
  readonly command: CommandName;
  /** Status when the command wrote something; 200 when nothing was written. */
  readonly success: 200 | 201 | 202;
  /** Members that the route decides; a body may not hold them. */
  readonly fixed?: Readonly<Record<string, string>>;
  /** Members of the command that this route does not take. */
  readonly without?: readonly string[];
  /** Where to find what was created. */
  readonly location?: (receipt: Receipt) => string;
}

/** A route that answers a query. */
export interface QueryRoute extends RouteOptions {
  readonly does: 'query';
  readonly parameters: Parameters;
  /** Makes the query of the path and the parameters. */
  readonly query: (values: never) => object;
  readonly answers:
    | 'Deployment'
    | 'DeploymentPage'
    | 'Attempt'
    | 'AttemptPage'
    | 'HistoryPage'
    | 'TransitionPage'
    | 'ChangePage'
    | 'Counts'
    | 'TimeInStatePage'
    | 'AttemptStatsPage'
    | 'UnknownPage';
  /** What it answers where a past time is asked about, if that is something else. */
  readonly answersThen?: 'FleetPage';
  /** The answer has a revision, told as its entity tag. */
  readonly tagged?: true;
  /** Answers as a stream of lines, too, when the caller accepts that. */
  readonly lines?: true;
}

/** A route that follows the log for as long as the caller stays. */
export interface StreamRoute extends RouteOptions {
  readonly does: 'stream';
  readonly parameters: typeof FOLLOWING;
  readonly success: 200;
}

/** Any route. */
export type Route = CommandRoute | QueryRoute | StreamRoute | ServiceRoute;

const FOLLOWING = {
  after: after('The position after which to begin; the next event, when absent.'),
} as const satisfies Parameters;

/** A past time. */
const MOMENT = {
  at: instant(
    'As it was at this time, by what is known now: late results count when they happened.',
  ),
  asOf: instant('Only what was recorded by this time: what was known then.'),
} as const satisfies Parameters;

const COMMANDS: readonly Omit<CommandRoute, 'does'>[] = [
  {
    name: 'createDeployment',
    method: 'POST',
    path: '/v1/deployments',
    command: 'CreateDeployment',
    success: 201,
    location: ({ deploymentId }) => `/v1/deployments/${deploymentId}`,
    doc: 'Declares a deployment. Without an id it gets one: made of the Idempotency-Key, where there is one. The same content again is accepted and writes nothing.',
  },
  {
    name: 'updateDeployment',
    method: 'PATCH',
    path: DEPLOYMENT,
    command: 'UpdateDeployment',
    success: 200,
    doc: 'Changes what a deployment is declared to be, by a JSON merge patch: null clears a member, labels are replaced whole, the policy by member.',
  },
  {
    name: 'openAttempt',
    method: 'POST',
    path: `${DEPLOYMENT}/attempts`,
    command: 'OpenAttempt',
    success: 201,
    location: ({ deploymentId, attemptId = '' }) =>
      `/v1/deployments/${deploymentId}/attempts/${attemptId}`,
    doc: 'Opens an attempt.',
  },
  {
    name: 'startAttempt',
    method: 'POST',
    path: `${ATTEMPT}/start`,
    command: 'StartAttempt',
    success: 200,
    doc: 'Starts an attempt: from now on its runner must be heard of within its lease.',
  },
  {
    name: 'endAttempt',
    method: 'POST',
    path: `${ATTEMPT}/end`,
    command: 'EndAttempt',
    success: 200,
    doc: 'Ends an attempt with its outcome.',
  },
  {
    name: 'markUnknown',
    method: 'POST',
    path: `${ATTEMPT}/unknown`,
    command: 'MarkUnknown',
    success: 200,
    doc: 'Says that nobody knows what an attempt does any more.',
  },
  {
    name: 'cancelAttempt',
    method: 'POST',
    path: `${ATTEMPT}/cancel`,
    command: 'CancelAttempt',
    success: 202,
    doc: 'Asks the runner of an attempt to stop; an attempt that was never started ends at once.',
  },
  {
    name: 'openTeardown',
    method: 'POST',
    path: `${DEPLOYMENT}/teardown`,
    command: 'OpenAttempt',
    success: 202,
    fixed: { scope: 'teardown' },
    without: ['acknowledgeUnknown'],
    doc: 'Opens a teardown. Refused while the deployment is unknown.',
  },
  {
    name: 'resolveUnknown',
    method: 'POST',
    path: `${DEPLOYMENT}/resolution`,
    command: 'ResolveUnknown',
    success: 200,
    doc: 'A human says what an unknown deployment is. Needs If-Match with the revision that was looked at.',
  },
  {
    name: 'archiveDeployment',
    method: 'POST',
    path: `${DEPLOYMENT}/archive`,
    command: 'ArchiveDeployment',
    success: 200,
    doc: 'Takes a deployment out of lists and counts; its history stays readable.',
  },
];

/** Routes that dispatch commands on the bus. */
export const COMMAND_ROUTES: readonly CommandRoute[] = COMMANDS.map((route) => ({
  ...route,
  does: 'command',
}));

/** Routes that answer queries by the bus. */
export const QUERY_ROUTES: readonly QueryRoute[] = [
  get({
    name: 'listDeployments',
    path: '/v1/deployments',
    answers: 'DeploymentPage',
    answersThen: 'FleetPage',
    doc: 'Deployments, newest change first; as they were, where a time is given.',
    parameters: {
      state: word(STATES, 'The state, then where a time is given.'),
      environment: text({ min: 1, max: 64 }, 'The environment.'),
      label,
      q: text({ min: 0, max: 200 }, 'Part of the id or the name, in any case.'),
      archived,
      ...MOMENT,
      limit,
      cursor,
      minPosition,
    },
    query: ({ label: labels, q, environment, archived: shown, ...values }) => {
      if (isOfPast(values)) {
        refuseToday({ environment, label: labels, q, archived: shown });
        return ListDeploymentsAt.of(values);
      }
      return ListDeployments.of({
        ...values,
        ...(environment !== undefined && { environment }),
        ...(labels !== undefined && { labels }),
        ...(q !== undefined && q !== '' && { q }),
        ...(shown !== undefined && { archived: shown }),
      });
    },
  }),
  get({
    name: 'getDeployment',
    path: DEPLOYMENT,
    answers: 'Deployment',
    tagged: true,
    doc: 'One deployment, now or as it was.',
    parameters: {
      consistency: word(
        ['eventual', 'strong'],
        'Where to look: in the read model, or in its stream.',
      ),
      minPosition,
      at: instant('The state after all events recorded up to this instant.'),
      revision: anyRevision('The state after exactly this event.'),
    },
    query: ({ at, revision, ...values }) => {
      if (at === undefined && revision === undefined) return GetDeployment.of(values);
      if (at !== undefined && revision !== undefined) {
        throw invalidQuery([{ pointer: '/at', message: 'must not be given with revision' }]);
      }
      const { deploymentId } = values;
      return GetStateAt.of({
        deploymentId,
        ...(at !== undefined && { at }),
        ...(revision !== undefined && { revision }),
      });
    },
  }),
  get({
    name: 'listAttempts',
    path: `${DEPLOYMENT}/attempts`,
    answers: 'AttemptPage',
    doc: 'The attempts of a deployment, newest first; all of them when no limit is given.',
    parameters: { limit, cursor, minPosition },
    query: (values) => ListAttempts.of(values),
  }),
  get({
    name: 'getAttempt',
    path: ATTEMPT,
    answers: 'Attempt',
    doc: 'One attempt.',
    parameters: { minPosition },
    query: (values) => GetAttempt.of(values),
  }),
  get({
    name: 'getHistory',
    path: `${DEPLOYMENT}/history`,
    answers: 'HistoryPage',
    lines: true,
    doc: 'The events of a deployment as stored. As application/x-ndjson: all of them, one a line.',
    parameters: { after: after('The revision after which to go on.'), limit },
    query: ({ after: from, ...values }) => GetHistory.of({ ...values, ...goingOn(from) }),
  }),
  get({
    name: 'listTransitions',
    path: '/v1/transitions',
    answers: 'TransitionPage',
    doc: 'Changes of state across the fleet, in log order.',
    parameters: {
      after: after('The position after which to go on.'),
      limit,
      deploymentId: id('Of one deployment.'),
      from: word([...STATES, 'none'], 'The state before; none for the first ones.'),
      to: word(STATES, 'The state after.'),
      minPosition,
    },
    query: ({ after: position, ...values }) =>
      ListTransitions.of({ ...values, ...goingOn(position) }),
  }),
  get({
    name: 'countByState',
    path: '/v1/counts',
    answers: 'Counts',
    doc: 'How many deployments there are in each state, or were, where a time is given.',
    parameters: { archived, ...MOMENT, minPosition },
    query: ({ archived: shown, ...values }) => {
      if (isOfPast(values)) {
        refuseToday({ archived: shown });
        return CountByStateAt.of(values);
      }
      return CountByState.of({ ...values, ...(shown !== undefined && { archived: shown }) });
    },
  }),
  get({
    name: 'listChanges',
    path: '/v1/changes',
    answers: 'ChangePage',
    doc: 'Deployments whose state changed between two times, newest change first.',
    parameters: {
      from: needed(instant('The time after which a change counts.')),
      to: instant('The last time at which a change counts; all that is known, when absent.'),
      asOf: MOMENT.asOf,
      limit,
      cursor,
      minPosition,
    },
    query: (values) => {
      if (values.to !== undefined && values.to < values.from) {
        throw invalidQuery([{ pointer: '/to', message: 'must not be before from' }]);
      }
      return ListChanges.of(values);
    },
  }),
  get({
    name: 'getTimeInState',
    path: '/v1/stats/time-in-state',
    answers: 'TimeInStatePage',
    doc: 'How long deployments stayed in each state, by when the changes happened, until now.',
    parameters: { deploymentId: id('Of one deployment.'), archived, minPosition },
    query: (values) => GetTimeInState.of(values),
  }),
  get({
    name: 'getAttemptStats',
    path: '/v1/stats/attempts',
    answers: 'AttemptStatsPage',
    doc: 'How many attempts there are of each scope and outcome, and what they took.',
    parameters: { deploymentId: id('Of one deployment.'), minPosition },
    query: (values) => GetAttemptStats.of(values),
  }),
  get({
    name: 'listUnknowns',
    path: '/v1/unknowns',
    answers: 'UnknownPage',
    doc: 'Deployments of which nobody knows what they are, the longest wait first.',
    parameters: { limit, cursor, minPosition },
    query: (values) => ListUnknowns.of(values),
  }),
];

/** Routes that follow the log, as Server-Sent Events or as lines of JSON. */
export const STREAM_ROUTES: readonly StreamRoute[] = [
  {
    does: 'stream',
    name: 'followEvents',
    method: 'GET',
    path: '/v1/events',
    parameters: FOLLOWING,
    success: 200,
    doc: 'Follows the events of all deployments in log order. Last-Event-ID, or after, resumes without gap or repeat.',
  },
  {
    does: 'stream',
    name: 'followDeployment',
    method: 'GET',
    path: `${DEPLOYMENT}/events`,
    parameters: FOLLOWING,
    success: 200,
    doc: 'Follows the events of one deployment.',
  },
];

/** All routes, in the order of the documents. */
export const ROUTES: readonly Route[] = [
  ...COMMAND_ROUTES,
  ...QUERY_ROUTES,
  ...STREAM_ROUTES,
  ...SERVICE_ROUTES,
];

/** Checks that a query is made of the parameters that its route declares. */
function get<const Path extends string, const P extends Parameters>(
  route: Omit<QueryRoute, 'does' | 'method' | 'path' | 'parameters' | 'query'> & {
    readonly path: Path;
    readonly parameters: P;
    readonly query: (values: ValuesOf<P> & PathValues<Path>) => object;
  },
): QueryRoute {
  return { ...route, does: 'query', method: 'GET' };
}

function isOfPast({ at, asOf }: ValuesOf<typeof MOMENT>): boolean {
  return at !== undefined || asOf !== undefined;
}

/** What a deployment is declared to be is kept for today only: nothing past can be chosen by it. */
function refuseToday(values: Readonly<Record<string, unknown>>): void {
  const given = Object.keys(values).filter((name) => values[name] !== undefined);
  if (given.length === 0) return;
  const message = 'must not be given with at or asOf: of past times only the state is kept';
  throw invalidQuery(given.map((name) => ({ pointer: `/${name}`, message })));
}

function goingOn(from: bigint | 'start' | undefined): { readonly after?: bigint } {
  return from === undefined || from === 'start' ? {} : { after: from };
}

/** Whether a route answers from read models, unless a parameter asks for the log. */
export function readsReadModels({ parameters }: QueryRoute): boolean {
  return 'minPosition' in parameters;
}

const PATHS = new Map<string, { readonly pattern: RegExp; readonly methods: Set<string> }>();
for (const { path, method } of ROUTES) {
  const pattern = new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`);
  const entry = PATHS.get(path) ?? { pattern, methods: new Set(['OPTIONS']) };
  entry.methods.add(method);
  if (method === 'GET') entry.methods.add('HEAD');
  PATHS.set(path, entry);
}

/** The methods that a path takes; none when there is nothing at it. */
export function methodsAt(path: string): readonly string[] {
  for (const { pattern, methods } of PATHS.values()) {
    if (pattern.test(path)) return [...methods].sort();
  }
  return [];
}
