import type { Actor, Instant } from '../domain/event-schema.js';

/** A command that was refused: who asked for what, when, and which rule said no. */
export interface RefusedCommand {
  readonly at: Instant;
  readonly deploymentId: string;
  readonly attemptId: string | null;
  readonly command: string;
  readonly commandId: string;
  readonly actor: Actor;
  readonly code: string;
  readonly detail: string;
}

/** Refused commands. They change nothing, so they are not in the log; an auditor still wants them. */
export interface AuditJournal {
  /** Takes an entry at once and writes it soon; never throws and never delays a command. */
  record(entry: RefusedCommand): void;
  /** Entries of one deployment, or of all, newest first. Bounds: limit 1..200, default 50. */
  list(filter?: {
    readonly deploymentId?: string;
    readonly limit?: number;
  }): Promise<readonly RefusedCommand[]>;
  /** Writes what is still waiting, then releases what it holds. */
  close(): Promise<void>;
}
