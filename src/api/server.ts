/** The HTTP server: its limits, and what happens to a request before a route sees it. */
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { isIP, type Socket } from 'node:net';
import { uuidV7 } from '../application/ids.js';
import { emit } from '../ports/signals.js';
import { BODY_BYTES_MAX } from './body.js';
import { pathOf, type HttpReply, type HttpRequest, type HttpServer } from './exchange.js';
import { requestIdOf } from './headers.js';
import {
  httpProblem,
  problemBody,
  PROBLEM_TYPE,
  ProblemFilter,
  sendProblem,
  STATUS,
  type HttpCode,
} from './problem.filter.js';
import { methodsAt } from './routes.js';

const SECOND = 1_000;
/**
 * Limits of the server. Node's own are too lax: with them 800 clients that sent a header a second were
 * still connected after 25 s.
 */
const LIMITS = {
  headersTimeoutMs: 5 * SECOND,
  requestTimeoutMs: 10 * SECOND,
  connectionsCheckMs: SECOND,
  keepAliveMs: 72 * SECOND,
  headerBytesMax: 16 * 1024,
  headersMax: 100,
  /** Then the connection is closed politely, so that long-lived clients spread anew. */
  requestsPerSocketMax: 1_000,
  connectionsMax: 12_000,
} as const;
/** Limits of the server that may be set, for tests of what happens at them. */
export type Limits = { readonly [K in keyof typeof LIMITS]?: number };

/** How the server is reached. */
export interface HttpOptions {
  /** The address it listens on. */
  readonly host: string;
  /** More names that requests may be addressed to. */
  readonly names?: readonly string[];
  /** Whether commands and queries are served; otherwise only what the process tells of itself. True by default. */
  readonly isApi?: boolean;
  readonly limits?: Limits;
}

/** Makes the adapter that a Nest application is created with; `configureHttp` does the rest. */
export function createHttpAdapter(limits: Limits = {}): FastifyAdapter {
  const { headersTimeoutMs, requestTimeoutMs, connectionsCheckMs, keepAliveMs, ...sizes } = {
    ...LIMITS,
    ...limits,
  };
  return new FastifyAdapter({
    // Nothing here is Express middleware, and bodies have a reader of their own.
    skipMiddie: true,
    multipart: false,
    bodyLimit: BODY_BYTES_MAX,
    http: {
      headersTimeout: headersTimeoutMs,
      requestTimeout: requestTimeoutMs,
      connectionsCheckingInterval: connectionsCheckMs,
      maxHeaderSize: sizes.headerBytesMax,
      // Checked by us, so that the answer is a problem like all others.
      requireHostHeader: false,
    },
    requestTimeout: requestTimeoutMs,
    keepAliveTimeout: keepAliveMs,
    maxRequestsPerSocket: sizes.requestsPerSocketMax,
    // While the server closes, what still arrives on open connections is answered as usual.
    return503OnClosing: false,
    routerOptions: {
      // A path can be as long as the headers; a long id is malformed like any other.
      maxParamLength: sizes.headerBytesMax,
      // Queries are read by each route, strictly.
      querystringParser: () => ({}),
    },
    rewriteUrl: ({ url = '/' }) => withEscapes(url),
    genReqId: ({ headers }: IncomingMessage) => requestIdOf(headers) ?? nextId(),
    clientErrorHandler: answerClientError,
  });
}

/**
 * Sets an application up that was made with `createHttpAdapter` and `{ bodyParser: false }`. To be called
 * before it is initialised.
 */
export function configureHttp(app: NestFastifyApplication, options: HttpOptions): void {
  app.useGlobalFilters(new ProblemFilter());
  const server: HttpServer = app.getHttpAdapter().getInstance();
  readBodiesAsBytes(server);
  const admits = hostCheck(options);
  server.addHook('onRequest', (request, reply, done) => {
    for (const [name, value] of SECURITY_HEADERS) reply.header(name, value);
    reply.header('x-request-id', request.id);
    const objection = objectionTo(request, { ...options, admits });
    if (objection === null) done();
    else if (objection === 'no route') answerUnrouted(request, reply);
    else sendProblem(objection, request, reply);
  });
  server.addHook('onResponse', (request, reply, done) => {
    emit('request', {
      requestId: request.id,
      method: request.method,
      route: request.is404 ? null : (request.routeOptions.url ?? null),
      status: reply.statusCode,
      ms: reply.elapsedTime,
    });
    done();
  });
  const { server: node } = server;
  node.maxConnections = LIMITS.connectionsMax;
  node.maxHeadersCount = LIMITS.headersMax;
  // An expectation other than 100-continue may be ignored; Node would answer it without a body.
  node.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    node.emit('request', request, response);
  });
}

/** Sent with every answer; the page with the documents has a policy of its own. */
const SECURITY_HEADERS = [
  ['content-security-policy', "default-src 'none'; frame-ancestors 'none'"],
  ['x-content-type-options', 'nosniff'],
  ['referrer-policy', 'no-referrer'],
  ['cross-origin-resource-policy', 'same-origin'],
  ['cache-control', 'no-store'],
] as const;

function hostObjection(
  { headers: { host }, httpVersionMinor }: HttpRequest['raw'],
  admits: (host: string) => boolean,
): { readonly code: HttpCode; readonly detail?: string } | null {
  if (host === undefined) {
    return httpVersionMinor > 0 ? { code: 'INVALID_HEADER', detail: 'Host is missing' } : null;
  }
  return admits(host) ? null : { code: 'HOST_NOT_ALLOWED' };
}

