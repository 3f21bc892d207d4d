import { statSync } from 'node:fs';
import { Fault } from '../../ports/faults.js';
import type { FileKind } from './driver.js';

/**
 * Refuses a file without a single byte. SQLite takes one for a new database; to an operator it is a file
 * that lost its content, and whoever made it so should hear of it.
 * @throws {Fault} STORE_FOREIGN
 */
export function refuseEmptyFile(path: string, kind: FileKind): void {
  if (statSync(path, { throwIfNoEntry: false })?.size !== 0) return;
  throw new Fault(
    'STORE_FOREIGN',
    `${path} is empty, so it is no ${kind.name}; remove it to begin anew`,
  );
}
