/** The log as it grows, over HTTP: Server-Sent Events, or lines of JSON. */
import { Controller, Inject } from '@nestjs/common';
import { QueryBus } from '@nestjs/cqrs';
import { Readable } from 'node:stream';
import { GetDeployment } from '../application/queries.js';
import { eventView } from '../application/views.js';
import type { Clock } from '../ports/clock.js';
import type { Position, RecordedEvent } from '../ports/event-store.js';
import { isFault } from '../ports/faults.js';
import { chosenType, NDJSON_TYPE } from './accept.js';
import { addressed } from './addressed.js';
import { serveRoutes, type Answer } from './answer.js';
import type { HttpRequest } from './exchange.js';
import { toJson } from './json.js';
import { invalidQuery, readQuery } from './parameters.js';
import { httpProblem } from './problem.filter.js';
import { STREAM_ROUTES, type StreamRoute } from './routes.js';
import { API_SERVICES, type ApiServices } from './services.js';

const EVENT_STREAM_TYPE = 'text/event-stream';
const TYPES = [EVENT_STREAM_TYPE, NDJSON_TYPE] as const;

/** A comment so often keeps proxies from closing a quiet stream. */
const PING_MS = 15_000;
/** A reader that takes nothing for so long is dropped; it resumes by the last id that it got. */
const STALL_MS = 15_000;
/** What waits for one reader at most, beside the buffers of its socket. Characters. */
const CHUNK_MAX = 64 * 1024;
/** How soon a client comes back after the end of a stream. */
const RETRY = 'retry: 1000\n\n';

/** Follows the log for callers. */
@Controller()
export class LiveController {
  constructor(
    @Inject(QueryBus) private readonly bus: QueryBus,
    @Inject(API_SERVICES) private readonly services: ApiServices,
  ) {}

  async answer(route: StreamRoute, request: HttpRequest): Promise<Answer> {
    const type = chosenType(request.raw.headers.accept, TYPES);
    const { after } = readQuery(request.url, route.parameters);
    const { clock, tail } = this.services;
    const path = addressed(request, clock);
    const deploymentId = path.ids['deploymentId'];
    if (deploymentId !== undefined) {
      const query = GetDeployment.of({ deploymentId, consistency: 'strong' });
      await path.tried(this.bus.execute(query));
    }
    const lastId = lastEventId(request);
    const from = await tail.beginning(lastId ?? after).catch((error: unknown) => {
      throw isFault(error, 'POSITION_INVALID') ? beyond(error, lastId) : error;
    });
    if (request.raw.method === 'HEAD') return { status: 200, type, body: '' };
    const following = new AbortController();
    const { signal } = following;
    const pages = tail.follow({
      after: from,
      signal,
      ...(deploymentId !== undefined && { deploymentId }),
    });
    const form = type === NDJSON_TYPE ? LINES : FRAMES;
    const body = new Stream({ pages, form, clock, stop: () => following.abort() }).readable;
    // A buffering proxy would turn live into late. A connection that stayed open after its stream would
    // hold up a service that stops.
    return {
      status: 200,
      type: `${type}; charset=utf-8`,
      body,
      headers: { 'x-accel-buffering': 'no', connection: 'close' },
    };
  }
}
serveRoutes(LiveController, STREAM_ROUTES);

/** A place where the log has not got to is a wrong parameter, or header, like any other. */
function beyond(fault: Error, lastId: Position | undefined): Error {
  const message = `must be a position of the log: ${fault.message}`;
  return lastId === undefined
    ? invalidQuery([{ pointer: '/after', message }])
    : httpProblem('INVALID_HEADER', {
        detail: `Last-Event-ID ${message}`,
        errors: [{ pointer: '/Last-Event-ID', message }],
      });
}

/** Where a client says it got to; an empty header counts as absent. */
function lastEventId({ raw }: HttpRequest): Position | undefined {
  const id = raw.headers['last-event-id'];
  if (id === undefined || id === '') return undefined;
  if (typeof id === 'string' && /^[0-9]{1,19}$/.test(id)) return BigInt(id);
  throw httpProblem('INVALID_HEADER', {
    detail: 'Last-Event-ID must be a position: the id of an event of this stream',
    errors: [{ pointer: '/Last-Event-ID', message: 'must be a position' }],
  });
}

/** How events are written, made once for all readers of an event. */
interface Form {
  readonly opening: string;
  readonly ping: string;
  readonly closing: string;
  readonly textOf: (event: RecordedEvent) => string;
}

const FRAMES: Form = {
  opening: ': here it begins\n\n',
  ping: ': ping\n\n',
  closing: RETRY,
  textOf: onceForEach((event) => {
    const view = eventView(event);
    return `event: ${view.type}\nid: ${String(view.position)}\ndata: ${toJson(view)}\n\n`;
  }),
};

const LINES: Form = {
  opening: '',
  ping: '\n',
  closing: '',
  textOf: onceForEach((event) => `${toJson(eventView(event))}\n`),
};

function onceForEach(make: (event: RecordedEvent) => string): (event: RecordedEvent) => string {
  const made = new WeakMap<RecordedEvent, string>();
  return (event) => {
    const known = made.get(event) ?? make(event);
    made.set(event, known);
    return known;
  };
}

interface StreamOptions {
  readonly pages: AsyncIterable<readonly RecordedEvent[]>;
  readonly form: Form;
  readonly clock: Clock;
  readonly stop: () => void;
}

/** One reader: what it is sent, and when it is given up. */
class Stream {
  readonly readable: Readable;
  readonly #options: StreamOptions;
  #cancelStall: () => void = () => undefined;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.readable = Readable.from(this.#chunks(), { objectMode: false, highWaterMark: CHUNK_MAX });
    this.readable.once('close', () => {
      this.#cancelStall();
      options.stop();
    });
  }

  async *#chunks(): AsyncGenerator<string> {
    const { form, pages } = this.#options;
    const rest = pages[Symbol.asyncIterator]();
    if (form.opening !== '') yield* this.#offered(form.opening);
    for (let next = rest.next(); ; next = rest.next()) {
      while (!(await this.#comes(next))) yield* this.#offered(form.ping);
      const page = await next;
      if (page.done === true) break;
      for (const chunk of chunksOf(page.value, form)) yield* this.#offered(chunk);
    }
    if (form.closing !== '') yield form.closing;
  }

  /** Hands a chunk over, and gives the reader up when it does not come back for the next one. */
  *#offered(chunk: string): Generator<string> {
    this.#cancelStall = this.#options.clock.after(STALL_MS, () => this.readable.destroy());
    yield chunk;
    this.#cancelStall();
  }

  /** Waits for the next page; false when it is time for a ping first. */
  async #comes(next: Promise<unknown>): Promise<boolean> {
    let cancel = (): void => undefined;
    const ping = new Promise<false>((resolve) => {
      cancel = this.#options.clock.after(PING_MS, () => resolve(false));
    });
    const came = await Promise.race([next.then(() => true), ping]);
    cancel();
    return came;
  }
}

function* chunksOf(events: readonly RecordedEvent[], form: Form): Generator<string> {
  let chunk = '';
  for (const event of events) {
    const text = form.textOf(event);
    if (chunk !== '' && chunk.length + text.length > CHUNK_MAX) {
      yield chunk;
      chunk = '';
    }
    chunk += text;
  }
  if (chunk !== '') yield chunk;
}
