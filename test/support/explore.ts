import type { DeploymentCommand } from '../../src/domain/command.js';
import type { Circumstances } from '../../src/domain/decision.js';
import { unrecorded, type Attempt, type Deployment } from '../../src/domain/deployment.js';
import { OUTCOMES, type Policy, type Result } from '../../src/domain/event-schema.js';
import {
  HUMAN,
  SERVICE,
  SHOP,
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
  CIRCUMSTANCES,
} from './commands.js';
import { metadataOf } from './events.js';
import { NO_WITNESS, stepOf, type Moment, type Step } from './rules.js';

/** How far an exploration goes. */
export interface Reach {
  readonly attemptsMax: number;
  readonly scopes: readonly string[];
  /** Policies between which it may change at any time; the first one is the one at creation. */
  readonly policies: readonly Policy[];
  /** Whether runners may also prove themselves by a lease token. */
  readonly tokens: boolean;
  /** Called for every command in every state, in order of distance from the start. */
  readonly visit: (step: Step) => void;
}

/** Something to ask, and whether the time of the current attempt is past. */
type Ask = Pick<Step, 'command' | 'circumstances'>;

/** The confirm phrase of the deployment. */
const confirmPhrase = 'yes';
const PAST: Circumstances = { ...CIRCUMSTANCES, silentTooLong: true };
const METADATA = {
  human: metadataOf({ actor: HUMAN }),
  service: metadataOf({ actor: SERVICE }),
};

/**
 * Walks, breadth first, through every state that commands can reach, once each.
 *
 * Two deployments count as one state when they differ only in what no rule looks at: times, causes,
 * who ran an attempt (but not how it proved who it is), the order of recorded results.
 * Shape: the states found, nearest first, and how many commands were asked in them.   Cost: 2 µs a step.
 */
export function explore(reach: Reach): { states: readonly Deployment[]; steps: number } {
  const first: Moment = { deployment: unrecorded(SHOP), witness: NO_WITNESS };
  const queue = [first];
  const seen = new Set([keyOf(first)]);
  const asks = asksByAttempts(reach);
  let steps = 0;
  for (const before of queue) {
    for (const ask of asks[before.deployment.currentAttempt?.number ?? 0] ?? []) {
      const metadata = ask.command.actor.kind === 'human' ? METADATA.human : METADATA.service;
      const step = stepOf(before, ask, metadata);
      steps++;
      reach.visit(step);
      if (step.events.length === 0) continue;
      const key = keyOf(step.after);
      if (seen.has(key)) continue;
      seen.add(key);
      queue.push(step.after);
    }
  }
  return { states: queue.map(({ deployment }) => deployment), steps };
}

/** What can be asked of a deployment with so many attempts. */
function asksByAttempts(reach: Reach): readonly (readonly Ask[])[] {
  return Array.from({ length: reach.attemptsMax + 1 }, (_, attempts) => [
    ...asksOfDeployment(reach),
    ...(attempts < reach.attemptsMax ? asksToOpen(reach, attempts + 1) : []),
    ...(attempts > 0 ? asksOfCurrent(reach, `a${attempts}`) : []),
    ...(attempts > 0 ? now([open('a1')]) : []),
    ...Array.from({ length: Math.max(0, attempts - 1) }, (__, older) =>
      asksOfOlder(`a${older + 1}`),
    ).flat(),
  ]);
}

const now = (commands: readonly DeploymentCommand[]): readonly Ask[] =>
  commands.map((command) => ({ command, circumstances: CIRCUMSTANCES }));

const asksOfDeployment = ({ policies }: Reach): readonly Ask[] =>
  now([
    create({ policy: policies[0] ?? {}, confirmPhrase }),
    create({ policy: policies[0] ?? {} }),
    ...policies.map((policy) => update({ policy })),
    resolve('ready'),
    resolve('failed'),
    resolve('torn_down'),
    resolve('ready', { actor: SERVICE }),
    archive(),
  ]);

const asksToOpen = ({ scopes }: Reach, number: number): readonly Ask[] =>
  now(
    scopes.flatMap((scope) => [
      open(`a${number}`, { scope, confirmPhrase }),
      open(`a${number}`, { scope }),
      acknowledge(`a${number}`, { scope, confirmPhrase }),
      acknowledge(`a${number}`, { scope, confirmPhrase, actor: SERVICE }),
    ]),
  );

const TOKEN = { leaseTokenHash: 'ab' };
const asksOfCurrent = ({ tokens }: Reach, id: string): readonly Ask[] => [
  ...now([
    ...[{}, ...(tokens ? [TOKEN] : [])].flatMap((proof) => [
      start(id, { runner: { id: 'r1' }, ...proof }),
      beat(id, proof),
      ...OUTCOMES.map((outcome) => end(id, outcome, proof)),
    ]),
    start(id, { runner: { id: 'r2' } }),
    cancel(id),
    lose(id, 'operator'),
    lose(id, 'lease_expired'),
  ]),
  ...[lose(id, 'lease_expired'), lose(id, 'start_timeout')].map((command) => ({
    command,
    circumstances: PAST,
  })),
];

const asksOfOlder = (id: string): readonly Ask[] =>
  now([
    start(id, TOKEN),
    beat(id, TOKEN),
    end(id, 'succeeded', TOKEN),
    cancel(id),
    lose(id, 'operator'),
  ]);

function keyOf({ deployment, witness }: Moment): string {
  const { state, settledState, tornDown, attention, archived, everStarted, policy } = deployment;
  if (archived) return `archived ${state} ${bits([tornDown, witness.unsure])}`;
  const parts = [
    state,
    settledState,
    policy.lateResults,
    policy.afterTeardown,
    bits([tornDown, attention !== null, everStarted, deployment.created !== null]),
    bits([witness.unsure, witness.unsureAtOpening, witness.started]),
    deployment.currentAttempt === null ? '' : currentKey(deployment.currentAttempt),
  ];
  for (let chain = deployment.earlierAttempts; chain !== null; chain = chain.earlier) {
    parts.push(`${chain.attempt.state} ${resultsKey(chain.attempt.staleResults)}`);
  }
  return parts.join();
}

function currentKey(attempt: Attempt): string {
  const { kind, state, cancelRequested, startedAt, resolved, leaseTokenHash, openedFrom } = attempt;
  return [
    kind,
    state,
    bits([cancelRequested, startedAt !== null, leaseTokenHash !== null, openedFrom.tornDown]),
    resolved?.as,
    openedFrom.state,
    resultsKey(attempt.lateResults),
  ].join();
}

/** Which results are recorded; all that are no success count as one. */
const resultsKey = (results: readonly Result[]): string =>
  bits([
    results.some(({ outcome }) => outcome === 'succeeded'),
    results.some(({ outcome }) => outcome !== 'succeeded'),
  ]);
const bits = (flags: readonly boolean[]): string => flags.map(Number).join('');
