/** Import of a dump of tables whose states were never advanced. */
import { open, readFile, stat, type FileHandle } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { backfill, type BackfillProgress } from '../application/backfill.js';
import { WHY, type BackfillReport, type RowReport } from '../application/backfill-report.js';
import { EXAMPLE_MAP, parseLegacyMap, type LegacyMap } from '../application/legacy-map.js';
import { STATES, type Actor } from '../domain/event-schema.js';
import type { Clock } from '../ports/clock.js';
import type { EventStore } from '../ports/event-store.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { sourcesOf } from './legacy-files.js';
import { Progress, withCommas } from './progress.js';
import { paintState, symbolOf } from './states.js';
import { writeTable } from './table.js';
import type { Terminal } from './terminal.js';
import { tellingOutages } from './transfers.js';
import { usageError, withFile } from './usage.js';
import type { LocalContext, Workshop } from './workshop.js';

/** What an import of a legacy dump is asked. */
export interface LegacyOptions {
  readonly legacy: readonly string[];
  readonly map?: string;
  readonly apply?: true;
  /** Where each row is told. */
  readonly report?: string;
  /** Who answers for it, as `kind:id`. */
  readonly actor: string;
  readonly json?: true;
  /** How long a log that is out of reach is waited for. */
  readonly waitMs: number;
}

/** How much of a dump is kept in memory at a time; a larger one is read several times. Bytes. */
const PART_BYTES = 16 * 1024 * 1024;

/** Prints a map to begin with. */
export async function printMapExample({ terminal }: LocalContext): Promise<ExitCode> {
  await terminal.out.write(EXAMPLE_MAP);
  return EXIT.ok;
}

/** Derives what must have happened and tells it; writes it when told so. */
export async function importLegacy(
  { terminal }: LocalContext,
  workshop: Workshop,
  options: LegacyOptions,
): Promise<ExitCode> {
  const { clock, random, scopes, defaults } = workshop;
  const { waitMs: forMs } = options;
  const operator = actorIn(options.actor);
  const map = await mapIn(options.map);
  const sources = sourcesOf(options.legacy, map);
  const sizes = await Promise.all(sources.map(async ({ file }) => sizeOf(file)));
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  const apply = options.apply === true;
  const store = await logOf(workshop, apply);
  const parts = Math.max(1, Math.ceil(bytes / PART_BYTES));
  const progress = new Steps(terminal, clock, parts);
  let told: FileHandle | null = null;
  try {
    // A file of that name is somebody's report already; it is never overwritten.
    const { report: into } = options;
    if (into !== undefined)
      told = await withFile(`--report ${into}`, () => open(into, 'wx', 0o600));
    const report = await backfill({
      ...{ sources, map, store, apply, parts },
      context: { now: clock.now(), kindOf: (scope) => scopes.get(scope), defaults, operator },
      onRows: async (rows) => {
        await told?.write(linesOf(rows));
      },
      onProgress: (step) => progress.update(step),
      patience: {
        ...{ clock, random, forMs },
        onOutage: tellingOutages(terminal, forMs, () => progress.end()),
      },
    });
    progress.end();
    await told?.sync();
    if (options.json) await terminal.out.line(JSON.stringify({ applied: apply, ...report }));
    else await tell(report, apply, terminal);
    return report.rows.refused === 0 ? EXIT.ok : EXIT.refused;
  } finally {
    progress.end();
    await told?.close();
    await store?.close();
  }
}

/** The log to write; to read, when nothing is to be written; null when there is none yet. */
async function logOf(workshop: Workshop, apply: boolean): Promise<EventStore | null> {
  const { files, openLog, openLogToRead } = workshop;
  if (apply) return openLog();
  return files.eventStore === null || existsSync(files.eventStore) ? openLogToRead() : null;
}

async function sizeOf(file: string): Promise<number> {
  const named = `--legacy ${file}`;
  const found = await withFile(named, () => stat(file));
  if (found.isDirectory()) throw new Error(`${named}: it is a folder, not a dump of a table`);
  return found.size;
}

async function mapIn(file: string | undefined): Promise<LegacyMap> {
  if (file === undefined) {
    throw usageError('--legacy needs --map FILE; shipslog import --map-example prints one');
  }
  const parsed = parseLegacyMap(await withFile(`--map ${file}`, () => readFile(file, 'utf8')));
  if (parsed.ok) return parsed.map;
  const problems = parsed.problems.map(({ pointer, message }) => `${pointer} ${message}`.trim());
  throw usageError(`${file}: ${problems.join('; ')}`);
}

