#!/usr/bin/env node
/** The command of the package; in a clone that was not built yet it builds first, as `npm start` does. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';

if (!existsSync(new URL('../dist/cli/main.js', import.meta.url))) {
  const root = fileURLToPath(new URL('..', import.meta.url));
  const build = [`${root}scripts/build-if-stale.mjs`];
  const { status } = spawnSync(process.execPath, build, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) process.exit(status ?? 1);
}
await import('../dist/cli/main.js');
