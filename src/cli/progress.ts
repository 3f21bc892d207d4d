/** Progress of long work: a bar on a terminal, a line each 10 s elsewhere. */
import type { Clock } from '../ports/clock.js';
import type { Output, Terminal } from './terminal.js';

/** How far the work is; `total` null when nobody knows. */
export interface Step {
  readonly done: number;
  readonly total: number | null;
}

/** Time between two pictures of the bar, and between two lines. Milliseconds. */
const REDRAW_MS = 100;
const LINE_MS = 10_000;
const BAR_COLUMNS = 24;

/** Shows how far some work is, with rate and estimated time left, on stderr. */
export class Progress {
  readonly #out: Output;
  readonly #startedAtMs: number;
  #shownAtMs: number;
  #isShown = false;

  constructor(
    private readonly terminal: Terminal,
    private readonly clock: Clock,
    /** What is being done, and to what: `replay`, `events`. */
    private readonly work: { readonly verb: string; readonly unit: string },
  ) {
    this.#out = terminal.err;
    this.#startedAtMs = clock.monotonicMs();
    this.#shownAtMs = this.#startedAtMs;
  }

  /** Notes a step; most of them are not shown. */
  update(step: Step): void {
    const nowMs = this.clock.monotonicMs();
    if (nowMs - this.#shownAtMs < (this.#out.isTerminal ? REDRAW_MS : LINE_MS)) return;
    this.#shownAtMs = nowMs;
    const text = this.#textOf(step, nowMs - this.#startedAtMs);
    this.#isShown = true;
    void (this.#out.isTerminal ? this.#out.write(`\r\u001b[K${text}`) : this.#out.line(text));
  }

  /** Clears the bar: the result that follows says all. */
  end(): void {
    if (this.#isShown && this.#out.isTerminal) void this.#out.write('\r\u001b[K');
    this.#isShown = false;
  }

  #textOf({ done, total }: Step, ms: number): string {
    const { verb, unit } = this.work;
    const rate = ms > 0 ? (done * 1000) / ms : 0;
    const told = `${withCommas(done)} ${unit}  ${withCommas(rate)}/s`;
    if (total === null || total <= 0) return `${verb}  ${told}`;
    const part = Math.min(1, done / total);
    const percent = `${String(Math.floor(part * 100)).padStart(3)}%`;
    const left = rate > 0 ? `  ETA ${inWords(((total - done) * 1000) / rate)}` : '';
    const bar = this.#out.isTerminal ? `${this.#bar(part)} ` : '';
    return `${verb}  ${bar}${percent}  ${told}${left}`;
  }

  #bar(part: number): string {
    const full = Math.round(part * BAR_COLUMNS);
    const [on, off] = this.terminal.isUnicode ? ['█', '░'] : ['#', '-'];
    return on.repeat(full) + off.repeat(BAR_COLUMNS - full);
  }
}

/** A count with commas: 1,234,567. */
export function withCommas(count: number | bigint): string {
  const whole = typeof count === 'bigint' ? count : Math.round(count);
  return whole.toLocaleString('en-US');
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** A length of time in at most two units: `850 ms`, `12 s`, `3 m 20 s`, `2 d 4 h`. */
export function inWords(ms: number): string {
  if (ms < SECOND) return `${String(Math.round(ms))} ms`;
  const units = [
    ['d', DAY],
    ['h', HOUR],
    ['m', MINUTE],
    ['s', SECOND],
  ] as const;
  const parts: string[] = [];
  let left = ms;
  for (const [name, length] of units) {
    const count = Math.floor(left / length);
    left -= count * length;
    if (count > 0) parts.push(`${String(count)} ${name}`);
    else if (parts.length > 0) break;
  }
  return parts.slice(0, 2).join(' ');
}
