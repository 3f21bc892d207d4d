/**
 * A log as lines, and lines as a log: the same ids, the same order within each deployment, the same bytes.
 */
import { createHash } from 'node:crypto';
import { evolve, unrecorded, type Deployment } from '../domain/deployment.js';
import { illegalBecause, unsettledBecause } from '../domain/history.js';
import {
  parseEvent,
  parseId,
  type DeploymentEvent,
  type DeploymentId,
} from '../domain/event-schema.js';
import {
  APPEND_EVENTS_MAX,
  assertAppendable,
  STREAM_PREFIX,
  type EventStore,
  type NewEvent,
  type Position,
  type RecordedEvent,
  type Revision,
} from '../ports/event-store.js';
import { Fault } from '../ports/faults.js';
import { turn } from '../ports/pace.js';
import {
  BulkAppender,
  patienceWith,
  type Append,
  type Patience,
  type PatienceOptions,
} from './bulk-append.js';
import { rawMembers } from './raw-json.js';

/** What a log, or a file made of one, holds. Two that hold the same have the same digest. */
export interface Contents {
  readonly events: number;
  /** Deployments. */
  readonly streams: number;
  /** SHA-256 over ids, types and bytes of all events, in the order of streams' names and revisions. */
  readonly digest: string;
}

/** How far a pass is; `total` null when nobody knows. */
export interface TransferProgress {
  readonly done: number;
  readonly total: number | null;
}

/** One event as a line of JSON: the members of an event as HTTP tells it, data and metadata as stored. */
function lineOf({ id, type, stream, revision, position, ...bytes }: RecordedEvent): string {
  const { data, metadata } = bytes;
  const parsed = parseEvent(type, data, metadata);
  if (!parsed.ok || /[\r\n]/.test(data + metadata)) {
    const problem = parsed.ok ? 'its JSON has line breaks' : parsed.problem;
    const where = `event ${String(revision)} of ${stream} (position ${String(position)})`;
    throw new Fault('STORE_CORRUPT', `${where} can not be told as a line: ${problem}`);
  }
  const deploymentId = stream.slice(STREAM_PREFIX.length);
  const told = { id, type, deploymentId, revision: String(revision), position: String(position) };
  const { recordedAt } = parsed.event.metadata;
  const head = JSON.stringify({ ...told, recordedAt }).slice(0, -1);
  return `${head},"data":${data},"metadata":${metadata}}`;
}

/**
 * Hands every event of the log over as a line, in log order, page by page. Reads only.
 *
 * Shape: the contents that were handed over.   Cost: one pass; memory for one digest a deployment.
 * @throws {Fault} STORE_CORRUPT for an event that cannot be read.
 */
export async function exportLog(options: {
  readonly store: EventStore;
  readonly write: (lines: string) => Promise<void>;
  readonly onProgress?: (progress: TransferProgress) => void;
}): Promise<Contents> {
  const { store, write, onProgress } = options;
  const head = await store.head();
  const tally = new Tally();
  for await (const page of store.readAll()) {
    const ours = page.filter(({ stream }) => stream.startsWith(STREAM_PREFIX));
    for (const event of ours) tally.add(event.stream, event);
    if (ours.length > 0) await write(`${ours.map(lineOf).join('\n')}\n`);
    onProgress?.({ done: tally.events, total: estimatedTotal(tally.events, page.at(-1), head) });
    await turn();
  }
  return tally.contents();
}

/** A line that was read: the event, where it belongs, and which line it is, from 1. */
interface Line extends NewEvent {
  readonly number: number;
  readonly stream: string;
  readonly deploymentId: DeploymentId;
  readonly revision: Revision;
  readonly event: DeploymentEvent;
}

/** Why an import was refused; nothing of the line that is named, or after it, was written. */
export interface ImportRefusal {
  /** From 1. */
  readonly line: number;
  readonly problem: string;
}

/** What an import did. */
export type ImportOutcome =
  | {
      readonly ok: true;
      readonly file: Contents;
      /** The same streams as the log holds them now; equal to `file`, or the import had failed. */
      readonly log: Contents;
      /** Events that an earlier run, or this log itself, had already. */
      readonly present: number;
    }
  | { readonly ok: false; readonly refusal: ImportRefusal };

/** What an import works with. */
export interface ImportOptions {
  readonly store: EventStore;
  /** Opens the lines anew; they are read twice. Without line ends. */
  readonly lines: () => AsyncIterable<string>;
  readonly onProgress?: (progress: TransferProgress & { readonly step: ImportStep }) => void;
  /** For a log that others share, and that a network may hide for a while. */
  readonly patience?: PatienceOptions;
}
export type ImportStep = 'check' | 'append' | 'verify';

/**
 * Appends a file of lines to a log, or refuses it naming the line.
 *
 * Three passes: every line is checked, as a history that the rules can have made, before anything is
 * written; then the events are appended, those of one command together; then both sides are counted and
 * their digests compared.
 *
 * Safe to repeat, also after a kill in the middle: what is there already is recognised by its ids.
 * Cost: memory for one folded deployment for each stream, and some 60 bytes for each id.
 * @throws {Fault} whatever the store throws, an outage when patience is over; STORE_CORRUPT when the log does not
 *   hold what was written.
 */
