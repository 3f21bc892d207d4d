/** A disk that tells what the steps of a process had made durable at any moment. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import type { Step } from './traced.js';

/**
 * What becomes of changes that nothing had made durable when the power went. Whether one of them
 * reached a sector: of what is written to a sector in turn, a later change takes earlier ones along.
 */
export interface Fate {
  readonly name: string;
  /** What the disk writes whole or not at all. */
  readonly sectorBytes: number;
  reached(place: File | Folder, index: number, sector: number): boolean;
}

/** A change that waits for a sync; `number` counts over the whole disk. */
type Waiting<Change> = Change & { readonly number: number };
type FileChange =
  | { readonly type: 'write'; readonly at: number; readonly bytes: Buffer }
  | { readonly type: 'resize'; readonly size: number };
/** Entries that change together; null for one that goes. */
interface FolderChange {
  readonly entries: ReadonlyMap<string, File | Folder | null>;
}

class File {
  readonly waiting: Waiting<FileChange>[] = [];
  /** What a process sees, but for what waits: what is durable, and what a sync that failed has dropped. */
  settled: Buffer;
  /** Pages that the kernel takes for written since a sync failed, and that the disk never got. */
  readonly #dropped = new Set<number>();

  constructor(public durable: Buffer = Buffer.alloc(0)) {
    this.settled = durable;
  }

  sync(before: number): void {
    const old = this.durable;
    for (const page of this.#settle(before)) this.#dropped.delete(page);
    this.durable = Buffer.from(this.settled);
    for (const page of this.#dropped) {
      const from = Math.min(page * PAGE_BYTES, this.durable.length);
      const to = Math.min(from + PAGE_BYTES, this.durable.length);
      this.durable.fill(0, from, to);
      old.copy(this.durable, from, Math.min(from, old.length), to);
    }
  }

  /** As Linux has it: what could not be written counts as written, and only a new write changes that. */
  failSync(): void {
    for (const page of this.#settle(Infinity)) this.#dropped.add(page);
  }

  /** Pages of the changes that wait no more. */
  #settle(before: number): Set<number> {
    const count = countBefore(this.waiting, before);
    this.settled = contentOf(this, { count, fate: EVERYTHING });
    const pages = new Set<number>();
    for (const each of this.waiting.splice(0, count)) {
      const [from, to] = each.type === 'write' ? [each.at, each.at + each.bytes.length] : [0, 0];
      for (let page = Math.floor(from / PAGE_BYTES); page * PAGE_BYTES < to; page++)
        pages.add(page);
    }
    return pages;
  }
}

class Folder {
  readonly waiting: Waiting<FolderChange>[] = [];
  /** As a process sees it. */
  readonly entries: Map<string, File | Folder>;
  constructor(readonly durable = new Map<string, File | Folder>()) {
    this.entries = new Map(durable);
  }

  sync(before: number): void {
    const count = countBefore(this.waiting, before);
    for (const { entries } of this.waiting.splice(0, count)) change(this.durable, entries);
  }

  /** Entries go through a journal: a later sync has them. */
  failSync(): void {
    return;
  }
}

/** What the kernel holds and writes at once. */
const PAGE_BYTES = 4096;
const SECTOR_BYTES = [512, PAGE_BYTES] as const;

/** All that was written is there, as after the death of the process alone. */
export const EVERYTHING: Fate = { name: 'everything', sectorBytes: 4096, reached: () => true };
/** Only what was synced is there. */
export const NOTHING: Fate = { name: 'nothing unsynced', sectorBytes: 4096, reached: () => false };

export class PowerCutDisk {
  readonly #root: Folder;
  #path: string;
  #number = 0;
  readonly #open = new Map<number, { readonly node: File | Folder; at: number }>();
  /** Syncs under way, by thread: the number of the next change when they started. */
  readonly #syncs = new Map<string, number>();

  /** What lies in a folder, all of it durable. */
  constructor(path: string) {
    this.#path = path;
    this.#root = folderAt(path);
  }

