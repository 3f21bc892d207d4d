import { expect } from '@jest/globals';
import type { DeploymentCommand } from '../../src/domain/command.js';
import { decide } from '../../src/domain/decide.js';
import type { Circumstances, Decision } from '../../src/domain/decision.js';
import type { Deployment } from '../../src/domain/deployment.js';
import type { Fact } from '../../src/domain/event-schema.js';
import type { RefusalCode } from '../../src/domain/refusals.js';
import { CIRCUMSTANCES } from './commands.js';
import { foldOf, type Told } from './facts.js';

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
    expect(this.after).toEqual({ ...this.after, ...attributes });
  }

  unchanged(): void {
    this.then([]);
  }

  refused(code: RefusalCode, record: readonly Fact[] = []): void {
    const refusal = expect.objectContaining({ code, detail: expect.any(String) });
    expect(this.decision).toStrictEqual({ ok: false, refusal, record });
  }
}
