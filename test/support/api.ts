import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { HttpApplicationOptions } from '../../src/http-application.js';
import { createHttpApplication } from '../../src/http-application.js';
import { ManualClock } from '../../src/adapters/memory/manual-clock.js';
import { newLogPlace } from './log-under-test.js';
import {
  ShipslogRuntime,
  ShipslogTestingModule,
  type ShipslogOptions,
} from '../../src/shipslog.module.js';

/** What a request may carry beside its method and path. */
export interface Asked {
  /** A value to be sent as JSON; bytes or text are sent as they are. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}
/** Members of a JSON object. */
export type Members = Readonly<Record<string, unknown>>;

/** What came back. */
export interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly text: string;
  /** The body parsed, where it is a JSON object; else no members. */
  readonly json: Members;
}

export const AS_HUMAN = { 'x-shipslog-actor': 'human:alice' } as const;

/** The service, its read models in memory, behind its HTTP interface, with a clock that moves by hand. */
export class TestApi {
  readonly runtime: ShipslogRuntime;
  readonly clock: ManualClock;

  constructor(
    readonly app: NestFastifyApplication,
    private readonly releaseLog: () => Promise<void>,
  ) {
    this.runtime = app.get(ShipslogRuntime, { strict: false });
    this.clock = app.get(ManualClock, { strict: false });
  }

  async ask(method: string, url: string, { body, headers = {} }: Asked = {}): Promise<Answered> {
    const isRaw = typeof body === 'string' || Buffer.isBuffer(body);
    const response = await this.app.inject({
      method: method as 'GET',
      url,
      headers: {
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body !== undefined && { payload: isRaw ? body : JSON.stringify(body) }),
    });
    return answered(response.statusCode, response.headers, response.body);
  }

  get(url: string, headers: Asked['headers'] = {}): Promise<Answered> {
    return this.ask('GET', url, { headers });
  }

  post(url: string, body?: unknown, headers: Asked['headers'] = {}): Promise<Answered> {
    return this.ask('POST', url, { body, headers });
  }

  /** Creates a deployment and brings it to where an attempt of this id is running. */
  async running(deploymentId: string, attemptId = 'a1', members: Members = {}): Promise<string> {
    const path = `/v1/deployments/${deploymentId}`;
    await this.post('/v1/deployments', { deploymentId });
    await this.post(`${path}/attempts`, { attemptId });
    await this.post(`${path}/attempts/${attemptId}/start`, members);
    return path;
  }

  /** Creates a deployment and brings it to where nobody knows what its attempt does. */
  async lost(deploymentId: string, attemptId = 'a1'): Promise<string> {
    const path = await this.running(deploymentId, attemptId);
    await this.post(`${path}/attempts/${attemptId}/unknown`, { cause: 'orphaned' });
    return path;
  }

  async close(): Promise<void> {
    await this.app.close();
    await this.releaseLog();
  }
}

/** Starts the service; it listens only when the test makes it. */
export async function startApi(
  options: Omit<ShipslogOptions, 'clock'> = {},
  http: Partial<HttpApplicationOptions> = {},
): Promise<TestApi> {
  const { location: eventStore, release } = await newLogPlace();
  const app = await createHttpApplication(
    ShipslogTestingModule.forRoot({ eventStore, ...options }),
    {
      host: '127.0.0.1',
      logger: false,
      ...http,
    },
  );
  await app.init();
  await app.getHttpAdapter().getInstance().ready();
  return new TestApi(app, release);
}

function answered(
  status: number,
  headers: Readonly<Record<string, unknown>>,
  text: string,
): Answered {
  const isJson = String(headers['content-type']).includes('json') && text.startsWith('{');
  return {
    status,
    headers: headers as Answered['headers'],
    text,
    json: isJson && !String(headers['content-type']).includes('ndjson') ? membersOf(text) : {},
  };
}

export function membersOf(text: string): Members {
  return JSON.parse(text) as Members;
}

/** The items of a page. */
export function itemsOf({ json }: Answered): readonly Members[] {
  return json['items'] as readonly Members[];
}