  /** Carries out a step of a process. */
  take(step: Step): void {
    switch (step.type) {
      case 'open':
        this.#openFile(step);
        return;
      case 'close':
        this.#open.delete(step.fd);
        return;
      case 'write':
        this.#write(step);
        return;
      case 'resize':
        this.#wait(this.#fileOf(step.fd), { type: 'resize', size: step.size });
        return;
      case 'sync-started':
        this.#syncs.set(step.thread, this.#number);
        return;
      case 'sync-ended':
        this.#nodeOf(step.fd).sync(this.#syncs.get(step.thread) ?? 0);
        return;
      case 'sync-failed':
        this.#nodeOf(step.fd).failSync();
        return;
      case 'make-folder':
        this.#setEntries(step.path, new Folder());
        return;
      case 'remove':
        this.#setEntries(step.path, null);
        return;
      case 'rename':
        this.#rename(step.path, step.to);
        return;
      case 'link':
        this.#setEntries(step.to, this.#find(step.path) ?? null);
        return;
      case 'say':
    }
  }

  /** Goes on for another process, in whose view of the same disk the folder may have another path. */
  restart(path: string): void {
    this.#path = path;
    this.#open.clear();
    this.#syncs.clear();
  }

  /** Makes real files of what a cut at this moment leaves. */
  leave(path: string, fate: Fate): void {
    writeFolder(this.#root, path, fate);
  }

  /** Changes reach the disk in their order, up to one of chance. */
  inOrder(random: () => number): Fate {
    const numbers = waitingIn(this.#root);
    const first = numbers[Math.floor(random() * numbers.length)] ?? 0;
    const reached: Fate['reached'] = ({ waiting }, index) => (waiting[index]?.number ?? 0) < first;
    return { name: `unsynced changes before ${first}`, sectorBytes: 4096, reached };
  }

  #openFile({ fd, path, creates, empties }: Extract<Step, { type: 'open' }>): void {
    let node = this.#find(path);
    if (node === undefined) {
      if (!creates) throw new Error(`${path} is opened, and was never made`);
      node = new File();
      this.#setEntries(path, node);
    } else if (empties && node instanceof File) {
      this.#wait(node, { type: 'resize', size: 0 });
    }
    this.#open.set(fd, { node, at: 0 });
  }

  #write({ fd, at, bytes }: Extract<Step, { type: 'write' }>): void {
    const open = this.#open.get(fd);
    const from = at ?? open?.at ?? 0;
    this.#wait(this.#fileOf(fd), { type: 'write', at: from, bytes });
    if (at === null && open !== undefined) open.at += bytes.length;
  }

  #wait(file: File, change: FileChange): void {
    file.waiting.push({ ...change, number: this.#number++ });
  }

  #setEntries(path: string, node: File | Folder | null): void {
    const { folder, name } = this.#placeOf(path);
    this.#changeEntries(folder, new Map([[name, node]]));
  }

  #rename(path: string, to: string): void {
    const [from, target] = [this.#placeOf(path), this.#placeOf(to)];
    if (from.folder !== target.folder) throw new Error('a move to another folder is not modelled');
    const node = from.folder.entries.get(from.name) ?? null;
    const entries = new Map([
      [from.name, null],
      [target.name, node],
    ]);
    this.#changeEntries(from.folder, entries);
  }

  #changeEntries(folder: Folder, entries: FolderChange['entries']): void {
    change(folder.entries, entries);
    folder.waiting.push({ entries, number: this.#number++ });
  }

  #placeOf(path: string): { readonly folder: Folder; readonly name: string } {
    const names = relative(this.#path, path).split('/');
    const name = names.pop() ?? '';
    const folder = names.reduce((at, each) => asFolder(at.entries.get(each), path), this.#root);
    return { folder, name };
  }

  #find(path: string): File | Folder | undefined {
    const { folder, name } = this.#placeOf(path);
    return name === '' ? this.#root : folder.entries.get(name);
  }

  #nodeOf(fd: number): File | Folder {
    const node = this.#open.get(fd)?.node;
    if (node === undefined) throw new Error(`descriptor ${fd} was never opened`);
    return node;
  }

