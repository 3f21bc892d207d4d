/** Ends of attempts that the service has not heard of yet, one file each. */
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { makeFolder, syncFolder } from '../adapters/folders.js';
import { Client } from '../client/client.js';
import type { Operations } from '../client/operations.js';
import { ServiceError } from '../client/service-error.js';

/** An end to deliver: where, as whom, under which key. */
export interface SpooledEnd {
  readonly url: string;
  readonly actor: string;
  readonly key: string;
  readonly deploymentId: string;
  readonly attemptId: string;
  readonly body: Operations['endAttempt']['takes']['body'];
}

/** What became of one that was tried. `kept`: the service could not be reached, or not now. */
export type Delivery = { readonly end: SpooledEnd } & (
  | { readonly outcome: 'delivered'; readonly state: string }
  | { readonly outcome: 'refused' | 'kept'; readonly problem: ServiceError }
);

type Environment = Readonly<Record<string, string | undefined>>;

/** The folder of ends: SHIPSLOG_SPOOL, else the place that the system has for such. */
export function spoolFolder(environment: Environment): string {
  const { SHIPSLOG_SPOOL: spool, XDG_STATE_HOME: state } = environment;
  return (
    spool ?? join(state ?? join(environment['HOME'] ?? homedir(), '.local/state'), 'shipslog/spool')
  );
}

/** Keeps ends until the service has them. A file is whole or not there, also after a power cut. */
export class Spool {
  constructor(private readonly folder: string) {}

  /** Keeps an end; resolves when it is on the disk. Only the user can read it: it holds the lease token. */
  async keep(end: SpooledEnd): Promise<void> {
    makeFolder(this.folder);
    const path = this.#pathOf(end);
    const file = await open(`${path}.part`, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify(end));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(`${path}.part`, path);
    syncFolder(this.folder);
  }

  /** Forgets an end. Safe to repeat. */
  async forget(end: SpooledEnd): Promise<void> {
    await rm(this.#pathOf(end), { force: true });
  }

  /** All that is kept, the oldest first as far as names tell; a file that is none of ours is passed over. */
  async list(): Promise<readonly SpooledEnd[]> {
    const names = await readdir(this.folder).catch(() => []);
    const ends = await Promise.all(
      names
        .filter((name) => name.endsWith('.json'))
        .sort()
        .map((name) => this.#read(name)),
    );
    return ends.filter((end) => end !== null);
  }

  /** Tries to deliver all that is kept; forgets what the service has, or will never take. */
  async flush(timeoutMs: number): Promise<readonly Delivery[]> {
    const deliveries: Delivery[] = [];
    for (const end of await this.list()) {
      const delivery = await deliver(end, { timeoutMs });
      if (delivery.outcome !== 'kept') await this.forget(end);
      deliveries.push(delivery);
    }
    return deliveries;
  }

  async #read(name: string): Promise<SpooledEnd | null> {
    try {
      const end = JSON.parse(await readFile(join(this.folder, name), 'utf8')) as SpooledEnd;
      return typeof end.url === 'string' && typeof end.key === 'string' ? end : null;
    } catch {
      return null;
    }
  }

  #pathOf({ deploymentId, attemptId }: SpooledEnd): string {
    // Ids hold colons, which some file systems do not.
    const name = `${deploymentId}~${attemptId}`.replaceAll(':', '=');
    return join(this.folder, `${name}.json`);
  }
}

/** Tells the service of an end, once. */
export async function deliver(
  end: SpooledEnd,
  options: { readonly timeoutMs?: number; readonly signal?: AbortSignal },
): Promise<Delivery> {
  const { url, actor, key, deploymentId, attemptId, body } = end;
  const client = new Client({ url, actor });
  try {
    const takes = { deploymentId, attemptId, body };
    const { state } = await client.call('endAttempt', takes, { ...options, key, once: true });
    return { end, outcome: 'delivered', state };
  } catch (problem) {
    if (!(problem instanceof ServiceError)) throw problem;
    return { end, outcome: problem.isPassing ? 'kept' : 'refused', problem };
  }
}
