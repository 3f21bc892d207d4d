import type { Instant, JsonObject } from '../../domain/event-schema.js';
import type { AttemptKey, Beat, Leases } from '../../ports/leases.js';

/** Signs of life kept in memory: all that one process needs. Bounds: one entry for each running attempt. */
export class MemoryLeases implements Leases {
  readonly #beats = new Map<string, Beat>();

  async beat(key: AttemptKey, at: Instant, progress: JsonObject | null = null): Promise<Beat> {
    const place = placeOf(key);
    const before = this.#beats.get(place);
    const count = (before?.count ?? 0) + 1;
    const beat = { count, at, progress: progress ?? before?.progress ?? null };
    this.#beats.set(place, beat);
    return beat;
  }

  async read(keys: readonly AttemptKey[]): Promise<readonly (Beat | null)[]> {
    return keys.map((key) => this.#beats.get(placeOf(key)) ?? null);
  }

  async keys(): Promise<readonly AttemptKey[]> {
    return [...this.#beats.keys()].map((place) => {
      const [deploymentId = '', attemptId = ''] = place.split('\n');
      return { deploymentId, attemptId };
    });
  }

  async drop(key: AttemptKey): Promise<void> {
    this.#beats.delete(placeOf(key));
  }

  async close(): Promise<void> {
    this.#beats.clear();
  }
}

function placeOf({ deploymentId, attemptId }: AttemptKey): string {
  return `${deploymentId}\n${attemptId}`;
}
