/** Folders, and names in them, that are still there after a power cut. */
import { closeSync, fsyncSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** What says that a folder cannot be synced: it may not be read, or its file system does not do that. */
const UNSYNCABLE: readonly unknown[] = ['EACCES', 'EPERM', 'EINVAL', 'ENOTSUP', 'ENOSYS'];

/**
 * Makes a folder, and those above it, for the owner alone; one that is there stays as it is.
 *
 * Node's own recursive way never returns where the system says that the folder above is missing though it
 * is there, as below /proc.
 * @throws what the file system says.
 */
export function makeFolder(folder: string): void {
  const isThere = (): boolean =>
    statSync(folder, { throwIfNoEntry: false })?.isDirectory() === true;
  if (isThere()) return;
  if (dirname(folder) !== folder) makeFolder(dirname(folder));
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    // Another process may have been quicker.
    if (!isThere()) throw error;
    return;
  }
  syncFolder(dirname(folder));
}

/**
 * Makes the names in a folder durable; a file that is synced may still have none after a power cut.
 * Where a folder cannot be synced its file system is trusted, as SQLite itself does.
 */
export function syncFolder(folder: string): void {
  if (process.platform === 'win32') return; // there a folder cannot be opened
  try {
    withDescriptor(folder, 'r', fsyncSync);
  } catch (error) {
    if (!UNSYNCABLE.includes((error as NodeJS.ErrnoException).code)) throw error;
  }
}

/** Opens a file or a folder for some work, and closes it whatever becomes of that. */
export function withDescriptor(
  path: string,
  flags: 'r' | 'r+',
  work: (descriptor: number) => void,
): void {
  const descriptor = openSync(path, flags);
  try {
    work(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
