import { seeded } from './seeded.js';

/** What is planted into the rows of a dump; each has the verdict that its row must get. */
const FAULTS = {
  none: 'derived',
  no_end: 'unknown',
  no_outcome: 'unknown',
  impossible_order: 'unknown',
  unknown_status: 'unknown',
  before_creation: 'unknown',
  overtaken: 'unknown',
  bad_time: 'refused',
  bad_exit_code: 'refused',
  other_content: 'refused',
} as const;
type Fault = keyof typeof FAULTS;
type Verdict = (typeof FAULTS)[Fault];

/** How often each fault is planted, of a thousand attempts. */
const RATES: readonly (readonly [Fault, number])[] = [
  ['no_end', 60],
  ['no_outcome', 20],
  ['impossible_order', 20],
  ['unknown_status', 20],
  ['before_creation', 30],
  ['overtaken', 20],
  ['bad_time', 4],
  ['bad_exit_code', 4],
  ['other_content', 4],
];
const SAME_AGAIN = 0.01;
const BAD_ID = 0.003;
const ORPHAN = 0.02;
const NAMES = ['Web, the shop', 'say "hi"', 'two\nlines', 'plain', 'ünïcode 語'];
const FIRST_MS = Date.UTC(2024, 0, 1);
const MINUTE_MS = 60_000;

/** A made-up dump in CSV as PostgreSQL writes it, and how many of its rows must become what. */
export interface LegacyDump {
  readonly deployments: string;
  readonly attempts: string;
  readonly expected: Readonly<Record<Verdict | 'total', number>>;
}

/** A row of attempts, as cells; null is an empty field. */
type Row = readonly (string | null)[];

/**
 * Makes up a dump whose states were never advanced: four attempts to a deployment, with missing ends,
 * impossible orders, duplicate ids, unknown words, and rows that can not be read. The same for the same seed.
 */
export function legacyDump({ seed, size }: { seed: number; size: number }): LegacyDump {
  const random = seeded(seed);
  const counts = { total: 0, derived: 0, unknown: 0, refused: 0 };
  const deployments: Row[] = [];
  const attempts: Row[] = [];
  const count = (verdicts: readonly Verdict[]): void => {
    const isRefused = verdicts.includes('refused');
    counts.total += verdicts.length;
    for (const verdict of verdicts) counts[isRefused ? 'refused' : verdict] += 1;
  };
  for (let n = 0; n < size; n += 1) {
    const isBad = random() < BAD_ID;
    const id = isBad ? `no id ${n}` : `dep-${n}`;
    const createdMs = FIRST_MS + n * MINUTE_MS;
    const name = NAMES[Math.floor(random() * NAMES.length)]!;
    const row = [id, name, n % 3 === 0 ? null : 'production', 'core', timeText(createdMs)];
    deployments.push(row);
    const verdicts: Verdict[] = ['derived'];
    if (random() < SAME_AGAIN) {
      deployments.push(row);
      verdicts.push('derived');
    }
    for (const [attempt, fault] of attemptsOf({ id, createdMs, n }, random)) {
      attempts.push(attempt);
      verdicts.push(FAULTS[fault]);
    }
    if (isBad) verdicts.push('refused');
    count(isBad ? verdicts.slice(0, -1).map(() => 'refused') : verdicts);
    if (random() < ORPHAN) {
      attempts.push([`${n}-orphan`, `gone-${n}`, 'install', timeText(createdMs), ...NOTHING]);
      count(['refused']);
    }
  }
  const header = ['id', 'deployment_id', 'kind', 'created_at', 'started_at', 'finished_at'];
  return {
    deployments: csv([['id', 'name', 'environment', 'team', 'created_at'], ...deployments]),
    attempts: csv([[...header, 'exit_code', 'status'], ...shuffled(attempts, random)]),
    expected: counts,
  };
}

const NOTHING = [null, null, null, 'pending'] as const;

function attemptsOf(
  { id, createdMs, n }: { id: string; createdMs: number; n: number },
  random: () => number,
): readonly (readonly [Row, Fault])[] {
  const rows: (readonly [Row, Fault])[] = [];
  const many = n % 2 === 0 ? 3 : 5;
  for (let k = 0; k < many; k += 1) {
    const fault = faultOf(random(), { isFirst: k === 0, isLast: k === many - 1 });
    const openedMs = createdMs + (k + 1) * 100 * MINUTE_MS;
    const kind = random() < 0.1 ? 'destroy' : 'install';
    const isGood = random() < 0.8;
    const row = rowOf(fault, { id: String(n * 10 + k), of: id, kind, openedMs, isGood });
    rows.push([row, fault]);
    if (fault === 'other_content') rows.push([[...row.slice(0, -2), '99', 'pending'], fault]);
    else if (random() < SAME_AGAIN) rows.push([row, fault]);
  }
  return rows;
}

function faultOf(chance: number, at: { isFirst: boolean; isLast: boolean }): Fault {
  let limit = 0;
  for (const [fault, rate] of RATES) {
    limit += rate / 1000;
    if (chance >= limit) continue;
    // Only the first can lie before the creation without a change of order, only the last is overtaken by none.
    if (fault === 'before_creation') return at.isFirst ? fault : 'none';
    if (fault === 'overtaken') return at.isLast ? 'none' : fault;
    return fault;
  }
  return 'none';
}

function rowOf(
  fault: Fault,
  {
    id,
    of,
    kind,
    openedMs,
    isGood,
  }: Record<'id' | 'of' | 'kind', string> & {
    openedMs: number;
    isGood: boolean;
  },
): Row {
  const minutes = (count: number): string => timeText(openedMs + count * MINUTE_MS);
  const [opened, started, ended] = [minutes(0), minutes(1), minutes(30)];
  const code = isGood ? '0' : '1';
  const row = (...rest: Row): Row => [id, of, kind, ...rest];
  switch (fault) {
    case 'none':
    case 'other_content':
      return row(opened, started, ended, code, 'pending');
    case 'no_end':
      return row(opened, started, null, null, 'pending');
    case 'no_outcome':
      return row(opened, started, ended, null, 'pending');
    case 'impossible_order':
      return row(opened, started, minutes(0.5), code, 'pending');
    case 'unknown_status':
      return row(opened, started, ended, code, 'strange');
    case 'before_creation':
      return row(minutes(-300), started, ended, code, 'pending');
    case 'overtaken':
      return row(opened, started, minutes(120), code, 'pending');
    case 'bad_time':
      return row(opened, 'yesterday', ended, code, 'pending');
    case 'bad_exit_code':
      return row(opened, started, ended, 'SIGKILL', 'pending');
  }
}

/** As PostgreSQL shows a timestamptz. */
function timeText(ms: number): string {
  return new Date(ms).toISOString().replace('T', ' ').replace('Z', '+00');
}

function csv(rows: readonly Row[]): string {
  const cell = (text: string | null): string =>
    text !== null && /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : (text ?? '');
  return rows.map((row) => `${row.map(cell).join(',')}\n`).join('');
}

function shuffled<T>(items: readonly T[], random: () => number): readonly T[] {
  const all = [...items];
  for (let n = all.length - 1; n > 0; n -= 1) {
    const other = Math.floor(random() * (n + 1));
    [all[n], all[other]] = [all[other]!, all[n]!];
  }
  return all;
}
