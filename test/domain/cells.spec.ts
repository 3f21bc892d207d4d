import { describe, expect, it } from '@jest/globals';
import { COMMAND_TYPES, type DeploymentCommand } from '../../src/domain/command.js';
import { decide } from '../../src/domain/decide.js';
import type { Decision } from '../../src/domain/decision.js';
import {
  CIRCUMSTANCES,
  SERVICE,
  acknowledge,
  archive,
  beat,
  cancel,
  create,
  end,
  lose,
  open,
  resolve,
  start,
  update,
} from '../support/commands.js';
import {
  archived,
  became,
  cancelRequested,
  ended,
  foldOf,
  lateResult,
  opened,
  type Told,
} from '../support/facts.js';
import {
  closed,
  failed,
  fresh,
  lostPending,
  lostRunning,
  pending,
  ready,
  running,
  tornDown,
} from '../support/histories.js';

const scope = 'teardown';
/** Everything that can be asked, `a1` being the attempt of the situation; all times are past. */
const ASKS: Readonly<Record<string, DeploymentCommand>> = {
  create: create(),
  'create other': create({ environment: 'other' }),
  update: update({ name: 'Renamed' }),
  open: open('a9'),
  'open a1': acknowledge('a1'),
  acknowledge: acknowledge('a9'),
  'acknowledge by service': acknowledge('a9', { actor: SERVICE }),
  teardown: open('a9', { scope }),
  'acknowledge teardown': acknowledge('a9', { scope }),
  start: start('a1', { runner: { id: 'r1' } }),
  'start by another': start('a1', { runner: { id: 'r2' } }),
  beat: beat('a1'),
  succeeded: end('a1', 'succeeded'),
  failed: end('a1', 'failed'),
  cancelled: end('a1', 'cancelled'),
  cancel: cancel('a1'),
  lease_expired: lose('a1', 'lease_expired'),
  start_timeout: lose('a1', 'start_timeout'),
  operator: lose('a1', 'operator'),
  resolve: resolve('ready'),
  'resolve by service': resolve('ready', { actor: SERVICE }),
  archive: archive(),
};
const CALLBACKS =
  'start, start by another, beat, succeeded, failed, cancelled, cancel, lease_expired, start_timeout, operator';
const OPENINGS = 'open, acknowledge, acknowledge by service, teardown, acknowledge teardown';
const RESOLUTIONS = 'resolve, resolve by service';

/** What is answered everywhere where a deployment is recorded. */
const RECORDED = { '1=': 'create', DEPLOYMENT_EXISTS: 'create other', '21': 'update' };
/** … and has attempt `a1`. */
const KNOWN = { ...RECORDED, ATTEMPT_EXISTS: 'open a1' };
const ACTIVE = { ...KNOWN, DEPLOYMENT_NOT_UNKNOWN: RESOLUTIONS };
const BUSY = `${OPENINGS}, archive`;
const UNKNOWN = { ...KNOWN, '3': 'acknowledge', '20': 'resolve' };
const UNDECIDED = 'open, teardown, acknowledge teardown, archive';
const ONLY_HUMANS = 'acknowledge by service, resolve by service';
const IDLE = {
  ...KNOWN,
  '2': 'open, acknowledge, acknowledge by service',
  '4': 'teardown, acknowledge teardown',
};
const OVER = 'start, start by another, beat, cancel, lease_expired, start_timeout, operator';

/**
 * Every cell: a situation, then each answer and the asks that get it. A number is the row by which it is
 * accepted, with `=` where nothing is written; `+` after a refusal says that it leaves its record.
 */
