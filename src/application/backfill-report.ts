/** What became of the rows of a legacy dump: the words for it, and the counts. */
import type { Deployment } from '../domain/deployment.js';
import type { State } from '../domain/event-schema.js';
import { UNDECIDED } from './legacy-history.js';

/** Why a row was refused, in words. */
const REFUSED = {
  unreadable: 'it can not be read',
  duplicate: 'another row has the same id and says something else',
  no_deployment: 'no row creates its deployment',
  against_rules: 'the rules do not take it',
  in_log: 'the log holds another history of its deployment',
  held_back: 'another row of its deployment was refused',
} as const;

/** Why a row is not simply derived, by name, in words. */
export const WHY = { ...UNDECIDED, ...REFUSED } as const;
export type Why = keyof typeof WHY;

const VERDICTS = ['derived', 'unknown', 'refused'] as const;
export type RowVerdict = (typeof VERDICTS)[number];

/** What became of a row. */
export interface RowReport {
  readonly file: string;
  readonly line: number;
  readonly verdict: RowVerdict;
  readonly why: Why | null;
  readonly detail: string;
  readonly deploymentId: string | null;
  readonly attemptId: string | null;
}

/** A derived deployment, to look at. */
interface Sample {
  readonly deploymentId: string;
  readonly state: State;
  readonly attempts: number;
  readonly events: number;
}

/** What a backfill did, or would do. The rows are `derived` + `unknown` + `refused`. */
export interface BackfillReport {
  readonly rows: Readonly<Record<RowVerdict | 'total' | 'repeated', number>>;
  /** Deployments that are new, or known as far as they go here, or refused. */
  readonly deployments: Readonly<Record<'added' | 'present' | 'refused', number>>;
  readonly events: Readonly<Record<'added' | 'present', number>>;
  readonly byState: Readonly<Partial<Record<State, number>>>;
  readonly reasons: readonly {
    readonly verdict: RowVerdict;
    readonly why: Why;
    readonly rows: number;
    /** The first few: `file:line`, and what is special about it. */
    readonly examples: readonly string[];
  }[];
  readonly sample: readonly Sample[];
}

const EXAMPLES_MAX = 3;
const SAMPLES_MAX = 5;

/** Counts rows, deployments and events; keeps a few of each kind to look at. */
export class Tally {
  readonly #rows = { total: 0, derived: 0, unknown: 0, refused: 0, repeated: 0 };
  readonly #deployments = { added: 0, present: 0, refused: 0 };
  readonly #events = { added: 0, present: 0 };
  readonly #byState = new Map<State, number>();
  readonly #reasons = new Map<
    string,
    { verdict: RowVerdict; why: Why; rows: number; examples: string[] }
  >();
  readonly #samples: Sample[] = [];

  row({ verdict, why, file, line, detail }: RowReport): void {
    this.#rows.total += 1;
    this.#rows[verdict] += 1;
    if (why === null) return;
    const key = `${verdict} ${why}`;
    const reason = this.#reasons.get(key) ?? { verdict, why, rows: 0, examples: [] };
    reason.rows += 1;
    const told = detail === WHY[why] ? '' : `: ${detail}`;
    if (reason.examples.length < EXAMPLES_MAX) reason.examples.push(`${file}:${line}${told}`);
    this.#reasons.set(key, reason);
  }

  repeated(rows: number): void {
    this.#rows.repeated += rows;
  }

  refused(): void {
    this.#deployments.refused += 1;
  }

  derived(
    { deploymentId, state }: Deployment,
    { attempts, events, present }: { attempts: number; events: number; present: number },
  ): void {
    this.#deployments[present < events ? 'added' : 'present'] += 1;
    this.#events.added += events - present;
    this.#events.present += present;
    const known = this.#byState.get(state) ?? 0;
    this.#byState.set(state, known + 1);
    // One of each state tells more than the first few.
    if (known === 0 && this.#samples.length < SAMPLES_MAX) {
      this.#samples.push({ deploymentId, state, attempts, events });
    }
  }

  report(): BackfillReport {
    const order = (verdict: RowVerdict): number => VERDICTS.indexOf(verdict);
    return {
      rows: this.#rows,
      deployments: this.#deployments,
      events: this.#events,
      byState: Object.fromEntries(this.#byState),
      reasons: [...this.#reasons.values()].sort(
        (a, b) => order(a.verdict) - order(b.verdict) || b.rows - a.rows,
      ),
      sample: this.#samples,
    };
  }
}
