/**
 * Runs a test server as a process of its own, so that it can be killed and stopped for real.
 *
 *   node --import @swc-node/register/esm-register test/support/eventstoredb/main.ts --port 2113
 *
 * `--log FILE` keeps the log over restarts. A parent steers it by messages; see `server-process.ts`.
 */
import { parseArgs } from 'node:util';
import { openLogFile } from './log-file.js';
import type { Order, Report } from './server-process.js';
import { TestServer } from './server.js';

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '2113' },
    log: { type: 'string' },
    'index-lag': { type: 'string', default: '20' },
    'drop-ms': { type: 'string', default: '2500' },
    'not-ready': { type: 'string', default: '0' },
    follower: { type: 'boolean', default: false },
  },
});

const server = await TestServer.start({
  port: Number(values.port),
  indexLagMs: Number(values['index-lag']),
  dropMs: Number(values['drop-ms']),
  notReadyMs: Number(values['not-ready']),
  isLeader: !values.follower,
  ...(values.log !== undefined && { file: openLogFile(values.log) }),
});

report({ kind: 'started', port: server.port });
if (process.send === undefined) process.stdout.write(`${server.url}\n`);

process.on('message', (order: Order) => {
  void obey(order).then(() => report({ kind: 'obeyed', id: order.id, played: playedOf(server) }));
});
process.on('SIGTERM', () => void server.terminate().then(() => process.exit(0)));
process.on('disconnect', () => process.exit(0));

async function obey({ what }: Order): Promise<void> {
  switch (what.order) {
    case 'plan':
      server.switchboard.plan(what.plan);
      return;
    case 'clear':
      server.switchboard.clear();
      return;
    case 'follow':
      server.isLeader = false;
      server.leader = what.leader;
      server.members = what.members;
      return;
    case 'lead':
      server.takeOver();
      server.members = what.members;
      return;
    case 'tell':
      server.members = what.members;
      return;
    case 'reset':
      server.resetConnections();
      return;
    case 'played':
      return;
  }
}

function playedOf({ switchboard }: TestServer): Readonly<Record<string, number>> {
  return Object.fromEntries(switchboard.played);
}

function report(message: Report): void {
  process.send?.(message);
}
