/**
 * The path of every command: validate, decide, append, answer. One implementation serves the bus, HTTP
 * and the reaper.
 */
import assert from 'node:assert/strict';
import type { CommandType, DeploymentCommand } from '../domain/command.js';
import { decide } from '../domain/decide.js';
import type { Circumstances } from '../domain/decision.js';
import { findAttempt, isActive, type Attempt, type Deployment } from '../domain/deployment.js';
import type { DeploymentId, Instant, ScopeKind } from '../domain/event-schema.js';
import { effectivePolicy, silenceLimitMs, type PolicyDefaults } from '../domain/lease.js';
import type { Refusal } from '../domain/refusals.js';
import type { AuditJournal } from '../ports/audit-journal.js';
import type { Clock } from '../ports/clock.js';
import type { EventStore, Position, RecordedEvent } from '../ports/event-store.js';
import { Fault } from '../ports/faults.js';
import type { AttemptKey } from '../ports/leases.js';
import { emit } from '../ports/signals.js';
import { accept, prepared, type Accepted } from './accept.js';
import type { BusCommand, Heartbeat, Receipt } from './commands.js';
import { chance } from './ids.js';
import {
  eventOf,
  foldedFrom,
  foldRecorded,
  Lanes,
  type Folded,
  type Plan,
  type PreparedEvent,
  type Written,
} from './lanes.js';
import type { LeaseWatch } from './lease-watch.js';
import { Refused, refusedOn } from './refused.js';

/** What the command path works with. */
export interface CommandPathOptions {
  readonly store: EventStore;
  readonly leases: LeaseWatch;
  readonly journal: AuditJournal;
  readonly clock: Clock;
  /** Registered scopes and their kinds. */
  readonly scopes: ReadonlyMap<string, ScopeKind>;
  readonly defaults: PolicyDefaults;
  /** How long a command may take, repeats included. Milliseconds. */
  readonly deadlineMs?: number;
  /** Folded deployments kept; see `Lanes`. */
  readonly deploymentsCachedMax?: number;
}

/** What a heartbeat answers. */
export interface HeartbeatReceipt {
  readonly leaseExpiresAt: Instant;
  readonly cancelRequested: boolean;
}

const DEADLINE_MS = 5_000;
/** Carries commands out. Safe for any number of concurrent calls. */
export class CommandPath {
  readonly #lanes: Lanes;
  #lastPosition: Position | null = null;

  constructor(private readonly options: CommandPathOptions) {
    const { store, clock, deadlineMs = DEADLINE_MS, deploymentsCachedMax } = options;
    this.#lanes = new Lanes({ store, clock, deadlineMs, random: chance }, deploymentsCachedMax);
  }

  /**
   * Executes a command of the bus.
   *
   * Safe to repeat: with the same `commandId`, at any age.
   * @throws {Refused} when the rules say no.
   * @throws {Fault} STORE_UNAVAILABLE, OUTCOME_UNKNOWN, STORE_FULL and others when the store fails.
   */
  async execute(type: Exclude<CommandType, 'Heartbeat'>, input: BusCommand): Promise<Receipt> {
    const outcome = await this.#run(type, input);
    return outcome.receipt;
  }