function actorIn(text: string): Actor {
  const { kind, id } = /^(?<kind>human|service|runner):(?<id>.{1,128})$/u.exec(text)?.groups ?? {};
  if (kind === undefined || id === undefined) {
    throw usageError(`the actor ${text} must be kind:id, e.g. human:alice`);
  }
  return { kind: kind as Actor['kind'], id };
}

function linesOf(rows: readonly RowReport[]): string {
  return rows.map((row) => `${JSON.stringify(row)}\n`).join('');
}

/** One bar at a time. */
class Steps {
  #current: { readonly verb: string; readonly progress: Progress } | null = null;

  constructor(
    private readonly terminal: Terminal,
    private readonly clock: Clock,
    private readonly parts: number,
  ) {}

  update({ step, part, ...progress }: BackfillProgress): void {
    const verb = this.parts === 1 ? step : `${step} ${part + 1}/${this.parts}`;
    if (this.#current?.verb !== verb) {
      this.end();
      const unit = step === 'read' ? 'rows' : 'deployments';
      this.#current = { verb, progress: new Progress(this.terminal, this.clock, { verb, unit }) };
    }
    this.#current.progress.update(progress);
  }

  end(): void {
    this.#current?.progress.end();
  }
}

async function tell(report: BackfillReport, applied: boolean, terminal: Terminal): Promise<void> {
  const { out, err } = terminal;
  const { rows, deployments, events, reasons, byState, sample } = report;
  const total = deployments.added + deployments.present + deployments.refused;
  await out.line(applied ? 'APPLIED' : 'DRY RUN');
  await out.line(`rows         ${withCommas(rows.total)}: ${rowsText(rows)}`);
  await out.line(
    `deployments  ${withCommas(total)}: ${withCommas(deployments.added)} ${applied ? 'added' : 'to add'}, ${withCommas(deployments.present)} in the log already, ${withCommas(deployments.refused)} refused`,
  );
  await out.line(
    `events       ${withCommas(events.added)} ${applied ? 'added' : 'to add'}, ${withCommas(events.present)} in the log already`,
  );
  await tellReasons(reasons, terminal);
  const states = STATES.filter((state) => byState[state] !== undefined);
  if (states.length > 0) await out.line('');
  await writeTable(
    terminal,
    [
      {
        title: 'STATE',
        text: (state) => state,
        symbol: (state) => symbolOf(state, terminal),
        paint: (text, state, output) => paintState(text, state, output),
      },
      { title: 'DEPLOYMENTS', text: (state) => String(byState[state]), isNumber: true },
      {
        title: 'FOR EXAMPLE',
        text: (state) => sampleText(sample.find((each) => each.state === state)),
      },
    ],
    { rows: states, empty: '' },
  );
  if (!applied) await err.line('Nothing was written; --apply writes it.');
}

function rowsText({ derived, unknown, refused, repeated }: BackfillReport['rows']): string {
  const parts = Object.entries({ derived, unknown, refused });
  const counts = parts.map(([verdict, count]) => `${withCommas(count)} ${verdict}`).join(', ');
  return repeated === 0 ? counts : `${counts} (${withCommas(repeated)} repeat another row)`;
}

async function tellReasons(reasons: BackfillReport['reasons'], terminal: Terminal): Promise<void> {
  if (reasons.length === 0) return;
  await terminal.out.line('');
  await writeTable(
    terminal,
    [
      { title: 'ROWS', text: ({ rows }) => String(rows), isNumber: true },
      { title: 'ARE', text: ({ verdict }) => verdict },
      { title: 'SINCE', text: ({ why }) => WHY[why] },
      { title: 'FOR EXAMPLE', text: ({ examples }) => examples[0] ?? '' },
    ],
    { rows: reasons, empty: '' },
  );
}

function sampleText(sample: BackfillReport['sample'][number] | undefined): string {
  if (sample === undefined) return '';
  const { deploymentId, attempts, events } = sample;
  const tried = attempts === 1 ? '1 attempt' : `${attempts} attempts`;
  return `${deploymentId} (${tried}, ${events} events)`;
}
