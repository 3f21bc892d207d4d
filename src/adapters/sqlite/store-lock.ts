import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { Fault } from '../../ports/faults.js';
import { asFault, openLockFile, resultOf, type Database } from './driver.js';

const BUSY = 5;

/**
 * The ownership of a log file by one process, kept by the kernel: it ends with the process, however that
 * ends, and lasts while the process is frozen.
 *
 * Node has no file locks of its own; SQLite's exclusive transaction on an empty side file is one. Nothing
 * is ever written there, and no statement is prepared, so that closing lets go at once. The side file
 * stays for good: removing it would let two owners lock two files of one name.
 */
export class StoreLock {
  private constructor(
    private readonly path: string,
    /** Held for as long as the lock is: a collected connection gives its lock up. */
    private readonly holder: Database,
  ) {}

  /**
   * Takes the ownership of the file at this resolved path (no symbolic link in it).
   * @throws {Fault} STORE_OWNED when somebody has it, this process included.
   */
  static take(path: string): StoreLock {
    try {
      const holder = openLockFile(`${path}-lock`);
      try {
        holder.exec('BEGIN EXCLUSIVE');
        writeFileSync(ownerFile(path), `pid ${String(process.pid)} on ${hostname()}\n`, {
          mode: 0o600,
        });
      } catch (error) {
        holder.close();
        throw error;
      }
      return new StoreLock(path, holder);
    } catch (error) {
      if (((resultOf(error) ?? 0) & 0xff) !== BUSY) throw asFault(error, path, 'open');
      throw new Fault('STORE_OWNED', `store is owned by ${ownerOf(path)} (${path})`);
    }
  }

  /** Gives the ownership up. Safe to repeat. */
  release(): void {
    if (!this.holder.isOpen) return;
    rmSync(ownerFile(this.path), { force: true });
    this.holder.close();
  }
}

/** Who owns the file, for people: the lock itself cannot be asked. */
function ownerOf(path: string): string {
  try {
    return readFileSync(ownerFile(path), 'utf8').trim();
  } catch {
    return 'another process'; // which has not written its name yet
  }
}

function ownerFile(path: string): string {
  return `${path}-owner`;
}
