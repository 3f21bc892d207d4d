/**
 * The lifecycle as data. `decide` looks up here what a row does to the state; the docs, the diagram,
 * `GET /v1/lifecycle` and the tests read the same rows.
 */
import type { CommandType } from './command.js';
import { STATES, type EventType, type State } from './event-schema.js';
import type { RefusalCode } from './refusals.js';

/** Where a row leads: a state, the settled state of the current attempt, or nowhere. */
export type Target = State | 'settled' | 'unchanged';

/** One row of the lifecycle. */
export interface Transition {
  /** Number of the row, as the documentation counts them. */
  readonly row: string;
  readonly commands: readonly CommandType[];
  /** Guards, in the order in which they are checked, in words. */
  readonly when: string;
  /** States of the deployment in which the row may write; `none` is before the creation. */
  readonly from: readonly (State | 'none')[];
  readonly to: readonly Target[];
  /** Events beside `state_transition`, which follows them if and only if the state changes. */
  readonly events: readonly EventType[];
  readonly refuses: readonly RefusalCode[];
}

const ANY = STATES;
const SETTLED = ['pending', 'ready', 'failed'] as const;

/** Every row, in the order of the documentation. */
export const TRANSITIONS = [
  {
    row: '1',
    commands: ['CreateDeployment'],
    when: 'the id is unused; the same content again is accepted and writes nothing',
    from: ['none'],
    to: ['pending'],
    events: ['deployment_created'],
    refuses: ['DEPLOYMENT_EXISTS'],
  },
  {
    row: '2',
    commands: ['OpenAttempt'],
    when: 'the scope is known; the attempt id is unused; not torn down under policy `retire`; no attempt is active; not unknown',
    from: SETTLED,
    to: ['pending'],
    events: ['attempt_opened'],
    refuses: [
      'SCOPE_UNSUPPORTED',
      'ATTEMPT_EXISTS',
      'DEPLOYMENT_TORN_DOWN',
      'ATTEMPT_IN_PROGRESS',
      'DEPLOYMENT_UNKNOWN_STATE',
    ],
  },
  {
    row: '3',
    commands: ['OpenAttempt'],
    when: 'as 2, but unknown and acknowledged with a reason; not a teardown; by a human',
    from: ['unknown'],
    to: ['pending'],
    events: ['attempt_opened'],
    refuses: ['DEPLOYMENT_UNKNOWN_STATE', 'HUMAN_REQUIRED'],
  },
  {
    row: '4',
    commands: ['OpenAttempt'],
    when: 'as 2, of kind teardown; the confirm phrase is the one of the deployment, if it has one; torn down and pending already: accepted, nothing written',
    from: SETTLED,
    to: ['pending'],
    events: ['attempt_opened'],
    refuses: ['DEPLOYMENT_UNKNOWN_STATE', 'TEARDOWN_CONFIRM_MISMATCH'],
  },
  {
    row: '5',
    commands: ['StartAttempt'],
    when: 'the attempt is pending; running by the same runner: accepted, the lease is renewed',
    from: ['pending'],
    to: ['deploying'],
    events: ['attempt_start'],
    refuses: ['ATTEMPT_TERMINAL', 'ATTEMPT_ALREADY_STARTED'],
  },
  {
    row: '6',
    commands: ['Heartbeat'],
    when: 'the attempt is running; extends the lease, writes nothing',
    from: ['deploying'],
    to: ['unchanged'],
    events: [],
    refuses: ['ATTEMPT_TERMINAL', 'ATTEMPT_NOT_STARTED'],
  },
  {
    row: '7',
    commands: ['Heartbeat', 'StartAttempt'],
    when: 'the attempt is lost; policy `accept`; it was started: by the same runner; it was not: a start, by anybody',
    from: ['unknown'],
    to: ['deploying'],
    events: ['attempt_recovered', 'attempt_start'],
    refuses: ['DEPLOYMENT_UNKNOWN_STATE', 'ATTEMPT_ALREADY_STARTED'],
  },
  {
    row: '8',
    commands: ['EndAttempt'],
    when: 'succeeded; running; of kind deploy',
    from: ['deploying'],
    to: ['ready'],
    events: ['attempt_end'],
    refuses: ['ATTEMPT_NOT_STARTED'],
  },
  {
    row: '9',
    commands: ['EndAttempt'],
    when: 'succeeded; running; of kind teardown: the deployment is torn down',
    from: ['deploying'],
    to: ['pending'],
    events: ['attempt_end'],
    refuses: ['ATTEMPT_NOT_STARTED'],
  },
  {
    row: '10',
    commands: ['EndAttempt'],
    when: 'failed or cancelled; running; of kind deploy or teardown',
    from: ['deploying'],
    to: ['failed'],
    events: ['attempt_end'],
    refuses: [],
  },
  {
    row: '10m',
    commands: ['EndAttempt'],
    when: 'any outcome; running; of kind maintenance, which says nothing about what it was before',
    from: ['deploying'],
    to: ['settled'],
    events: ['attempt_end'],
    refuses: ['ATTEMPT_NOT_STARTED'],
  },
  {
    row: '11',
    commands: ['EndAttempt'],
    when: 'failed; never started: pending, or lost under policy `accept`; to the settled state if that is unknown or the kind is maintenance',
    from: ['pending', 'unknown'],
    to: ['failed', 'settled'],
    events: ['attempt_end'],
    refuses: [],
  },
  {
    row: '12',
    commands: ['CancelAttempt', 'EndAttempt'],
    when: 'cancelled; never started: pending, or (EndAttempt) lost under policy `accept`; nothing ran',
    from: ['pending', 'unknown'],
    to: ['settled'],
    events: ['attempt_end'],
    refuses: [],
  },
  {
    row: '13',
    commands: ['CancelAttempt'],
    when: 'running; the runner hears it by its heartbeat; again: accepted, nothing written',
    from: ['deploying'],
    to: ['unchanged'],
    events: ['cancel_requested'],
    refuses: ['ATTEMPT_TERMINAL', 'DEPLOYMENT_UNKNOWN_STATE'],
  },
  {
    row: '14',
    commands: ['EndAttempt'],
    when: 'succeeded, though a cancellation was requested: too late; as 8, 9 or 10m',
    from: ['deploying'],
    to: ['ready', 'pending', 'settled'],
    events: ['attempt_end'],
    refuses: [],
  },
  {
    row: '15',
    commands: ['MarkUnknown'],
    when: 'pending or running; `lease_expired`: running and the lease is past; `start_timeout`: pending and that time is past; lost already: accepted, nothing written',
    from: ['pending', 'deploying'],
    to: ['unknown'],
    events: ['attempt_lost'],
    refuses: ['LEASE_ACTIVE', 'ATTEMPT_TERMINAL'],
  },
  {
    row: '16',
    commands: ['EndAttempt'],
    when: 'lost, not closed; policy `accept` and started: as 8, 9, 10, 10m; policy `record`: recorded once per result, stays unknown',
    from: ['unknown'],
    to: ['ready', 'pending', 'failed', 'settled', 'unchanged'],
    events: ['attempt_end', 'late_result_recorded'],
    refuses: [],
  },
  {
    row: '17',
    commands: ['EndAttempt'],
    when: 'a human has closed the attempt: recorded once per result; a contradiction asks for attention',
    from: SETTLED,
    to: ['unchanged'],
    events: ['late_result_recorded'],
    refuses: [],
  },
  {
    row: '18',
    commands: ['StartAttempt', 'Heartbeat', 'EndAttempt', 'CancelAttempt', 'MarkUnknown'],
    when: 'an older attempt: refused; an end is recorded once per result; one that equals its own end: accepted, nothing written',
    from: ANY,
    to: ['unchanged'],
    events: ['stale_result_recorded'],
    refuses: ['ATTEMPT_SUPERSEDED'],
  },
  {
    row: '19',
    commands: ['EndAttempt'],
    when: 'ended already: the same result is accepted and writes nothing; another is refused and recorded once',
    from: ['unknown', ...SETTLED],
    to: ['unchanged'],
    events: ['late_result_recorded'],
    refuses: ['ATTEMPT_TERMINAL'],
  },
  {
    row: '20',
    commands: ['ResolveUnknown'],
    when: 'on the revision given; unknown, or attention is asked for; no attempt is active; by a human',
    from: ['unknown', ...SETTLED],
    to: ['ready', 'failed', 'pending'],
    events: ['unknown_resolved'],
    refuses: ['DEPLOYMENT_NOT_UNKNOWN', 'ATTEMPT_IN_PROGRESS', 'HUMAN_REQUIRED'],
  },
  {
    row: '21',
    commands: ['UpdateDeployment'],
    when: 'something differs; else accepted, nothing written',
    from: ANY,
    to: ['unchanged'],
    events: ['deployment_updated'],
    refuses: [],
  },
  {
    row: '22',
    commands: ['ArchiveDeployment'],
    when: 'no attempt is active; not unknown, no attention; torn down, or nothing ever started and not ready; again: accepted, nothing written',
    from: ['pending', 'failed'],
    to: ['unchanged'],
    events: ['deployment_archived'],
    refuses: ['ATTEMPT_IN_PROGRESS', 'DEPLOYMENT_UNKNOWN_STATE', 'DEPLOYMENT_NOT_TORN_DOWN'],
  },
] as const satisfies readonly Transition[];

/** Number of a row, as the documentation counts them. */
export type RowId = (typeof TRANSITIONS)[number]['row'];

const BY_ROW = new Map<RowId, Transition>(TRANSITIONS.map((row) => [row.row, row]));

/** The row of that number. */
export function transitionOf(row: RowId): Transition {
  const found = BY_ROW.get(row);
  if (found === undefined) throw new Error(`no row ${row}`);
  return found;
}
