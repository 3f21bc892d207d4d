/**
 * What `npm` and `node` are while the pages of the documents are tried.
 *
 * `npm ci` has been done. `npm start`, and the `serve` of the command line, start the service of this tree
 * and return when it has told its address, as in a terminal of its own. Node otherwise is Node.
 *
 * Usage: node npm-stand-in.mjs <folder of the compiled programs>
 *   <file that keeps the port and the process ids> npm|node <arguments>
 */
import { spawn } from 'node:child_process';
import { existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import process from 'node:process';

const [programs, state, ...asked] = process.argv.slice(2);
const line = asked.join(' ');
const CLI = 'dist/cli/main.js';

if (line === 'npm start') await start([`${programs}/dist/main.js`]);
else if (line.startsWith(`node ${CLI} serve`)) await start([CLI, ...asked.slice(2)]);
else if (asked[0] === 'node') process.exitCode = await run(asked.slice(1));
else if (line !== 'npm ci') {
  console.error(`the pages are not expected to run: ${line}`);
  process.exitCode = 1;
}

async function start(program) {
  const { port, pids } = existsSync(state)
    ? JSON.parse(readFileSync(state, 'utf8'))
    : { port: 0, pids: [] };
  // A file, not a pipe: the service goes on when this program is gone.
  const log = `${state}.log`;
  const output = openSync(log, 'w');
  const service = spawn(process.execPath, program, {
    detached: true,
    env: { ...process.env, SHIPSLOG_PORT: String(port) },
    stdio: ['ignore', output, output],
  });
  let hasEnded = false;
  service.once('close', () => (hasEnded = true));
  let found = null;
  while (found === null && !hasEnded) {
    await new Promise((next) => setTimeout(next, 20));
    found = /http:\/\/127\.0\.0\.1:([1-9]\d*)/.exec(readFileSync(log, 'utf8'));
  }
  process.stderr.write(readFileSync(log, 'utf8'));
  if (found === null) process.exit(service.exitCode ?? 1);
  writeFileSync(state, JSON.stringify({ port: Number(found[1]), pids: [...pids, service.pid] }));
  process.exit(0);
}

function run(args) {
  const program = spawn(process.execPath, args, { stdio: 'inherit' });
  return new Promise((settle) => program.once('close', (code) => settle(code ?? 1)));
}
