/**
 * Measures how long the command line takes to start, over bare Node in the same run.
 *
 *   node --import @swc-node/register/esm-register bench/cli.ts [--rounds 15]
 *
 * Measures what was built (it builds first, when that is older than the sources). Each start is a process;
 * rounds alternate between all of them, so that a busy moment hits all. Medians are shown, and the least:
 * on a busy machine that is what the work itself takes.
 */
import { spawn, spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { Client } from '../src/client/client.js';

const OVER_NODE_MS_MAX = 120;
const CLI = 'dist/cli/main.js';
const LINES: Readonly<Record<string, readonly string[]>> = {
  'node -e 0': ['-e', '0'],
  'shipslog --version': [CLI, '--version'],
  'shipslog --help': [CLI, '--help'],
  'shipslog get web': [CLI, 'get', 'web'],
  'shipslog list --json': [CLI, 'list', '--json'],
  'shipslog lifecycle': [CLI, 'lifecycle'],
};

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '15' } } });
spawnSync(process.execPath, ['scripts/build-if-stale.mjs'], { stdio: 'inherit' });
const service = await startService();
try {
  const client = new Client({ url: service.url });
  await client.call('createDeployment', { body: { deploymentId: 'web' } });
  const starts = new Map<string, number[]>(Object.keys(LINES).map((name) => [name, []]));
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [name, args] of Object.entries(LINES)) starts.get(name)?.push(msOf(args));
  }
  report(starts);
} finally {
  service.end();
}

/** Starts a program and waits for its end. */
function msOf(args: readonly string[]): number {
  const env = { ...process.env, SHIPSLOG_URL: service.url };
  const startedAtMs = performance.now();
  const { status } = spawnSync(process.execPath, args, { env, stdio: 'ignore' });
  const ms = performance.now() - startedAtMs;
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${String(status)}`);
  return ms;
}

function report(starts: ReadonlyMap<string, readonly number[]>): void {
  const [node] = [...starts.values()].map(figuresOf);
  for (const [name, each] of starts) {
    const { medianMs, leastMs } = figuresOf(each);
    const over = {
      median: medianMs - (node?.medianMs ?? 0),
      least: leastMs - (node?.leastMs ?? 0),
    };
    const told =
      name === 'node -e 0'
        ? ''
        : `  over node: ${over.median.toFixed(0)} ms, least ${over.least.toFixed(0)} ms (target ${OVER_NODE_MS_MAX} ms)`;
    const figures = `${medianMs.toFixed(0).padStart(5)} ms  least ${leastMs.toFixed(0).padStart(4)} ms`;
    process.stdout.write(`${name.padEnd(22)}${figures}${told}\n`);
  }
}

function figuresOf(each: readonly number[]): {
  readonly medianMs: number;
  readonly leastMs: number;
} {
  const sorted = [...each].sort((a, b) => a - b);
  return { medianMs: sorted[Math.floor(sorted.length / 2)] ?? 0, leastMs: sorted[0] ?? 0 };
}

/** A service in memory, on any free port. */
async function startService(): Promise<{ readonly url: string; readonly end: () => void }> {
  const env = {
    ...process.env,
    SHIPSLOG_EVENT_STORE: 'memory:',
    SHIPSLOG_READ_MODELS: 'memory:',
    SHIPSLOG_PORT: '0',
  };
  const child = spawn(process.execPath, ['dist/main.js'], { env });
  let said = '';
  const url = await new Promise<string>((found, failed) => {
    const look = (chunk: Buffer): void => {
      said += chunk.toString('utf8');
      const address = /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(said)?.[0];
      if (address !== undefined) found(address);
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.once('exit', () => failed(new Error(said)));
  });
  return { url, end: () => void child.kill('SIGTERM') };
}
