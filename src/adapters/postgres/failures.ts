/** What went wrong at PostgreSQL or on the way to it, in the faults of the port. */
import { Fault, isFault, type FaultCode } from '../../ports/faults.js';

/** What a class of SQLSTATE, or one of them, or an error of the network means. */
const MEANINGS: Readonly<Record<string, readonly [FaultCode, string]>> = {
  '53100': ['STORE_FULL', 'its disk is full'],
  XX001: ['STORE_CORRUPT', 'it says that its data are damaged'],
  XX002: ['STORE_CORRUPT', 'it says that an index is damaged'],
  '40001': ['STORE_UNAVAILABLE', 'another transaction was in the way'],
  '40P01': ['STORE_UNAVAILABLE', 'another transaction was in the way'],
  '55P03': ['STORE_UNAVAILABLE', 'a lock was not given in time'],
  '57014': ['STORE_UNAVAILABLE', 'it took too long'],
  '57P01': ['STORE_UNAVAILABLE', 'it is being shut down'],
  '57P02': ['STORE_UNAVAILABLE', 'it crashed and recovers'],
  '57P03': ['STORE_UNAVAILABLE', 'it is not ready yet'],
  '25006': ['STORE_UNAVAILABLE', 'it only reads, as a standby does'],
  '53300': ['STORE_UNAVAILABLE', 'it has no connection left'],
  '42501': ['STORE_UNAVAILABLE', 'its user lacks a right'],
  '3D000': ['STORE_UNAVAILABLE', 'there is no such database'],
  '28': ['STORE_UNAVAILABLE', 'it does not accept the credentials'],
  '08': ['STORE_UNAVAILABLE', 'the connection was lost'],
  '53': ['STORE_UNAVAILABLE', 'it has no room'],
  '57': ['STORE_UNAVAILABLE', 'it was told to stop'],
  '58': ['STORE_UNAVAILABLE', 'its system failed'],
};
/** Asking again can not help before a person has done something. */
const REFUSALS: ReadonlySet<string> = new Set(['42501', '3D000', '28000', '28P01']);
/** What a server that we do not trust, or that knows no TLS, fails with. */
const UNTRUSTED = /CERT|ERR_TLS|does not support SSL/;
/** An error of the driver itself, which carries no code. */
const DRIVER =
  /^(Connection terminated|timeout (exceeded|expired)|Query read timeout|Cannot use a pool|Client (was closed|has encountered)|The server does not support SSL)/;

/** The code of an error: a SQLSTATE, or that of the system; empty without one. */
function codeOf(error: unknown): string {
  const code: unknown =
    typeof error === 'object' && error !== null ? Reflect.get(error, 'code') : undefined;
  return typeof code === 'string' ? code : '';
}

/** Whether waiting and asking again can not help. */
export function isRefusal(error: unknown): boolean {
  const code = codeOf(error);
  return (
    REFUSALS.has(code) || isParameterRefused(error) || UNTRUSTED.test(`${code} ${messageOf(error)}`)
  );
}

/** Whether a pooler turned a parameter of our start away: PgBouncer knows only a few. */
export function isParameterRefused(error: unknown): boolean {
  return codeOf(error) === '08P01' && /startup parameter/i.test(messageOf(error));
}

/** Whether a statement named what is not there: a table, or a column of another version. */
export function isUnknownName(error: unknown): boolean {
  return ['42P01', '42703'].includes(codeOf(error));
}

/** Whether a statement asked for text that no row can hold: one with a NUL. */
export function isUnstorable(error: unknown): boolean {
  return ['22021', '22P05'].includes(codeOf(error));
}

/** An error as a fault, where it is one of the world; ours, and what is a defect, stays as it is. */
export function asFault(error: unknown, place: string): unknown {
  if (isFault(error)) return error;
  const meaning = meaningOf(error);
  if (meaning === null) return error;
  const [code, why] = meaning;
  return new Fault(code, `PostgreSQL at ${place}: ${why} (${messageOf(error)})`, { cause: error });
}

function meaningOf(error: unknown): readonly [FaultCode, string] | null {
  const code = codeOf(error);
  if (isAnswer(error)) return MEANINGS[code] ?? MEANINGS[code.slice(0, 2)] ?? null;
  if (code !== '' || DRIVER.test(messageOf(error)))
    return ['STORE_UNAVAILABLE', 'it can not be reached'];
  return null;
}

/** Whether the server said it; all else is of the network or of the driver. */
function isAnswer(error: unknown): boolean {
  return error instanceof Error && 'severity' in error;
}

/** In one line. An address with several numbers fails with an error for each. */
function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const [first] = error instanceof AggregateError ? (error.errors as readonly unknown[]) : [];
  const { message } = first instanceof Error ? first : error;
  return message.split('\n', 1).join('');
}