  #fileOf(fd: number): File {
    const node = this.#nodeOf(fd);
    if (node instanceof Folder) throw new Error(`descriptor ${fd} is a folder`);
    return node;
  }
}

/** Each sector holds one of its states since the last sync, by chance; so does each size and each entry. */
export function bySectors(random: () => number): Fate {
  const sectorBytes = SECTOR_BYTES[Math.floor(random() * SECTOR_BYTES.length)] ?? 512;
  const limits = new Map<File | Folder, Map<number, number>>();
  const reached: Fate['reached'] = (place, index, sector) => {
    const ofPlace = limits.get(place) ?? new Map<number, number>();
    limits.set(place, ofPlace);
    const limit = ofPlace.get(sector) ?? Math.floor(random() * (place.waiting.length + 1));
    ofPlace.set(sector, limit);
    return index < limit;
  };
  return { name: `sectors of ${sectorBytes} bytes by chance`, sectorBytes, reached };
}

/** Stands for the sector that holds the size of a file. */
const SIZE = -1;

function contentOf(file: File, { count, fate }: { count: number; fate: Fate }): Buffer {
  const base = fate === EVERYTHING ? file.settled : file.durable;
  const waiting = file.waiting.slice(0, count);
  const ends = waiting.map((each) => (each.type === 'write' ? each.at + each.bytes.length : 0));
  const content = Buffer.alloc(Math.max(base.length, ...ends));
  base.copy(content);
  let size = base.length;
  for (const [index, each] of waiting.entries()) {
    const [from, to] =
      each.type === 'write' ? [each.at, ends[index]!] : [each.size, content.length];
    for (let at = from; at < to;) {
      const sector = Math.floor(at / fate.sectorBytes);
      const end = Math.min(to, (sector + 1) * fate.sectorBytes);
      if (fate.reached(file, index, sector)) {
        if (each.type === 'write') each.bytes.copy(content, at, at - from, end - from);
        else content.fill(0, at, end);
      }
      at = end;
    }
    if (fate.reached(file, index, SIZE)) size = each.type === 'write' ? Math.max(size, to) : from;
  }
  if (size <= content.length) return content.subarray(0, size);
  return Buffer.concat([content, Buffer.alloc(size - content.length)]);
}

function entriesOf(folder: Folder, fate: Fate): Map<string, File | Folder> {
  const entries = new Map(folder.durable);
  for (const [index, each] of folder.waiting.entries()) {
    if (fate.reached(folder, index, index)) change(entries, each.entries);
  }
  return entries;
}

function change(entries: Map<string, File | Folder>, changes: FolderChange['entries']): void {
  for (const [name, node] of changes) {
    if (node === null) entries.delete(name);
    else entries.set(name, node);
  }
}

function countBefore(waiting: readonly { readonly number: number }[], before: number): number {
  const count = waiting.findIndex(({ number }) => number >= before);
  return count === -1 ? waiting.length : count;
}

function waitingIn(node: File | Folder): number[] {
  const below = node instanceof Folder ? [...node.entries.values()].flatMap(waitingIn) : [];
  return [...node.waiting.map(({ number }) => number), ...below];
}

function asFolder(node: File | Folder | undefined, path: string): Folder {
  if (node instanceof Folder) return node;
  throw new Error(`${path} is in no folder that was made`);
}

function folderAt(path: string): Folder {
  const entries = readdirSync(path, { withFileTypes: true }).map((entry) => {
    const at = join(path, entry.name);
    return [entry.name, entry.isDirectory() ? folderAt(at) : new File(readFileSync(at))] as const;
  });
  return new Folder(new Map(entries));
}

function writeFolder(folder: Folder, path: string, fate: Fate): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  for (const [name, node] of entriesOf(folder, fate)) {
    const at = join(path, name);
    if (node instanceof Folder) writeFolder(node, at, fate);
    else writeFileSync(at, contentOf(node, { count: node.waiting.length, fate }), { mode: 0o600 });
  }
}
