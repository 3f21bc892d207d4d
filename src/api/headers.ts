/** The headers that are read: each is well-formed, or refused before anything is done. */
import { ACTOR_KINDS, type Actor } from '../domain/event-schema.js';
import type { Revision } from '../ports/event-store.js';
import type { HttpRequest } from './exchange.js';
import { httpProblem } from './problem.filter.js';

/** What a command carries beside its members, as the headers tell it. */
export interface Envelope {
  readonly actor?: Actor;
  readonly commandId?: string;
  readonly expectedRevision?: Revision | '*';
  readonly traceparent?: string;
}

type Headers = HttpRequest['raw']['headers'];

const KEY = /^[\x20-\x7e]{1,255}$/;
const REVISION_TAG = /^"(0|[1-9][0-9]{0,63})"$/;
const ACTOR = /^([a-z]+):([^\p{Cc}]{1,128})$/u;
/** Nobody outside can claim to be this service itself. */
const CLAIMABLE = ACTOR_KINDS.filter((kind) => kind !== 'system');
/** Longer than any version of the standard makes it; a longer one is no trace context. */
const TRACEPARENT_LENGTH_MAX = 512;
/** An id of a request as proxies and clients make them; safe to echo. */
const REQUEST_ID = /^[A-Za-z0-9._:/+=@-]{1,128}$/;

/** Who asks, and in which trace. Refuses INVALID_HEADER. */
export function callerOf({ raw: { headers, rawHeaders } }: HttpRequest): Writable<Envelope> {
  const { traceparent } = headers;
  const actor = single('x-shipslog-actor', headers, rawHeaders);
  const envelope: Writable<Envelope> = {};
  if (actor !== undefined) envelope.actor = parseActor(actor);
  if (typeof traceparent === 'string' && traceparent.length <= TRACEPARENT_LENGTH_MAX) {
    envelope.traceparent = traceparent;
  }
  return envelope;
}
type Writable<T> = { -readonly [K in keyof T]: T[K] };

/** Who asks, and how the command is made safe to repeat and to be late. Refuses INVALID_HEADER. */
export function envelopeOf(request: HttpRequest): Envelope {
  const { headers, rawHeaders } = request.raw;
  const commandId = single('idempotency-key', headers, rawHeaders);
  const condition = single('if-match', headers, rawHeaders);
  if (commandId !== undefined && !KEY.test(commandId)) {
    throw malformed('Idempotency-Key', 'must be 1 to 255 printable ASCII characters');
  }
  const envelope = callerOf(request);
  if (commandId !== undefined) envelope.commandId = commandId;
  if (condition !== undefined) envelope.expectedRevision = parseCondition(condition);
  return envelope;
}

/** Whether the caller has this revision already. Refuses INVALID_HEADER. */
export function isKnown(request: HttpRequest, etag: string): boolean {
  const tags = request.headers['if-none-match'];
  if (tags === undefined) return false;
  if (tags === '*') return true;
  const known = tags.split(',').map((tag) => tag.trim());
  if (!known.every((tag) => /^(?:W\/)?"[\x21\x23-\x7e]*"$/.test(tag))) {
    throw malformed('If-None-Match', 'must be * or entity tags, e.g. "7"');
  }
  return known.some((tag) => tag === etag || tag === `W/${etag}`);
}

/**
 * The id that the caller, or a proxy before us, gave to a request; null when there is none that can be
 * echoed. It is not ours to refuse: it names the request in logs, and nothing depends on it.
 */
export function requestIdOf(headers: Headers): string | null {
  const id = headers['x-request-id'];
  return typeof id === 'string' && REQUEST_ID.test(id) ? id : null;
}

/** The value of a header that may be given once; the platform joins what is given twice. */
function single(
  name: 'x-shipslog-actor' | 'idempotency-key' | 'if-match',
  headers: Headers,
  rawHeaders: readonly string[],
): string | undefined {
  const value = headers[name];
  if (typeof value !== 'string') return undefined;
  if (value.includes(', ')) {
    const given = rawHeaders.filter((text, n) => n % 2 === 0 && text.toLowerCase() === name);
    if (given.length > 1) throw malformed(name, 'must be given once');
  }
  return value;
}

function parseActor(header: string): Actor {
  const [, word, id] = ACTOR.exec(textOf(header)) ?? [];
  const kind = CLAIMABLE.find((known) => known === word);
  if (kind === undefined || id === undefined) {
    const kinds = CLAIMABLE.join(', ');
    throw malformed(
      'X-Shipslog-Actor',
      `must be kind:id, e.g. human:alice; the kind one of ${kinds}`,
    );
  }
  return { id, kind };
}

/** Header bytes come as Latin-1; a name beyond ASCII is meant as UTF-8 wherever it can be. */
function textOf(header: string): string {
  if (!/[\x80-\xff]/.test(header)) return header;
  const text = Buffer.from(header, 'latin1').toString('utf8');
  return text.includes('\ufffd') ? header : text;
}

function parseCondition(header: string): Revision | '*' {
  if (header === '*') return '*';
  const revision = REVISION_TAG.exec(header)?.[1];
  if (revision === undefined) throw malformed('If-Match', 'must be "<revision>" or *');
  return BigInt(revision);
}

function malformed(header: string, message: string): Error {
  return httpProblem('INVALID_HEADER', {
    detail: `${header} ${message}`,
    errors: [{ pointer: `/${header}`, message }],
  });
}
