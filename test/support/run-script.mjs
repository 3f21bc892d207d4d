/**
 * Runs a shell script as an attempt that was opened: starts it, sends heartbeats while the script runs,
 * and ends it by the script's exit code. Killed with -9 it tells nobody, as any runner that dies so.
 *
 * Usage: node run-script.mjs <url of the attempt> <ms between heartbeats> <script>
 */
import { spawn } from 'node:child_process';
import process from 'node:process';

const [attempt, heartbeatMs, script] = process.argv.slice(2);
await post('start', { runner: { id: `runner-${process.pid}`, pid: process.pid } });
const beating = setInterval(() => void post('heartbeat', {}), Number(heartbeatMs));
const exitCode = await new Promise((settle) => {
  spawn('sh', [script], { stdio: 'inherit' }).once('close', (code) => settle(code ?? 128));
});
clearInterval(beating);
await post('end', { outcome: exitCode === 0 ? 'succeeded' : 'failed', exitCode });

async function post(what, body) {
  const response = await fetch(`${attempt}/${what}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-shipslog-actor': 'runner:run-script' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${what}: ${response.status} ${await response.text()}`);
}
