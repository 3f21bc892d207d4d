/** Every error as one `application/problem+json` (RFC 9457): the only place that knows their statuses. */
import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import { STATUS_CODES } from 'node:http';
import { Refused } from '../application/refused.js';
import { REFUSALS, type MemberProblem, type RefusalCode } from '../domain/refusals.js';
import { Fault, FAULTS, type FaultCode } from '../ports/faults.js';
import { emit } from '../ports/signals.js';
import { pathOf, type HttpReply, type HttpRequest } from './exchange.js';

/** What HTTP itself says no to, before or beside the rules. */
export const HTTP_PROBLEMS = {
  INVALID_QUERY: 'A parameter of the query is unknown, repeated or out of bounds.',
  INVALID_HEADER: 'A header that is read here is malformed.',
  MALFORMED_REQUEST: 'The request is not HTTP, or breaks off.',
  ROUTE_NOT_FOUND: 'There is nothing at this path; /openapi.json lists what there is.',
  PROJECTION_NOT_FOUND: 'No such projection is registered.',
  PARKED_NOT_FOUND: 'The projection did not leave out this deployment.',
  METHOD_NOT_ALLOWED: 'The path does not take this method; see Allow.',
  NOT_ACCEPTABLE: 'None of the media types that are accepted is made here.',
  REQUEST_TIMEOUT: 'The request did not arrive in time.',
  BODY_TOO_LARGE: 'The body is larger than 64 KiB.',
  UNSUPPORTED_MEDIA_TYPE: 'A body must be application/json.',
  HOST_NOT_ALLOWED: 'The service does not answer to this name.',
  TOO_MANY_REQUESTS: 'Too many requests; try again later.',
  HEADERS_TOO_LARGE: 'The headers are too large or too many.',
  INTERNAL_ERROR: 'The service failed; what happened is in its log, under the request id.',
} as const satisfies Record<string, string>;
/** A code of an error that HTTP itself makes. */
export type HttpCode = keyof typeof HTTP_PROBLEMS;
/** Any code that a problem may have. */
export type ProblemCode = RefusalCode | FaultCode | HttpCode;

/** The status of each code. */
export const STATUS = {
  INVALID_BODY: 400,
  INVALID_QUERY: 400,
  INVALID_HEADER: 400,
  MALFORMED_REQUEST: 400,
  SCOPE_UNSUPPORTED: 400,
  TEARDOWN_CONFIRM_MISMATCH: 400,
  POSITION_INVALID: 400,
  LEASE_TOKEN_MISMATCH: 403,
  HUMAN_REQUIRED: 403,
  ROUTE_NOT_FOUND: 404,
  DEPLOYMENT_NOT_FOUND: 404,
  ATTEMPT_NOT_FOUND: 404,
  REVISION_NOT_FOUND: 404,
  PROJECTION_NOT_FOUND: 404,
  PARKED_NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  NOT_ACCEPTABLE: 406,
  REQUEST_TIMEOUT: 408,
  DEPLOYMENT_EXISTS: 409,
  ATTEMPT_EXISTS: 409,
  DEPLOYMENT_TORN_DOWN: 409,
  ATTEMPT_IN_PROGRESS: 409,
  DEPLOYMENT_UNKNOWN_STATE: 409,
  ATTEMPT_TERMINAL: 409,
  ATTEMPT_ALREADY_STARTED: 409,
  ATTEMPT_NOT_STARTED: 409,
  ATTEMPT_SUPERSEDED: 409,
  LEASE_ACTIVE: 409,
  DEPLOYMENT_NOT_UNKNOWN: 409,
  DEPLOYMENT_NOT_TORN_DOWN: 409,
  REVISION_CONFLICT: 409,
  DEPLOYMENT_ARCHIVED: 410,
  STREAM_DELETED: 410,
  REVISION_MISMATCH: 412,
  BODY_TOO_LARGE: 413,
  EVENT_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  HOST_NOT_ALLOWED: 421,
  COMMAND_ID_REUSED: 422,
  PRECONDITION_REQUIRED: 428,
  TOO_MANY_REQUESTS: 429,
  HEADERS_TOO_LARGE: 431,
  INTERNAL_ERROR: 500,
  STORE_CORRUPT: 500,
  STORE_FOREIGN: 500,
  STORE_UNAVAILABLE: 503,
  OUTCOME_UNKNOWN: 503,
  STORE_OWNED: 503,
  NOT_YET_VISIBLE: 504,
  STORE_FULL: 507,
} as const satisfies Record<ProblemCode, number>;

