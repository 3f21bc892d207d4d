/**
 * Builds when dist is missing or older than what it is made from, so that `npm start` works on a
 * fresh clone and never starts yesterday's code.
 *
 * A stamp file, not the output, carries the time: an incremental compiler leaves unchanged output
 * alone. The stamp holds the time before the build, so an edit during the build counts as newer.
 */
import { spawn } from 'node:child_process';
import { mkdir, readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import process from 'node:process';

const STAMP = 'dist/.built';
const SOURCES = ['tsconfig.json', 'tsconfig.build.json', 'nest-cli.json', 'package-lock.json'];

const reason = await staleBecause();
if (reason !== null) await build(reason);

/** Why a build is needed, in words; null when it is not, or not possible. */
async function staleBecause() {
  // An image that holds only dist has nothing to build from.
  if ((await changedAt('src')) === null) return null;
  const [built, output] = await Promise.all([changedAt(STAMP), changedAt('dist/main.js')]);
  if (built === null || output === null) return 'dist is missing';
  const newest = await newestOf([...SOURCES, ...(await tree('src'))]);
  return newest.at > built ? `${newest.path} is newer than dist` : null;
}

async function build(why) {
  const startedAt = new Date();
  console.error(`Building (${why}) …`);
  for (const step of [
    ['node_modules/@nestjs/cli/bin/nest.js', 'build'],
    ['scripts/write-verbs.mjs'],
  ]) {
    const code = await run(...step);
    if (code !== 0) process.exit(code);
  }
  await mkdir('dist', { recursive: true });
  await writeFile(STAMP, '');
  await utimes(STAMP, startedAt, startedAt);
}

function run(program, ...args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 2, 2] });
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 1));
  });
}

/** A folder, all folders in it (a deleted file changes its folder's time), and all files. */
async function tree(folder) {
  const entries = await readdir(folder, { recursive: true });
  return [folder, ...entries.map((entry) => join(folder, entry))];
}

async function newestOf(paths) {
  const times = await Promise.all(paths.map(async (path) => ({ path, at: await changedAt(path) })));
  return times.reduce((newest, each) => ((each.at ?? 0) > (newest.at ?? 0) ? each : newest));
}

async function changedAt(path) {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}
