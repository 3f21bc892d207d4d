/**
 * Brings a legacy dump into a log: reads its rows, derives what must have happened, and adds what is missing.
 *
 * A deployment is written whole or not at all: a dump whose refused rows were mended can be brought in again.
 */
import { parseId, type AttemptId, type DeploymentId } from '../domain/event-schema.js';
import {
  APPEND_BYTES_MAX,
  APPEND_EVENTS_MAX,
  STREAM_PREFIX,
  type EventStore,
} from '../ports/event-store.js';
import { Fault } from '../ports/faults.js';
import { turn } from '../ports/pace.js';
import { Tally, type BackfillReport, type RowReport, type Why } from './backfill-report.js';
import {
  BulkAppender,
  patienceWith,
  type Append,
  type Patience,
  type PatienceOptions,
} from './bulk-append.js';
import type { PreparedEvent } from './lanes.js';
import { derive, type Derived, type LegacyContext } from './legacy-history.js';
import type { LegacyMap } from './legacy-map.js';
import {
  RowReader,
  badIdProblem,
  type Cells,
  type LegacyAttempt,
  type LegacyDeployment,
  type Read,
  type RowsOf,
} from './legacy-rows.js';

/** A row of a file: its first line, from 1, and its cells, or what is wrong with it as a whole. */
export interface SourceRow {
  readonly line: number;
  readonly cells: Cells | { readonly problem: string };
}

/** A file of the dump. */
export interface Source {
  readonly file: string;
  readonly table: RowsOf;
  /** Opens the rows anew. */
  readonly rows: () => AsyncIterable<SourceRow>;
}

/** How far the work is within one part; `total` null when nobody knows. */
export interface BackfillProgress {
  readonly step: 'read' | 'derive';
  /** From 0. */
  readonly part: number;
  /** Rows read, deployments derived. */
  readonly done: number;
  readonly total: number | null;
}

/** What a backfill works with. */
export interface BackfillOptions {
  readonly sources: readonly Source[];
  readonly map: LegacyMap;
  readonly context: Omit<LegacyContext, 'acknowledgeUnknown' | 'knowsStarts'>;
  /** The log; null when there is none yet. */
  readonly store: EventStore | null;
  /** Whether it is written to. */
  readonly apply: boolean;
  /** The dump is read so many times; each time, that part of its deployments is kept in memory. */
  readonly parts: number;
  /** Takes the reports of rows, those of one deployment together. */
  readonly onRows?: (rows: readonly RowReport[]) => Promise<void>;
  readonly onProgress?: (progress: BackfillProgress) => void;
  /** For a log that others share, and that a network may hide for a while. */
  readonly patience?: PatienceOptions;
}

/** Deployments that are compared with the log at the same time. */
const AT_ONCE = 32;

/**
 * Derives the histories of a dump and, if told so, appends them.
 *
 * Safe to repeat, also after a kill in the middle: ids are made of what the rows say, and what the log has
 * is not written again.
 * Cost: memory for the rows of one part; one read of each stream.
 * @throws {Fault} whatever the store throws; REVISION_CONFLICT when somebody else wrote at the same time.
 */
export async function backfill(options: BackfillOptions): Promise<BackfillReport> {
  const { store, parts, apply } = options;
  const patience = patienceWith(store, options.patience);
  const head = store === null ? null : await patience.through(() => store.head());
  const appender = store !== null && apply ? new BulkAppender(store, head, patience) : null;
  const work = new Backfill({ ...options, wait: patience }, head === null ? null : store, appender);
  for (let part = 0; part < parts; part += 1) await work.bring(part);
  if (appender !== null) await finished(appender);
  return work.tally.report();
}

/** Waits for what is under way. What the store threw comes first: a conflict may follow from it. */
async function finished(appender: BulkAppender<Append>): Promise<void> {
  await appender.finish();
  if (appender.conflict === null) return;
  const { stream } = appender.conflict;
  const detail = `somebody else wrote to ${stream} meanwhile; run it again, what is written stays`;
  throw new Fault('REVISION_CONFLICT', detail);
}

/** Where a row stands, what it is about, and what is wrong with it alone. */
interface Place {
  readonly file: string;
  readonly line: number;
  readonly attemptId: AttemptId | null;
  refused: { readonly why: Why; readonly detail: string } | null;
}

/** One thing that rows tell, and the first row that does. */
interface Told<T> {
  readonly value: T;
  readonly first: Place;
}

/** All rows of one deployment. */
interface Group {
  readonly deploymentId: DeploymentId;
  readonly places: Place[];
  deployment: Told<LegacyDeployment> | null;
  readonly attempts: Map<string, Told<LegacyAttempt>>;
  repeated: number;
}

class Backfill {
  readonly tally = new Tally();
  readonly #reader: RowReader;
  readonly #context: LegacyContext;
  #groups = new Map<DeploymentId, Group>();
  /** Rows of the dump, once it was read to its end. */
  #rowsTotal: number | null = null;

