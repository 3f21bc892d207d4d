/** The log read again from its beginning: replay, verify, rebuild. */
import { Projector } from '../application/projector.js';
import type { RebuildOutcome } from '../application/rebuild.js';
import { replayLog } from '../application/replay.js';
import { verify, type Difference, type TableReport } from '../application/verify.js';
import { STATES } from '../domain/event-schema.js';
import { isFault } from '../ports/faults.js';
import { PROJECTIONS } from '../projections/registry.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { inWords, Progress, withCommas } from './progress.js';
import { paintState, symbolOf } from './states.js';
import { onOneLine, writeTable } from './table.js';
import type { Terminal } from './terminal.js';
import type { LocalContext, Workshop } from './workshop.js';

interface JsonOption {
  readonly json?: true;
}

/** Folds the whole log and shows how many deployments are in each state. */
export async function replay(
  { terminal }: LocalContext,
  { clock, openLogToRead }: Workshop,
  options: JsonOption,
): Promise<ExitCode> {
  const store = await openLogToRead();
  const progress = new Progress(terminal, clock, { verb: 'replay', unit: 'events' });
  try {
    const report = await replayLog({
      store,
      clock,
      onProgress: ({ events, position, head }) =>
        progress.update({ done: events, total: estimated(events, position, head) }),
    });
    progress.end();
    const { events, streams, byState, poison, poisonedStreams, ms, eventsPerSecond } = report;
    const code = poisonedStreams === 0 ? EXIT.ok : EXIT.refused;
    if (options.json) {
      await terminal.out.line(toJson(report));
      return code;
    }
    await writeTable(
      terminal,
      [
        {
          title: 'STATE',
          text: ({ state }) => state,
          symbol: ({ state }) => symbolOf(state, terminal),
          paint: (text, { state }, out) => paintState(text, state, out),
        },
        { title: 'DEPLOYMENTS', text: ({ count }) => String(count), isNumber: true },
      ],
      { rows: STATES.map((state) => ({ state, count: byState[state] })), empty: '' },
    );
    for (const { stream, revision, position, problem } of poison) {
      const where = `event ${String(revision)} of ${stream} (position ${String(position)})`;
      await terminal.err.line(`${where} can not be read: ${problem}`);
    }
    await terminal.err.line(
      `${withCommas(events)} events of ${withCommas(streams)} deployments in ${inWords(ms)}, ${withCommas(eventsPerSecond)}/s`,
    );
    return code;
  } finally {
    progress.end();
    await store.close();
  }
}

/** Compares the read models with the log; names each row that lies. */
export async function verifyAll(
  { terminal }: LocalContext,
  { clock, openToRead }: Workshop,
  options: JsonOption,
): Promise<ExitCode> {
  const { store, readModels, close } = await openToRead();
  const progress = new Progress(terminal, clock, { verb: 'verify', unit: 'positions' });
  try {
    const reports = await verify({
      store,
      readModels,
      projections: PROJECTIONS,
      onProgress: ({ position, head }) =>
        progress.update({ done: Number(position), total: Number(head) }),
    });
    progress.end();
    if (options.json) await terminal.out.line(toJson(reports));
    else for (const report of reports) await tell(report, terminal);
    const agrees = reports.every(isClean);
    if (!agrees) await terminal.err.line(whatToDo(reports));
    return agrees ? EXIT.ok : EXIT.refused;
  } catch (error) {
    // Whose tables these are can not be: that is what was asked, and no row needs to be named.
    if (!isFault(error, 'STORE_FOREIGN') && !isFault(error, 'STORE_CORRUPT')) throw error;
    progress.end();
    await terminal.err.line(`shipslog verify: ${error.message}`);
    return EXIT.refused;
  } finally {
    progress.end();
    await close();
  }
}

/** Where the log itself cannot be read, a rebuild would lose what the read models still know. */
function whatToDo(reports: readonly TableReport[]): string {
  return reports.some(({ parked }) => parked > 0)
    ? 'Streams are left out. Where shipslog replay names events that can not be read, restore the log before a rebuild.'
    : 'The log is right, the read models are not: shipslog rebuild makes them anew.';
}

function isClean({ differencesTotal, undecided, parked, skipped }: TableReport): boolean {
  return differencesTotal === 0 && undecided === 0 && parked === 0 && skipped === null;
}

