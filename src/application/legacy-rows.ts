/** Rows of a legacy dump, read by its map into what they say of deployments and attempts. */
import {
  given,
  parseId,
  type AttemptId,
  type DeploymentId,
  type Instant,
  type JsonObject,
  type Labels,
  type Outcome,
} from '../domain/event-schema.js';
import { parseInstant } from './fields.js';
import type { LegacyMap, LegacyMember, LegacyTable, TableMap } from './legacy-map.js';

/** The table that rows are of; both: each is an attempt, with its deployment beside it. */
export type RowsOf = LegacyTable | 'both';
/** The text of a column of one row; null when it has none. */
export type Cells = (column: string) => string | null;

/** What a row says of a deployment. */
export interface LegacyDeployment {
  readonly deploymentId: DeploymentId;
  readonly name?: string;
  readonly environment?: string;
  readonly labels?: Labels;
  readonly createdAt?: Instant;
}

/** What a row says of an attempt. */
export interface LegacyAttempt {
  readonly attemptId: AttemptId;
  readonly scope: string;
  readonly openedAt?: Instant;
  readonly startedAt?: Instant;
  readonly endedAt?: Instant;
  readonly status?: string;
  /** What the map says of the status; absent: that it is no word of the map. */
  readonly meaning?: Outcome | 'unknown' | null;
  readonly exitCode?: number;
  readonly code?: string;
  readonly reason?: string;
  readonly runner?: string;
  readonly meta?: JsonObject;
}

/** A row that was read, or why it can not be, in words. */
export type Read<T> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly problem: string };

/** Thrown and caught in this file only: the first value that can not be read ends its row. */
class Unreadable extends Error {}

const DEFAULT_SCOPE = 'full';
const REASON_MAX = 1_000;
const EARLIEST = '2000-01-01T00:00:00.000Z';
const AHEAD_MAX_MS = 5 * 60_000;
const EXIT_CODE = { min: -(2 ** 31), max: 2 ** 31 - 1 };
/** How MySQL writes that there is no time. */
const ZERO_TIME = '0000-00-00';

/** Reads rows of one dump. `now` bounds their times. */
export class RowReader {
  readonly #latest: Instant;

  constructor(
    private readonly map: LegacyMap,
    now: Instant,
  ) {
    this.#latest = new Date(Date.parse(now) + AHEAD_MAX_MS).toISOString();
  }

  /** The id of the deployment that a row is about, as it stands there; null when it names none. */
  deploymentIdIn(table: RowsOf, cells: Cells): string | null {
    const { deployments, attempts } = this.map.tables;
    return table === 'attempts' && attempts !== null
      ? this.#text(attempts, 'deploymentId', cells)
      : this.#text(deployments, 'id', cells);
  }

  /** Whether a row is about an attempt: of both tables, when it names one. */
  isAttempt(table: RowsOf, cells: Cells): boolean {
    const { attempts } = this.map.tables;
    if (table !== 'both') return table === 'attempts';
    return attempts !== null && this.#text(attempts, 'id', cells) !== null;
  }

  deployment(deploymentId: DeploymentId, cells: Cells): Read<LegacyDeployment> {
    const { deployments: table } = this.map.tables;
    return readable(() =>
      given<LegacyDeployment>({
        deploymentId,
        name: onOneLine(this.#text(table, 'name', cells)),
        environment: onOneLine(this.#text(table, 'environment', cells)),
        labels: this.#labels(table, cells),
        createdAt: this.#time(table, 'createdAt', cells),
      }),
    );
  }

  attempt(cells: Cells): Read<LegacyAttempt> {
    const { attempts: table } = this.map.tables;
    return readable(() => {
      if (table === null) throw new Unreadable('the map names no columns of attempts');
      const text = (member: LegacyMember): string | undefined =>
        this.#text(table, member, cells) ?? undefined;
      const attemptId = parseId<AttemptId>(text('id') ?? '');
      if (attemptId === null) throw badId('attempt', text('id'));
      const [scope = DEFAULT_SCOPE, status] = [text('scope'), text('status')];
      const reason = text('reason');
      return given<LegacyAttempt>({
        attemptId,
        scope: this.map.scopes.get(scope) ?? scope,
        openedAt: this.#time(table, 'openedAt', cells),
        startedAt: this.#time(table, 'startedAt', cells),
        endedAt: this.#time(table, 'endedAt', cells),
        status,
        meaning: status === undefined ? null : this.map.outcomes.get(status),
        exitCode: exitCodeIn(text('exitCode')),
        code: text('code'),
        reason: reason === undefined ? undefined : shortened(reason),
        runner: text('runner'),
        meta: this.#object(table, cells),
      });
    });
  }

  #text({ columns }: TableMap, member: LegacyMember, cells: Cells): string | null {
    for (const column of columns[member] ?? []) {
      const text = this.#cell(column, cells);
      if (text !== null) return text;
    }
    return null;
  }

  #cell(column: string, cells: Cells): string | null {
    const text = cells(column);
    return text === null || this.map.nulls.has(text) ? null : text;
  }

