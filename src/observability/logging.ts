import type { LoggerService } from '@nestjs/common';
import { destination, pino, type Logger } from 'pino';
import pretty from 'pino-pretty';
import { listen } from '../ports/signals.js';

/** How the log is written. */
export interface LoggingOptions {
  readonly level: string;
  /** `pretty` for people, `json` for machines; by the kind of stderr when null. */
  readonly format: 'pretty' | 'json' | null;
}

/** Makes the log of a process. It goes to stderr: stdout is for data. */
export function createLogger({ level, format }: LoggingOptions): Logger {
  const isPretty = format === null ? process.stderr.isTTY : format === 'pretty';
  const stream = isPretty
    ? pretty({
        destination: 2,
        sync: true,
        colorize: process.stderr.isTTY && process.env['NO_COLOR'] === undefined,
        ignore: 'pid,hostname',
      })
    : destination({ dest: 2, sync: true });
  return pino({ level, base: isPretty ? null : { pid: process.pid } }, stream);
}

/** Logs what the service tells of itself: transitions at info, trouble at warn, commands at debug. */
export function logSignals(logger: Logger): () => void {
  const ends = [
    listen('transition', (transition) =>
      logger.info(
        transition,
        `${transition.deploymentId}: ${transition.from ?? 'none'} → ${transition.to} by ${transition.trigger}`,
      ),
    ),
    listen('parked', (parked) =>
      logger.error(parked, `${parked.stream} is parked in ${parked.projection}: ${parked.problem}`),
    ),
    listen('trouble', ({ where, error }) =>
      logger.warn({ where, err: error }, `trouble in ${where}`),
    ),
    listen('command', (command) => logger.debug(command, `${command.command}: ${command.result}`)),
  ];
  return () => {
    for (const end of ends) end();
  };
}

/** Where Nest tells of an error that it throws as well. */
const THROWN_TOO: ReadonlySet<string> = new Set(['ExceptionHandler', 'NestApplication']);

/** Nest's own messages in the same log; its chatter of starting is debug. */
export function nestLogger(logger: Logger): LoggerService {
  const told = (context: unknown[]): object => ({ context: context.at(-1) });
  return {
    log: (message: unknown, ...context: unknown[]) => logger.debug(told(context), String(message)),
    debug: (message: unknown, ...context: unknown[]) =>
      logger.debug(told(context), String(message)),
    verbose: (message: unknown, ...context: unknown[]) =>
      logger.trace(told(context), String(message)),
    warn: (message: unknown, ...context: unknown[]) => logger.warn(told(context), String(message)),
    error: (message: unknown, ...context: unknown[]) => {
      // What a start fails with is thrown as well, and told once by whoever started.
      const isThrown = THROWN_TOO.has(String(context.at(-1)));
      const level = isThrown ? 'debug' : 'error';
      logger[level]({ ...told(context), stack: context[0] }, String(message));
    },
    fatal: (message: unknown, ...context: unknown[]) =>
      logger.fatal({ ...told(context), stack: context[0] }, String(message)),
  };
}
