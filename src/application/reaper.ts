import { isActive } from '../domain/deployment.js';
import type { LossCause } from '../domain/event-schema.js';
import { effectivePolicy, silenceLimitMs, type PolicyDefaults } from '../domain/lease.js';
import type { Clock } from '../ports/clock.js';
import type { Position } from '../ports/event-store.js';
import { Fault } from '../ports/faults.js';
import type { AttemptKey } from '../ports/leases.js';
import type { ReadModels } from '../ports/read-models.js';
import { emit } from '../ports/signals.js';
import { deployments, type DeploymentRow } from '../projections/deployments.js';
import { MarkUnknown } from './commands.js';
import type { CommandPath } from './handle.js';
import type { LeaseWatch } from './lease-watch.js';
import { Refused } from './refused.js';

/** What the reaper works with. */
export interface ReaperOptions {
  readonly commands: CommandPath;
  readonly readModels: ReadModels;
  readonly leases: LeaseWatch;
  readonly clock: Clock;
  readonly defaults: PolicyDefaults;
  /** Time between two rounds, at most: short leases are looked at more often. Milliseconds, 50..60,000. */
  readonly intervalMs: number;
}

const ACTIVE = ['pending', 'running'] as const;
/** Attempts looked at in one read. */
const PAGE_SIZE = 500;
/** Attempts marked at once, and the pause after them: at most 200 a second, so that commands keep their turn. */
const BURST_MAX = 20;
const BURST_PAUSE_MS = 100;
/**
 * Rounds in the shortest lease, at least. An outage of the store of beats that no round meets is then too short
 * to hide more than one beat, of which a lease has two.
 */
const ROUNDS_PER_LEASE = 4;
const REAPER = { id: 'reaper', kind: 'system' } as const;

/**
 * Finds active attempts that were silent for too long and marks them unknown, by the ordinary command.
 *
 * The rules judge again when the command is decided, so a heartbeat that comes in between wins, and
 * two reapers leave one event.
 */
export class Reaper {
  #stopped = false;
  #cancel: () => void = () => undefined;
  #round: Promise<void> = Promise.resolve();
  /** Of the running attempts that the present round has seen. */
  #shortestLeaseMs = Infinity;

  constructor(private readonly options: ReaperOptions) {}

  /** Begins its rounds. From now on every lease counts anew; call it when the read models have caught up. */
  start(): void {
    if (this.#stopped) return;
    const { clock } = this.options;
    const startedAtMs = clock.monotonicMs();
    this.#round = this.#reap().then(() => {
      if (this.#stopped) return;
      const tookMs = clock.monotonicMs() - startedAtMs;
      this.#cancel = clock.after(this.#intervalMs(tookMs) - tookMs, () => {
        this.start();
      });
    });
  }

  /** Time from this round to the next: short leases shorten it, yet it is no less than twice what a round takes. */
  #intervalMs(tookMs: number): number {
    const byLeaseMs = Math.max(this.#shortestLeaseMs / ROUNDS_PER_LEASE, 2 * tookMs);
    return Math.min(this.options.intervalMs, byLeaseMs);
  }

  /** Ends its rounds for good and waits for the one under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#round;
  }

  /** One round; a failure is told and tried again in the next one. */
  async #reap(): Promise<void> {
    const { leases } = this.options;
    this.#shortestLeaseMs = Infinity;
    try {
      await leases.adopt();
      const active: AttemptKey[] = [];
      for await (const rows of this.#active()) {
        active.push(...(await this.#markSilent(rows)));
        if (this.#stopped) return;
      }
      await leases.retain(active);
    } catch (error) {
      // From here on nothing counts until a round has an answer: that need not be soon.
      leases.missed();
      this.#shortestLeaseMs = Infinity;
      emit('trouble', { where: 'reaper', error });
    }
  }

  /** Page by page, and one state after the other: so each page is the next piece of an index. */
  async *#active(): AsyncIterable<readonly DeploymentRow[]> {
    for (const state of ACTIVE) {
      let after: Position = -1n;
      let rows: readonly DeploymentRow[];
      do {
        rows = await this.options.readModels.find<DeploymentRow>(deployments, {
          where: [
            { column: 'attemptState', is: state },
            { column: 'position', above: after },
          ],
          orderBy: { column: 'position', direction: 'ascending' },
          limit: PAGE_SIZE,
        });
        after = rows.at(-1)?.position ?? after;
        yield rows;
      } while (rows.length === PAGE_SIZE);
    }
  }

  /** Marks those of the rows' attempts that were silent for too long; answers all that are active. */
  async #markSilent(rows: readonly DeploymentRow[]): Promise<readonly AttemptKey[]> {
    const { leases, clock } = this.options;
    const active = rows.flatMap(({ deployment }) => {
      const { deploymentId, currentAttempt } = deployment;
      if (currentAttempt === null || !isActive(currentAttempt)) return [];
      return [
        { deploymentId, attemptId: currentAttempt.attemptId, deployment, attempt: currentAttempt },
      ];
    });
    await leases.refresh(active);
    const silent = active.filter((key) => {
      const policy = effectivePolicy(key.deployment.policy, this.options.defaults);
      const phase = key.attempt.state === 'pending' ? 'pending' : 'running';
      const limitMs = silenceLimitMs(key.attempt, policy);
      if (phase === 'running') this.#shortestLeaseMs = Math.min(this.#shortestLeaseMs, limitMs);
      return leases.silentMs(key, phase) >= limitMs;
    });
    for (let first = 0; first < silent.length && !this.#stopped; first += BURST_MAX) {
      const burst = silent.slice(first, first + BURST_MAX);
      await Promise.all(
        burst.map((key) =>
          this.#mark(key, key.attempt.state === 'pending' ? 'start_timeout' : 'lease_expired'),
        ),
      );
      if (first + BURST_MAX < silent.length) {
        await new Promise<void>((resolve) => void clock.after(BURST_PAUSE_MS, resolve));
      }
    }
    return active;
  }

  async #mark(
    { deploymentId, attemptId }: { readonly deploymentId: string; readonly attemptId: string },
    cause: LossCause,
  ): Promise<void> {
    try {
      const command = MarkUnknown.of({ deploymentId, attemptId, cause, actor: REAPER });
      await this.options.commands.execute('MarkUnknown', command);
    } catch (error) {
      // Refused: it was heard of, or ended, meanwhile. A fault: who could not be asked about the attempt could
      // not take its heartbeats either, so it has its time again.
      if (error instanceof Fault) {
        this.options.leases.countAnew({ deploymentId, attemptId });
        emit('trouble', { where: 'reaper', error });
      } else if (!(error instanceof Refused)) throw error;
    }
  }
}
