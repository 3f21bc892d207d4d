/** Commands and queries over HTTP: a request becomes a message for the bus, its result an answer. */
import { Controller, Inject } from '@nestjs/common';
import { CommandBus, QueryBus } from '@nestjs/cqrs';
import { Readable } from 'node:stream';
import { COMMANDS, type BusCommand, type Receipt } from '../application/commands.js';
import { instanceOf } from '../application/fields.js';
import { uuidV5, uuidV7 } from '../application/ids.js';
import { GetDeployment, GetHistory, GetStateAt, type LogPage } from '../application/queries.js';
import { Refused } from '../application/refused.js';
import type { EventView } from '../application/views.js';
import { invalidBody } from '../domain/decision.js';
import type { JsonObject } from '../domain/event-schema.js';
import { emit } from '../ports/signals.js';
import { chosenType, JSON_TYPE, NDJSON_TYPE } from './accept.js';
import { addressed } from './addressed.js';
import { JSON_UTF8, serveRoutes, type Answer } from './answer.js';
import { readBody } from './body.js';
import type { HttpRequest } from './exchange.js';
import { envelopeOf, isKnown, type Envelope } from './headers.js';
import { receiptJson, toJson } from './json.js';
import { readQuery } from './parameters.js';
import { pathParametersOf } from './paths.js';
import {
  COMMAND_ROUTES,
  QUERY_ROUTES,
  readsReadModels,
  type CommandRoute,
  type QueryRoute,
} from './routes.js';
import { API_SERVICES, type ApiServices } from './services.js';

const ONLY_JSON = [JSON_TYPE] as const;
const JSON_OR_LINES = [JSON_TYPE, NDJSON_TYPE] as const;
/** Members that no body may hold: the path, the headers or the route itself tell them. */
const ENVELOPE = ['actor', 'commandId', 'expectedRevision', 'traceparent'];
const RESERVED = new Map(
  COMMAND_ROUTES.map((route) => [
    route,
    new Set([
      ...ENVELOPE,
      ...pathParametersOf(route.path),
      ...Object.keys(route.fixed ?? {}),
      ...(route.without ?? []),
    ]),
  ]),
);

/** Dispatches commands. */
@Controller()
export class CommandsController {
  constructor(
    @Inject(CommandBus) private readonly bus: CommandBus,
    @Inject(API_SERVICES) private readonly services: ApiServices,
  ) {}

  async answer(route: CommandRoute, request: HttpRequest): Promise<Answer> {
    chosenType(request.raw.headers.accept, ONLY_JSON);
    readQuery(request.url, {});
    const members = readBody(request.body as Buffer | undefined);
    refuseReserved(route, members);
    const envelope = envelopeOf(request);
    const path = addressed(request, this.services.clock);
    if (route.command === 'CreateDeployment' && members['deploymentId'] === undefined) {
      members['deploymentId'] = this.#newId(envelope);
    }
    Object.assign(members, route.fixed, envelope, path.ids);
    const command = instanceOf<BusCommand>(COMMANDS[route.command], members);
    const receipt = await path.tried(this.bus.execute<BusCommand, Receipt>(command));
    return answerOf(receipt, route);
  }

  /** An id for a deployment that was given none: the same for a repeat, where the caller can repeat. */
  #newId({ commandId }: Envelope): string {
    return commandId === undefined
      ? uuidV7(Date.parse(this.services.clock.now()))
      : uuidV5(commandId);
  }
}
serveRoutes(CommandsController, COMMAND_ROUTES);

function answerOf(receipt: Receipt, { success, location }: CommandRoute): Answer {
  const headers: Record<string, string> = { etag: `"${receipt.revision}"` };
  if (receipt.replayed) headers['idempotent-replayed'] = 'true';
  if (receipt.changed && location !== undefined) headers['location'] = location(receipt);
  return {
    status: receipt.changed ? success : 200,
    type: JSON_UTF8,
    body: receiptJson(receipt),
    headers,
  };
}

