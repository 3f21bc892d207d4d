/**
 * The map of a legacy dump: which columns of its tables say what, and what their words mean.
 *
 * Shape of the file: one JSON object; members whose name begins with `//` are comments.
 */
import { OUTCOMES, type Outcome } from '../domain/event-schema.js';
import type { MemberProblem } from '../domain/refusals.js';
import { nearestTo } from './spelling.js';

export const LEGACY_TABLES = ['deployments', 'attempts'] as const;
export type LegacyTable = (typeof LEGACY_TABLES)[number];

/** Columns that may hold a member: the first one that has a value counts. */
export type Columns = readonly string[];
/** Columns of a member that is an object: one with JSON in it, or one for each name. */
export type ObjectColumns = string | Readonly<Record<string, string>>;

const TEXT_MEMBERS = {
  deployments: ['id', 'name', 'environment', 'createdAt'],
  attempts: [
    'id',
    'deploymentId',
    'scope',
    'openedAt',
    'startedAt',
    'endedAt',
    'status',
    'exitCode',
    'code',
    'reason',
    'runner',
  ],
} as const satisfies Record<LegacyTable, readonly string[]>;
const OBJECT_MEMBERS = { deployments: 'labels', attempts: 'meta' } as const;
const NEEDED: Readonly<Record<LegacyTable, readonly string[]>> = {
  deployments: ['id'],
  attempts: ['id', 'deploymentId'],
};
const TIMES: readonly string[] = ['openedAt', 'startedAt', 'endedAt'];

/** A member of a table that one value makes. */
export type LegacyMember = (typeof TEXT_MEMBERS)[LegacyTable][number];

/** How the columns of one table are used. */
export interface TableMap {
  readonly columns: Readonly<Partial<Record<LegacyMember, Columns>>>;
  /** `labels` of a deployment, `meta` of an attempt. */
  readonly object: ObjectColumns | null;
  /** Names of the columns, where the file has no line of them. */
  readonly header: readonly string[] | null;
}

/** A map that was read and found right. */
export interface LegacyMap {
  readonly tables: {
    readonly deployments: TableMap;
    /** Null: the dump knows no attempts. */
    readonly attempts: TableMap | null;
  };
  /** What a status says; null: nothing, as of one that was never advanced. */
  readonly outcomes: ReadonlyMap<string, Outcome | 'unknown' | null>;
  /** Scopes for words of the dump; other words are scopes themselves. */
  readonly scopes: ReadonlyMap<string, string>;
  /** Why work went on after an attempt whose end nobody knows; null: then the deployment is refused. */
  readonly acknowledgeUnknown: string | null;
  /** Texts that mean that there is no value. */
  readonly nulls: ReadonlySet<string>;
  /** Of times that have no offset of their own: `Z` or `±hh:mm`. */
  readonly utcOffset: string;
  readonly delimiter: string;
  readonly escape: string;
}

/** A map, or all that is wrong with it. */
export type ParsedMap =
  | { readonly ok: true; readonly map: LegacyMap }
  | { readonly ok: false; readonly problems: readonly MemberProblem[] };

const TOP = [
  ...LEGACY_TABLES,
  'outcomes',
  'scopes',
  'acknowledgeUnknown',
  'nulls',
  'utcOffset',
  'delimiter',
  'escape',
];
const DEFAULT_NULLS = ['', '\\N', 'NULL'];
const MEANINGS: readonly unknown[] = [...OUTCOMES, 'unknown', null];
const REASON_MAX = 1_000;

/** A map to begin with: it fits the dump of the documentation, and says what each part is for. */
export const EXAMPLE_MAP = `{
  "// deployments": "member: its column, or columns of which the first with a value counts; only id is needed",
  "deployments": {
    "id": "id",
    "name": "name",
    "environment": "environment",
    "labels": { "team": "team" },
    "createdAt": "created_at"
  },
  "// attempts": "id, deploymentId and one of the times are needed; further: code, reason, runner, meta",
  "attempts": {
    "id": "id",
    "deploymentId": "deployment_id",
    "scope": "kind",
    "openedAt": "created_at",
    "startedAt": "started_at",
    "endedAt": "finished_at",
    "exitCode": "exit_code",
    "status": "status"
  },
  "// outcomes": "what a status says: succeeded, failed, cancelled, unknown; null says nothing, then the exit code tells",
  "outcomes": { "success": "succeeded", "error": "failed", "aborted": "cancelled", "pending": null, "running": null },
  "// scopes": "words of the dump that are no scope here",
  "scopes": { "install": "full", "destroy": "teardown" },
  "// acknowledgeUnknown": "in your name: why it was right to go on after an attempt whose end nobody knows",
  "acknowledgeUnknown": "the table shows that work went on",
  "// the rest": "as it is when left out",
  "nulls": ["", "\\\\N", "NULL"],
  "utcOffset": "Z",
  "delimiter": ",",
  "escape": "\\""
}
`;

type Json = Readonly<Record<string, unknown>>;

