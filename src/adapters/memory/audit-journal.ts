import type { AuditJournal, AuditEntry } from '../../ports/audit-journal.js';

/** Entries kept; the oldest makes room. A refusal is about 400 bytes, so this is about 4 MB. */
const ENTRIES_MAX = 10_000;
const LIST_LIMIT_MAX = 200;
const LIST_LIMIT_DEFAULT = 50;

/** The last refused commands, in memory. Bounds: 10,000 entries unless told otherwise. */
export class MemoryAuditJournal implements AuditJournal {
  /** A ring: once full, the entry at `#next` is the oldest one. */
  readonly #ring: AuditEntry[] = [];
  readonly #entriesMax: number;
  #next = 0;

  constructor(entriesMax = ENTRIES_MAX) {
    this.#entriesMax = entriesMax;
  }

  record(entry: AuditEntry): void {
    this.#ring[this.#next] = entry;
    this.#next = (this.#next + 1) % this.#entriesMax;
  }

  async list(
    filter: { readonly deploymentId?: string; readonly limit?: number } = {},
  ): Promise<readonly AuditEntry[]> {
    const limit = Math.min(Math.max(filter.limit ?? LIST_LIMIT_DEFAULT, 1), LIST_LIMIT_MAX);
    const newestFirst = [...this.#ring.slice(this.#next), ...this.#ring.slice(0, this.#next)];
    return newestFirst
      .reverse()
      .filter(({ deploymentId }) => (filter.deploymentId ?? deploymentId) === deploymentId)
      .slice(0, limit);
  }

  async close(): Promise<void> {
    this.#ring.length = 0;
    this.#next = 0;
  }
}