/** What each code means, in a sentence that is always the same. */
export const TITLES: Readonly<Record<ProblemCode, string>> = {
  ...REFUSALS,
  ...FAULTS,
  ...HTTP_PROBLEMS,
};

/** The media type of every error. */
export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';
/** When a caller who is told to come back should do so. Seconds. */
const RETRY_AFTER_S = '1';

/** What a problem tells beside its code. */
interface Details {
  readonly detail?: string;
  readonly errors?: readonly MemberProblem[];
}

/** An error that HTTP itself makes, to be thrown. */
export function httpProblem(code: HttpCode, details: Details = {}): HttpException {
  return new HttpException({ code, ...details }, STATUS[code]);
}

/** A problem, as far as it does not depend on the request. */
interface Problem extends Details {
  readonly code: ProblemCode;
  readonly standing?: Refused['standing'];
}

/** The body of a problem, as text. */
export function problemBody(
  { code, detail, errors, standing }: Problem,
  request: { readonly id: string; readonly path: string },
): string {
  return JSON.stringify({
    type: `urn:shipslog:problem:${code.toLowerCase()}`,
    title: TITLES[code],
    status: STATUS[code],
    detail: detail ?? TITLES[code],
    instance: request.path.slice(0, 1_000),
    code,
    ...(standing != null && { ...standing, revision: String(standing.revision) }),
    requestId: request.id,
    ...(errors !== undefined && { errors }),
  });
}

/** Answers a request with a problem. */
export function sendProblem(problem: Problem, request: HttpRequest, reply: HttpReply): void {
  const status = STATUS[problem.code];
  if (status === 503 || status === 429) reply.header('retry-after', RETRY_AFTER_S);
  reply
    .code(status)
    .header('content-type', PROBLEM_TYPE)
    .send(problemBody(problem, { id: request.id, path: pathOf(request.url) }));
}

/** Turns whatever is thrown into a problem; a defect is logged with its stack and tells nothing. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    const http = host.switchToHttp();
    const request = http.getRequest<HttpRequest>();
    const reply = http.getResponse<HttpReply>();
    const problem = toProblem(error);
    if (problem.code === 'INTERNAL_ERROR') emit('trouble', { where: `http ${request.id}`, error });
    if (reply.sent || reply.raw.headersSent) {
      reply.raw.destroy();
      return;
    }
    if (error instanceof Refused && error.replayed) reply.header('idempotent-replayed', 'true');
    sendProblem(problem, request, reply);
  }
}

function toProblem(error: unknown): Problem {
  if (error instanceof Refused) {
    const { code, detail, errors } = error.refusal;
    return { code, detail, standing: error.standing, ...(errors !== undefined && { errors }) };
  }
  if (error instanceof Fault) return ofFault(error);
  if (error instanceof HttpException) return ofException(error);
  return { code: isBrokenOff(error) ? 'MALFORMED_REQUEST' : 'INTERNAL_ERROR' };
}

function ofFault(fault: Fault): Problem {
  // What a store says is about files and addresses: for the log, not for a caller.
  if (!fault.code.startsWith('STORE_')) return { code: fault.code, detail: fault.message };
  if (STATUS[fault.code] === 500) emit('trouble', { where: 'http', error: fault });
  return { code: fault.code };
}

/** Whether the caller went away in the middle of its body; the platform marks such an error with a 400. */
function isBrokenOff(error: unknown): boolean {
  return error instanceof Error && 'statusCode' in error && error.statusCode === 400;
}

/** Codes of the platform's own errors; what it finds wrong otherwise is a malformed request. */
const PLATFORM: Readonly<Record<string, HttpCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'BODY_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
};

function ofException(exception: HttpException): Problem {
  const body = exception.getResponse();
  if (isOurs(body)) return body;
  const { cause } = exception;
  const code = cause instanceof Error && 'code' in cause ? PLATFORM[String(cause.code)] : undefined;
  if (code !== undefined) return { code };
  const status = exception.getStatus();
  if (status === 404) return { code: 'ROUTE_NOT_FOUND' };
  if (status >= 500) return { code: 'INTERNAL_ERROR' };
  return { code: 'MALFORMED_REQUEST', detail: STATUS_CODES[status] ?? TITLES.MALFORMED_REQUEST };
}

function isOurs(body: unknown): body is Problem {
  return typeof body === 'object' && body !== null && 'code' in body;
}
