import { randomUUID } from 'node:crypto';
import { evolve, unrecorded, type Deployment } from '../../src/domain/deployment.js';
import {
  SCHEMA_VERSION,
  parseId,
  type AttemptId,
  type Declaration,
  type DeploymentId,
  type EventData,
  type EventMetadata,
  type EventType,
  type Fact,
  type Instant,
  type LossCause,
  type Outcome,
  type Resolution,
  type ScopeKind,
  type State,
} from '../../src/domain/event-schema.js';
import {
  STREAM_PREFIX,
  type Appended,
  type EventStore,
  type NewEvent,
} from '../../src/ports/event-store.js';

/** An id from text that is known to be well formed. */
export function idOf<T extends DeploymentId | AttemptId>(text: string): T {
  const id = parseId<T>(text);
  if (id === null) throw new Error(`malformed id in a test: ${text}`);
  return id;
}

/** Metadata with every member present; what a test cares about is overridden. */
export function metadataOf(overrides: Partial<EventMetadata> = {}): EventMetadata {
  const commandId = overrides.commandId ?? randomUUID();
  return {
    schemaVersion: SCHEMA_VERSION,
    commandId,
    commandDigest: '0'.repeat(64),
    actor: { id: 'tester', kind: 'service' },
    occurredAt: overrides.recordedAt ?? '2026-01-01T00:00:00.000Z',
    recordedAt: '2026-01-01T00:00:00.000Z',
    correlationId: commandId,
    causationId: commandId,
    ...overrides,
  };
}

/** An event ready to append, typed by its type. */
export function newEvent<T extends EventType>(
  type: T,
  data: EventData[T],
  metadata: Partial<EventMetadata> = {},
): NewEvent {
  return rawEvent(type, data, metadata);
}

/** An event ready to append that the schema may not know: for poison. Text is taken as it stands. */
function rawEvent(type: string, data: unknown, metadata: Partial<EventMetadata> = {}): NewEvent {
  return {
    id: randomUUID(),
    type,
    data: typeof data === 'string' ? data : JSON.stringify(data),
    metadata: JSON.stringify(metadataOf(metadata)),
  };
}

/**
 * The history of one deployment as it grows: each method adds what one command would append, with the
 * `state_transition` where the state changes. It does not judge what it is told.
 *
 * `saveTo(store)` appends what is not there yet, one append for each command.
 */
export class Story {
  readonly deploymentId: DeploymentId;
  readonly stream: string;
  readonly #appends: NewEvent[][] = [];
  #deployment: Deployment;
  #saved = 0;
  #revision = -1n;
  #at: number;

  /** Units: `stepMs` passes between two commands, from `start` on. */
  constructor(
    deploymentId: string,
    readonly options: { readonly start?: Instant; readonly stepMs?: number } = {},
  ) {
    this.deploymentId = idOf(deploymentId);
    this.stream = `${STREAM_PREFIX}${deploymentId}`;
    this.#deployment = unrecorded(this.deploymentId);
    this.#at = Date.parse(options.start ?? '2026-01-01T00:00:00.000Z');
  }

  /** The deployment as its events, saved or not, have made it. */
  get deployment(): Deployment {
    return this.#deployment;
  }

  /** All events so far, in order. */
  get events(): readonly NewEvent[] {
    return this.#appends.flat();
  }

  created(declaration: Partial<Declaration> = {}): this {
    const data = { name: this.deploymentId, ...declaration };
    return this.#add('CreateDeployment', { type: 'deployment_created', data }, 'pending');
  }

  updated(data: EventData['deployment_updated']): this {
    return this.#add('UpdateDeployment', { type: 'deployment_updated', data });
  }

