/** Figures of one run: rate, percentiles, CPU; and rows that stand side by side. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What one measurement found. */
export interface Figures {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** CPU of the whole process, all threads, for each unit of work. */
  readonly cpuMicros: number;
}

/** Measures work that answers how long each unit took. */
export async function measure(
  work: () => Promise<readonly number[]> | readonly number[],
): Promise<Figures> {
  const cpu = process.cpuUsage();
  const startedAt = performance.now();
  const took = await work();
  const elapsedMs = performance.now() - startedAt;
  const { user, system } = process.cpuUsage(cpu);
  return {
    perSecond: (took.length / elapsedMs) * 1_000,
    p50Ms: percentile(took, 0.5),
    p99Ms: percentile(took, 0.99),
    cpuMicros: (user + system) / took.length,
  };
}

function percentile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

/** The figures in the middle by rate: one noisy round changes nothing. */
export function median(rounds: readonly Figures[]): Figures {
  const sorted = [...rounds].sort((a, b) => a.perSecond - b.perSecond);
  const middle = sorted[Math.floor(sorted.length / 2)];
  if (middle === undefined) throw new Error('no round was measured');
  return middle;
}

/** Prints one line: a name, its figures, and its rate as a share of the floor's. */
export function print(name: string, figures: Figures, floor?: Figures): void {
  const { perSecond, p50Ms, p99Ms, cpuMicros } = figures;
  const ratio =
    floor === undefined ? '' : `  ${(perSecond / floor.perSecond).toFixed(2)} × the floor`;
  const rate = Math.round(perSecond).toLocaleString('en').padStart(8);
  const latency = `p50 ${p50Ms.toFixed(2).padStart(6)} ms  p99 ${p99Ms.toFixed(2).padStart(6)} ms`;
  process.stdout.write(
    `${name.padEnd(44)}${rate}/s  ${latency}  ${cpuMicros.toFixed(0).padStart(4)} µs CPU${ratio}\n`,
  );
}

/** Gives a folder that is gone afterwards. */
export async function inFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'shipslog-bench-'));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
