import { hash } from 'node:crypto';
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { syncFolder } from '../folders.js';

/** The last event of a log: its position (0: the log is empty) and a SHA-256 over all of it. */
export interface Head {
  readonly position: number;
  readonly hash: string;
}

/** The head of an empty log. */
export const EMPTY_HEAD: Head = { position: 0, hash: '0'.repeat(64) };

/**
 * The head of a log, kept beside the log.
 *
 * SQLite opens a log whose tail was cut off or damaged without a word; only something outside can tell.
 * The head is written after each commit has reached the disk, so it never runs ahead of the log, and
 * without waiting for the disk, so it may lag behind: after a crash of the process by the last group,
 * after a power cut by what the kernel had not written yet (half a minute, and never past a `sync`).
 *
 * Two slots in sectors of their own are written in turn, each with a checksum: a torn write spoils the
 * older one at most. The file never grows, so that a full disk does not stop it.
 */
export class HeadFile {
  readonly #slot = Buffer.alloc(SLOT_BYTES);
  #turn = 0;

  private constructor(private readonly descriptor: number) {}

  /** What a file says; `none` when it was never written, `damaged` when no slot is whole. */
  static read(path: string): Head | 'none' | 'damaged' {
    if (!existsAt(path)) return 'none';
    const bytes = readFileSync(path);
    if (bytes.every((byte) => byte === 0)) return 'none';
    const heads = SLOT_OFFSETS.map((offset) => headIn(bytes.subarray(offset, offset + SLOT_BYTES)));
    return heads.reduce(newer) ?? 'damaged';
  }

  /** Opens the file, or creates it for its owner alone, and puts this head in place of what it said. */
  static open(path: string, head: Head): HeadFile {
    const file = new HeadFile(openSync(path, existsAt(path) ? 'r+' : 'wx+', 0o600));
    SLOT_OFFSETS.forEach(() => {
      file.write(head);
    });
    fsyncSync(file.descriptor);
    syncFolder(dirname(path));
    return file;
  }

  /** Notes a newer head. Cost: one write into the page cache. */
  write(head: Head): void {
    this.#slot.writeBigUInt64BE(BigInt(head.position), 0);
    this.#slot.write(head.hash, POSITION_BYTES, 'hex');
    this.#slot.write(checksumOf(this.#slot), CHECKED_BYTES, 'hex');
    writeSync(this.descriptor, this.#slot, 0, SLOT_BYTES, SLOT_OFFSETS[this.#turn]);
    this.#turn = 1 - this.#turn;
  }

  /** Waits until what was written is on the disk. */
  sync(): void {
    fdatasyncSync(this.descriptor);
  }

  close(): void {
    fsyncSync(this.descriptor);
    closeSync(this.descriptor);
  }
}

const POSITION_BYTES = 8;
/** Position and hash; the checksum stands behind them. */
const CHECKED_BYTES = POSITION_BYTES + 32;
const CHECKSUM_HEX = 16;
const SLOT_BYTES = CHECKED_BYTES + CHECKSUM_HEX / 2;
/** A sector is written whole or not at all; two slots never share one, whatever its size. */
const SLOT_OFFSETS = [0, 4096] as const;

function headIn(slot: Buffer): Head | null {
  if (slot.length < SLOT_BYTES) return null;
  if (slot.toString('hex', CHECKED_BYTES) !== checksumOf(slot)) return null;
  return {
    position: Number(slot.readBigUInt64BE(0)),
    hash: slot.toString('hex', POSITION_BYTES, CHECKED_BYTES),
  };
}

function newer(one: Head | null, other: Head | null): Head | null {
  if (one === null || other === null) return one ?? other;
  return other.position > one.position ? other : one;
}

function checksumOf(slot: Buffer): string {
  return hash('sha256', slot.subarray(0, CHECKED_BYTES)).slice(0, CHECKSUM_HEX);
}

function existsAt(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}
