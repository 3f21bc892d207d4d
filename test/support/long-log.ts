import { MemoryEventStore } from '../../src/adapters/memory/event-store.js';
import type { EventStore } from '../../src/ports/event-store.js';
import { Story } from './events.js';

/** A log that every process makes for itself, and all the same: seven events for each deployment. */
export async function longLog(deployments: number): Promise<MemoryEventStore> {
  const store = new MemoryEventStore();
  const stories = Array.from({ length: deployments }, (_, n) => new Story(`d${String(n)}`));
  for (const story of stories) await story.created().saveTo(store);
  for (const story of stories) await story.opened('a1').started().saveTo(store);
  for (const story of stories) await story.ended('succeeded').saveTo(store);
  return store;
}

/** The same log, which hands itself over in deliveries of so many events: many small commits. */
export function trickling(store: MemoryEventStore, events: number): EventStore {
  return {
    exclusive: store.exclusive,
    append: (...append) => store.append(...append),
    read: (...read) => store.read(...read),
    async *readAll() {},
    async *subscribe({ after, signal } = {}) {
      for await (const page of store.readAll(after === undefined ? {} : { after })) {
        for (let from = 0; from < page.length; from += events) {
          if (signal?.aborted === true) return;
          yield { events: page.slice(from, from + events), caughtUp: false };
        }
      }
      yield { events: [], caughtUp: true };
      if (signal?.aborted === true) return;
      await new Promise((resolve) => {
        signal?.addEventListener('abort', resolve, { once: true });
      });
    },
    head: () => store.head(),
    health: () => store.health(),
    close: () => store.close(),
  };
}
