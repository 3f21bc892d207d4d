/** One HTTP request and its answer, with what Node brings along: `node:http` loads in a tenth of fetch's time. */
import { Agent as HttpAgent, request as requestHttp, type IncomingMessage } from 'node:http';

/** A request as it goes over the wire. */
export interface Exchange {
  readonly method: string;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  readonly signal: AbortSignal;
}

/** Kept open between requests; idle connections do not keep the process alive. */
const agent = new HttpAgent({ keepAlive: true });

/** Sends a request; resolves with the head of the answer, whose body is still to be read. */
export async function exchange({
  method,
  url,
  headers,
  body,
  signal,
}: Exchange): Promise<IncomingMessage> {
  const isSecure = url.protocol === 'https:';
  const send = isSecure ? (await import('node:https')).request : requestHttp;
  return new Promise((resolve, reject) => {
    const request = send(url, { method, headers, signal, ...(isSecure ? {} : { agent }) }, resolve);
    request.once('error', reject);
    request.end(body);
  });
}

/** Reads a body whole. @throws when it is longer than `bytesMax`, or breaks off. */
export async function textOf(message: IncomingMessage, bytesMax: number): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new Error(`the answer is longer than ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  if (!message.complete) throw new Error('the answer broke off');
  return Buffer.concat(chunks).toString('utf8');
}