/** Whether a route is about deployments, and not about the process itself. */
function isOfApi(url: string): boolean {
  return url.startsWith('/v1/') && !/^\/v1\/(?:projections|lifecycle)(?![^./?])/.test(url);
}

/** What no route should see of a request, or null. */
function objectionTo(
  { raw, is404 }: HttpRequest,
  { admits, isApi = true }: HttpOptions & { readonly admits: (host: string) => boolean },
): { readonly code: HttpCode; readonly detail?: string } | 'no route' | null {
  if (raw.rawHeaders.length > 2 * LIMITS.headersMax) {
    // Node drops the rest silently, and an Idempotency-Key may be among it.
    return { code: 'HEADERS_TOO_LARGE', detail: `at most ${LIMITS.headersMax} headers are read` };
  }
  const misdirected = hostObjection(raw, admits);
  if (misdirected !== null) return misdirected;
  if (!isApi && isOfApi(raw.url ?? '')) {
    const detail = 'this process does not have the role api (SHIPSLOG_ROLES): ask one that has it';
    return { code: 'ROUTE_NOT_FOUND', detail };
  }
  return is404 ? 'no route' : null;
}

/** Answers a request for which there is no route: with what the path takes, where it takes anything. */
function answerUnrouted(request: HttpRequest, reply: HttpReply): void {
  const methods = methodsAt(pathOf(request.raw.url ?? ''));
  if (methods.length === 0) {
    sendProblem({ code: 'ROUTE_NOT_FOUND' }, request, reply);
    return;
  }
  reply.header('allow', methods.join(', '));
  if (request.method === 'OPTIONS') reply.code(204).send();
  else sendProblem({ code: 'METHOD_NOT_ALLOWED' }, request, reply);
}

/** The body as bytes, for the reader; anything that is not JSON is refused unread. */
function readBodiesAsBytes(server: HttpServer): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser(
    'application/json',
    { parseAs: 'buffer' },
    ({ headers }, body, done) => {
      const detail = body.length === 0 ? null : encodingProblem(headers);
      if (detail === null) done(null, body);
      else done(httpProblem('UNSUPPORTED_MEDIA_TYPE', { detail }));
    },
  );
  server.addContentTypeParser('*', (_, payload, done) => {
    // No body has no type, whatever the header says; of any other the first byte is enough.
    let finish = (error: Error | null): void => {
      finish = () => undefined;
      done(error);
    };
    payload.once('data', () => finish(httpProblem('UNSUPPORTED_MEDIA_TYPE')));
    payload.once('end', () => finish(null));
    payload.once('error', (error: Error) => finish(error));
  });
}

/** What is wrong with how a body is written down, in words; null when it is as we read it. */
function encodingProblem(headers: HttpRequest['headers']): string | null {
  const { 'content-encoding': encoding = 'identity', 'content-type': type = '' } = headers;
  if (!/^\s*(?:identity)?\s*$/i.test(encoding)) {
    return 'a body is read as it is: send it without a Content-Encoding';
  }
  const charset = /;\s*charset\s*=\s*"?([^";\s]*)/i.exec(type)?.[1] ?? 'utf-8';
  return /^utf-?8$/i.test(charset) ? null : 'a body is read as UTF-8: send it in no other charset';
}

/**
 * Which `Host` is answered: loopback, the address that is listened on, and names that are configured. A
 * page of another site could otherwise point its own name here and act as its visitor (DNS rebinding).
 */
function hostCheck({ host, names = [] }: HttpOptions): (header: string) => boolean {
  const known = new Set(['localhost', '[::1]', host, ...names].map((name) => name.toLowerCase()));
  if (isIP(host) === 6) known.add(`[${host}]`);
  return (header) => {
    const name = header.replace(/:[0-9]{0,5}$/, '').toLowerCase();
    return known.has(name) || (isIP(name) === 4 && name.startsWith('127.'));
  };
}

/** A path with a `%` that begins no escape names nothing; escaped, it reaches its route and is a 404. */
function withEscapes(url: string): string {
  const path = pathOf(url);
  if (!path.includes('%')) return url;
  try {
    decodeURIComponent(path);
    return url;
  } catch {
    return path.replaceAll('%', '%25') + url.slice(path.length);
  }
}

const processId = uuidV7(0).slice(-12);
let requests = 0;
/** An id for a request that brought none of its own; unique across processes. */
function nextId(): string {
  requests += 1;
  return `${processId}-${requests.toString(36)}`;
}

const CLIENT_ERRORS: Readonly<Record<string, HttpCode>> = {
  HPE_HEADER_OVERFLOW: 'HEADERS_TOO_LARGE',
  ERR_HTTP_REQUEST_TIMEOUT: 'REQUEST_TIMEOUT',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: 'BODY_TOO_LARGE',
};

/** Answers what Node could not read as a request, and closes the connection. */
function answerClientError(error: Error & { readonly code?: string }, socket: Socket): void {
  const { code: cause = '' } = error;
  if (cause === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const code = CLIENT_ERRORS[cause] ?? 'MALFORMED_REQUEST';
  const id = nextId();
  const body = problemBody({ code }, { id, path: '' });
  const head = [
    `HTTP/1.1 ${STATUS[code]} ${code}`,
    `content-type: ${PROBLEM_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    ...SECURITY_HEADERS.map(([name, value]) => `${name}: ${value}`),
    `x-request-id: ${id}`,
    'connection: close',
  ];
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy());
}
