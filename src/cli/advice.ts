/** What to type next when the service says no. */
import { editsBetween } from '../application/spelling.js';
import type { Client } from '../client/client.js';
import type { ServiceError } from '../client/service-error.js';

/** What was asked when it was refused. */
export interface Asked {
  readonly verb: string;
  readonly deploymentId?: string;
  readonly attemptId?: string;
  readonly client: Client;
}

type Advise = (asked: Asked & { readonly id: string }) => string | Promise<string>;

const ADVICE: Readonly<Record<string, Advise>> = {
  DEPLOYMENT_UNKNOWN_STATE: ({ id }) =>
    `look at it, then: shipslog resolve ${id} --as failed --reason '…'   (or ready, torn_down)`,
  DEPLOYMENT_NOT_FOUND: similar,
  ATTEMPT_NOT_FOUND: ({ id }) => `its attempts: shipslog attempts ${id}`,
  DEPLOYMENT_EXISTS: ({ id }) => `shipslog get ${id}; to change it: shipslog update ${id}`,
  ATTEMPT_EXISTS: ({ id }) => `its attempts: shipslog attempts ${id}`,
  ATTEMPT_IN_PROGRESS: ({ id }) =>
    `shipslog attempts ${id}; to stop it: shipslog cancel ${id}; when its runner is gone: shipslog unknown ${id} --cause orphaned`,
  ATTEMPT_TERMINAL: ({ id }) => `open a new one: shipslog open ${id}`,
  ATTEMPT_NOT_STARTED: ({ id, attemptId = '' }) =>
    `start it: shipslog start ${id} ${attemptId}`.trim(),
  ATTEMPT_ALREADY_STARTED: ({ id }) => `who runs it: shipslog attempts ${id}`,
  ATTEMPT_SUPERSEDED: ({ id }) => `the newer one: shipslog attempts ${id}`,
  DEPLOYMENT_TORN_DOWN: ({ id }) =>
    `shipslog archive ${id}, or let it be deployed again: shipslog update ${id} --policy-after-teardown reopen`,
  DEPLOYMENT_NOT_TORN_DOWN: ({ id }) => `shipslog teardown ${id}`,
  DEPLOYMENT_NOT_UNKNOWN: ({ id }) => `shipslog get ${id}`,
  DEPLOYMENT_ARCHIVED: ({ id }) => `its history: shipslog history ${id}`,
  TEARDOWN_CONFIRM_MISMATCH: ({ id }) => `shipslog teardown ${id} --confirm-phrase '…'`,
  REVISION_MISMATCH: ({ id }) => `look again: shipslog get ${id}`,
  HUMAN_REQUIRED: () => 'as a human: --actor human:NAME',
  LEASE_TOKEN_MISMATCH: () => 'its runner has the token: --lease-token TOKEN',
  LEASE_ACTIVE: ({ id }) => `its runner was heard of: shipslog get ${id}`,
  SCOPE_UNSUPPORTED: () => 'the service registers scopes by SHIPSLOG_SCOPES',
  COMMAND_ID_REUSED: () => 'use another --key, or none',
  REVISION_NOT_FOUND: ({ id }) => `its history: shipslog history ${id}`,
  UNREACHABLE: () => 'start it: shipslog serve; or say where it is: --url, SHIPSLOG_URL',
  STORE_UNAVAILABLE: ({ client }) =>
    `say it again in a while; what the service says of its stores: curl ${client.url}/health/ready`,
  PROJECTION_NOT_FOUND: () => 'shipslog projections',
  PARKED_NOT_FOUND: () => 'what is left out: shipslog parked PROJECTION',
  OUTCOME_UNKNOWN: ({ id }) => `whether it was written: shipslog get ${id}`,
};

/** What to type next; null when there is nothing to say. */
export async function adviceFor(error: ServiceError, asked: Asked): Promise<string | null> {
  const advise = ADVICE[error.code];
  return advise === undefined ? null : advise({ ...asked, id: asked.deploymentId ?? 'ID' });
}

/** The ids that look most like one that there is not; how to create it otherwise. */
async function similar({ client, id }: Asked & { readonly id: string }): Promise<string> {
  const create = `create it: shipslog create ${id}`;
  try {
    const found = await nearest(client, id);
    // Asked for as of a time before it was created.
    if (found === id) return `it was created later: shipslog history ${id}`;
    return found === null ? create : `did you mean ${found}? Else ${create}`;
  } catch {
    return create;
  }
}

/** How many ids are looked through for one that was misspelt. */
const LOOKED_AT = 200;
const TIMEOUT_MS = 1_000;

async function nearest(client: Client, id: string): Promise<string | null> {
  const { items } = await client.call(
    'listDeployments',
    { limit: LOOKED_AT },
    { timeoutMs: TIMEOUT_MS },
  );
  const [best] = items
    .map(({ deploymentId }) => ({ deploymentId, edits: editsBetween(id, deploymentId) }))
    .sort((a, b) => a.edits - b.edits);
  const isNear = best !== undefined && best.edits <= Math.max(2, Math.floor(id.length / 4));
  return isNear ? best.deploymentId : null;
}
