/** Routes about the service itself, and the heartbeat, which is no command of the bus. */
import { Controller, Inject } from '@nestjs/common';
import { Heartbeat } from '../application/commands.js';
import { instanceOf } from '../application/fields.js';
import { lifecycle, lifecycleSvg } from '../application/lifecycle.js';
import { RetryParked, SkipParked } from '../application/parked-streams.js';
import type { ProjectionStatus } from '../application/projection-status.js';
import { Refused } from '../application/refused.js';
import { invalidBody } from '../domain/decision.js';
import type { Actor, JsonObject } from '../domain/event-schema.js';
import { chosenType } from './accept.js';
import { addressed } from './addressed.js';
import { JSON_UTF8, serveRoutes, type Answer } from './answer.js';
import { readBody } from './body.js';
import { DOCS_PAGE, docsFile } from './docs.js';
import type { HttpRequest } from './exchange.js';
import { callerOf, envelopeOf } from './headers.js';
import { toJson, withDecimals } from './json.js';
import { openApiDocument } from './openapi.js';
import { readQuery } from './parameters.js';
import { httpProblem } from './problem.filter.js';
import { SERVICE_ROUTES, type ServiceName } from './service-routes.js';
import { API_SERVICES, type ApiServices } from './services.js';

type ServiceRoute = (typeof SERVICE_ROUTES)[number];

/** Answers the routes about the service. */
@Controller()
export class ServiceController {
  readonly #answers: ServiceAnswers;

  constructor(@Inject(API_SERVICES) services: ApiServices) {
    this.#answers = new ServiceAnswers(services);
  }

  async answer({ name, makes }: ServiceRoute, request: HttpRequest): Promise<Answer> {
    chosenType(request.raw.headers.accept, [makes]);
    readQuery(request.url, {});
    return this.#answers[name](request);
  }
}
serveRoutes(ServiceController, SERVICE_ROUTES);

const ANONYMOUS: Actor = { id: 'anonymous', kind: 'service' };

/** One method for each route about the service. */
class ServiceAnswers implements Record<
  ServiceName,
  (request: HttpRequest) => Answer | Promise<Answer>
