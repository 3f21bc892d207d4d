/** The HTTP interface as a caller with nothing but `fetch` sees it. */

/** What came back: the body parsed, where it is JSON, else as text. */
export interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly body: T;
}

/** A receipt of a command. */
export interface ReceiptBody {
  readonly deploymentId: string;
  readonly state: string;
  readonly revision: string;
  readonly position: string;
  readonly changed: boolean;
  readonly replayed: boolean;
  readonly attemptId?: string;
  readonly number?: number;
  readonly leaseExpiresAt?: string;
  readonly events: readonly {
    readonly id: string;
    readonly type: string;
    readonly revision: string;
  }[];
}

/** An error, as RFC 9457 says. */
export interface ProblemBody {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly state?: string;
  readonly allowed?: readonly string[];
  readonly revision?: string;
}

/** An event of a history. */
export interface EventBody {
  readonly id: string;
  readonly type: string;
  readonly deploymentId: string;
  readonly revision: string;
  readonly position: string;
  readonly recordedAt: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/**
 * Asks a service, e.g. `ask(url, 'POST /v1/deployments', { body })`. Rejects when no whole answer comes.
 */
export async function ask<T = unknown>(
  url: string,
  line: string,
  asked: { readonly body?: object; readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<Answer<T>> {
  const [method = '', path = ''] = line.split(' ');
  const { body, headers } = asked;
  const response = await fetch(url + path, {
    method,
    headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson = /^application\/(problem\+)?json/.test(response.headers.get('content-type') ?? '');
  return {
    status: response.status,
    headers: response.headers,
    body: (isJson ? JSON.parse(text) : text) as T,
  };
}

/** All events of a deployment, in the order of its stream. */
export async function historyOf(url: string, deploymentId: string): Promise<readonly EventBody[]> {
  const { body } = await ask<string>(url, `GET /v1/deployments/${deploymentId}/history`, {
    headers: { accept: 'application/x-ndjson' },
  });
  return body
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as EventBody);
}
