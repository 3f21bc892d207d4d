import { expect } from '@jest/globals';
import type { DeploymentCommand } from '../../src/domain/command.js';
import { decide } from '../../src/domain/decide.js';
import type { Circumstances, Decision } from '../../src/domain/decision.js';
import { evolve, unrecorded, type Deployment } from '../../src/domain/deployment.js';
import type {
  DeploymentEvent,
  EventMetadata,
  Fact,
  Instant,
} from '../../src/domain/event-schema.js';
import type { RefusalCode } from '../../src/domain/refusals.js';
import { KINDS, REVISION, SERVICE, SHOP } from './commands.js';
import { metadataOf } from './events.js';
import type { Told } from './facts.js';

/** What the service knows beside the history, unless a test says otherwise. */
export const CIRCUMSTANCES: Circumstances = {
  revision: REVISION,
  kindOf: (scope) => KINDS[scope],
  defaults: { heartbeatMs: 30_000, leaseMs: 90_000, startTimeoutMs: 90_000 },
  silentTooLong: false,
};

const START_MS = Date.parse('2026-01-01T00:00:00.000Z');
/** When the n-th event of a history (from 0) was recorded: one a second. */
export const recordedAt = (n: number): Instant => new Date(START_MS + n * 1000).toISOString();
/** When what the n-th event tells of happened: a quarter of a second before it was recorded. */
export const occurredAt = (n: number): Instant => new Date(START_MS + n * 1000 - 250).toISOString();

/** Metadata of the n-th event of a history. */
export function toldMetadata(n: number, actor = SERVICE): EventMetadata {
  const times = { recordedAt: recordedAt(n), occurredAt: occurredAt(n) };
  return metadataOf({ commandId: `command-${n}`, actor, ...times });
}

/** Folds facts as if they had been recorded one a second. */
export function foldOf(facts: readonly Told[]): Deployment {
  return facts.reduce<Deployment>(
    (deployment, fact, n) => evolve(deployment, eventOf(fact, toldMetadata(n, fact.by))),
    unrecorded(SHOP),
  );
}

/** The event that a fact becomes in the log. */
export function eventOf({ type, data }: Fact, metadata: EventMetadata): DeploymentEvent {
  return { type, data, metadata } as DeploymentEvent;
}

/**
 * Begins a sentence: `given(history).when(command, circumstances?).then(events)`.
 *
 * After `when` stand `then(events, attributes?)` (accepted, exactly these events, leading to these
 * attributes), `unchanged()` (accepted, nothing written), `refused(code, record?)`, and `the`
 * (deployment after the answer) for what needs more words.
 */
export function given(facts: readonly Told[]): {
  when: (command: DeploymentCommand, circumstances?: Partial<Circumstances>) => Answer;
  deployment: Deployment;
} {
  const deployment = foldOf(facts);
  return {
    deployment,
    when: (command, circumstances = {}) => {
      const decision = decide(command, deployment, { ...CIRCUMSTANCES, ...circumstances });
      const events = decision.ok ? decision.events : decision.record;
      const told = events.map((fact) => ({ ...fact, by: command.actor }));
      return new Answer(decision, foldOf([...facts, ...told]));
    },
  };
}

/** What the rules answered, and where it leads. */
class Answer {
  constructor(
    readonly decision: Decision,
    readonly after: Deployment,
  ) {}

  then(events: readonly Fact[], attributes: Partial<Deployment> = {}): void {
    expect(this.decision).toStrictEqual({ ok: true, row: expect.any(String), events });
    expect(this.after).toMatchObject(attributes);
  }

  unchanged(): void {
    this.then([]);
  }

  refused(code: RefusalCode, record: readonly Fact[] = []): void {
    const refusal = expect.objectContaining({ code, detail: expect.any(String) });
    expect(this.decision).toStrictEqual({ ok: false, refusal, record });
  }
}
