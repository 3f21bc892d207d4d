/** Answers as JSON text: revisions and positions, which are bigints here, become decimal strings. */
import type { Receipt } from '../application/commands.js';

/**
 * A receipt as JSON.
 *
 * Written by hand, since it is the answer of every command: all its texts are ids, words and instants,
 * which need no escapes.
 */
export function receiptJson(receipt: Receipt): string {
  const { deploymentId, state, attemptId, number, leaseExpiresAt } = receipt;
  let text = `{"deploymentId":"${deploymentId}","state":"${state}","revision":"${receipt.revision}","position":"${receipt.position}","changed":${String(receipt.changed)},"replayed":${String(receipt.replayed)}`;
  if (attemptId !== undefined) text += `,"attemptId":"${attemptId}"`;
  if (number !== undefined) text += `,"number":${number}`;
  if (leaseExpiresAt !== undefined) text += `,"leaseExpiresAt":"${leaseExpiresAt}"`;
  let separator = '';
  text += ',"events":[';
  for (const { id, type, revision } of receipt.events) {
    text += `${separator}{"id":"${id}","type":"${type}","revision":"${revision}"}`;
    separator = ',';
  }
  return `${text}]}`;
}

/** An answer of a query as JSON: its own bigints, and those of its items. */
export function toJson(answer: object): string {
  return JSON.stringify(withDecimals(answer));
}

/** The same members, its own bigints and those of its items, and of what they hold as `last`, as decimal strings. */
export function withDecimals(answer: object): object {
  const members: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(answer)) {
    if (typeof value === 'bigint') members[name] = String(value);
    else if (name === 'items') members[name] = (value as readonly object[]).map(withDecimals);
    else if (name === 'last') members[name] = withDecimals(value as object);
    else members[name] = value;
  }
  return members;
}