  constructor(
    private readonly options: BackfillOptions & { readonly wait: Patience },
    /** To compare with; null when it is empty. */
    private readonly log: EventStore | null,
    private readonly appender: BulkAppender<Append> | null,
  ) {
    const { map, context } = options;
    const { acknowledgeUnknown } = map;
    const knowsStarts = map.tables.attempts?.columns.startedAt !== undefined;
    this.#context = { ...context, acknowledgeUnknown, knowsStarts };
    this.#reader = new RowReader(map, context.now);
  }

  /** Brings in one part of the deployments. */
  async bring(part: number): Promise<void> {
    const { sources, onProgress } = this.options;
    this.#groups = new Map();
    let done = 0;
    for (const source of sources) {
      for await (const row of source.rows()) {
        await this.#take(source, row, part);
        done += 1;
        if (done % 1000 === 0) onProgress?.({ step: 'read', part, done, total: this.#rowsTotal });
      }
    }
    this.#rowsTotal = done;
    const groups = [...this.#groups.values()];
    this.#groups.clear();
    const total = groups.length;
    while (groups.length > 0) {
      await this.#settle(groups.splice(-AT_ONCE));
      onProgress?.({ step: 'derive', part, done: total - groups.length, total });
      await turn();
    }
  }

  async #take({ file, table }: Source, { line, cells }: SourceRow, part: number): Promise<void> {
    const place: Place = { file, line, attemptId: null, refused: null };
    if (typeof cells !== 'function') {
      if (part === 0) await this.#refuseAlone(place, cells.problem, null);
      return;
    }
    const named = this.#reader.deploymentIdIn(table, cells);
    if (partOf(named, this.options.parts) !== part) return;
    const deploymentId = parseId<DeploymentId>(named ?? '');
    if (deploymentId === null) {
      await this.#refuseAlone(place, badIdProblem('deployment', named), named);
      return;
    }
    const group = this.#groupOf(deploymentId);
    const isAttempt = this.#reader.isAttempt(table, cells);
    const own = isAttempt ? this.#takeAttempt(group, place, cells) : place;
    group.places.push(own);
    if (table === 'attempts') return;
    const isRepeated = this.#takeDeployment(group, own, cells);
    if (isRepeated && !isAttempt) group.repeated += 1;
  }

  /** Takes in what a row says of its deployment; whether it had been said before. */
  #takeDeployment(group: Group, place: Place, cells: Cells): boolean {
    const deployment = told(this.#reader.deployment(group.deploymentId, cells), place);
    const before = group.deployment;
    if (deployment === null) return false;
    group.deployment ??= deployment;
    if (before === null) return false;
    const isSame = saysTheSame(before, deployment);
    if (!isSame) contradict(before, deployment);
    return isSame;
  }

  /** Takes in what a row says of an attempt; the row's place, with its id. */
  #takeAttempt(group: Group, place: Place, cells: Cells): Place {
    const read = this.#reader.attempt(cells);
    const own = { ...place, attemptId: read.ok ? read.value.attemptId : null };
    const attempt = told(read, own);
    if (attempt === null) return own;
    const { attemptId } = attempt.value;
    const before = group.attempts.get(attemptId);
    if (before === undefined) group.attempts.set(attemptId, attempt);
    else if (saysTheSame(before, attempt)) group.repeated += 1;
    else contradict(before, attempt);
    return own;
  }

  #groupOf(deploymentId: DeploymentId): Group {
    const known = this.#groups.get(deploymentId);
    if (known !== undefined) return known;
    const group: Group = {
      ...{ deploymentId, places: [], deployment: null },
      ...{ attempts: new Map(), repeated: 0 },
    };
    this.#groups.set(deploymentId, group);
    return group;
  }

  /** Refuses a row that belongs to no deployment. */
  async #refuseAlone(place: Place, detail: string, deploymentId: string | null): Promise<void> {
    const { file, line } = place;
    await this.#report([
      { file, line, verdict: 'refused', why: 'unreadable', detail, deploymentId, attemptId: null },
    ]);
  }

  /** Derives some deployments, compares them with the log, and adds what is missing. */
  async #settle(groups: readonly Group[]): Promise<void> {
    const histories = await Promise.all(groups.map((group) => this.#historyOf(group)));
    for (const [n, group] of groups.entries()) {
      const history = histories[n];
      if (history !== undefined && history !== null) await this.#add(group, history);
      else this.tally.refused();
      this.tally.repeated(group.repeated);
      await this.#report(reportsOf(group, history?.derived ?? null));
    }
  }

  /** What a deployment's history is, and how much of it the log has; null when rows were refused. */
  async #historyOf(group: Group): Promise<History | null> {
    const { deployment, attempts, places, deploymentId } = group;
    if (places.some(({ refused }) => refused !== null)) return null;
    if (deployment === null) {
      const detail = `no row creates deployment ${deploymentId}`;
      for (const place of places) place.refused = { why: 'no_deployment', detail };
      return null;
    }
    const rows = [...attempts.values()].map(({ value }) => value);
    const derived = derive(deployment.value, rows, this.#context);
    if (!derived.ok) {
      const at = attempts.get(derived.attemptId ?? '')?.first ?? deployment.first;
      at.refused = { why: 'against_rules', detail: derived.detail };
      return null;
    }
    const present = await this.options.wait.through(() => this.#presentOf(group, derived));
    return present === null ? null : { derived, present };
  }

  /** How many events of a history the log has; null when it has something else. */
  async #presentOf(group: Group, { commands }: Right): Promise<number | null> {
    if (this.log === null) return 0;
    const events = commands.flat();
    let present = 0;
    const range = { to: BigInt(events.length - 1) };
    for await (const page of this.log.read(STREAM_PREFIX + group.deploymentId, range)) {
      for (const { id, revision } of page) {
        if (events[present]?.stored.id === id) {
          present += 1;
          continue;
        }
        const detail = `the log has something else at revision ${String(revision)} of ${group.deploymentId}`;
        for (const place of group.places) place.refused = { why: 'in_log', detail };
        return null;
      }
    }
    return present;
  }

  async #add({ deploymentId, attempts }: Group, { derived, present }: History): Promise<void> {
    const events = derived.commands.reduce((sum, command) => sum + command.length, 0);
    this.tally.derived(derived.deployment, { attempts: attempts.size, events, present });
    const { appender } = this;
    if (appender === null) return;
    for (const chunk of chunksOf(derived.commands, present)) {
      const expected = chunk.after === 0 ? 'no_stream' : BigInt(chunk.after) - 1n;
      await appender.add({ stream: STREAM_PREFIX + deploymentId, expected, events: chunk.events });
      if (appender.conflict !== null) await finished(appender);
    }
  }

  async #report(rows: readonly RowReport[]): Promise<void> {
    for (const row of rows) this.tally.row(row);
    await this.options.onRows?.(rows);
  }
}