/** Reads a map. Problems carry JSON pointers; a misspelt member gets a suggestion. */
export function parseLegacyMap(text: string): ParsedMap {
  const check = new Check();
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return { ok: false, problems: [{ pointer: '', message: `is not JSON: ${String(error)}` }] };
  }
  const top = check.object(value, '', TOP);
  const map: LegacyMap = {
    tables: {
      deployments: tableIn(check, top, 'deployments'),
      attempts: top['attempts'] === undefined ? null : tableIn(check, top, 'attempts'),
    },
    outcomes: outcomesIn(check, top['outcomes']),
    scopes: new Map(Object.entries(check.texts(top['scopes'] ?? {}, '/scopes'))),
    acknowledgeUnknown: reasonIn(check, top['acknowledgeUnknown']),
    nulls: new Set(check.list(top['nulls'] ?? DEFAULT_NULLS, '/nulls')),
    utcOffset: check.text(top['utcOffset'] ?? 'Z', '/utcOffset', {
      pattern: /^(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/,
      what: 'Z or an offset like +02:00',
    }),
    delimiter: check.text(top['delimiter'] ?? ',', '/delimiter', LETTER),
    escape: check.text(top['escape'] ?? '"', '/escape', LETTER),
  };
  return check.problems.length === 0 ? { ok: true, map } : { ok: false, problems: check.problems };
}

/** Every column that a table's map names, with the member that it is for. */
export function columnsOf({ columns, object }: TableMap): readonly (readonly [string, string])[] {
  const named = Object.entries(columns).flatMap(([member, names]) =>
    names.map((name) => [name, member] as const),
  );
  const inside = typeof object === 'string' ? [object] : Object.values(object ?? {});
  return [...named, ...inside.map((name) => [name, 'labels or meta'] as const)];
}

function tableIn(check: Check, top: Json, table: LegacyTable): TableMap {
  const at = `/${table}`;
  const members: readonly string[] = TEXT_MEMBERS[table];
  const object = OBJECT_MEMBERS[table];
  const given = check.object(top[table], at, [...members, object, 'header']);
  const columns = Object.fromEntries(
    members
      .filter((member) => given[member] !== undefined)
      .map((member) => [member, check.columns(given[member], `${at}/${member}`)]),
  );
  for (const member of NEEDED[table]) {
    if (given[member] === undefined) check.wrong(`${at}/${member}`, 'is missing: name its column');
  }
  if (table === 'attempts' && !TIMES.some((member) => given[member] !== undefined)) {
    check.wrong(at, `must name a column for one of ${TIMES.join(', ')}`);
  }
  const { [object]: inside, header } = given;
  return {
    columns,
    object: inside === undefined ? null : objectColumnsIn(check, inside, `${at}/${object}`),
    header: header === undefined ? null : check.list(header, `${at}/header`),
  };
}

function objectColumnsIn(check: Check, value: unknown, at: string): ObjectColumns {
  return typeof value === 'string' ? value : check.texts(value, at);
}

function outcomesIn(check: Check, value: unknown = {}): LegacyMap['outcomes'] {
  const words = Object.entries(check.object(value, '/outcomes', null));
  for (const [word, meaning] of words) {
    if (MEANINGS.includes(meaning)) continue;
    check.wrong(pointerTo('/outcomes', word), `must be ${OUTCOMES.join(', ')}, unknown or null`);
  }
  return new Map(words as [string, Outcome | 'unknown' | null][]);
}

function reasonIn(check: Check, value: unknown): string | null {
  if (value === undefined || value === null) return null;
  const at = '/acknowledgeUnknown';
  const pattern = new RegExp(`^[^\\p{Cc}]{1,${String(REASON_MAX)}}$`, 'u');
  return check.text(value, at, { pattern, what: `a reason of 1 to ${String(REASON_MAX)} letters` });
}

const LETTER = { pattern: /^.$/su, what: 'one letter' };

/** Reads parts of a map and notes what is wrong; what is wrong is read as something harmless. */
class Check {
  readonly problems: MemberProblem[] = [];

  wrong(pointer: string, message: string): void {
    this.problems.push({ pointer, message });
  }

  /** An object without its comments; `known` null: any member. */
  object(value: unknown, at: string, known: readonly string[] | null): Json {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.wrong(at, value === undefined ? 'is missing' : 'must be an object');
      return {};
    }
    const members = Object.entries(value).filter(([name]) => !name.startsWith('//'));
    for (const [name] of members) {
      if (known === null || known.includes(name)) continue;
      const nearest = nearestTo(name, known) ?? '';
      this.wrong(pointerTo(at, name), `is not a member here; did you mean ${nearest}?`);
    }
    return Object.fromEntries(members);
  }

  texts(value: unknown, at: string): Readonly<Record<string, string>> {
    const members = Object.entries(this.object(value, at, null));
    return Object.fromEntries(
      members.map(([name, text]) => [name, this.text(text, pointerTo(at, name))]),
    );
  }

  list(value: unknown, at: string): readonly string[] {
    if (Array.isArray(value) && value.every((text) => typeof text === 'string')) return value;
    this.wrong(at, 'must be a list of texts');
    return [];
  }

  columns(value: unknown, at: string): Columns {
    return Array.isArray(value) ? this.list(value, at) : [this.text(value, at)];
  }

  text(
    value: unknown,
    at: string,
    { pattern, what }: { pattern: RegExp; what: string } = { pattern: /^/, what: 'a text' },
  ): string {
    if (typeof value === 'string' && pattern.test(value)) return value;
    this.wrong(at, `must be ${what}`);
    return '';
  }
}

function pointerTo(at: string, name: string): string {
  return `${at}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`;
}