export async function importLog(options: ImportOptions): Promise<ImportOutcome> {
  const checked = await checkLines(options);
  if (!checked.ok) return checked;
  const { file, streams } = checked;
  const patience = patienceWith(options.store, options.patience);
  const appended = await appendLines(options, file.events, patience);
  if (!appended.ok) return appended;
  const log = await patience.through(() => contentsOf(options, streams));
  if (log.events !== file.events || log.digest !== file.digest) {
    const detail = `the file has ${file.events} events, the log ${log.events} of them, with digest ${log.digest} in place of ${file.digest}`;
    throw new Fault('STORE_CORRUPT', detail);
  }
  return { ok: true, file, log, present: appended.present };
}

/** How many events of each stream the file has. */
type Lengths = ReadonlyMap<string, number>;

async function checkLines({
  lines,
  onProgress,
}: ImportOptions): Promise<
  | { readonly ok: true; readonly file: Contents; readonly streams: Lengths }
  | { readonly ok: false; readonly refusal: ImportRefusal }
> {
  const histories = new Histories();
  const tally = new Tally();
  let number = 0;
  for await (const text of lines()) {
    number += 1;
    const line = parseLine(text, number);
    const problem = typeof line === 'string' ? line : histories.problemOf(line);
    if (problem !== null) return refusal(number, problem);
    if (typeof line !== 'string') tally.add(line.stream, line);
    if (number % 1000 === 0) {
      onProgress?.({ step: 'check', done: number, total: null });
      await turn();
    }
  }
  const unfinished = histories.unfinished();
  if (unfinished !== null) return { ok: false, refusal: unfinished };
  return { ok: true, file: tally.contents(), streams: tally.lengths() };
}

function refusal(line: number, problem: string): { ok: false; refusal: ImportRefusal } {
  return { ok: false, refusal: { line, problem } };
}

/** Reads a line; answers what is wrong with it in words. */
function parseLine(text: string, number: number): Line | string {
  const members = rawMembers(text);
  if (members === null) return 'it is not a JSON object (is the file cut off?)';
  const [id, type, named, revision] = ['id', 'type', 'deploymentId', 'revision'].map((name) =>
    textIn(members.get(name)),
  );
  const { data, metadata } = Object.fromEntries(members);
  if (id === undefined || type === undefined || data === undefined || metadata === undefined) {
    return 'it has not all of id, type, deploymentId, revision, data and metadata';
  }
  const place = placeIn(named, revision);
  return typeof place === 'string'
    ? place
    : eventIn({ id, type, data, metadata }, { ...place, number });
}

function placeIn(named = '', revision = ''): Pick<Line, 'deploymentId' | 'revision'> | string {
  const deploymentId = parseId<DeploymentId>(named);
  if (deploymentId === null) return 'its deploymentId is malformed';
  return /^(0|[1-9]\d{0,17})$/.test(revision)
    ? { deploymentId, revision: BigInt(revision) }
    : 'its revision is no decimal number in quotes';
}

function eventIn(
  stored: NewEvent,
  place: Pick<Line, 'deploymentId' | 'revision' | 'number'>,
): Line | string {
  const parsed = parseEvent(stored.type, stored.data, stored.metadata);
  if (!parsed.ok) return parsed.problem;
  try {
    assertAppendable([stored]);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return { ...stored, ...place, stream: STREAM_PREFIX + place.deploymentId, event: parsed.event };
}

function textIn(raw: string | undefined): string | undefined {
  const value: unknown = raw?.startsWith('"') === true ? JSON.parse(raw) : undefined;
  return typeof value === 'string' ? value : undefined;
}

/** A stream as far as its lines are read. */
interface Reading {
  readonly deployment: Deployment;
  readonly revision: Revision;
  readonly commandId: string;
  readonly line: number;
}

function unread(deploymentId: DeploymentId): Reading {
  return { deployment: unrecorded(deploymentId), revision: -1n, commandId: '', line: 0 };
}

function illegalAfter(
  { deployment, revision }: Reading,
  event: DeploymentEvent,
  goesOn: boolean,
): string | null {
  const unsettled = goesOn || revision < 0n ? null : unsettledBecause(deployment);
  if (unsettled !== null) return `before it, ${unsettled}`;
  const problem = illegalBecause(deployment, event);
  return problem === null ? null : `${event.type} of ${deployment.deploymentId}: ${problem}`;
}

/** All streams of a file, folded. */
class Histories {
  readonly #streams = new Map<string, Reading>();
  /** The line of each id; ids as 16 letters, since there may be millions. */
  readonly #ids = new Map<string, number>();

  /** Takes a line in; answers why it can not follow the ones before, or null. */
  problemOf(line: Line): string | null {
    const { stream, deploymentId, revision, event, number } = line;
    const before = this.#streams.get(stream) ?? unread(deploymentId);
    const next = before.revision + 1n;
    if (revision !== next) return `revision ${revision} of ${deploymentId} follows ${next - 1n}`;
    const { commandId } = event.metadata;
    const problem =
      this.#idProblem(line) ?? illegalAfter(before, event, before.commandId === commandId);
    if (problem !== null) return problem;
    const deployment = evolve(before.deployment, event);
    this.#streams.set(stream, { deployment, revision, commandId, line: number });
    return null;
  }

  /** Two events of one id cannot both be right. */
  #idProblem({ id, number }: Line): string | null {
    const bytes = Buffer.from(id.replaceAll('-', ''), 'hex').toString('latin1');
    const before = this.#ids.get(bytes);
    this.#ids.set(bytes, number);
    return before === undefined ? null : `its id is that of line ${before}`;
  }

  /** The first stream that stops in the middle of a command. */
  unfinished(): ImportRefusal | null {
    for (const { deployment, line } of this.#streams.values()) {
      const problem = unsettledBecause(deployment);
      if (problem !== null) {
        return { line, problem: `${deployment.deploymentId} ends with it, and ${problem}` };
      }
    }
    return null;
  }
}

