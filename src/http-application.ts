/** The HTTP application: the service, its interface and its metrics wired into one Nest application. */
import type {
  DynamicModule,
  LoggerService,
  NestApplicationOptions,
  OnApplicationShutdown,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { readFileSync } from 'node:fs';
import { ApiModule } from './api/api.module.js';
import { configureHttp, createHttpAdapter, type HttpOptions } from './api/server.js';
import type { ApiServices } from './api/services.js';
import { Freshness } from './application/freshness.js';
import { CountByState } from './application/queries.js';
import { startMetrics } from './observability/metrics.js';
import { ShipslogRuntime } from './shipslog.module.js';

/** How the application is made. */
export interface HttpApplicationOptions extends HttpOptions {
  /** Where Nest's own messages go; nowhere when false. */
  readonly logger: LoggerService | false;
}

/** Makes an application of a service that was registered by one of the methods of `ShipslogModule`. */
export async function createHttpApplication(
  shipslog: DynamicModule,
  { logger, ...options }: HttpApplicationOptions,
): Promise<NestFastifyApplication> {
  const api = ApiModule.register({
    imports: [shipslog],
    inject: [ShipslogRuntime],
    useFactory: apiServices,
  });
  const nest: Pick<NestApplicationOptions, 'abortOnError' | 'bodyParser' | 'logger'> = {
    abortOnError: false,
    bodyParser: false,
    logger,
  };
  const app = await NestFactory.create<NestFastifyApplication>(
    api,
    createHttpAdapter(options.limits),
    nest,
  );
  configureHttp(app, options);
  return app;
}

function apiServices(runtime: ShipslogRuntime): ApiServices & OnApplicationShutdown {
  const { answers, clock, commands, parked, projector, tail } = runtime;
  const { store } = runtime.stores;
  const metrics = startMetrics({
    deploymentsByState: async () => ({ ...(await answers.countByState(CountByState.of({}))) }),
    lag: () => projector.status(),
    log: () => store.health(),
  });
  return {
    clock,
    commands,
    parked,
    projector,
    tail,
    store,
    freshness: new Freshness({ store, projector, clock }),
    metrics,
    version: packageVersion(),
    onApplicationShutdown: () => metrics.close(),
  };
}

function packageVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { readonly version: string }).version;
}
