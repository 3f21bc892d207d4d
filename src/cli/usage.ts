import { CommanderError } from 'commander';
import { EXIT } from './exit-codes.js';

/** Code of errors that commander did not make, so that it has not printed them. */
export const USAGE = 'shipslog.usage';

/** Makes an error that counts as one of usage: of the command line, a setting, a value. */
export function usageError(cause: unknown): Error {
  const message = cause instanceof Error ? cause.message : String(cause);
  return new CommanderError(EXIT.usage, USAGE, message);
}

/** What is wrong with a file that somebody named. */
const WRONG: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  ENOTDIR: 'a part of its path is no folder',
  EISDIR: 'it is a folder, not a file',
  EACCES: 'this user has no right to it',
  EPERM: 'this user has no right to it',
  EEXIST: 'it is there already, and nothing is overwritten: name a new one',
  EROFS: 'it is where nothing can be written',
  ENOSPC: 'there is no room left',
};

/** Works with a file that was named on the command line; what is wrong with it is told with what named it. */
export async function withFile<T>(named: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fileError(named, error);
  }
}

/** What a file that was named on the command line fails with, in words; any other error stays as it is. */
export function fileError(named: string, error: unknown): unknown {
  const code: unknown =
    typeof error === 'object' && error !== null ? Reflect.get(error, 'code') : undefined;
  const wrong = typeof code === 'string' ? WRONG[code] : undefined;
  return wrong === undefined ? error : new Error(`${named}: ${wrong}`, { cause: error });
}
