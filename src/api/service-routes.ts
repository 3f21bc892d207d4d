/** Routes about the service itself, as data. */
import { Heartbeat } from '../application/commands.js';
import type { FieldsClass } from '../application/fields.js';
import { RetryParked, SkipParked } from '../application/parked-streams.js';
import { ATTEMPT, type RouteOptions } from './paths.js';

const JSON_TYPE = 'application/json';

/** A route that the service answers about itself. */
export interface ServiceRoute extends RouteOptions {
  readonly does: 'service';
  /** Media type of the answer. */
  readonly makes: string;
  /** Name of the schema of a JSON answer, where it has one. */
  readonly answers?:
    | 'Heartbeat'
    | 'Lifecycle'
    | 'ProjectionPage'
    | 'Projection'
    | 'ParkedPage'
    | 'Parked'
    | 'Health';
  /** The members of its body, where it takes one. */
  readonly body?: FieldsClass;
  readonly success: 200 | 202 | 302;
}

/** Routes about the service itself; the controller of services has a method of each name. */
export const SERVICE_ROUTES = [
  {
    does: 'service',
    name: 'heartbeat',
    method: 'POST',
    path: `${ATTEMPT}/heartbeat`,
    makes: JSON_TYPE,
    answers: 'Heartbeat',
    body: Heartbeat,
    success: 200,
    doc: 'A sign of life of a runner: extends the lease, and tells whether to stop.',
  },
  {
    does: 'service',
    name: 'getLifecycle',
    method: 'GET',
    path: '/v1/lifecycle',
    makes: JSON_TYPE,
    answers: 'Lifecycle',
    success: 200,
    doc: 'The transition table, row by row.',
  },
  {
    does: 'service',
    name: 'drawLifecycle',
    method: 'GET',
    path: '/v1/lifecycle.svg',
    makes: 'image/svg+xml',
    success: 200,
    doc: 'The diagram made from the transition table.',
  },
  {
    does: 'service',
    name: 'listProjections',
    method: 'GET',
    path: '/v1/projections',
    makes: JSON_TYPE,
    answers: 'ProjectionPage',
    success: 200,
    doc: 'How far each read model is.',
  },
  {
    does: 'service',
    name: 'rebuildProjection',
    method: 'POST',
    path: '/v1/projections/{name}/rebuild',
    makes: JSON_TYPE,
    answers: 'Projection',
    success: 202,
    doc: 'Builds a read model anew beside the live one, which serves meanwhile.',
  },
  {
    does: 'service',
    name: 'listParked',
    method: 'GET',
    path: '/v1/projections/{name}/parked',
    makes: JSON_TYPE,
    answers: 'ParkedPage',
    success: 200,
    doc: 'The deployments that a read model had to leave out from an event on that it cannot fold.',
  },
  {
    does: 'service',
    name: 'retryParked',
    method: 'POST',
    path: '/v1/projections/{name}/parked/{deploymentId}/retry',
    makes: JSON_TYPE,
    answers: 'Parked',
    body: RetryParked,
    success: 202,
    doc: 'Tries again to fold a deployment that was left out. Noted in the audit journal.',
  },
  {
    does: 'service',
    name: 'skipParked',
    method: 'POST',
    path: '/v1/projections/{name}/parked/{deploymentId}/skip',
    makes: JSON_TYPE,
    answers: 'Parked',
    body: SkipParked,
    success: 200,
    doc: 'Leaves a deployment out for good, so that it harms no health. Noted in the audit journal.',
  },
  {
    does: 'service',
    name: 'isLive',
    method: 'GET',
    path: '/health/live',
    makes: JSON_TYPE,
    answers: 'Health',
    success: 200,
    doc: 'Whether the process answers at all.',
  },
  {
    does: 'service',
    name: 'isReady',
    method: 'GET',
    path: '/health/ready',
    makes: JSON_TYPE,
    answers: 'Health',
    success: 200,
    doc: 'Whether the store can be used and the read models have caught up, with the reasons; 503 when not.',
  },
  {
    does: 'service',
    name: 'getMetrics',
    method: 'GET',
    path: '/metrics',
    makes: 'text/plain',
    success: 200,
    doc: 'Metrics in the text format of Prometheus.',
  },
  {
    does: 'service',
    name: 'getOpenApi',
    method: 'GET',
    path: '/openapi.json',
    makes: JSON_TYPE,
    success: 200,
    doc: 'This document.',
  },
  {
    does: 'service',
    name: 'showDocs',
    method: 'GET',
    path: '/docs',
    makes: 'text/html',
    success: 200,
    doc: 'This document as a page.',
  },
  {
    does: 'service',
    name: 'getDocsFile',
    method: 'GET',
    path: '/docs/{file}',
    makes: '*/*',
    success: 200,
    doc: 'A file of that page.',
  },
  {
    does: 'service',
    name: 'showStart',
    method: 'GET',
    path: '/',
    makes: '*/*',
    success: 302,
    doc: 'Leads to the page.',
  },
] as const satisfies readonly ServiceRoute[];
/** Name of a route about the service itself. */
export type ServiceName = (typeof SERVICE_ROUTES)[number]['name'];
