/**
 * Starts the service as the README says, drives one deployment to `ready` over HTTP, and stops it.
 *
 * The data lies in a temporary folder, the port is any free one. Ends with 0 when every step holds;
 * otherwise prints the step, what was expected and all that the service said. Leaves no process.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';

/** A start may have to build first. */
const START_MS_MAX = 60_000;
const REQUEST_MS_MAX = 10_000;
/** Draining takes at most 10 s. */
const STOP_MS_MAX = 12_000;

const data = await mkdtemp(join(tmpdir(), 'shipslog-smoke-'));
const service = start(data);
try {
  const url = await within(START_MS_MAX, 'an address', service.address);
  await checkReady(url);
  await driveToReady(url);
  await checkStops(service);
  console.log('smoke: ok');
} catch (error) {
  console.error(`smoke: ${error.message}\n--- the service said ---\n${service.output()}`);
  process.exitCode = 1;
} finally {
  service.killAll();
  await rm(data, { recursive: true, force: true });
}

async function checkReady(url) {
  const { status, body } = await call(url, ['GET', '/health/ready']);
  assert.equal(status, 200, `GET /health/ready answered ${status}: ${JSON.stringify(body)}`);
}

async function driveToReady(url) {
  const deployment = '/v1/deployments/smoke';
  const attempt = `${deployment}/attempts/first`;
  await expectReceipt(url, ['POST', '/v1/deployments', { deploymentId: 'smoke' }], {
    status: 201,
    state: 'pending',
  });
  await expectReceipt(url, ['POST', `${deployment}/attempts`, { attemptId: 'first' }], {
    status: 201,
    state: 'pending',
  });
  await expectReceipt(url, ['POST', `${attempt}/start`, {}], { status: 200, state: 'deploying' });
  const { position } = await expectReceipt(
    url,
    ['POST', `${attempt}/end`, { outcome: 'succeeded', exitCode: 0 }],
    { status: 200, state: 'ready' },
  );
  const { status, body } = await call(url, ['GET', `${deployment}?minPosition=${position}`]);
  assert.equal(status, 200, `GET ${deployment} answered ${status}: ${JSON.stringify(body)}`);
  assert.equal(body.state, 'ready', 'the read model follows the log');
  assert.equal(body.lastReadyAttempt, 'first');
}

async function expectReceipt(url, request, { status, state }) {
  const answer = await call(url, request);
  const [method, path] = request;
  const said = `${method} ${path} answered ${answer.status}: ${JSON.stringify(answer.body)}`;
  assert.equal(answer.status, status, said);
  assert.equal(answer.body.state, state, said);
  return answer.body;
}

async function checkStops({ process: npm, exit }) {
  npm.kill('SIGTERM');
  const code = await within(STOP_MS_MAX, 'an exit after SIGTERM', exit);
  assert.equal(code, 0, `the service ended with ${code} after SIGTERM`);
}

async function call(url, [method, path, content]) {
  const response = await fetch(url + path, {
    method,
    signal: AbortSignal.timeout(REQUEST_MS_MAX),
    ...(content !== undefined && {
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(content),
    }),
  });
  return { status: response.status, body: await response.json() };
}

/** Runs `npm start` in a process group of its own, so that nothing of it can stay behind. */
function start(folder) {
  const npm = spawn('npm', ['start'], {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      SHIPSLOG_PORT: '0',
      SHIPSLOG_EVENT_STORE: `sqlite:${join(folder, 'events.db')}`,
      SHIPSLOG_READ_MODELS: `sqlite:${join(folder, 'read-models.db')}`,
    },
  });
  let output = '';
  const exit = new Promise((resolve) =>
    npm.once('close', (code, signal) => resolve(code ?? signal)),
  );
  const address = new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk;
      const found = /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(output);
      if (found !== null) resolve(found[0]);
    };
    npm.stdout.on('data', read);
    npm.stderr.on('data', read);
    npm.once('error', reject);
    void exit.then((code) => reject(new Error(`the service ended with ${code}`)));
  });
  return { process: npm, exit, address, output: () => output, killAll: () => killGroup(npm.pid) };
}

function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

async function within(ms, what, promise) {
  const { promise: late, stop } = timer(ms, `waited ${ms} ms for ${what}`);
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop();
  }
}

function timer(ms, message) {
  let stop;
  const promise = new Promise((_resolve, reject) => {
    const timeout = setTimeout(() => reject(new Error(message)), ms);
    stop = () => clearTimeout(timeout);
  });
  return { promise, stop };
}
