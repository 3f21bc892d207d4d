import { evolve, unrecorded, type Deployment } from '../domain/deployment.js';
import type { Labels, State } from '../domain/event-schema.js';
import type { Position, Revision } from '../ports/event-store.js';
import { defineProjection } from './projection.js';

/** A row of `deployments`: the folded deployment, and beside it what queries select and sort by. */
export type DeploymentRow = {
  readonly deploymentId: string;
  readonly state: State;
  /** State of the current attempt: the reaper asks for `pending` and `running`. */
  readonly attemptState: string | null;
  readonly environment: string | null;
  readonly labels: Labels;
  readonly archived: boolean;
  /** Id and name in lower case, as far as an index takes them: what `q` searches. */
  readonly searchText: string;
  readonly revision: Revision;
  readonly position: Position;
  /** The fold itself, but for earlier attempts, which have rows of their own. */
  readonly deployment: Deployment;
};

/**
 * PostgreSQL refuses an entry of an index of more than 2704 bytes. Ids and names that the rules accept have
 * half of this; a log that was made elsewhere may hold longer ones.
 */
const SEARCH_TEXT_MAX = 700;

/** The state of each deployment, folded by the same `evolve` that decides commands. */
export const deployments = defineProjection<DeploymentRow>({
  name: 'deployments',
  version: 2,
  columns: {
    deploymentId: { type: 'text' },
    state: { type: 'text' },
    attemptState: { type: 'text', nullable: true },
    environment: { type: 'text', nullable: true },
    labels: { type: 'json' },
    archived: { type: 'boolean' },
    searchText: { type: 'text' },
    revision: { type: 'bigint' },
    position: { type: 'bigint' },
    deployment: { type: 'json' },
  },
  key: ['deploymentId'],
  indexes: [
    // The order of lists, and all that they select by: what is rare is looked for in this index alone, which is
    // a tenth of the table. The position changes with each event, so that the rest of it costs no write more.
    ['position', 'archived', 'searchText', 'state', 'environment', 'labels'],
    ['state', 'position'],
    ['environment', 'position'],
    // The reaper asks for the active ones, page by page.
    ['attemptState', 'position'],
    ['labels'],
    // Counting by state reads this index alone, which is a hundredth of the table.
    ['state', 'archived'],
  ],
  keyOf: (event) => [event.deploymentId],
  evolve(row, event) {
    const before = row?.deployment ?? unrecorded(event.deploymentId);
    const deployment = { ...evolve(before, event), earlierAttempts: null };
    return {
      deploymentId: event.deploymentId,
      state: deployment.state,
      attemptState: deployment.currentAttempt?.state ?? null,
      environment: deployment.environment,
      labels: deployment.labels,
      archived: deployment.archived,
      searchText: searchTextOf(deployment),
      revision: event.revision,
      position: event.position,
      deployment,
    };
  },
});

function searchTextOf({ deploymentId, name }: Deployment): string {
  const text = `${deploymentId}\n${name}`.toLowerCase().slice(0, SEARCH_TEXT_MAX);
  // The half of a character is none that a table takes.
  return text.replace(/[\uD800-\uDBFF]$/, '');
}