async function tell(report: TableReport, { out, isUnicode }: Terminal): Promise<void> {
  const { table, rows, position, differences, differencesTotal, undecided, parked } = report;
  const [good, bad] = isUnicode ? ['✓', '✗'] : ['ok', 'WRONG'];
  const mark = isClean(report) ? out.paint('green', good) : out.paint('red', bad);
  if (report.skipped !== null) {
    await out.line(`${mark} ${table}: not compared, since ${report.skipped}`);
    return;
  }
  const found = [
    `${withCommas(rows)} rows up to position ${String(position ?? 'none')}`,
    `${withCommas(differencesTotal)} differences`,
    ...(undecided > 0 ? [`${withCommas(undecided)} rows changed at every look`] : []),
    ...(parked > 0 ? [`${withCommas(parked)} streams left out, parked by the projection`] : []),
  ];
  await out.line(`${mark} ${table}: ${found.join(', ')}`);
  for (const difference of differences) await out.line(`  ${differenceText(difference)}`);
  if (differencesTotal > differences.length) {
    await out.line(`  … and ${withCommas(differencesTotal - differences.length)} more`);
  }
}

function differenceText({ table, key, kind, members, since }: Difference): string {
  const row = `${table} ${key.map(String).join(' ')}`;
  const first =
    since === null
      ? 'no event is about it'
      : `first event that disagrees: revision ${String(since.revision)} of ${since.stream}, position ${String(since.position)}`;
  switch (kind) {
    case 'missing':
      return `${row}: the row is missing; ${first}`;
    case 'surplus':
      return `${row}: there should be no such row; ${first}`;
    case 'wrong': {
      const told = members.map(
        ({ member, expected, found }) =>
          `${member} is ${shown(found)}, the log says ${shown(expected)}`,
      );
      return `${row}: ${told.join('; ')}; ${first}`;
    }
  }
}

/** Values of rows are JSON values and bigints. */
function shown(value: unknown): string {
  return value === undefined ? 'nothing' : onOneLine(toJson(value)).slice(0, 120);
}

/** Builds read models anew, one after the other. */
export async function rebuild(
  { terminal }: LocalContext,
  workshop: Workshop,
  { projection, json }: JsonOption & { readonly projection?: string },
): Promise<ExitCode> {
  const names = PROJECTIONS.map(({ name }) => name);
  if (projection !== undefined && !names.includes(projection)) {
    await terminal.err.line(`There is no projection ${projection}; there are ${names.join(', ')}.`);
    return EXIT.notFound;
  }
  const { clock, random, openToFold } = workshop;
  const { close, ...stores } = await openToFold();
  const owner = `shipslog rebuild/${String(process.pid)}`;
  const projector = new Projector({ ...stores, clock, random, projections: PROJECTIONS, owner });
  try {
    await projector.start();
    if (!projector.isOwner) {
      await terminal.err.line(await ownedText(projector, workshop, projection));
      return EXIT.conflict;
    }
    let code: ExitCode = EXIT.ok;
    for (const name of projection === undefined ? names : [projection]) {
      const progress = new Progress(terminal, clock, { verb: `rebuild ${name}`, unit: 'events' });
      const startedAtMs = clock.monotonicMs();
      const built = await rebuilt(projector, name, progress);
      const done = { ...built, ms: Math.round(clock.monotonicMs() - startedAtMs) };
      if (done.outcome !== 'promoted') code = EXIT.error;
      await terminal.out.line(json ? toJson({ projection: name, ...done }) : doneText(name, done));
    }
    return code;
  } finally {
    await projector.stop();
    await close();
  }
}

interface Built {
  readonly outcome: RebuildOutcome;
  readonly events: number;
}

async function rebuilt(projector: Projector, name: string, progress: Progress): Promise<Built> {
  const running = projector.rebuild(name);
  if (running === null) throw new Error(`there is no projection ${name}`);
  running.onProgress((step) => progress.update(step));
  const outcome = await running.finished;
  progress.end();
  return { outcome, events: running.progress.done };
}

function doneText(name: string, { outcome, events, ms }: Built & { readonly ms: number }): string {
  const end = outcome === 'promoted' ? '' : `; ${outcome} before it was live`;
  return `${name}: ${withCommas(events)} events folded in ${inWords(ms)}${end}`;
}

async function ownedText(
  projector: Projector,
  { host, port }: Workshop,
  name = 'NAME',
): Promise<string> {
  const [status] = await projector.status();
  const owner = status?.owner?.name ?? 'another process';
  const at = `http://${host}:${String(port)}/v1/projections/${name}/rebuild`;
  return `The read models are folded by ${owner}; have that service do it: curl -X POST ${at}`;
}

/** Exact where positions have no gaps; elsewhere as good as events are evenly large. */
function estimated(events: number, position: bigint, head: bigint): number {
  return position === 0n ? events : Math.round((events * Number(head)) / Number(position));
}

/** JSON with revisions and positions as decimal strings. */
function toJson(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === 'bigint' ? String(member) : member,
  );
}
