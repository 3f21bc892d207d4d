import type { Client } from './client.js';
import { pause } from './pause.js';
import { randomInt } from 'node:crypto';
import { ServiceError } from './service-error.js';

/** An attempt that was started, and how its runner wants to hear of it. */
export interface LeaseKeeperOptions {
  readonly client: Client;
  readonly deploymentId: string;
  readonly attemptId: string;
  /** The token of the start, if it gave one. */
  readonly leaseToken?: string;
  /** Time between two heartbeats; `policy.heartbeatMs` of the deployment. At most half of the lease. */
  readonly heartbeatMs: number;
  /** What to tell with the next heartbeat; at most 8 KiB as JSON. */
  readonly progress?: () => Readonly<Record<string, unknown>> | undefined;
  /** Somebody wants the attempt to stop. Told once; the runner ends the attempt as ever. */
  readonly onCancelRequested?: () => void;
  /** The attempt is not this runner's any more: a newer one was opened, or it was closed. Told once; stop at once. */
  readonly onLost?: (reason: ServiceError) => void;
  /** Heartbeats fail: the service is out of reach, or says no for now. Told once until they work again. */
  readonly onTrouble?: (problem: ServiceError) => void;
  /** Heartbeats work again. */
  readonly onMended?: () => void;
}

/** What ends the work of a keeper: the runner must stop. */
const LOST: ReadonlySet<string> = new Set([
  'ATTEMPT_SUPERSEDED',
  'ATTEMPT_TERMINAL',
  'DEPLOYMENT_ARCHIVED',
]);
const RETRY_MS = 250;
const TIMEOUT_MS = { min: 1_000, max: 10_000 } as const;

/**
 * Keeps the lease of a running attempt by heartbeats, and hears by them whether the runner must stop.
 *
 * A service that is out of reach is asked again and again; the work of the runner need not wait for it,
 * since its result counts also after a loss, unless the policy says otherwise.
 */
export class LeaseKeeper {
  readonly #options: LeaseKeeperOptions;
  readonly #stop = new AbortController();
  #running: Promise<void> | null = null;
  #failures = 0;
  #isCancelTold = false;

  constructor(options: LeaseKeeperOptions) {
    this.#options = options;
  }

  /** Begins; the first heartbeat is due after one interval, since a start counts as one. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends after the heartbeat that is under way. Safe to repeat. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    await pause(this.#dueInMs(), signal);
    while (!signal.aborted) {
      await this.#beat();
      await pause(this.#dueInMs(), signal);
    }
  }

  async #beat(): Promise<void> {
    const { client, deploymentId, attemptId, leaseToken, progress, heartbeatMs } = this.#options;
    const told = progress?.();
    const body = {
      ...(leaseToken !== undefined && { leaseToken }),
      ...(told !== undefined && { progress: told }),
    };
    const timeoutMs = Math.min(TIMEOUT_MS.max, Math.max(TIMEOUT_MS.min, heartbeatMs));
    const { signal } = this.#stop;
    try {
      const takes = { deploymentId, attemptId, body };
      const answer = await client.call('heartbeat', takes, { timeoutMs, signal, once: true });
      this.#heard(answer.cancelRequested);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof ServiceError)) throw error;
      this.#failed(error);
    }
  }

  #heard(cancelRequested: boolean): void {
    if (this.#failures > 0) this.#options.onMended?.();
    this.#failures = 0;
    if (!cancelRequested || this.#isCancelTold) return;
    this.#isCancelTold = true;
    this.#options.onCancelRequested?.();
  }

  #failed(error: ServiceError): void {
    if (LOST.has(error.code)) {
      this.#stop.abort();
      this.#options.onLost?.(error);
      return;
    }
    this.#failures += 1;
    if (this.#failures === 1) this.#options.onTrouble?.(error);
  }

  /** A little less than the interval, so that many runners spread; sooner while heartbeats fail. */
  #dueInMs(): number {
    const { heartbeatMs } = this.#options;
    const dueMs =
      this.#failures === 0
        ? heartbeatMs
        : Math.min(heartbeatMs, RETRY_MS * 2 ** Math.min(this.#failures - 1, 10));
    return dueMs * (0.8 + randomInt(200) / 1_000);
  }
}
