/** What may go wrong here, looked at before it does: each finding has a fix. */
import { constants, type PathLike } from 'node:fs';
import { access, mkdtemp, open, rm, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { StoredTables } from '../application/stored-tables.js';
import { parseEvent, type Instant } from '../domain/event-schema.js';
import type { EventStore } from '../ports/event-store.js';
import { PROJECTIONS } from '../projections/registry.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { inWords } from './progress.js';
import type { Output, Terminal } from './terminal.js';
import type { LocalContext, Workshop } from './workshop.js';

/** What was looked at, how it is, and, unless all is well, what to do. */
export type Finding = { readonly about: string; readonly detail: string } & (
  { readonly level: 'ok' } | { readonly level: 'warning' | 'problem'; readonly fix: string }
);

interface Visit {
  readonly workshop: Workshop;
  readonly url: string;
}
type Look = (visit: Visit) => Promise<readonly Finding[]>;

/** Looks at everything; exit 1 when there is a problem. Warnings alone are no failure. */
export async function examine(
  context: LocalContext,
  workshop: Workshop,
  options: { readonly json?: true; readonly url?: string },
): Promise<ExitCode> {
  const { terminal } = context;
  const visit = { workshop, url: context.urlOf(options) };
  const findings: Finding[] = [];
  for (const look of [versions, clocks, disks, log, readModels, service]) {
    findings.push(...(await look(visit)));
  }
  if (options.json) await terminal.out.line(JSON.stringify(findings));
  else for (const finding of findings) await tell(finding, terminal);
  return findings.some(({ level }) => level === 'problem') ? EXIT.error : EXIT.ok;
}

const LOOKS = {
  ok: ['✓', 'ok', 'green'],
  warning: ['!', 'warning', 'yellow'],
  problem: ['✗', 'PROBLEM', 'red'],
} as const satisfies Record<
  Finding['level'],
  readonly [string, string, Parameters<Output['paint']>[0]]
>;

async function tell(finding: Finding, { out, isUnicode }: Terminal): Promise<void> {
  const [symbol, word, style] = LOOKS[finding.level];
  const mark = out.paint(style, isUnicode && finding.level === 'ok' ? symbol : word);
  await out.line(`${mark} ${finding.about}: ${finding.detail}`);
  if (finding.level !== 'ok') await out.line(`  fix: ${finding.fix}`);
}

const ok = (about: string, detail: string): Finding => ({ about, level: 'ok', detail });
const warning = (about: string, detail: string, fix: string): Finding => ({
  about,
  level: 'warning',
  detail,
  fix,
});
const problem = (about: string, detail: string, fix: string): Finding => ({
  about,
  level: 'problem',
  detail,
  fix,
});

/** From here on a write-ahead log that is reset at a bad moment no longer loses commits. */
const SQLITE_SAFE = [3, 51, 3];
const NODE_MAINTAINED = 22;

const versions: Look = async ({ workshop }) => {
  const node = process.versions.node;
  const sqlite = workshop.sqliteVersion();
  const major = Number(node.split('.')[0]);
  return [
    major >= NODE_MAINTAINED
      ? ok('node', node)
      : warning('node', `${node} is past its end of life`, 'install Node 22 or 24'),
    isAtLeast(sqlite, SQLITE_SAFE)
      ? ok('sqlite', sqlite)
      : warning(
          'sqlite',
          `${sqlite} may lose commits when its write-ahead log is reset`,
          `use a Node with SQLite ${SQLITE_SAFE.join('.')} or newer: 20 with the optional dependency, 22.23, 24`,
        ),
  ];
};

/** Whether a version is the given one or newer. */
export function isAtLeast(version: string, wanted: readonly number[]): boolean {
  const parts = version.split('.').map(Number);
  const [at] = wanted.map((_, n) => n).filter((n) => parts[n] !== wanted[n]);
  return at === undefined || (parts[at] ?? 0) > (wanted[at] ?? 0);
}

const YEAR_MIN = '2025-01-01T00:00:00.000Z';
/** A wall clock may run this much apart from the other clock while it is watched. */
const DRIFT_MAX_MS = 50;
const WATCH_MS = 250;

const clocks: Look = async ({ workshop: { clock } }) => {
  const now = clock.now();
  const [startedAt, startedAtMs] = [Date.parse(now), clock.monotonicMs()];
  await new Promise((resolve) => {
    setTimeout(resolve, WATCH_MS);
  });
  const passedMs = clock.monotonicMs() - startedAtMs;
  const driftMs = Math.abs(Date.parse(clock.now()) - startedAt - passedMs);
  if (now < YEAR_MIN) {
    return [problem('clock', `it says ${now}`, 'set the clock: events carry its time for ever')];
  }
  return driftMs > DRIFT_MAX_MS
    ? [
        warning(
          'clock',
          `it moved by ${inWords(driftMs)} while it was watched`,
          'let a time service slew the clock instead of stepping it',
        ),
      ]
    : [ok('clock', now)];
};

const FREE_WARNING_BYTES = 1024 ** 3;
const FREE_PROBLEM_BYTES = 128 * 1024 ** 2;

const disks: Look = async ({ workshop: { files, clock } }) => {
  const paths = Object.values(files).filter((path) => path !== null);
  const folders = new Set(paths.map((path) => dirname(path)));
  const findings: Finding[] = [];
  for (const folder of folders) {
    if (!(await isThere(folder))) {
      findings.push(ok('disk', `${folder} is made at the first start`));
      continue;
    }
    findings.push(await room(folder), await writing(folder, () => clock.monotonicMs()));
  }
  return findings;
};

async function room(folder: string): Promise<Finding> {
  const { bavail, bsize } = await statfs(folder);
  const free = bavail * bsize;
  const detail = `${(free / 1024 ** 3).toFixed(1)} GiB are free at ${folder}`;
  const fix = 'make room: a full disk stops all writes';
  if (free < FREE_PROBLEM_BYTES) return problem('disk', detail, fix);
  return free < FREE_WARNING_BYTES ? warning('disk', detail, fix) : ok('disk', detail);
}

const SYNCS = 15;
/** A group of commands waits for one sync; above this the service feels slow. */
const SYNC_SLOW_MS = 20;

async function writing(folder: string, nowMs: () => number): Promise<Finding> {
  try {
    await access(folder, constants.W_OK);
    const medianMs = await syncTimeIn(folder, nowMs);
    const detail = `a write reaches the disk at ${folder} in ${medianMs.toFixed(1)} ms`;
    return medianMs > SYNC_SLOW_MS
      ? warning('disk', detail, 'put the log on a local disk: each group of commands waits for it')
      : ok('disk', detail);
  } catch (error) {
    return problem(
      'disk',
      `${folder} can not be written: ${messageOf(error)}`,
      'give the service’s user the right to write there',
    );
  }
}

async function syncTimeIn(folder: string, nowMs: () => number): Promise<number> {
  const place = await mkdtemp(join(folder, '.doctor-'));
  try {
    const file = await open(join(place, 'probe'), 'w', 0o600);
    const times: number[] = [];
    for (let n = 0; n < SYNCS; n++) {
      const startedAtMs = nowMs();
      await file.write(Buffer.alloc(4096), 0, 4096, n * 4096);
      await file.datasync();
      times.push(nowMs() - startedAtMs);
    }
    await file.close();
    return times.sort((a, b) => a - b)[Math.floor(SYNCS / 2)] ?? 0;
  } finally {
    await rm(place, { recursive: true, force: true });
  }
}

const log: Look = async ({ workshop }) => {
  const { places, files, isLogHidden } = workshop;
  if (isLogHidden) return [ok('log', places.eventStore)];
  if (files.eventStore !== null && !(await isThere(files.eventStore))) {
    return [ok('log', `${places.eventStore} is made at the first start`)];
  }
  try {
    const store = await workshop.openLogToRead();
    try {
      const head = await store.head();
      // Where a server has the log, the position before one of an event need not be one.
      const at = await recordedAtOf(store, files.eventStore === null ? null : head);
      if (at !== null && at > workshop.clock.now()) {
        return [
          problem(
            'log',
            `its last event was recorded at ${at}, which is in the future`,
            'set the clock right before anything is written',
          ),
        ];
      }
      const end = head === null ? 'empty' : `position ${String(head)}`;
      const written = at === null ? '' : `, last written ${at}`;
      return [ok('log', `${places.eventStore}, ${end}${written}`)];
    } finally {
      await store.close();
    }
  } catch (error) {
    return [
      problem(
        'log',
        messageOf(error),
        'set SHIPSLOG_EVENT_STORE to the right place, or restore a copy',
      ),
    ];
  }
};

async function recordedAtOf(store: EventStore, head: bigint | null): Promise<Instant | null> {
  let recordedAt: Instant | null = null;
  if (head === null) return recordedAt;
  for await (const page of store.readAll({ after: head - 1n, limit: 1 })) {
    for (const { type, data, metadata } of page) {
      const parsed = parseEvent(type, data, metadata);
      if (parsed.ok) ({ recordedAt } = parsed.event.metadata);
    }
  }
  return recordedAt;
}

const readModels: Look = async ({ workshop }) => {
  const { places, files, areReadModelsHidden } = workshop;
  if (areReadModelsHidden || (files.readModels !== null && !(await isThere(files.readModels)))) {
    return [ok('read models', `${places.readModels}; they are built from the log`)];
  }
  try {
    const { store, readModels: tables, close } = await workshop.openToRead();
    try {
      const head = await store.head();
      const stored = await StoredTables.read(tables);
      stored.assertUsable(PROJECTIONS, head);
      await stored.assertOfThisLog(store, tables);
      const parked = await tables.parked();
      const first = parked[0];
      return first === undefined
        ? [ok('read models', places.readModels)]
        : [
            problem(
              'read models',
              `${parked.length} streams could not be folded, first ${first.stream} in ${first.table}: ${first.problem}`,
              `mend what the problem says, then: shipslog rebuild --projection ${first.table}`,
            ),
          ];
    } finally {
      await close();
    }
  } catch (error) {
    return [
      problem(
        'read models',
        messageOf(error),
        files.readModels === null
          ? 'set SHIPSLOG_READ_MODELS to the right place; a service that starts there builds what is missing'
          : 'remove the file: the next start builds it from the log',
      ),
    ];
  }
};

const service: Look = async ({ workshop: { host, port }, url }) => {
  const answer = await readiness(url);
  if (answer !== null) return [answer];
  if (await isFree(host, port)) {
    return [ok('port', `nobody answers at ${url}; ${host}:${port} is free to serve on`)];
  }
  return [
    problem(
      'port',
      `${host}:${port} is taken by something that is no Shipslog`,
      'set SHIPSLOG_PORT to another one, or 0 for any',
    ),
  ];
};

const ANSWER_MS_MAX = 3_000;

async function readiness(url: string): Promise<Finding | null> {
  try {
    const answer = await fetch(`${url}/health/ready`, {
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    const health = (await answer.json()) as {
      readonly status?: string;
      readonly reasons?: readonly { readonly part: string; readonly problem: string }[];
    };
    if (health.status === undefined) return null;
    const reasons = (health.reasons ?? []).map(({ part, problem: why }) => `${part}: ${why}`);
    return answer.ok
      ? ok('service', `${url} is ${health.status}`)
      : problem(
          'service',
          `${url} is ${health.status}: ${reasons.join('; ')}`,
          'mend what it names; it goes on by itself',
        );
  } catch {
    return null;
  }
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}

async function isThere(path: PathLike): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
