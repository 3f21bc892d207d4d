/** Starts the service as a process of its own, and stops it gracefully. */
import 'reflect-metadata';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { AddressInfo } from 'node:net';
import type { Logger } from 'pino';
import { createHttpApplication } from './http-application.js';
import { createLogger, logSignals, nestLogger } from './observability/logging.js';
import { isFault } from './ports/faults.js';
import type { Settings } from './settings.js';
import { ShipslogModule } from './shipslog.module.js';
import { placeOf } from './stores.js';

/** How a service is started beside its settings. */
export interface ServeOptions {
  /** Goes on with a log that is shorter than what was acknowledged; what is lost is told. */
  readonly acceptLoss?: boolean;
}

/** Of sysexits.h, beside the usual 1: a file that is not ours, and a disk that failed. */
const EXIT = { error: 1, refusedFile: 2, ioError: 74 } as const;

/**
 * Serves until SIGTERM or SIGINT, then finishes what is under way; a second signal ends at once.
 *
 * Exit codes: 0 stopped; 1 could not start, 2 a file is not ours, newer or read-only, 74 the disk failed.
 */
export async function serve(settings: Settings, options: ServeOptions = {}): Promise<void> {
  const logger = createLogger({ level: settings.logLevel, format: settings.logFormat });
  const stopLogging = logSignals(logger);
  const stop = new Stop(settings.shutdownMs, logger);
  const onFatal = (fault: Error): void => {
    logger.fatal(`the disk of the log has failed, and nothing more is written: ${fault.message}`);
    void stop.now(EXIT.ioError);
  };
  try {
    const shipslog = ShipslogModule.forSettings(settings, { ...options, onFatal });
    const app = await createHttpApplication(shipslog, {
      logger: nestLogger(logger),
      host: settings.host,
      isApi: settings.roles.has('api'),
    });
    stop.closes(app, stopLogging);
    await app.listen(settings.port, settings.host);
    // For people, whatever the form of the log; the log itself goes to stderr.
    process.stdout.write(`${welcome(app, settings)}\n`);
  } catch (error) {
    logger.fatal(whyNot(error, settings));
    if (!isFault(error)) logger.debug({ err: error }, 'could not start');
    await stop.now(isUnusable(error) ? EXIT.refusedFile : EXIT.error);
  }
}

function whyNot(error: unknown, { host, port }: Settings): string {
  if (!(error instanceof Error)) return String(error);
  const isTaken = 'code' in error && error.code === 'EADDRINUSE';
  return isTaken
    ? `port ${String(port)} of ${host} is taken: stop what listens there, or set SHIPSLOG_PORT (0 for any free one)`
    : error.message;
}

/** Whether a store is not for us to use, whoever else runs: foreign, newer, read-only, or closed to us. */
function isUnusable(error: unknown): boolean {
  return isFault(error, 'STORE_FOREIGN') || isFault(error, 'STORE_UNAVAILABLE');
}

/** Ends the process once: gracefully at first, at once when asked again. */
class Stop {
  #close: () => Promise<void> = () => Promise.resolve();
  #stopping = false;
  /** The worst reason wins: a disk that fails while we stop is still told. */
  #exitCode = 0;

  constructor(
    private readonly drainMs: number,
    private readonly logger: Logger,
  ) {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        if (this.#stopping) process.exit(1);
        this.logger.info(`${signal}: finishing what is under way; once more ends at once`);
        void this.now(0);
      });
    }
  }

  closes(app: NestFastifyApplication, stopLogging: () => void): void {
    this.#close = async () => {
      await app.close();
      stopLogging();
    };
  }

  async now(exitCode: number): Promise<void> {
    this.#exitCode = Math.max(this.#exitCode, exitCode);
    if (this.#stopping) return;
    this.#stopping = true;
    const timer = setTimeout(() => {
      this.logger.error(`not finished after ${String(this.drainMs)} ms: ending all the same`);
      process.exit(Math.max(this.#exitCode, EXIT.error));
    }, this.drainMs);
    try {
      await this.#close();
    } catch (error) {
      this.logger.error({ err: error }, 'could not close everything');
      this.#exitCode = Math.max(this.#exitCode, EXIT.error);
    }
    clearTimeout(timer);
    process.exit(this.#exitCode);
  }
}

function welcome(app: NestFastifyApplication, settings: Settings): string {
  const { address, family, port } = app.getHttpServer().address() as AddressInfo;
  const url = `http://${family === 'IPv6' ? `[${address}]` : address}:${String(port)}`;
  const post = `curl -s -X POST ${url}/v1/deployments`;
  const about = [
    `Shipslog listens on ${url}`,
    `  log          ${placeOf(settings.eventStore)}`,
    `  read models  ${placeOf(settings.readModels)}`,
    `  roles        ${[...settings.roles].join(', ')}`,
  ];
  if (!settings.roles.has('api'))
    return [...about, `  health       ${url}/health/ready`].join('\n');
  return [
    ...about,
    `  documents    ${url}/docs`,
    'Without access control only this machine can reach it. Try next:',
    `  ${post} -H 'content-type: application/json' -d '{"deploymentId":"web"}'`,
    `  ${post}/web/attempts`,
    `  curl -s ${url}/v1/deployments/web`,
  ].join('\n');
}
