/** Entries of the audit journal as rows: the same columns, in the same order, in every database. */
import type { AuditEntry } from '../../ports/audit-journal.js';

/** The columns of an entry. */
export const ENTRY_COLUMNS = [
  ...['at', 'deployment_id', 'attempt_id', 'command', 'command_id', 'actor_id', 'actor_kind'],
  ...['code', 'detail'],
].join(', ');

/** Bounds of a journal: what waits, about 400 KB; what is written at a time; what is kept, about 40 MB. */
export const JOURNAL = {
  waitingMax: 1_000,
  batchMax: 200,
  entriesMax: 100_000,
  writeDelayMs: 50,
  retryDelayMs: 1_000,
} as const;

const LIST_LIMIT = { max: 200, default: 50 } as const;

/** The values of an entry, in the order of its columns. */
export type EntryValues = [
  at: string,
  deploymentId: string,
  attemptId: string | null,
  command: string,
  commandId: string,
  actorId: string,
  actorKind: AuditEntry['actor']['kind'],
  code: string,
  detail: string,
];

export function valuesOf({ actor, ...entry }: AuditEntry): EntryValues {
  const { at, deploymentId, attemptId, command, commandId, code, detail } = entry;
  return [at, deploymentId, attemptId, command, commandId, actor.id, actor.kind, code, detail];
}

export function entryOf(values: EntryValues): AuditEntry {
  const [at, deploymentId, attemptId, command, commandId, id, kind, code, detail] = values;
  return { at, deploymentId, attemptId, command, commandId, actor: { id, kind }, code, detail };
}

/** How many entries a list answers, within its bounds. */
export function listLimit(limit: number = LIST_LIMIT.default): number {
  return Math.min(Math.max(limit, 1), LIST_LIMIT.max);
}

/** What is told of entries that found no room. */
export function droppedError(dropped: number): Error {
  return new Error(`${String(dropped)} refusals found no room and were not recorded`);
}