  /** Takes a heartbeat: extends the lease; revives an attempt that was lost, where the policy says so. */
  async heartbeat(input: Heartbeat): Promise<HeartbeatReceipt> {
    const { deployment, attempt } = await this.#run('Heartbeat', input).catch(
      async (error: unknown) => {
        if (error instanceof Fault) await this.#hear(input);
        throw error;
      },
    );
    assert(attempt !== null, 'a heartbeat that was accepted is of an attempt');
    const key = { deploymentId: input.deploymentId, attemptId: input.attemptId };
    await this.options.leases.beat(key, this.options.clock.now(), input.progress);
    return {
      leaseExpiresAt: this.#leaseExpiresAt(deployment, attempt),
      cancelRequested: attempt.cancelRequested,
    };
  }

  /** A sign of life counts also while the log is out of reach, where what is known here accepts it. */
  async #hear(input: Heartbeat): Promise<void> {
    const { clock, leases } = this.options;
    const { command } = accept('Heartbeat', input, clock.now());
    const { known } = this.#lanes.of(command.deploymentId);
    const decision = decide(command, known.deployment, this.#circumstances(command, known));
    if (decision.ok && decision.events.length === 0) {
      await leases.beat(keyOf(command), clock.now(), input.progress);
    }
  }

  /** Folds a deployment from its stream: strong, never behind. Null when it was never created. */
  async read(deploymentId: DeploymentId): Promise<Folded | null> {
    const folded = await this.#lanes.of(deploymentId).read();
    return folded.deployment.created === null ? null : folded;
  }

  /** Position of the newest event that this process has acknowledged; null before the first. */
  get lastPosition(): Position | null {
    return this.#lastPosition;
  }

  async #run(type: CommandType, input: BusCommand | Heartbeat): Promise<Outcome> {
    const { clock } = this.options;
    const startedAt = clock.monotonicMs();
    let result = 'DEFECT';
    let accepted: Accepted | null = null;
    try {
      const taken = accept(type, input, clock.now());
      accepted = taken;
      if (type === 'MarkUnknown') await this.options.leases.refresh([keyOf(taken.command)]);
      const lane = this.#lanes.of(taken.command.deploymentId);
      const outcome = await lane.run((folded) => {
        const written = lane.writtenBy(taken.metadata.commandId);
        return written === undefined
          ? this.#plan(taken, folded)
          : this.#replay(taken, { ...written, stream: lane.stream });
      });
      const { changed, replayed } = outcome.receipt;
      result = replayed ? 'replayed' : changed ? 'accepted' : 'unchanged';
      return outcome;
    } catch (error) {
      if (error instanceof Refused || error instanceof Fault) result = error.code;
      if (error instanceof Refused && accepted !== null) this.#record(accepted, error.refusal);
      throw error;
    } finally {
      emit('command', { command: type, result, ms: clock.monotonicMs() - startedAt });
    }
  }

  #plan(accepted: Accepted, folded: Folded): Plan<Outcome> {
    const { command, metadata } = accepted;
    const decision = decide(command, folded.deployment, this.#circumstances(command, folded));
    const events = prepared(decision.ok ? decision.events : decision.record, accepted);
    return {
      commandId: metadata.commandId,
      events,
      answer: async (after) => {
        this.#acknowledge(after);
        if (!decision.ok) {
          throw refusedOn(decision.refusal, after, this.options);
        }
        await this.#followUp(accepted, events, after);
        return this.#outcome(accepted, events, after);
      },
    };
  }

  #circumstances(command: DeploymentCommand, { deployment, revision }: Folded): Circumstances {
    const { scopes, defaults, leases } = this.options;
    const attempt = deployment.currentAttempt;
    const kindOf = (scope: string): ScopeKind | undefined => scopes.get(scope);
    if (command.type !== 'MarkUnknown' || attempt === null || !isActive(attempt)) {
      return { revision, kindOf, defaults, silentTooLong: false };
    }
    const key = keyOf(command);
    const limitMs = silenceLimitMs(attempt, effectivePolicy(deployment.policy, defaults));
    const phase = attempt.state === 'pending' ? 'pending' : 'running';
    const lastHeartbeatAt = leases.lastBeat(key)?.at;
    return {
      revision,
      kindOf,
      defaults,
      silentTooLong: leases.silentMs(key, phase) >= limitMs,
      ...(lastHeartbeatAt !== undefined && { lastHeartbeatAt }),
    };
  }

  /** What a durable command means to leases and listeners; a failure here never fails the command. */
  async #followUp(
    { command, metadata }: Accepted,
    events: readonly PreparedEvent[],
    { deployment }: Folded,
  ): Promise<void> {
    for (const { event } of events) {
      if (event.type === 'state_transition') emit('transition', event.data);
    }
    const attempt = deployment.currentAttempt;
    if (attempt === null || !('attemptId' in command || command.type === 'ResolveUnknown')) return;
    const key = { deploymentId: deployment.deploymentId, attemptId: attempt.attemptId };
    const { leases } = this.options;
    try {
      if (command.type === 'StartAttempt') await leases.beat(key, metadata.recordedAt);
      else if (command.type === 'OpenAttempt') leases.silentMs(key, 'pending');
      else if (!isActive(attempt)) await leases.drop(key);
    } catch (error) {
      emit('trouble', { where: 'leases', error });
    }
  }

  #outcome(
    { command }: Accepted,
    events: readonly PreparedEvent[],
    { deployment, revision, position, replayed = false }: Folded & { readonly replayed?: boolean },
  ): Outcome {
    assert(position !== null, 'an accepted command has a stream');
    const attempt = attemptOf(command, events, deployment);
    const first = revision - BigInt(events.length) + 1n;
    const isStart = command.type === 'StartAttempt' && attempt !== null;
    const receipt: Receipt = {
      deploymentId: deployment.deploymentId,
      state: deployment.state,
      revision,
      position,
      changed: events.length > 0,
      replayed,
      ...(attempt !== null && { attemptId: attempt.attemptId, number: attempt.number }),
      ...(isStart && { leaseExpiresAt: this.#leaseExpiresAt(deployment, attempt) }),
      events: events.map(({ stored: { id }, event: { type } }, index) => ({
        id,
        type,
        revision: first + BigInt(index),
      })),
    };
    return { receipt, deployment, attempt };
  }

  #leaseExpiresAt(deployment: Deployment, attempt: Attempt): Instant {
    const { clock, defaults, leases } = this.options;
    const limitMs = attempt.leaseMs ?? effectivePolicy(deployment.policy, defaults).leaseMs;
    const key = { deploymentId: deployment.deploymentId, attemptId: attempt.attemptId };
    const leftMs = Math.max(0, limitMs - leases.knownSilenceMs(key));
    return new Date(Date.parse(clock.now()) + Math.round(leftMs)).toISOString();
  }

  /** Answers a command that the stream holds already: what it answered first, of its own events alone. */
  #replay(accepted: Accepted, written: Written & { readonly stream: string }): Plan<Outcome> {
    const { command, metadata } = accepted;
    const answer = async (now: Folded): Promise<Outcome> => {
      const own = await this.#eventsOf(written);
      const [cause] = own;
      if (cause?.event.metadata.commandDigest !== metadata.commandDigest) {
        const detail = `command id ${metadata.commandId} was used for another command of ${command.deploymentId}; use a new id`;
        throw refusedOn({ code: 'COMMAND_ID_REUSED', detail }, now, this.options);
      }
      if (command.type === 'EndAttempt' && cause.event.type !== 'attempt_end') {
        await this.#refuseAgain(command, cause.stored, now);
      }
      this.#acknowledge(now);
      await this.#followUp(accepted, [], now);
      const { revision, position } = own.at(-1)?.stored ?? cause.stored;
      // The deployment of today, which tells the lease, in the state that the command left.
      const deployment = { ...now.deployment, state: written.state };
      return this.#outcome(accepted, own, { deployment, revision, position, replayed: true });
    };
    return { commandId: metadata.commandId, events: [], answer };
  }

  /** Cost: one round trip, however long the stream. */
  async #eventsOf({
    stream,
    first,
    last,
  }: Written & { readonly stream: string }): Promise<
    readonly (PreparedEvent & { readonly stored: RecordedEvent })[]
  > {
    const own: RecordedEvent[] = [];
    const range = { from: BigInt(first), to: BigInt(last) };
    for await (const page of this.options.store.read(stream, range)) own.push(...page);
    return own.map((stored) => ({ stored, event: eventOf(stored) }));
  }

  /**
   * A refusal may have left a record (an end that came too late): it is refused again, in the same words.
   * Cost: the stream up to the record is folded once more.
   */
  async #refuseAgain(
    command: DeploymentCommand,
    { stream, revision }: RecordedEvent,
    now: Folded,
  ): Promise<void> {
    let before = foldedFrom(command.deploymentId);
    for await (const page of this.options.store.read(stream, { to: revision - 1n })) {
      before = foldRecorded(before, page);
    }
    const { expectedRevision: _, ...unconditional } = command;
    const again = decide(unconditional, before.deployment, this.#circumstances(command, before));
    if (!again.ok) throw refusedOn(again.refusal, now, { ...this.options, replayed: true });
  }

  #acknowledge({ position }: Folded): void {
    if (position !== null && position > (this.#lastPosition ?? -1n)) this.#lastPosition = position;
  }

  /** The service's own commands are refused in passing, whenever a runner was faster: nobody asked. */
  #record({ command, metadata }: Accepted, { code, detail }: Refusal): void {
    if (metadata.actor.kind === 'system') return;
    this.options.journal.record({
      at: metadata.recordedAt,
      deploymentId: command.deploymentId,
      attemptId: 'attemptId' in command ? command.attemptId : null,
      command: command.type,
      commandId: metadata.commandId,
      actor: metadata.actor,
      code,
      detail,
    });
  }
}

/** The attempt that a command is about; of a repeated open that named none, the one that was made. */
function attemptOf(
  command: DeploymentCommand,
  [cause]: readonly PreparedEvent[],
  deployment: Deployment,
): Attempt | null {
  if (!('attemptId' in command)) return null;
  const { event } = cause ?? {};
  const opened = event?.type === 'attempt_opened' ? event.data.attemptId : null;
  return findAttempt(deployment, opened ?? command.attemptId);
}

interface Outcome {
  readonly receipt: Receipt;
  readonly deployment: Deployment;
  /** The one that the command is about; null where it is about none. */
  readonly attempt: Attempt | null;
}

function keyOf(command: DeploymentCommand): AttemptKey {
  assert('attemptId' in command, 'only commands about attempts have leases');
  return { deploymentId: command.deploymentId, attemptId: command.attemptId };
}