function refuseReserved(route: CommandRoute, body: JsonObject): void {
  const reserved = RESERVED.get(route);
  const smuggled: string[] = [];
  for (const name in body) if (reserved?.has(name) === true) smuggled.push(name);
  if (smuggled.length === 0) return;
  const message = 'is not a member of this body: the path, a header or the route itself tells it';
  throw new Refused(invalidBody(smuggled.map((name) => ({ pointer: `/${name}`, message }))));
}

/** Answers queries. */
@Controller()
export class QueriesController {
  constructor(
    @Inject(QueryBus) private readonly bus: QueryBus,
    @Inject(API_SERVICES) private readonly services: ApiServices,
  ) {}

  async answer(route: QueryRoute, request: HttpRequest): Promise<Answer> {
    const { accept } = request.raw.headers;
    const type = chosenType(accept, route.lines === true ? JSON_OR_LINES : ONLY_JSON);
    const values = readQuery(request.url, route.parameters);
    const path = addressed(request, this.services.clock);
    const query = route.query({ ...values, ...path.ids } as never);
    if (type === NDJSON_TYPE && query instanceof GetHistory) {
      const lines = await path.tried(this.#lines(query));
      const body = request.raw.method === 'HEAD' ? '' : Readable.from(lines);
      return { status: 200, type: `${NDJSON_TYPE}; charset=utf-8`, body };
    }
    const answer = await path.tried(this.bus.execute<object, object>(query));
    const told = route.tagged === true ? tagged(answer, request) : plain(answer);
    return readsReadModels(route) && !asksTheLog(query) ? this.#withAge(told) : told;
  }

  /** An answer that says how old it may be, where it is. */
  async #withAge(answer: Answer): Promise<Answer> {
    const stale = await this.services.freshness.staleSeconds();
    if (stale === null) return answer;
    return { ...answer, headers: { ...answer.headers, 'shipslog-stale': String(stale) } };
  }

  /**
   * A history as lines, page by page, each fetched when the one before was taken. The first is fetched at
   * once, so that there is still a status to refuse with.
   */
  async #lines({
    deploymentId,
    after: from,
    limit = Infinity,
  }: GetHistory): Promise<AsyncIterable<string>> {
    const fetch = (after: bigint | undefined, left: number): Promise<LogPage<EventView>> =>
      this.bus.execute<GetHistory, LogPage<EventView>>(
        GetHistory.of({
          deploymentId,
          limit: Math.min(left, LINES_PER_PAGE),
          ...(after !== undefined && { after }),
        }),
      );
    let page = await fetch(from, limit);
    return (async function* () {
      try {
        for (let left = limit; page.items.length > 0; page = await fetch(lastOf(page), left)) {
          yield page.items.map((event) => `${toJson(event)}\n`).join('');
          left -= page.items.length;
          if (left <= 0) return;
        }
      } catch (error) {
        // The status is sent already: the platform breaks the connection off, and we tell why.
        emit('trouble', { where: 'http history', error });
        throw error;
      }
    })();
  }
}
serveRoutes(QueriesController, QUERY_ROUTES);

function asksTheLog(query: object): boolean {
  const isStrong = query instanceof GetDeployment && query.consistency === 'strong';
  return isStrong || query instanceof GetStateAt;
}

/** Events fetched at a time for a stream of lines: some 200 KiB. */
const LINES_PER_PAGE = 200;

function lastOf({ items }: LogPage<EventView>): bigint | undefined {
  return items.at(-1)?.revision;
}

function plain(answer: object): Answer {
  return { status: 200, type: JSON_UTF8, body: toJson(answer) };
}

/**
 * An answer with its revision as entity tag. Whoever has that revision is told so, though what is heard
 * of a runner between two events (`observedAt`, `progress`) is no event and changes no revision.
 */
function tagged(answer: object, request: HttpRequest): Answer {
  const etag = 'revision' in answer ? `"${String(answer.revision)}"` : '';
  const headers = { etag, 'cache-control': 'private, no-cache' };
  if (isKnown(request, etag)) return { status: 304, type: JSON_UTF8, body: '', headers };
  return { ...plain(answer), headers };
}
