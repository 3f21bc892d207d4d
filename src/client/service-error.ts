import type { IncomingMessage } from 'node:http';
import type { Problem } from './answers.js';
import { textOf } from './exchange.js';

/** What is known of an error. */
interface ErrorDetails {
  /** The `code` of a problem; UNREACHABLE when nothing answered, TIMED_OUT when nothing did in time. */
  readonly code: string;
  /** The status of the answer; null without one. */
  readonly status: number | null;
  readonly problem?: Problem;
  /** When the service says that a repeat is worth while. Milliseconds from now. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

const PROBLEM_BYTES_MAX = 1024 * 1024;
const PASSING: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
/** Of those, the ones that a repeat within the same call may mend. */
const REPEATED: ReadonlySet<number> = new Set([429, 502, 503]);
/** Connections that were open and were lost: the service restarts, or an idle one was closed meanwhile. */
const LOST: ReadonlySet<unknown> = new Set(['ECONNRESET', 'EPIPE']);

/** An error answer, or why there is none; `message` tells it in words. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  readonly code: string;
  readonly status: number | null;
  readonly problem: Problem | null;
  readonly retryAfterMs: number | null;

  constructor(message: string, { code, status, problem, retryAfterMs, cause }: ErrorDetails) {
    super(message, { cause });
    this.code = code;
    this.status = status;
    this.problem = problem ?? null;
    this.retryAfterMs = retryAfterMs ?? null;
  }

  /** Whether the same request may do better later; with the same key it has one effect. */
  get isPassing(): boolean {
    return this.status === null || PASSING.has(this.status);
  }

  /** Whether an immediate repeat is worth while. A service that does not listen at all is not asked again. */
  get isRepeatable(): boolean {
    if (this.status !== null) return REPEATED.has(this.status);
    return LOST.has((this.cause as NodeJS.ErrnoException | undefined)?.code);
  }
}

/** Reads an error answer, whatever it is made of. */
export async function errorOf(message: IncomingMessage): Promise<ServiceError> {
  const status = message.statusCode ?? 0;
  const seconds = Number(message.headers['retry-after']);
  const retry = Number.isFinite(seconds) ? { retryAfterMs: seconds * 1_000 } : {};
  const text = await textOf(message, PROBLEM_BYTES_MAX).catch(() => '');
  try {
    const problem = JSON.parse(text) as Problem;
    if (typeof problem.code !== 'string') throw new Error('it has no code');
    return new ServiceError(problem.detail, { code: problem.code, status, problem, ...retry });
  } catch {
    const told = `status ${status}, which is no answer of Shipslog`;
    return new ServiceError(told, { code: 'NO_PROBLEM', status, ...retry });
  }
}

/** Tells why there was no answer. */
export function unreachable(cause: unknown, url: string): ServiceError {
  if (cause instanceof ServiceError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  const reason = code === 'ECONNREFUSED' ? 'nothing listens there' : (code ?? message);
  const told = `cannot reach the service at ${url}: ${reason}`;
  return new ServiceError(told, { code: 'UNREACHABLE', status: null, cause });
}

/** Tells that an answer took too long. */
export function timedOut(cause: unknown, url: string, timeoutMs: number): ServiceError {
  const told = `no answer from ${url} within ${timeoutMs} ms`;
  return new ServiceError(told, { code: 'TIMED_OUT', status: null, cause });
}
