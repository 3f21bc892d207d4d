/** What a process does to its files, as the kernel saw it: recorded by strace. */
import { it } from '@jest/globals';
import { spawn, spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { launched, plainEnvironment, temporaryFolder, type Ending } from './service.js';

/** One call of the system on a file below the folder that is watched, or a line that was said on stdout. */
export type Step =
  | {
      readonly type: 'open';
      readonly fd: number;
      readonly path: string;
      /** It is made when it is missing. */
      readonly creates: boolean;
      /** What it holds goes. */
      readonly empties: boolean;
    }
  | { readonly type: 'close'; readonly fd: number }
  | {
      readonly type: 'write';
      readonly fd: number;
      /** Offset; null where the last write ended. */
      readonly at: number | null;
      readonly bytes: Buffer;
    }
  | { readonly type: 'resize'; readonly fd: number; readonly size: number }
  /** A sync makes durable what was written before it started, once it has ended. */
  | { readonly type: 'sync-started' | 'sync-ended'; readonly fd: number; readonly thread: string }
  | { readonly type: 'sync-failed'; readonly fd: number }
  | { readonly type: 'make-folder' | 'remove'; readonly path: string }
  | { readonly type: 'rename' | 'link'; readonly path: string; readonly to: string }
  | { readonly type: 'say'; readonly text: string };

/** All calls by which a file, a folder or its entries change; those with `?` are missing on some machines. */
const CALLS = [
  'openat,close,write,pwrite64,ftruncate,fsync,fdatasync,mkdirat,unlinkat',
  '?open,?mkdir,?unlink,?rename,?renameat,?renameat2,?link,?linkat',
].join(',');
/** Bytes of one write that are recorded: more than any write of ours has. */
const WRITE_BYTES_MAX = 4 * 1024 * 1024;
const STRACE = ['strace', '--follow-forks', '--seccomp-bpf', `--trace=${CALLS}`];

/** A test that traces; where that is not possible it is told and left out, but not by .ci/run. */
export function tracing(): typeof it | typeof it.skip {
  const [program = '', ...args] = STRACE;
  const isPossible = spawnSync(program, [...args, 'true'], { stdio: 'ignore' }).status === 0;
  if (isPossible || process.env['CI'] !== undefined || process.env['REQUIRE_TOOLS'] === '1') {
    return it;
  }
  process.stderr.write('NOT RUN: power cuts, since strace can trace nothing here\n');
  return it.skip;
}

/** Runs a command until it ends by itself. Its standard output is recorded and thrown away. */
export async function trace(
  command: readonly string[],
  options: {
    /** The folder that is watched, absolute and resolved. */
    readonly folder: string;
    readonly environment?: Readonly<Record<string, string>>;
  },
): Promise<{ readonly ending: Ending; readonly said: string; readonly steps: readonly Step[] }> {
  const record = join(await temporaryFolder(), 'trace');
  const [program = '', ...args] = STRACE;
  const how = ['--strings-in-hex=all', `--string-limit=${WRITE_BYTES_MAX}`, '--output', record];
  // With the tracer alone killed, what it traces would go on: they are one group.
  const child = spawn(program, [...args, ...how, ...command], {
    env: { ...plainEnvironment(), ...options.environment },
    stdio: ['ignore', 'ignore', 'pipe'],
    detached: true,
  });
  const { ended, said } = launched(child, { group: true });
  const ending = await ended;
  const steps = [...stepsOf(await readFile(record, 'latin1'), options.folder)];
  return { ending, said: said(), steps };
}

const STDOUT = 1;

interface Call {
  readonly thread: string;
  readonly name: string;
  /** As far as it is known: without the end where the call has not returned. */
  readonly args: string;
  /** Null when the call has only started. */
  readonly result: number | null;
}

/** Steps of the calls that succeeded, in the order in which they returned. */
function* stepsOf(text: string, folder: string): Generator<Step> {
  const open = new Set<number>();
  for (const call of callsOf(text)) {
    const step = stepOf(call);
    if (step === null || !isOurs(step, { folder, open })) continue;
    if (step.type === 'open') open.add(step.fd);
    if (step.type === 'close') open.delete(step.fd);
    yield step;
  }
}

function isOurs(
  step: Step,
  { folder, open }: { readonly folder: string; readonly open: ReadonlySet<number> },
): boolean {
  if (step.type === 'say') return true;
  if ('path' in step) return step.path === folder || step.path.startsWith(`${folder}/`);
  return open.has(step.fd);
}

/** Each call once when it starts and once when it has returned. */
function* callsOf(text: string): Generator<Call> {
  const unfinished = new Map<string, string>();
  for (const line of text.matchAll(/^(\d+) +(<\.\.\. \w+ resumed>)?(.*)$/gm)) {
    const [thread, rest] = [line[1]!, line[3]!];
    const isUnfinished = rest.endsWith(UNFINISHED);
    const known = isUnfinished ? rest.slice(0, -UNFINISHED.length) : rest;
    const isStart = line[2] === undefined;
    const whole = isStart ? known : (unfinished.get(thread) ?? '') + known;
    if (isStart) yield* started(thread, whole);
    if (isUnfinished) unfinished.set(thread, whole);
    else yield* returned(thread, whole);
  }
}

const UNFINISHED = ' <unfinished ...>';

function* started(thread: string, text: string): Generator<Call> {
  const [, name, args = ''] = /^(\w+)\((.*)$/.exec(text) ?? [];
  if (name !== undefined) yield { thread, name, args, result: null };
}

function* returned(thread: string, text: string): Generator<Call> {
  const [, name, args = '', result = ''] = /^(\w+)\((.*)\)\s+= (-?\d+|\?)/.exec(text) ?? [];
  if (name !== undefined) yield { thread, name, args, result: Number(result) };
}

function stepOf({ thread, name, args, result }: Call): Step | null {
  const fd = Number(/^\d+/.exec(args)?.[0]);
  if (result === null) {
    // A descriptor may be given away again before its closing has returned.
    if (name === 'close') return { type: 'close', fd };
    return /^f(data)?sync$/.test(name) ? { type: 'sync-started', fd, thread } : null;
  }
  if (Number.isNaN(result) || result < 0) return null;
  switch (name) {
    case 'fsync':
    case 'fdatasync':
      return { type: 'sync-ended', fd, thread };
    case 'ftruncate':
      return { type: 'resize', fd, size: lastNumberOf(args) };
    case 'write':
    case 'pwrite64':
      return writeOf({ fd, args, count: result, at: name === 'write' ? null : lastNumberOf(args) });
    default:
      return ofNames(name, { args, fd: result });
  }
}

function writeOf(call: { fd: number; args: string; count: number; at: number | null }): Step {
  const { fd, args, count, at } = call;
  const bytes = (stringsIn(args)[0] ?? Buffer.alloc(0)).subarray(0, count);
  if (bytes.length < count) throw new Error(`a write of ${count} bytes was not recorded whole`);
  return fd === STDOUT ? { type: 'say', text: bytes.toString() } : { type: 'write', fd, at, bytes };
}

function ofNames(name: string, { args, fd }: { args: string; fd: number }): Step | null {
  const [path = '', to = ''] = stringsIn(args).map(String);
  const flag = (word: string): boolean => new RegExp(`\\b${word}\\b`).test(args);
  if (name.startsWith('open')) {
    return { type: 'open', fd, path, creates: flag('O_CREAT'), empties: flag('O_TRUNC') };
  }
  if (name.startsWith('mkdir')) return { type: 'make-folder', path };
  if (name.startsWith('unlink')) return { type: 'remove', path };
  if (name.startsWith('link')) return { type: 'link', path, to };
  return name.startsWith('rename') ? { type: 'rename', path, to } : null;
}

/** Strings are written as `"\x66\x6f"`. */
function stringsIn(args: string): Buffer[] {
  return [...args.matchAll(/"([^"]*)"/g)].map(([, hex = '']) =>
    Buffer.from(hex.replaceAll('\\x', ''), 'hex'),
  );
}

function lastNumberOf(args: string): number {
  return Number(/(\d+)$/.exec(args)?.[1]);
}