  opened(attemptId: string, scope = 'full', kind: ScopeKind = 'deploy'): this {
    const { state, currentAttempt } = this.#deployment;
    const number = (currentAttempt?.number ?? 0) + 1;
    const data = { attemptId: idOf<AttemptId>(attemptId), number, scope, kind };
    const opened = { type: 'attempt_opened', data: { ...data, settledState: state } } as const;
    return this.#add('OpenAttempt', opened, 'pending');
  }

  started(data: Omit<EventData['attempt_start'], 'attemptId'> = {}): this {
    const fact = { type: 'attempt_start', data: { ...this.#current(), ...data } } as const;
    return this.#add('StartAttempt', fact, 'deploying');
  }

  ended(outcome: Outcome, data: Partial<EventData['attempt_end']> = {}): this {
    const fact = { type: 'attempt_end', data: { ...this.#current(), outcome, ...data } } as const;
    return this.#add('EndAttempt', fact, this.#stateAfter(outcome));
  }

  cancelRequested(): this {
    return this.#add('CancelAttempt', { type: 'cancel_requested', data: this.#current() });
  }

  lost(cause: LossCause = 'lease_expired'): this {
    const fact = { type: 'attempt_lost', data: { ...this.#current(), cause } } as const;
    return this.#add('MarkUnknown', fact, 'unknown');
  }

  resolved(as: Resolution, reason = 'looked at it'): this {
    const data = { ...this.#current(), as, reason };
    const to = as === 'torn_down' ? 'pending' : as;
    return this.#add('ResolveUnknown', { type: 'unknown_resolved', data }, to);
  }

  stale(attemptId: string, outcome: Outcome): this {
    const data = { attemptId: idOf<AttemptId>(attemptId), outcome };
    return this.#add('EndAttempt', { type: 'stale_result_recorded', data });
  }

  /** Adds an event that no rule would write: the fold does not see it. */
  poisoned(type = 'deployment_hexed', data: unknown = {}): this {
    this.#appends.push([rawEvent(type, data, this.#metadata())]);
    return this;
  }

  /** Appends to the store what it has not got; answers where the last append ended. */
  async saveTo(store: EventStore): Promise<Appended> {
    let appended: Appended | null = null;
    for (; this.#saved < this.#appends.length; this.#saved++) {
      const expected = this.#revision < 0n ? 'no_stream' : this.#revision;
      appended = await store.append(this.stream, expected, this.#appends[this.#saved] ?? []);
      this.#revision = appended.revision;
    }
    if (appended === null) throw new Error(`nothing to save of ${this.stream}`);
    return appended;
  }

  #add(trigger: string, fact: Fact, to: State | null = null): this {
    const metadata = this.#metadata();
    const facts = [fact];
    const from = this.#deployment.created === null ? null : this.#deployment.state;
    if (to !== null && to !== from) {
      const { deploymentId } = this;
      const attemptId = 'attemptId' in fact.data ? fact.data.attemptId : undefined;
      const about = attemptId === undefined ? {} : { attemptId };
      facts.push({ type: 'state_transition', data: { deploymentId, from, to, trigger, ...about } });
    }
    for (const next of facts) {
      this.#deployment = evolve(this.#deployment, { ...next, metadata });
    }
    this.#appends.push(facts.map(({ type, data }) => newEvent(type, data, metadata)));
    return this;
  }

  #metadata(): EventMetadata {
    this.#at += this.options.stepMs ?? 1000;
    return metadataOf({ recordedAt: new Date(this.#at).toISOString() });
  }

  #current(): { readonly attemptId: AttemptId } {
    const attempt = this.#deployment.currentAttempt;
    if (attempt === null) throw new Error(`${this.stream} has no attempt yet`);
    return { attemptId: attempt.attemptId };
  }

  #stateAfter(outcome: Outcome): State {
    const kind = this.#deployment.currentAttempt?.kind;
    if (kind === 'maintenance') return this.#deployment.settledState ?? 'pending';
    if (outcome !== 'succeeded') return 'failed';
    return kind === 'teardown' ? 'pending' : 'ready';
  }
}
