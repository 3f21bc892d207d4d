/**
 * Requests and replies as the platform hands them over, by name: `fastify` is the platform's dependency,
 * not ours, so its types come from the adapter.
 */
import type { FastifyAdapter } from '@nestjs/platform-fastify';

type Hook = Parameters<FastifyAdapter['setOnRequestHook']>[0];
/** A request; its body, where there is one, as bytes. */
export type HttpRequest = Parameters<Hook>[0];
/** The reply to a request. */
export type HttpReply = Parameters<Hook>[1];
/** The server behind the adapter. */
export type HttpServer = ReturnType<FastifyAdapter['get']>;

/** The path of a request, without its query, also of one that names the whole address as its target. */
export function pathOf(url: string): string {
  const target = url.startsWith('/') ? url : url.replace(/^https?:\/\/[^/?]*/i, '');
  const end = target.indexOf('?');
  return end === -1 ? target : target.slice(0, end);
}