type Appending =
  | { readonly ok: true; readonly present: number }
  | { readonly ok: false; readonly refusal: ImportRefusal };

async function appendLines(
  { store, lines, onProgress }: ImportOptions,
  total: number,
  patience: Patience,
): Promise<Appending> {
  const head = await patience.through(() => store.head());
  const appender = new BulkAppender<Append & { readonly line: number }>(store, head, patience);
  let group: Line[] = [];
  const send = async (): Promise<void> => {
    if (group.length > 0) await appender.add(appendOf(group));
    group = [];
  };
  let number = 0;
  for await (const text of lines()) {
    number += 1;
    const line = parseLine(text, number);
    if (typeof line === 'string') throw new Error(`line ${number} has changed: ${line}`);
    if (!isOneCommand(group, line)) await send();
    group.push(line);
    if (appender.conflict !== null) break;
    if (number % 1000 === 0) onProgress?.({ step: 'append', done: number, total });
  }
  if (appender.conflict === null) await send();
  await appender.finish();
  const { conflict, present } = appender;
  return conflict === null ? { ok: true, present } : { ok: false, refusal: refusalOf(conflict) };
}

function isOneCommand(group: readonly Line[], { stream, event }: Line): boolean {
  const [first] = group;
  return (
    first?.stream === stream &&
    first.event.metadata.commandId === event.metadata.commandId &&
    group.length < APPEND_EVENTS_MAX
  );
}

function appendOf(group: readonly Line[]): Append & { readonly line: number } {
  const { stream = '', revision = 0n, number = 0 } = group[0] ?? {};
  const events = group.map(({ id, type, data, metadata }) => ({ id, type, data, metadata }));
  return { stream, expected: revision === 0n ? 'no_stream' : revision - 1n, events, line: number };
}

/** The first append that the store refused, since it has something else there. */
function refusalOf(conflict: Append & { readonly line: number }): ImportRefusal {
  const revision = conflict.expected === 'no_stream' ? 0n : conflict.expected + 1n;
  const problem = `the log has something else at revision ${String(revision)} of ${conflict.stream}`;
  return { line: conflict.line, problem };
}

/** What the log holds of some streams, as long as the file has them. */
async function contentsOf(
  { store, onProgress }: ImportOptions,
  streams: Lengths,
): Promise<Contents> {
  const total = [...streams.values()].reduce((sum, length) => sum + length, 0);
  const tally = new Tally();
  for await (const page of store.readAll()) {
    for (const event of page) {
      if (event.revision < BigInt(streams.get(event.stream) ?? 0)) tally.add(event.stream, event);
    }
    onProgress?.({ step: 'verify', done: tally.events, total });
    await turn();
  }
  return tally.contents();
}

/** Counts events and digests each stream in its order, so that the order of streams does not matter. */
class Tally {
  readonly #streams = new Map<string, { count: number; digest: Buffer }>();
  events = 0;

  add(stream: string, { id, type, data, metadata }: NewEvent): void {
    const so = this.#streams.get(stream) ?? { count: 0, digest: Buffer.alloc(0) };
    so.digest = createHash('sha256')
      .update(so.digest)
      .update(JSON.stringify([id, type, data, metadata]))
      .digest();
    so.count += 1;
    this.events += 1;
    this.#streams.set(stream, so);
  }

  lengths(): Lengths {
    return new Map([...this.#streams].map(([stream, { count }]) => [stream, count]));
  }

  contents(): Contents {
    const hash = createHash('sha256');
    for (const [stream, { digest }] of [...this.#streams].sort(([a], [b]) => (a < b ? -1 : 1))) {
      hash.update(stream).update(digest);
    }
    return { events: this.events, streams: this.#streams.size, digest: hash.digest('hex') };
  }
}

/** Exact where positions have no gaps; elsewhere as good as events are evenly large. */
function estimatedTotal(
  done: number,
  last: RecordedEvent | undefined,
  head: Position | null,
): number | null {
  if (last === undefined || head === null || last.position === 0n) return null;
  return Math.max(done, Math.round((done * Number(head)) / Number(last.position)));
}
