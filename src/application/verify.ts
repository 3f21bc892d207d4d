/** Verification: folds the log by the same definitions as the projector and compares every row. */
import type { EventStore, Position, RecordedEvent, Revision } from '../ports/event-store.js';
import { turn } from '../ports/pace.js';
import type { ReadModels, Row, RowKey } from '../ports/read-models.js';
import type { Projection } from '../projections/projection.js';
import { afterOf } from './fold-group.js';
import { isAfter, keyOfRow, keyText, readEvent, type ReadEvent } from './fold.js';
import { membersThatDiffer, type MemberDifference } from './row-difference.js';
import { StoredTables } from './stored-tables.js';

/** A row that is not what the log says. */
export interface Difference {
  readonly table: string;
  readonly key: RowKey;
  /** `missing`: the log makes it, the table has it not; `surplus`: the other way round. */
  readonly kind: 'wrong' | 'missing' | 'surplus';
  /** Of a wrong row, the members that differ, at most 20; members of json columns by their path. */
  readonly members: readonly MemberDifference[];
  /**
   * The first event after the last one up to which the stored row was right; the row's first event when
   * it never was; null when no event is about such a row.
   */
  readonly since: {
    readonly stream: string;
    readonly revision: Revision;
    readonly position: Position;
  } | null;
}

/** What verification found in one table. */
export interface TableReport {
  readonly table: string;
  /** Up to where it was compared. */
  readonly position: Position | null;
  /** Rows compared. */
  readonly rows: number;
  /** Streams left out, as the projection left them; their rows were compared up to their bad event. */
  readonly parked: number;
  /** The first 1,000 differences. */
  readonly differences: readonly Difference[];
  readonly differencesTotal: number;
  /** Rows that changed under our eyes whenever we looked, and could not be judged. */
  readonly undecided: number;
  /** Why the table was not compared at all; else null. */
  readonly skipped: string | null;
}

export interface VerifyProgress {
  readonly table: string;
  /** Position folded so far, of `head`. */
  readonly position: Position;
  readonly head: Position;
}

export interface VerifyOptions {
  readonly store: EventStore;
  readonly readModels: ReadModels;
  readonly projections: readonly Projection[];
  readonly onProgress?: (progress: VerifyProgress) => void;
  readonly signal?: AbortSignal;
}

/** Differences described in full; more are only counted. */
const LISTED_MAX = 1000;
/** Rows looked at again in one go. */
const AGAIN_ROWS = 500;
const AGAIN_ROUNDS_MAX = 50;
/** Rows of which one must be of this log, so that a few damaged ones are reported as what they are. */
const OF_THIS_LOG_ROWS = 20;
/** How often a table may be replaced by a rebuild while it is verified. */
const REPLACED_MAX = 3;

/**
 * Compares each row of each live table with the fold of the log up to that table's checkpoint.
 *
 * May run while the projector works: a row that differs is looked at again with the events that came
 * meanwhile, so nothing is reported that is merely newer. Reads only.
 * Cost: one pass over the log for each table, two where rows differ; memory for the rows of one table.
 * @throws {Fault} STORE_CORRUPT when the log is shorter than the read models; STORE_FOREIGN when these were
 *   folded from another log, where every row would differ and none would say why.
 */
export async function verify(options: VerifyOptions): Promise<readonly TableReport[]> {
  const { store, readModels, projections } = options;
  const stored = await StoredTables.read(readModels);
  stored.assertUsable(projections, await store.head());
  await stored.assertOfThisLog(store, readModels, OF_THIS_LOG_ROWS);
  const reports: TableReport[] = [];
  for (const projection of projections) {
    const verification = new TableVerification(options, projection);
    let report: TableReport | null = null;
    for (let n = 0; report === null && n < REPLACED_MAX; n++) report = await verification.run();
    reports.push(report ?? skipped(projection, 'it was replaced again and again meanwhile'));
  }
  return reports;
}

/** A row that differs from the fold so far. */
interface Suspect {
  readonly key: RowKey;
  readonly found: Row | null;
}

class TableVerification {
  readonly #options: VerifyOptions;
  readonly #projection: Projection;
  #expected: ExpectedRows;
  #position: Position | null = null;

