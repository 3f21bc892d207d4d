/** How a controller gets its handlers from the table of routes, and how an answer is sent. */
import { Req, RequestMapping, RequestMethod, Res } from '@nestjs/common';
import type { Readable } from 'node:stream';
import type { HttpReply, HttpRequest } from './exchange.js';
import type { Route } from './routes.js';

/** What a route answers. */
export interface Answer {
  readonly status: number;
  /** The media type, with its charset. */
  readonly type: string;
  readonly body: string | Uint8Array | Readable;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The media type of JSON answers as they are sent. */
export const JSON_UTF8 = 'application/json; charset=utf-8';

/** Something that answers requests of some routes. */
interface Answering<R extends Route> {
  answer(route: R, request: HttpRequest): Promise<Answer>;
}

/**
 * Gives a controller one handler for each route, named as the route, and the decorators by which Nest
 * finds it.
 */
export function serveRoutes<R extends Route>(
  controller: { readonly prototype: Answering<R> },
  routes: readonly R[],
): void {
  for (const route of routes) {
    const handler = async function (
      this: Answering<R>,
      request: HttpRequest,
      reply: HttpReply,
    ): Promise<void> {
      send(await this.answer(route, request), reply);
    };
    const descriptor = { value: handler, writable: true, configurable: true };
    Object.defineProperty(controller.prototype, route.name, descriptor);
    Req()(controller.prototype, route.name, 0);
    Res()(controller.prototype, route.name, 1);
    RequestMapping({
      method: RequestMethod[route.method],
      path: route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
    })(controller.prototype, route.name, descriptor);
  }
}

function send({ status, type, body, headers }: Answer, reply: HttpReply): void {
  reply.code(status).header('content-type', type);
  if (headers !== undefined) reply.headers(headers);
  reply.send(body);
}
