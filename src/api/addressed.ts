import { uuidV7 } from '../application/ids.js';
import { Refused } from '../application/refused.js';
import { parseId } from '../domain/event-schema.js';
import type { Clock } from '../ports/clock.js';
import type { HttpRequest } from './exchange.js';

/** The ids of a path. */
interface Addressed {
  readonly ids: Readonly<Record<string, string>>;
  /** The result; a refusal because there is no such thing names the id as it was given. */
  readonly tried: <T>(result: Promise<T>) => Promise<T>;
}

const asIs = <T>(result: Promise<T>): Promise<T> => result;

/**
 * Reads the ids of a path. A malformed one names nothing: in its place stands an id that nobody can have
 * used, so that all checks happen in their usual order and end with the usual 404.
 */
export function addressed(request: HttpRequest, clock: Clock): Addressed {
  const given = request.params as Readonly<Record<string, string>>;
  const ids: Record<string, string> = {};
  let malformed: string | null = null;
  for (const [name, text] of Object.entries(given)) {
    const isId = parseId(text) !== null;
    ids[name] = isId ? text : uuidV7(Date.parse(clock.now()));
    if (!isId) malformed ??= text;
  }
  if (malformed === null) return { ids, tried: asIs };
  const detail = `"${malformed.slice(0, 128)}" is not an id, so there is nothing of that name`;
  const tried = async <T>(result: Promise<T>): Promise<T> => {
    try {
      return await result;
    } catch (error) {
      if (!(error instanceof Refused) || !error.code.endsWith('_NOT_FOUND')) throw error;
      throw new Refused({ ...error.refusal, detail }, error.standing);
    }
  };
  return { ids, tried };
}
