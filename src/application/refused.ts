import type { CommandType } from '../domain/command.js';
import { allowedCommands } from '../domain/decide.js';
import type { Deployment } from '../domain/deployment.js';
import type { State } from '../domain/event-schema.js';
import type { PolicyDefaults } from '../domain/lease.js';
import type { Refusal } from '../domain/refusals.js';
import type { Revision } from '../ports/event-store.js';

/** A refusal as it leaves the command path, with the deployment as it stands. */
export class Refused extends Error {
  override readonly name = 'Refused';

  constructor(
    readonly refusal: Refusal,
    /** The deployment's state, what is allowed instead, its revision; null when it does not exist. */
    readonly standing: {
      readonly state: State;
      readonly allowed: readonly CommandType[];
      readonly revision: Revision;
    } | null = null,
    readonly replayed = false,
  ) {
    super(refusal.detail);
  }

  get code(): Refusal['code'] {
    return this.refusal.code;
  }
}

/** A refusal with the deployment as it stands now. */
export function refusedOn(
  refusal: Refusal,
  now: { readonly deployment: Deployment; readonly revision: Revision },
  context: { readonly defaults: PolicyDefaults; readonly replayed?: boolean },
): Refused {
  const { deployment, revision } = now;
  const { defaults, replayed = false } = context;
  if (deployment.created === null) return new Refused(refusal, null, replayed);
  const allowed = allowedCommands(deployment, defaults);
  return new Refused(refusal, { state: deployment.state, allowed, revision }, replayed);
}