  #time(table: TableMap, member: LegacyMember, cells: Cells): Instant | undefined {
    const text = this.#text(table, member, cells);
    if (text === null || text.startsWith(ZERO_TIME)) return undefined;
    const instant = instantIn(text, this.map.utcOffset);
    if (instant === null) throw new Unreadable(`${member} is ${shown(text)}, which is no time`);
    if (instant >= EARLIEST && instant <= this.#latest) return instant;
    throw new Unreadable(`${member} is ${shown(text)}: times are from the year 2000 up to now`);
  }

  #object({ object }: TableMap, cells: Cells): JsonObject | undefined {
    if (object === null) return undefined;
    if (typeof object === 'string') {
      const text = this.#cell(object, cells);
      return text === null ? undefined : jsonObjectIn(object, text);
    }
    const entries = Object.entries(object).flatMap(([name, column]) => {
      const text = this.#cell(column, cells);
      return text === null ? [] : [[name, text] as const];
    });
    return entries.length === 0 ? undefined : Object.fromEntries(entries);
  }

  #labels(table: TableMap, cells: Cells): Labels | undefined {
    const members = this.#object(table, cells);
    if (members === undefined) return undefined;
    const labels = Object.entries(members).flatMap(([name, value]) => {
      if (value === null) return [];
      const text = typeof value === 'string' ? value : JSON.stringify(value);
      return [[name, onOneLine(text) ?? ''] as const];
    });
    return Object.fromEntries(labels);
  }
}

/** Says of an id that it is none. */
export function badIdProblem(kind: 'deployment' | 'attempt', text: string | null): string {
  return text === null
    ? `the id of the ${kind} has no value`
    : `${shown(text)} is no ${kind} id: 1 to 128 letters, digits, or ._:- after the first`;
}

function badId(kind: 'attempt', text: string | undefined): Unreadable {
  return new Unreadable(badIdProblem(kind, text ?? null));
}

function readable<T>(read: () => T): Read<T> {
  try {
    return { ok: true, value: read() };
  } catch (error) {
    if (error instanceof Unreadable) return { ok: false, problem: error.message };
    throw error;
  }
}

const DATE_TIME =
  /^(?<date>\d{4}-\d\d-\d\d)[T ](?<minutes>\d\d:\d\d)(?<seconds>:\d\d)?(?<fraction>\.\d{1,9})?\d* ?(?<zone>Z|UTC|[+-]\d\d(?::?\d\d)?)?$/i;
const EPOCH = /^(?<whole>\d{9,10}|\d{12,13}|\d{15,16})(?<fraction>\.\d+)?$/;

/**
 * Reads a time as databases write it: date and time with or without an offset, or a number of seconds,
 * milliseconds or microseconds since 1970. Null when it is none.
 */
export function instantIn(text: string, utcOffset: string): Instant | null {
  const epoch = EPOCH.exec(text)?.groups;
  if (epoch?.['whole'] !== undefined) {
    const unitMs = { 10: 1_000, 13: 1, 16: 0.001 }[magnitudeOf(epoch['whole'].length)];
    return new Date(Math.floor(Number(text) * unitMs)).toISOString();
  }
  const { date, minutes, seconds, fraction, zone } = DATE_TIME.exec(text)?.groups ?? {};
  if (date === undefined || minutes === undefined) return null;
  return parseInstant(
    `${date}T${minutes}${seconds ?? ':00'}${fraction ?? ''}${offsetIn(zone, utcOffset)}`,
  );
}

function magnitudeOf(digits: number): 10 | 13 | 16 {
  if (digits <= 10) return 10;
  return digits <= 13 ? 13 : 16;
}

function offsetIn(zone: string | undefined, otherwise: string): string {
  if (zone === undefined) return otherwise;
  if (/^(Z|UTC)$/i.test(zone)) return 'Z';
  const [hours, minutes] = [zone.slice(0, 3), zone.slice(3).replace(':', '')];
  return `${hours}:${minutes === '' ? '00' : minutes}`;
}

function exitCodeIn(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const code = /^-?\d{1,10}$/.test(text) ? Number(text) : NaN;
  if (code >= EXIT_CODE.min && code <= EXIT_CODE.max) return code;
  throw new Unreadable(`exitCode is ${shown(text)}, which is no whole number of 32 bits`);
}

function jsonObjectIn(column: string, text: string): JsonObject {
  let value: unknown = null;
  try {
    value = JSON.parse(text);
  } catch {
    // What is no JSON is no JSON object either.
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return value as JsonObject;
  }
  throw new Unreadable(`${column} is ${shown(text)}, which is no JSON object`);
}

/** Names have no line breaks here; there they may. */
function onOneLine(text: string | null): string | undefined {
  return text?.toWellFormed().replaceAll(/\p{Cc}+/gu, ' ');
}

/** A reason may have been a whole log there: its beginning is kept, without what a terminal obeys. */
function shortened(text: string): string {
  const plain = text.toWellFormed().replaceAll(/[^\P{Cc}\t\n]/gu, ' ');
  return plain.length <= REASON_MAX ? plain : `${plain.slice(0, REASON_MAX - 1).toWellFormed()}…`;
}

/** A text of a dump in a few words. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40).toWellFormed()}…` : text);
}