type Right = Extract<Derived, { ok: true }>;
interface History {
  readonly derived: Right;
  readonly present: number;
}

/** The part that a deployment belongs to, by its id as it stands in the dump (FNV-1a). */
function partOf(id: string | null, parts: number): number {
  if (id === null) return 0;
  let hash = 0x811c_9dc5;
  for (let at = 0; at < id.length; at += 1) {
    hash = Math.imul(hash ^ id.charCodeAt(at), 0x0100_0193);
  }
  return (hash >>> 0) % parts;
}

/** What a row says, with its place; a row that can not be read is refused, and says nothing. */
function told<T>(read: Read<T>, place: Place): Told<T> | null {
  if (read.ok) return { value: read.value, first: place };
  place.refused ??= { why: 'unreadable', detail: read.problem };
  return null;
}

/** Whether two rows of one id say the same; their members come in one order. */
function saysTheSame<T>({ value: one }: Told<T>, { value: other }: Told<T>): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/** Two rows of one id that say different things: neither is believed, and each names the other. */
function contradict<T>({ first: one }: Told<T>, { first: other }: Told<T>): void {
  one.refused ??= { why: 'duplicate', detail: `${other.file}:${other.line} says something else` };
  other.refused ??= { why: 'duplicate', detail: `${one.file}:${one.line} says something else` };
}

/** One report for each row of a deployment. */
function reportsOf({ deploymentId, places }: Group, derived: Right | null): readonly RowReport[] {
  const culprit = places.find(({ refused }) => refused !== null);
  return places.map(({ file, line, attemptId, refused }): RowReport => {
    const about = { file, line, deploymentId, attemptId };
    if (refused !== null) return { ...about, verdict: 'refused', ...refused };
    if (derived === null) {
      const detail = `${culprit?.file ?? ''}:${String(culprit?.line)} was refused, and a deployment is written whole`;
      return { ...about, verdict: 'refused', why: 'held_back', detail };
    }
    return { ...about, ...verdictOf(attemptId, derived) };
  });
}

function verdictOf(
  attemptId: AttemptId | null,
  { verdicts }: Right,
): Pick<RowReport, 'verdict' | 'why' | 'detail'> {
  const found = attemptId === null ? undefined : verdicts.get(attemptId);
  if (found === undefined || found.why === null)
    return { verdict: 'derived', why: null, detail: '' };
  return { ...found, verdict: 'unknown' };
}

interface Chunk {
  /** Events that come before it. */
  readonly after: number;
  readonly events: Append['events'];
}

/** What the log lacks, in appends that are large, but never hold a part of a command that could be whole. */
function chunksOf(commands: Right['commands'], present: number): readonly Chunk[] {
  const chunks: { after: number; events: PreparedEvent['stored'][]; bytes: number }[] = [];
  let done = 0;
  for (const command of commands) {
    const rest = command.slice(Math.max(0, present - done)).map(({ stored }) => stored);
    const bytes = rest.reduce((sum, { data, metadata }) => sum + bytesOf(data + metadata), 0);
    const last = chunks.at(-1);
    const fits =
      last !== undefined &&
      last.events.length + rest.length <= APPEND_EVENTS_MAX &&
      last.bytes + bytes <= APPEND_BYTES_MAX;
    if (fits) {
      last.events.push(...rest);
      last.bytes += bytes;
    } else if (rest.length > 0) {
      chunks.push({ after: done + command.length - rest.length, events: rest, bytes });
    }
    done += command.length;
  }
  return chunks;
}

function bytesOf(text: string): number {
  return Buffer.byteLength(text);
}
