import type { Actor, Instant } from '../domain/event-schema.js';

/** Something that was asked for: by whom, when, and what was said to it, which is `code`. */
export interface AuditEntry {
  readonly at: Instant;
  readonly deploymentId: string;
  readonly attemptId: string | null;
  readonly command: string;
  readonly commandId: string;
  readonly actor: Actor;
  readonly code: string;
  readonly detail: string;
}

/**
 * Refused commands, and decisions about read models. They are no events, so they are not in the log; an auditor
 * still wants them.
 */
export interface AuditJournal {
  /** Takes an entry at once and writes it soon; never throws and never delays a command. */
  record(entry: AuditEntry): void;
  /** Entries of one deployment, or of all, newest first. Bounds: limit 1..200, default 50. */
  list(filter?: {
    readonly deploymentId?: string;
    readonly limit?: number;
  }): Promise<readonly AuditEntry[]>;
  /** Writes what is still waiting, then releases what it holds. */
  close(): Promise<void>;
}
