/** The rule of who may write read models, the same for every store; times are those of the store's own clock. */
import type { Instant } from '../domain/event-schema.js';
import { Fault } from '../ports/faults.js';
import type { Claim, Ownership } from '../ports/read-models.js';

/** What a store keeps of it: one row, which is never removed, so that its number only grows. */
export interface OwnerRow {
  /** Null when the last owner gave the tables up. */
  readonly owner: string | null;
  readonly fence: bigint;
  readonly sinceMs: number;
  readonly renewedAtMs: number;
  readonly ttlMs: number;
  readonly denials: number;
}

/** The row of tables that were claimed and not given up. */
export type OwnedRow = OwnerRow & { readonly owner: string };

/** A row as it was read, and when; `ours` is the number under which this handle claimed, null before. */
export interface Claimed {
  readonly row: OwnerRow | null;
  readonly nowMs: number;
  readonly ours: bigint | null;
}

/** The row after a claim, and whether the tables are now this handle's. */
export function afterClaim({ row, nowMs, ours }: Claimed, claim: Claim): [OwnedRow, boolean] {
  const { owner, ttlMs, takesOver = false } = claim;
  if (isOwned(row)) {
    if (row.fence === ours) return [{ ...row, owner, renewedAtMs: nowMs, ttlMs }, true];
    if (!takesOver && remainingMs(row, nowMs) > 0) {
      return [{ ...row, denials: row.denials + 1 }, false];
    }
  }
  const fence = (row?.fence ?? 0n) + 1n;
  return [{ owner, fence, sinceMs: nowMs, renewedAtMs: nowMs, ttlMs, denials: 0 }, true];
}

/** The row for people. */
export function ownershipOf(row: OwnedRow, nowMs: number): Ownership {
  const { owner, fence, denials, sinceMs } = row;
  const since: Instant = new Date(sinceMs).toISOString();
  return { owner, fence, since, remainingMs: remainingMs(row, nowMs), denials };
}

/** Whether the tables have an owner, present or past, that did not give them up. */
export function isOwned(row: OwnerRow | null): row is OwnedRow {
  return row !== null && row.owner !== null;
}

/**
 * Lets a write pass, or not.
 * @throws {Fault} STORE_OWNED when the claim of this handle was taken, or, without one, when another holds.
 */
export function assertMayWrite({ row, nowMs, ours }: Claimed): void {
  if (row === null) return;
  const isFree = row.owner === null || remainingMs(row, nowMs) <= 0;
  if (ours === null ? isFree : row.fence === ours) return;
  const who = row.owner === null ? 'were taken over' : `are owned by ${row.owner}`;
  throw new Fault(
    'STORE_OWNED',
    `the read models ${who} since ${new Date(row.sinceMs).toISOString()}`,
  );
}

/** A clock that was set back makes a claim look renewed in the future: that one counts as past. */
function remainingMs({ renewedAtMs, ttlMs }: OwnerRow, nowMs: number): number {
  return nowMs < renewedAtMs ? 0 : renewedAtMs + ttlMs - nowMs;
}
