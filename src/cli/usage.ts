import { CommanderError } from 'commander';
import { EXIT } from './exit-codes.js';

/** Code of errors that commander did not make, so that it has not printed them. */
export const USAGE = 'shipslog.usage';

/** Makes an error that counts as one of usage: of the command line, a setting, a value. */
export function usageError(cause: unknown): Error {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new CommanderError(EXIT.usage, USAGE, message);
}
