/** From a command as somebody made it to one that can be decided and recorded. */
import assert from 'node:assert/strict';
import { validateSync, type ValidationError } from 'class-validator';
import type { CommandType, DeploymentCommand } from '../domain/command.js';
import { preconditionMissing } from '../domain/decide.js';
import { invalidBody } from '../domain/decision.js';
import {
  SCHEMA_VERSION,
  type Actor,
  type EventMetadata,
  type Fact,
  type Instant,
  type Runner,
} from '../domain/event-schema.js';
import type { MemberProblem } from '../domain/refusals.js';
import { STREAM_PREFIX } from '../ports/event-store.js';
import type { BusCommand, Heartbeat } from './commands.js';
import { fieldsOf, isRight, parseInstant, type FieldsClass } from './fields.js';
import { sha256, uuidV5, uuidV7 } from './ids.js';
import type { PreparedEvent } from './lanes.js';
import { Refused } from './refused.js';

/** A validated command, with the metadata that its events will have. */
export interface Accepted {
  readonly command: DeploymentCommand;
  readonly metadata: EventMetadata;
}

const AHEAD_MAX_MS = 5 * 60_000;
const EARLIEST = '2000-01-01T00:00:00.000Z';
const ANONYMOUS: Actor = { id: 'anonymous', kind: 'service' };
const DEFAULT_SCOPE = 'full';

/** W3C trace context; anything else is ignored, as the standard says. */
const TRACEPARENT =
  /^(?!ff)[0-9a-f]{2}-(?<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;
const VALIDATION = { whitelist: true, forbidNonWhitelisted: true, stopAtFirstError: true } as const;

/**
 * Validates a command, and makes of it what the rules and the log need.
 * @throws {Refused} INVALID_BODY with every wrong member; PRECONDITION_REQUIRED.
 */
export function accept(type: CommandType, input: BusCommand | Heartbeat, now: Instant): Accepted {
  assertRight(input);
  const { occurredAt: told, ...content } = contentOf(input);
  const { actor = ANONYMOUS, expectedRevision } = input;
  const command = {
    ...(type === 'OpenAttempt' && { attemptId: newAttemptId(input, now), scope: DEFAULT_SCOPE }),
    ...content,
    ...runnerOf(content),
    type,
    actor,
    ...(expectedRevision !== undefined && { expectedRevision }),
  } as DeploymentCommand;
  const missing = preconditionMissing(command);
  if (missing !== null) throw new Refused(missing);
  const commandDigest = sha256(`${type}\n${canonicalJson({ ...content, occurredAt: told })}`);
  const metadata = {
    schemaVersion: SCHEMA_VERSION,
    ...tracedIds(input, now),
    commandDigest,
    actor,
    occurredAt: occurredAtOf(told, now),
    recordedAt: now,
  };
  return { command, metadata };
}

/** An id for an attempt that was given none: the same for a repeat, wherever it arrives. */
function newAttemptId({ deploymentId, commandId }: BusCommand | Heartbeat, now: Instant): string {
  return commandId === undefined
    ? uuidV7(Date.parse(now))
    : uuidV5(`${STREAM_PREFIX}${deploymentId}/${commandId}/attempt`);
}

/** A runner's start in UTC; as content, for the digest, it stays as it was given. */
function runnerOf({ runner }: Readonly<Record<string, unknown>>): { runner?: Runner } {
  const { startedAt, ...rest } = (runner ?? {}) as Runner;
  const instant = parseInstant(startedAt);
  return instant === null ? {} : { runner: { ...rest, startedAt: instant } };
}

function tracedIds(
  { commandId, traceparent = '' }: BusCommand | Heartbeat,
  now: Instant,
): Pick<EventMetadata, 'commandId' | 'correlationId' | 'causationId' | 'traceparent'> {
  const id = commandId ?? uuidV7(Date.parse(now));
  const trace = TRACEPARENT.exec(traceparent);
  return {
    commandId: id,
    correlationId: trace?.groups?.['trace'] ?? id,
    causationId: id,
    ...(trace !== null && { traceparent: trace[0] }),
  };
}

/**
 * Gives events their ids and bytes. An id depends on the command's id and content alone: a repeat has the
 * same wherever it arrives, and another command under the same id never passes for one.
 */
export function prepared(
  facts: readonly Fact[],
  { command, metadata }: Accepted,
): readonly PreparedEvent[] {
  if (facts.length === 0) return [];
  const bytes = JSON.stringify(metadata);
  const { commandId, commandDigest } = metadata;
  const name = `${STREAM_PREFIX}${command.deploymentId}/${commandId}/${commandDigest}/`;
  return facts.map((fact, index) => ({
    stored: {
      id: uuidV5(name + String(index)),
      type: fact.type,
      data: JSON.stringify(fact.data),
      metadata: bytes,
    },
    event: { ...fact, metadata },
  }));
}

/** Refuses an instance whose members are not right: INVALID_BODY, each with its pointer. */
export function assertRight(input: object): void {
  if (!isRight(input)) throw new Refused(invalidBody(problemsIn(input)));
}

function problemsIn(input: object): readonly MemberProblem[] {
  const problems = validateSync(input, VALIDATION).flatMap((error) => problemsOf(error, ''));
  assert(problems.length > 0, 'what one check refuses, the other names');
  return problems;
}

function problemsOf(error: ValidationError, parent: string): readonly MemberProblem[] {
  const pointer = `${parent}/${error.property.replaceAll('~', '~0').replaceAll('/', '~1')}`;
  const nested = (error.children ?? []).flatMap((child) => problemsOf(child, pointer));
  const [rule, message] = Object.entries(error.constraints ?? {})[0] ?? [];
  if (rule === undefined || message === undefined) return nested;
  const isUnknown = rule === 'whitelistValidation';
  return [{ pointer, message: isUnknown ? 'is not a member of this command' : message }, ...nested];
}

/** The members that are the command's content, in the order of their declaration; a token as its hash. */
function contentOf(input: BusCommand | Heartbeat): Readonly<Record<string, unknown>> {
  const { leaseToken, ...content } = givenMembers(input);
  return typeof leaseToken === 'string'
    ? { ...content, leaseTokenHash: sha256(leaseToken) }
    : content;
}

function givenMembers(instance: object): Readonly<Record<string, unknown>> {
  const members: Record<string, unknown> = {};
  for (const { name, nested } of fieldsOf(instance.constructor as FieldsClass)) {
    const value = (instance as Readonly<Record<string, unknown>>)[name];
    if (value === undefined) continue;
    members[name] = nested !== undefined && value !== null ? givenMembers(value) : value;
  }
  return members;
}

function occurredAtOf(told: unknown, now: Instant): Instant {
  if (told === undefined) return now;
  const instant = parseInstant(told) ?? now;
  const latest = new Date(Date.parse(now) + AHEAD_MAX_MS).toISOString();
  if (instant >= EARLIEST && instant <= latest) return instant;
  const message = `must be from ${EARLIEST} to 5 minutes ahead of ${now}`;
  throw new Refused(invalidBody([{ pointer: '/occurredAt', message }]));
}

/** JSON in which the order of members does not count. */
function canonicalJson(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join()}]`;
  const members = value as Readonly<Record<string, unknown>>;
  let text = '';
  for (const name of Object.keys(members).sort()) {
    const member = members[name];
    if (member === undefined) continue;
    text += `${text === '' ? '' : ','}${JSON.stringify(name)}:${canonicalJson(member)}`;
  }
  return `{${text}}`;
}
