import { hash, randomInt, randomUUID } from 'node:crypto';

/** Namespace of all UUIDv5 made here; fixed for ever, since event ids depend on it. */
export const NAMESPACE = '6f1c1d0a-53b7-5a0e-9c57-1f6a2d0b7e43';
const NAMESPACE_BYTES = Buffer.from(NAMESPACE.replaceAll('-', ''), 'hex');

/** A UUIDv5 of a name: the same name always gives the same id. */
export function uuidV5(name: string): string {
  const hex = hash('sha1', Buffer.concat([NAMESPACE_BYTES, Buffer.from(name)]), 'hex');
  const variant = ((parseInt(hex.charAt(16), 16) & 0x3) | 0x8).toString(16);
  return plain(
    `${hex.slice(0, 8)}-${hex.slice(8, 12)}-5${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20, 32)}`,
  );
}

/** A UUIDv7: sorts by the time of its making, with 74 random bits. */
export function uuidV7(epochMs: number): string {
  // In halves, since a number of more than 32 bits takes twice as long to write down.
  const high = Math.floor(epochMs / 0x1_0000).toString(16);
  const low = (epochMs % 0x1_0000).toString(16);
  // Node draws the randomness of UUIDs in blocks: a fifth of the cost of ten bytes at a time.
  return plain(`${high.padStart(8, '0')}-${low.padStart(4, '0')}-7${randomUUID().slice(15)}`);
}

/** Pieces put together keep all that they were cut from; kept by the thousand, ids should be plain. */
function plain(id: string): string {
  return Buffer.from(id, 'latin1').toString('latin1');
}

/** SHA-256 of a text, lower-case hex. */
export function sha256(text: string): string {
  return hash('sha256', text, 'hex');
}

/** A number in [0, 1), for jitter. */
export function chance(): number {
  return randomInt(2 ** 32) / 2 ** 32;
}
