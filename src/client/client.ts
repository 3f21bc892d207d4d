/** A typed client of the service, for Node. Knows the interface, and no rule. */
import { randomUUID } from 'node:crypto';
import type { Event } from './answers.js';
import { messagesOf, type StreamMessage } from './event-stream.js';
import { exchange, textOf } from './exchange.js';
import { OPERATIONS, type Operations } from './operations.js';
import { jittered, pause } from './pause.js';
import { errorOf, timedOut, unreachable, type ServiceError } from './service-error.js';

/** How a client asks. */
export interface ClientOptions {
  /** Where the service is; http://127.0.0.1:3000. */
  readonly url?: string;
  /** Who asks, as `kind:id`, e.g. `service:ci`; the service calls others anonymous. */
  readonly actor?: string;
  /** What a request may take, repeats included. Milliseconds; 15,000. */
  readonly timeoutMs?: number;
}

/** What goes with one request. */
export interface RequestOptions {
  /** Makes a command safe to repeat; one is made when it is absent. */
  readonly key?: string;
  /** The revision that was decided on; `*` for any. */
  readonly ifMatch?: string;
  readonly signal?: AbortSignal;
  /** As in the options of the client. */
  readonly timeoutMs?: number;
  /** Leaves repeats to the caller. */
  readonly once?: boolean;
}

/** Any request: for operations that this version of the client does not know. */
export interface AnyRequest {
  readonly method: string;
  /** The path, below the address of the client, with its query. */
  readonly path: string;
  readonly body?: unknown;
}

/** An answer that is no error. */
export interface Answer<T> {
  readonly status: number;
  readonly body: T;
  /** The revision, where the answer has one. */
  readonly revision: string | null;
  /** How many seconds old it may be, where the log is out of reach or the tables are behind it; else null. */
  readonly staleSeconds: number | null;
}

/** Which events are followed. */
export interface Following {
  /** Of one deployment; of all without it. */
  readonly deploymentId?: string;
  /** The position after which to begin; `start` is before the first. Without it: with the next event. */
  readonly after?: string;
  readonly signal?: AbortSignal;
  /** The stream is open: at first, and each time after it was lost. */
  readonly onOpen?: () => void;
  /** The stream was lost, and is opened again. */
  readonly onLost?: () => void;
}

const URL_DEFAULT = 'http://127.0.0.1:3000';
const TIMEOUT_MS = 15_000;
const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const REPEATS_MAX = 4;
const PAUSE_MS = 200;
const PAUSE_MS_MAX = 3_000;
const JSON_TYPE = 'application/json';

/** Asks a service. Safe for any number of concurrent calls. */
export class Client {
  readonly url: string;
  readonly #actor: string | undefined;
  readonly #timeoutMs: number;

