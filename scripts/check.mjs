/**
 * Runs the gates side by side and prints one line for each, and all that a failing one has to say.
 *
 * Usage: node scripts/check.mjs [gate …]   (all gates when none is named)
 * Ends with 1 when a gate fails. The cache of eslint only spares files that did not change; a clean
 * clone, as in CI, checks everything.
 */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import process from 'node:process';

const bin = (path) => `node_modules/${path}`;
/** The slowest first, so that the short ones fill the gaps. */
const GATES = {
  lint: [
    bin('eslint/bin/eslint.js'),
    ...['.', '--max-warnings', '0', '--cache', '--cache-strategy', 'content'],
    ...['--cache-location', 'node_modules/.cache/eslint/'],
  ],
  types: [bin('typescript/bin/tsc'), '--noEmit', '-p', 'tsconfig.json'],
  imports: [bin('dependency-cruiser/bin/dependency-cruise.mjs'), 'src', 'test'],
  unused: [bin('knip/bin/knip.js'), '--no-progress', '--no-config-hints'],
  format: [bin('prettier/bin/prettier.cjs'), '--check', '--log-level', 'warn', '.'],
  lockfile: ['scripts/complete-lockfile.mjs', '--check'],
};

const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !Object.hasOwn(GATES, name));
if (unknown.length > 0) {
  console.error(`No such gate: ${unknown.join(', ')}. Gates: ${Object.keys(GATES).join(', ')}`);
  process.exit(2);
}

const waiting = asked.length > 0 ? asked : Object.keys(GATES);
const failed = [];
await Promise.all(Array.from({ length: availableParallelism() }, work));
if (failed.length > 0) console.log(`\nfailed: ${failed.join(', ')}`);
process.exitCode = failed.length > 0 ? 1 : 0;

async function work() {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const startedAt = performance.now();
    const { code, output } = await run(GATES[name]);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    console.log(`${code === 0 ? '✓' : '✗'} ${name.padEnd(8)} ${seconds.padStart(5)} s`);
    if (code === 0) continue;
    failed.push(name);
    console.log(output.trimEnd());
  }
}

function run(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...(process.stdout.isTTY && { FORCE_COLOR: '1' }) },
    });
    let output = '';
    child.stdout.on('data', (chunk) => (output += chunk));
    child.stderr.on('data', (chunk) => (output += chunk));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}
