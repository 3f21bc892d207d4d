import { STATES, type State } from '../domain/event-schema.js';
import { defineProjection, type PlacedEvent } from './projection.js';

type Totals = {
  /** Time of the stays in a state that have ended. Milliseconds. */
  readonly [S in State as `${S}Ms`]: number;
} & {
  /** Stays in a state, the open one too. */
  readonly [S in State as `${S}Stays`]: number;
};

/** A row of `stays`: how long a deployment stayed in each state, by when the changes happened. */
export type StaysRow = Totals & {
  readonly deploymentId: string;
  /** The state of the stay that is open. */
  readonly state: State;
  /** When that began. Milliseconds since 1970. */
  readonly sinceMs: number;
  readonly archived: boolean;
  /** The stays before, the last one last, each with its beginning: at most `REMEMBERED_MAX`. */
  readonly before: readonly (readonly [State, number])[];
};

/**
 * Stays that a late result can take back. One that comes still later counts from the oldest of them on, so
 * that a row does not grow with its history.
 */
const REMEMBERED_MAX = 8;

const MS = membersOf('Ms');
const STAYS = membersOf('Stays');
const SUMMED = [...Object.values(MS), ...Object.values(STAYS)];
const NOTHING = Object.fromEntries(SUMMED.map((name) => [name, 0])) as Totals;

function membersOf<M extends 'Ms' | 'Stays'>(member: M): { readonly [S in State]: `${S}${M}` } {
  return Object.fromEntries(STATES.map((state) => [state, `${state}${member}`])) as {
    readonly [S in State]: `${S}${M}`;
  };
}

/**
 * The time that each deployment spent in each state.
 *
 * As with the fleet at a time, the last change in log order decides from when it happened: what a late
 * result overtakes has not been.
 */
export const stays = defineProjection<StaysRow>({
  name: 'stays',
  version: 1,
  columns: {
    deploymentId: { type: 'text' },
    state: { type: 'text' },
    sinceMs: { type: 'integer' },
    archived: { type: 'boolean' },
    before: { type: 'json' },
    ...(Object.fromEntries(SUMMED.map((name) => [name, { type: 'integer' }])) as Record<
      keyof Totals,
      { readonly type: 'integer' }
    >),
  },
  key: ['deploymentId'],
  indexes: [],
  keyOf: ({ type, deploymentId }) =>
    type === 'state_transition' || type === 'deployment_archived' ? [deploymentId] : null,
  evolve(row, event) {
    if (event.type === 'state_transition') return entered(row, event);
    if (row === null) throw new Error(`${event.type} of a deployment that has no state`);
    return { ...row, archived: true };
  },
});

function entered(
  row: StaysRow | null,
  { deploymentId, metadata, data: { to } }: PlacedEvent & { readonly type: 'state_transition' },
): StaysRow {
  const atMs = Date.parse(metadata.occurredAt);
  const first = { deploymentId, state: to, sinceMs: atMs, archived: false, before: [], ...NOTHING };
  if (row === null) return { ...first, [STAYS[to]]: 1 };
  const next: Open = { ...row };
  takeBackTo(next, atMs);
  if (next.sinceMs > atMs && isOnlyOne(next)) return { ...first, [STAYS[to]]: 1 };
  const { state, sinceMs, before } = next;
  const beginMs = Math.max(atMs, sinceMs);
  next[MS[state]] += beginMs - sinceMs;
  next[STAYS[to]] += 1;
  next.state = to;
  next.sinceMs = beginMs;
  next.before = [...before, [state, sinceMs] as const].slice(-REMEMBERED_MAX);
  return next;
}

/** A row that is being made. */
type Open = { -readonly [K in keyof StaysRow]: StaysRow[K] };

/** Takes back the stays that began after a time, as far as they are remembered. */
function takeBackTo(row: Open, atMs: number): void {
  for (let last = row.before.at(-1); row.sinceMs > atMs && last !== undefined;) {
    const [state, sinceMs] = last;
    row[STAYS[row.state]] -= 1;
    row[MS[state]] -= row.sinceMs - sinceMs;
    row.state = state;
    row.sinceMs = sinceMs;
    row.before = row.before.slice(0, -1);
    last = row.before.at(-1);
  }
}

function isOnlyOne(row: StaysRow): boolean {
  return STATES.reduce((sum, state) => sum + row[STAYS[state]], 0) === 1;
}