const CELLS: readonly (readonly [
  situation: string,
  history: readonly Told[],
  answers: Readonly<Record<string, string>>,
])[] = [
  [
    'nothing is recorded',
    [],
    {
      '1': 'create, create other',
      DEPLOYMENT_NOT_FOUND: `update, open a1, ${OPENINGS}, ${CALLBACKS}, ${RESOLUTIONS}, archive`,
    },
  ],
  [
    'only created',
    fresh(),
    {
      ...RECORDED,
      '2': 'open, open a1, acknowledge, acknowledge by service',
      '4': 'teardown, acknowledge teardown',
      ATTEMPT_NOT_FOUND: CALLBACKS,
      DEPLOYMENT_NOT_UNKNOWN: RESOLUTIONS,
      '22': 'archive',
    },
  ],
  [
    'pending',
    pending(),
    {
      ...ACTIVE,
      ATTEMPT_IN_PROGRESS: BUSY,
      '5': 'start, start by another',
      ATTEMPT_NOT_STARTED: 'beat, succeeded',
      '11': 'failed',
      '12': 'cancelled, cancel',
      LEASE_ACTIVE: 'lease_expired',
      '15': 'start_timeout, operator',
    },
  ],
  [
    'running',
    running(),
    {
      ...ACTIVE,
      ATTEMPT_IN_PROGRESS: BUSY,
      '5=': 'start',
      ATTEMPT_ALREADY_STARTED: 'start by another',
      '6=': 'beat',
      '8': 'succeeded',
      '10': 'failed, cancelled',
      '13': 'cancel',
      LEASE_ACTIVE: 'start_timeout',
      '15': 'lease_expired, operator',
    },
  ],
  [
    'running a teardown that was asked to stop',
    [...running({ scope }), cancelRequested('a1')],
    {
      ...ACTIVE,
      ATTEMPT_IN_PROGRESS: BUSY,
      '5=': 'start',
      ATTEMPT_ALREADY_STARTED: 'start by another',
      '6=': 'beat',
      '14': 'succeeded',
      '10': 'failed, cancelled',
      '13=': 'cancel',
      LEASE_ACTIVE: 'start_timeout',
      '15': 'lease_expired, operator',
    },
  ],
  [
    'running maintenance',
    running({ scope: 'snapshot' }),
    {
      ...ACTIVE,
      ATTEMPT_IN_PROGRESS: BUSY,
      '5=': 'start',
      ATTEMPT_ALREADY_STARTED: 'start by another',
      '6=': 'beat',
      '10m': 'succeeded, failed, cancelled',
      '13': 'cancel',
      LEASE_ACTIVE: 'start_timeout',
      '15': 'lease_expired, operator',
    },
  ],
  [
    'lost before a start',
    lostPending(),
    {
      ...UNKNOWN,
      DEPLOYMENT_UNKNOWN_STATE: `${UNDECIDED}, cancel`,
      HUMAN_REQUIRED: ONLY_HUMANS,
      '7': 'start, start by another',
      ATTEMPT_NOT_STARTED: 'beat, succeeded',
      '11': 'failed',
      '12': 'cancelled',
      '15=': 'lease_expired, start_timeout, operator',
    },
  ],
  [
    'lost while it ran',
    lostRunning(),
    {
      ...UNKNOWN,
      DEPLOYMENT_UNKNOWN_STATE: `${UNDECIDED}, cancel`,
      HUMAN_REQUIRED: ONLY_HUMANS,
      '7': 'start, beat',
      ATTEMPT_ALREADY_STARTED: 'start by another',
      '16': 'succeeded, failed, cancelled',
      '15=': 'lease_expired, start_timeout, operator',
    },
  ],
  [
    'lost before a start, under policy `record`',
    lostPending({ declaration: { policy: { lateResults: 'record' } } }),
    {
      DEPLOYMENT_EXISTS: 'create, create other',
      ATTEMPT_EXISTS: 'open a1',
      '21': 'update',
      '3': 'acknowledge',
      '20': 'resolve',
      DEPLOYMENT_UNKNOWN_STATE: `${UNDECIDED}, cancel, start, start by another`,
      HUMAN_REQUIRED: ONLY_HUMANS,
      ATTEMPT_NOT_STARTED: 'beat',
      '16': 'succeeded, failed, cancelled',
      '15=': 'lease_expired, start_timeout, operator',
    },
  ],
  [
    'lost while it ran, under policy `record`',
    lostRunning({ declaration: { policy: { lateResults: 'record' } } }),
    {
      DEPLOYMENT_EXISTS: 'create, create other',
      ATTEMPT_EXISTS: 'open a1',
      '21': 'update',
      '3': 'acknowledge',
      '20': 'resolve',
      DEPLOYMENT_UNKNOWN_STATE: `${UNDECIDED}, cancel, start, start by another, beat`,
      HUMAN_REQUIRED: ONLY_HUMANS,
      '16': 'succeeded, failed, cancelled',
      '15=': 'lease_expired, start_timeout, operator',
    },
  ],
  [
    'ready',
    ready(),
    {
      ...IDLE,
      ATTEMPT_TERMINAL: OVER,
      '19=': 'succeeded',
      'ATTEMPT_TERMINAL+': 'failed, cancelled',
      DEPLOYMENT_NOT_UNKNOWN: RESOLUTIONS,
      DEPLOYMENT_NOT_TORN_DOWN: 'archive',
    },
  ],
  [
    'failed',
    failed(),
    {
      ...IDLE,
      ATTEMPT_TERMINAL: OVER,
      '19=': 'failed',
      'ATTEMPT_TERMINAL+': 'succeeded, cancelled',
      DEPLOYMENT_NOT_UNKNOWN: RESOLUTIONS,
      DEPLOYMENT_NOT_TORN_DOWN: 'archive',
    },
  ],
  [
    'cancelled before a start',
    [...pending(), ended('a1', 'cancelled')],
    {
      ...IDLE,
      ATTEMPT_TERMINAL: OVER,
      '19=': 'cancelled',
      'ATTEMPT_TERMINAL+': 'succeeded, failed',
      DEPLOYMENT_NOT_UNKNOWN: RESOLUTIONS,
      '22': 'archive',
    },
  ],
  [
    'torn down',
    tornDown(),
    {
      ...KNOWN,
      '2': 'open, acknowledge, acknowledge by service',
      '4=': 'teardown, acknowledge teardown',
      ATTEMPT_TERMINAL: OVER,
      '19=': 'succeeded',
      'ATTEMPT_TERMINAL+': 'failed, cancelled',
      DEPLOYMENT_NOT_UNKNOWN: RESOLUTIONS,
      '22': 'archive',
    },
  ],
  [
    'torn down for good',
    tornDown({ declaration: { policy: { afterTeardown: 'retire' } } }),
    {
      DEPLOYMENT_EXISTS: 'create, create other',
      ATTEMPT_EXISTS: 'open a1',
      '21': 'update',
      DEPLOYMENT_TORN_DOWN: 'open, acknowledge, acknowledge by service',
      '4=': 'teardown, acknowledge teardown',
      ATTEMPT_TERMINAL: OVER,
      '19=': 'succeeded',
      'ATTEMPT_TERMINAL+': 'failed, cancelled',
      DEPLOYMENT_NOT_UNKNOWN: RESOLUTIONS,
      '22': 'archive',
    },
  ],
  [
    'closed by a human',
    closed('failed'),
    {
      ...IDLE,
      ATTEMPT_TERMINAL: OVER,
      '17': 'succeeded, failed, cancelled',
      DEPLOYMENT_NOT_UNKNOWN: RESOLUTIONS,
      DEPLOYMENT_NOT_TORN_DOWN: 'archive',
    },
  ],
  [
    'closed by a human and contradicted',
    [...closed('failed'), lateResult('a1', 'succeeded', { conflict: true })],
    {
      ...IDLE,
      ATTEMPT_TERMINAL: OVER,
      '17=': 'succeeded',
      '17': 'failed, cancelled',
      '20': 'resolve',
      HUMAN_REQUIRED: 'resolve by service',
      DEPLOYMENT_UNKNOWN_STATE: 'archive',
    },
  ],
  [
    'superseded after a failure',
    [...failed(), opened(2, { settledState: 'failed' }), became('pending')],
    {
      ...ACTIVE,
      ATTEMPT_IN_PROGRESS: BUSY,
      ATTEMPT_SUPERSEDED: OVER,
      '18=': 'failed',
      'ATTEMPT_SUPERSEDED+': 'succeeded, cancelled',
    },
  ],
  [
    'superseded after a loss',
    [...lostRunning(), opened(2, { settledState: 'unknown' }), became('pending')],
    {
      ...ACTIVE,
      ATTEMPT_IN_PROGRESS: BUSY,
      ATTEMPT_SUPERSEDED: OVER,
      'ATTEMPT_SUPERSEDED+': 'succeeded, failed, cancelled',
    },
  ],
  [
    'archived',
    [...tornDown(), archived()],
    {
      DEPLOYMENT_ARCHIVED: `create, create other, update, open a1, ${OPENINGS}, ${CALLBACKS}, ${RESOLUTIONS}`,
      '22=': 'archive',
    },
  ],
];

/** An answer as it is written in a cell. */
function answerOf(decision: Decision): string {
  if (decision.ok) return decision.events.length > 0 ? decision.row : `${decision.row}=`;
  return decision.record.length > 0 ? `${decision.refusal.code}+` : decision.refusal.code;
}

describe('every cell of situation and command', () => {
  const past = { ...CIRCUMSTANCES, silentTooLong: true };

  it.each(CELLS)('has its answer when the attempt is: %s', (_situation, history, answers) => {
    const deployment = foldOf(history);
    const given = Object.entries(ASKS).map(
      ([ask, command]) => [ask, answerOf(decide(command, deployment, past))] as const,
    );
    const expected = Object.entries(answers).flatMap(([answer, asks]) =>
      asks.split(', ').map((ask) => [ask, answer] as const),
    );
    expect(expected).toHaveLength(Object.keys(ASKS).length);
    expect(Object.fromEntries(given)).toEqual(Object.fromEntries(expected));
  });

  it('covers every command', () => {
    const asked = new Set(Object.values(ASKS).map(({ type }) => type));
    expect([...asked].sort()).toEqual([...COMMAND_TYPES].sort());
  });
});