  constructor({ url = URL_DEFAULT, actor, timeoutMs = TIMEOUT_MS }: ClientOptions = {}) {
    this.url = url.replace(/\/+$/, '');
    this.#actor = actor;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Calls an operation; parameters of path and query, and the body, stand in one object.
   *
   * A command carries a key, so a repeat after a lost answer has no second effect.
   * @throws {ServiceError}
   */
  async call<N extends keyof Operations>(
    operation: N,
    takes: Operations[N]['takes'],
    options: RequestOptions = {},
  ): Promise<Operations[N]['answers']> {
    const { method, path } = OPERATIONS[operation];
    const { body, ...parameters } = takes as { readonly body?: unknown };
    const filled = pathOf(path, parameters);
    const request = { method, path: filled, ...(body !== undefined && { body }) };
    const answer = await this.request<Operations[N]['answers']>(request, options);
    return answer.body;
  }

  /**
   * Sends any request and reads a JSON answer. What may be mended by a repeat is repeated within the time
   * of the request: a lost connection, a service that is busy; not one that does not listen at all.
   * @throws {ServiceError}
   */
  async request<T>(request: AnyRequest, options: RequestOptions = {}): Promise<Answer<T>> {
    const { timeoutMs = this.#timeoutMs, key = randomUUID() } = options;
    const outOfTime = AbortSignal.timeout(timeoutMs);
    const signal = either(outOfTime, options.signal);
    for (let repeats = 0; ; repeats += 1) {
      try {
        return await this.#send<T>(request, { ...options, key, signal });
      } catch (error) {
        if (outOfTime.aborted) throw timedOut(error, this.url, timeoutMs);
        await pause(this.#pauseAfter(error, options.once === true ? REPEATS_MAX : repeats), signal);
      }
    }
  }

  /**
   * Follows events live. Resumes by itself after a lost connection, without gap or repeat; ends by `break`
   * or by the signal.
   * @throws {ServiceError} when the service refuses, or cannot be reached before the first event.
   */
  async *events(following: Following = {}): AsyncGenerator<Event, void, void> {
    const { deploymentId, after = null, signal, onLost } = following;
    const place = { path: eventsPath(deploymentId), position: after, failures: 0 };
    while (signal?.aborted !== true) {
      yield* this.#eventsOnce(place, following);
      onLost?.();
      const ms = Math.min(PAUSE_MS_MAX, PAUSE_MS * 2 ** place.failures);
      await pause(jittered(ms), signal);
      place.failures += 1;
    }
  }

  /** Follows until the connection is lost; notes how far it came. */
  async *#eventsOnce(
    place: { readonly path: string; position: string | null; failures: number },
    following: Following,
  ): AsyncGenerator<Event, void, void> {
    const { path, position } = place;
    const query = position === null ? '' : `?after=${position}`;
    try {
      for await (const { id, data } of this.#messages(path + query, following)) {
        place.failures = 0;
        place.position = id ?? place.position;
        if (data !== '') yield JSON.parse(data) as Event;
      }
    } catch (error) {
      const { signal } = following;
      throwUnlessPassing(unreachable(error, this.url), { signal, position: place.position });
    }
  }

  async *#messages(
    path: string,
    { signal: outer, onOpen }: Following,
  ): AsyncGenerator<StreamMessage, void, void> {
    const leave = new AbortController();
    try {
      const message = await exchange({
        method: 'GET',
        url: new URL(this.url + path),
        headers: { accept: 'text/event-stream', ...this.#who() },
        signal: either(leave.signal, outer),
      });
      if (message.statusCode !== 200) throw await errorOf(message);
      onOpen?.();
      yield* messagesOf(message);
    } finally {
      leave.abort();
    }
  }

  async #send<T>(
    { method, path, body }: AnyRequest,
    options: RequestOptions & { readonly signal: AbortSignal },
  ): Promise<Answer<T>> {
    const hasBody = body !== undefined;
    const message = await exchange({
      method,
      url: new URL(this.url + path),
      headers: {
        accept: `${JSON_TYPE}, application/problem+json`,
        ...(method !== 'GET' && conditions(options)),
        ...(hasBody && { 'content-type': JSON_TYPE }),
        ...this.#who(),
      },
      ...(hasBody && { body: JSON.stringify(body) }),
      signal: options.signal,
    });
    const status = message.statusCode ?? 0;
    if (status >= 400) throw await errorOf(message);
    const text = await textOf(message, ANSWER_BYTES_MAX);
    const revision = /^"(\d+)"$/.exec(message.headers.etag ?? '')?.[1] ?? null;
    const stale = message.headers['shipslog-stale'];
    const staleSeconds = stale === undefined ? null : Number(stale);
    return { status, body: JSON.parse(text) as T, revision, staleSeconds };
  }

  /** How long to wait before a repeat. @throws {ServiceError} the failure, when a repeat does not help. */
  #pauseAfter(error: unknown, repeats: number): number {
    const failure = unreachable(error, this.url);
    if (!failure.isRepeatable || repeats >= REPEATS_MAX) throw failure;
    return jittered(failure.retryAfterMs ?? PAUSE_MS * 2 ** repeats);
  }

  #who(): Readonly<Record<string, string>> {
    return this.#actor === undefined ? {} : { 'x-shipslog-actor': this.#actor };
  }
}

type Parameter = string | number | boolean | undefined | readonly string[];

/** Fills the parameters of a path in; the others become its query, lists as repeated parameters. */
export function pathOf(path: string, parameters: Readonly<Record<string, Parameter>>): string {
  const rest = new Map(Object.entries(parameters));
  const filled = path.replaceAll(/\{(\w+)\}/g, (_, name: string) => {
    const value = rest.get(name);
    rest.delete(name);
    return encodeURIComponent(String(value));
  });
  const pairs = [...rest].flatMap(([name, value]) =>
    [value]
      .flat()
      .filter((each) => each !== undefined)
      .map((each) => `${name}=${encodeURIComponent(String(each))}`),
  );
  return pairs.length === 0 ? filled : `${filled}?${pairs.join('&')}`;
}

function conditions({ key, ifMatch }: RequestOptions): Readonly<Record<string, string>> {
  return {
    ...(key !== undefined && { 'idempotency-key': key }),
    ...(ifMatch !== undefined && { 'if-match': ifMatch === '*' ? '*' : `"${ifMatch}"` }),
  };
}

function eventsPath(deploymentId: string | undefined): string {
  return deploymentId === undefined
    ? '/v1/events'
    : `/v1/deployments/${encodeURIComponent(deploymentId)}/events`;
}

/** Without a position there is nothing to resume from: what came meanwhile would be a gap. */
function throwUnlessPassing(
  failure: ServiceError,
  at: { readonly signal?: AbortSignal | undefined; readonly position: string | null },
): void {
  if (at.signal?.aborted === true) return;
  if (!failure.isPassing || at.position === null) throw failure;
}

function either(one: AbortSignal, other: AbortSignal | undefined): AbortSignal {
  return other === undefined ? one : AbortSignal.any([one, other]);
}