  constructor(options: VerifyOptions, projection: Projection) {
    this.#options = options;
    this.#projection = projection;
    this.#expected = new ExpectedRows(projection, null);
  }

  /** Verifies the table; null when it was replaced meanwhile. */
  async run(): Promise<TableReport | null> {
    const projection = this.#projection;
    const { store, projections } = this.#options;
    const stored = await StoredTables.read(this.#options.readModels);
    stored.assertUsable(projections, await store.head());
    const start = stored.fold(projection, 'live');
    if (start === null) {
      const version = stored.at(projection.name, 'live')?.version;
      const found = version === undefined ? 'there is no table' : `its version is ${version}`;
      return skipped(projection, `${found}, and version ${projection.version} is not built yet`);
    }
    this.#expected = new ExpectedRows(projection, null);
    this.#position = null;
    this.#expected.leave(start.parked);
    await this.#foldTo(start.position);
    const rows = this.#expected.size;
    const suspects = await this.#compareAll();
    const judged = await this.#judge(suspects);
    if (judged === null) return null;
    const { differing, undecided } = judged;
    const listed = new Map([...differing].slice(0, LISTED_MAX));
    return {
      table: projection.name,
      position: this.#position,
      rows,
      parked: this.#expected.left,
      differences: await this.#describe(listed),
      differencesTotal: differing.size,
      undecided,
      skipped: null,
    };
  }

  /** Compares every stored row with the fold; what is equal needs no second look and is let go of. */
  async #compareAll(): Promise<Map<string, Suspect>> {
    const suspects = new Map<string, Suspect>();
    for await (const page of this.#options.readModels.scan(this.#projection)) {
      this.#options.signal?.throwIfAborted();
      for (const found of page) {
        const key = keyOfRow(this.#projection, found);
        const text = keyText(key);
        if (this.#isRight(text, found)) this.#expected.forget(text);
        else suspects.set(text, { key, found });
      }
      await turn();
    }
    for (const [text, row] of this.#expected.rows()) {
      if (!suspects.has(text)) {
        suspects.set(text, { key: keyOfRow(this.#projection, row), found: null });
      }
    }
    return suspects;
  }

  /** Looks at suspects again, folding what came meanwhile, until the table stands still around a look. */
  async #judge(
    suspects: ReadonlyMap<string, Suspect>,
  ): Promise<{ readonly differing: Map<string, Suspect>; readonly undecided: number } | null> {
    this.#expected.keepOnly(new Set(suspects.keys()));
    const differing = new Map<string, Suspect>();
    let undecided = 0;
    const all = [...suspects];
    for (let from = 0; from < all.length; from += AGAIN_ROWS) {
      let open = all.slice(from, from + AGAIN_ROWS);
      let decided = false;
      for (let round = 0; open.length > 0 && !decided && round < AGAIN_ROUNDS_MAX; round++) {
        const look = await this.#lookAgain(open.map(([, { key }]) => key));
        if (look === null) return null;
        decided = look.still;
        open = open
          .map(([text, { key }], n): [string, Suspect] => [
            text,
            { key, found: look.rows[n] ?? null },
          ])
          .filter(([text, { found }]) => !this.#isRight(text, found));
      }
      if (decided) for (const [text, suspect] of open) differing.set(text, suspect);
      else undecided += open.length;
    }
    return { differing, undecided };
  }

  async #lookAgain(
    keys: readonly RowKey[],
  ): Promise<{ readonly rows: readonly (Row | null)[]; readonly still: boolean } | null> {
    const { readModels } = this.#options;
    const before = await StoredTables.read(readModels);
    const fold = before.fold(this.#projection, 'live');
    if (fold === null || isAfter(this.#position, fold.position)) return null;
    this.#expected.leave(fold.parked);
    await this.#foldTo(fold.position);
    const rows = await readModels.load(this.#projection, 'live', keys);
    const after = (await StoredTables.read(readModels)).at(this.#projection.name, 'live');
    return { rows, still: after?.position === fold.position };
  }

  /** Folds listed rows once more from their beginning, to see since when each stored row is not right. */
  async #describe(listed: ReadonlyMap<string, Suspect>): Promise<readonly Difference[]> {
    if (listed.size === 0) return [];
    const since = new Map<string, Difference['since']>();
    const expected = this.#expected;
    this.#expected = new ExpectedRows(this.#projection, new Set(listed.keys()));
    this.#expected.leave(expected.parked);
    this.#expected.onRow = (text, row, { stream, revision, position }) => {
      const found = listed.get(text)?.found ?? null;
      if (found !== null && this.#isSame(row, found)) since.delete(text);
      else if (!since.has(text)) since.set(text, { stream, revision, position });
    };
    const until = this.#position;
    this.#position = null;
    await this.#foldTo(until);
    return [...listed].map(([text, { key, found }]) => {
      const row = this.#expected.get(text);
      return {
        table: this.#projection.name,
        key,
        kind: found === null ? 'missing' : row === null ? 'surplus' : 'wrong',
        members:
          found === null || row === null
            ? []
            : membersThatDiffer(this.#projection, { expected: row, found }),
        since: since.get(text) ?? null,
      };
    });
  }

  async #foldTo(until: Position | null): Promise<void> {
    if (until === null || !isAfter(until, this.#position)) return;
    const { store, signal, onProgress } = this.#options;
    for await (const page of store.readAll(afterOf(this.#position))) {
      signal?.throwIfAborted();
      const wanted = page.filter(({ position }) => position <= until);
      this.#expected.fold(wanted);
      const position = wanted.at(-1)?.position;
      if (position !== undefined) {
        onProgress?.({ table: this.#projection.name, position, head: until });
      }
      if (wanted.length < page.length) break;
      await turn();
    }
    this.#position = until;
  }

  #isRight(text: string, found: Row | null): boolean {
    const row = this.#expected.get(text);
    return row === null || found === null ? row === found : this.#isSame(row, found);
  }

  #isSame(row: Row, found: Row): boolean {
    return membersThatDiffer(this.#projection, { expected: row, found }, 1).length === 0;
  }
}

/** The rows that the log makes, all of them or only those of some keys. */
class ExpectedRows {
  readonly #projection: Projection;
  readonly #rows = new Map<string, Row>();
  readonly #parked = new Map<string, Position>();
  #only: ReadonlySet<string> | null;
  /** Hears of every row that an event makes. */
  onRow: ((text: string, row: Row, event: ReadEvent) => void) | null = null;

  constructor(projection: Projection, only: ReadonlySet<string> | null) {
    this.#projection = projection;
    this.#only = only;
  }

  get size(): number {
    return this.#rows.size;
  }

  /** How many streams are left out. */
  get left(): number {
    return this.#parked.size;
  }

  get parked(): ReadonlyMap<string, Position> {
    return this.#parked;
  }

  rows(): IterableIterator<[string, Row]> {
    return this.#rows.entries();
  }

  get(text: string): Row | null {
    return this.#rows.get(text) ?? null;
  }

  forget(text: string): void {
    this.#rows.delete(text);
  }

  /** From now on only rows of these keys are folded. */
  keepOnly(texts: ReadonlySet<string>): void {
    this.#only = texts;
  }

  /** Leaves streams out, each from the position of its bad event on. */
  leave(parked: ReadonlyMap<string, Position>): void {
    for (const [stream, position] of parked) this.#parked.set(stream, position);
  }

  fold(records: readonly RecordedEvent[]): void {
    for (const record of records) {
      const event = readEvent(record);
      if (event === null) continue;
      const leftAt = this.#parked.get(event.stream);
      if (leftAt === undefined || event.position < leftAt) this.#foldOne(event);
    }
  }

  #foldOne(event: ReadEvent): void {
    const { parsed, stream, position } = event;
    try {
      if (!parsed.ok) throw new Error(parsed.problem);
      const key = this.#projection.keyOf(parsed.event);
      if (key === null) return;
      const text = keyText(key);
      if (this.#only !== null && !this.#only.has(text)) return;
      const row = this.#projection.evolve(this.get(text), parsed.event);
      this.#rows.set(text, row);
      this.onRow?.(text, row, event);
    } catch {
      // The projector parks such a stream; that it did not, shows in the rows that it folded further.
      this.#parked.set(stream, position);
    }
  }
}

function skipped({ name }: Projection, why: string): TableReport {
  return {
    table: name,
    position: null,
    rows: 0,
    parked: 0,
    differences: [],
    differencesTotal: 0,
    undecided: 0,
    skipped: why,
  };
}