> {
  readonly #services: ApiServices;
  #document: string | null = null;

  constructor(services: ApiServices) {
    this.#services = services;
  }

  async heartbeat(request: HttpRequest): Promise<Answer> {
    const body = membersOf(request, ['leaseToken', 'progress']);
    const { clock, commands } = this.#services;
    const path = addressed(request, clock);
    const members = { ...body, ...callerOf(request), ...path.ids };
    return json(await path.tried(commands.heartbeat(instanceOf(Heartbeat, members))));
  }

  getLifecycle(): Answer {
    return json(lifecycle());
  }

  drawLifecycle(): Answer {
    return { status: 200, type: 'image/svg+xml; charset=utf-8', body: lifecycleSvg() };
  }

  async listProjections(): Promise<Answer> {
    return json({ items: await this.#services.projector.status() });
  }

  async rebuildProjection(request: HttpRequest): Promise<Answer> {
    membersOf(request, []);
    const { projector } = this.#services;
    const { name } = await this.#projection(request);
    await projector.askRebuild(name);
    const status = (await projector.status()).find((projection) => projection.name === name);
    return json(status ?? {}, 202);
  }

  async listParked(request: HttpRequest): Promise<Answer> {
    const { name } = await this.#projection(request);
    return json({ items: (await this.#services.parked.list(name)).map(withDecimals) });
  }

  retryParked(request: HttpRequest): Promise<Answer> {
    return this.#decideParked(request, RetryParked, 202);
  }

  skipParked(request: HttpRequest): Promise<Answer> {
    return this.#decideParked(request, SkipParked, 200);
  }

  isLive(): Answer {
    return json({ status: 'live' });
  }

  async isReady(): Promise<Answer> {
    const { projector, store } = this.#services;
    const { reachable, problem, details } = store.health();
    const projections = await projector.status();
    const isFollowed = projections.some(({ status }) => status !== 'stopped');
    const fatal: Reason[] = [];
    if (!reachable) fatal.push({ part: 'store', problem: problem ?? 'cannot be reached' });
    if (isFollowed && !projector.isCaughtUp) {
      fatal.push({ part: 'projections', problem: 'have not caught up with the log yet' });
    }
    const reasons = [
      ...fatal,
      ...(reachable && problem !== null ? [{ part: 'store', problem }] : []),
      ...projections.flatMap(complaintsOf),
    ];
    const status = fatal.length > 0 ? 'unavailable' : reasons.length > 0 ? 'degraded' : 'ready';
    const about = { reachable, problem, ...details };
    return json(
      { status, reasons, store: about, projections: projections.map(withDecimals) },
      fatal.length > 0 ? 503 : 200,
    );
  }

  async getMetrics(): Promise<Answer> {
    const { metrics } = this.#services;
    return { status: 200, type: metrics.contentType, body: await metrics.text() };
  }

  getOpenApi(): Answer {
    this.#document ??= JSON.stringify(openApiDocument(this.#services.version));
    return { status: 200, type: JSON_UTF8, body: this.#document };
  }

  showDocs(): Answer {
    return DOCS_PAGE;
  }

  async getDocsFile(request: HttpRequest): Promise<Answer> {
    const { file = '' } = request.params as Readonly<Record<string, string>>;
    const found = await docsFile(file);
    if (found === null) throw httpProblem('ROUTE_NOT_FOUND');
    return found;
  }

  showStart(): Answer {
    return { status: 302, type: 'text/plain', body: '', headers: { location: 'docs' } };
  }

  async #decideParked(
    request: HttpRequest,
    kind: typeof RetryParked | typeof SkipParked,
    status: number,
  ): Promise<Answer> {
    const decision = instanceOf<RetryParked | SkipParked>(kind, membersOf(request, ['reason']));
    const { commandId = request.id, actor = ANONYMOUS } = envelopeOf(request);
    const { name: projection } = await this.#projection(request);
    const { deploymentId = '' } = request.params as Readonly<Record<string, string>>;
    const asked = { projection, deploymentId, decision, actor, commandId };
    const parked = await this.#services.parked.decide(asked);
    if (parked !== null) return json(withDecimals(parked), status);
    const detail = `${projection} did not leave out ${deploymentId.slice(0, 128)}: GET /v1/projections/${projection}/parked lists those that it did`;
    throw httpProblem('PARKED_NOT_FOUND', { detail });
  }

  /** The projection of the path. Refuses PROJECTION_NOT_FOUND. */
  async #projection(request: HttpRequest): Promise<ProjectionStatus> {
    const { name } = request.params as Readonly<Record<string, string>>;
    const all = await this.#services.projector.status();
    const found = all.find((projection) => projection.name === name);
    if (found !== undefined) return found;
    const known = all.map((projection) => projection.name).join(', ');
    throw httpProblem('PROJECTION_NOT_FOUND', { detail: `the projections are ${known}` });
  }
}

interface Reason {
  readonly part: string;
  readonly problem: string;
}

/** What is wrong with a projection while the others, and what it shows, can still be used. */
function complaintsOf({ name, status, lastError, parked }: ProjectionStatus): readonly Reason[] {
  const part = `projection ${name}`;
  return [
    ...(lastError === null ? [] : [{ part, problem: lastError }]),
    ...(parked === 0
      ? []
      : [{ part, problem: `${parked} streams are parked: an event of each cannot be folded` }]),
    ...(status === 'stopped' ? [{ part, problem: 'is not followed by this process' }] : []),
  ];
}

/** The members of a body that may hold these. Refuses INVALID_BODY. */
function membersOf(request: HttpRequest, names: readonly string[]): JsonObject {
  const body = readBody(request.body as Buffer | undefined);
  const unknown = Object.keys(body).filter((name) => !names.includes(name));
  if (unknown.length > 0) throw notMembers(unknown);
  return body;
}

function notMembers(names: readonly string[]): Refused {
  const message = 'is not a member of this body';
  return new Refused(
    invalidBody(
      names.map((name) => ({
        pointer: `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`,
        message,
      })),
    ),
  );
}

function json(answer: object, status = 200): Answer {
  return { status, type: JSON_UTF8, body: toJson(answer) };
}
