/** Runs one benchmark by its name, or all of them: `npm run bench [-- NAME [ARGUMENTS…]]`. */
import { spawnSync } from 'node:child_process';

const ALL = [
  'event-store',
  'command-bus',
  'projection',
  'rebuild',
  'time-travel',
  'http',
  'eventstoredb',
  'postgres',
  'cli',
];
const [name, ...rest] = process.argv.slice(2);
if (name !== undefined && !ALL.includes(name)) {
  console.error(`there is no benchmark "${name}"; there are ${ALL.join(', ')}`);
  process.exit(2);
}
for (const bench of name === undefined ? ALL : [name]) {
  console.log(`\n== ${bench}`);
  const program = ['--import', '@swc-node/register/esm-register', `bench/${bench}.ts`, ...rest];
  const { status } = spawnSync(process.execPath, program, { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
