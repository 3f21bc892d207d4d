/**
 * Requests over HTTP at 64 connections, beside the framework's own hello-world in the same run. The server
 * is this process, the client another one; CPU is the server's. The commands are taken apart: by a bus that
 * answers at once, and by a service that does not fold.
 *
 * Run: npm run bench -- http
 */
import 'reflect-metadata';
import { Body, Controller, Get, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandBus } from '@nestjs/cqrs';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { fork, type ChildProcess } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Receipt } from '../src/application/commands.js';
import { createHttpApplication } from '../src/http-application.js';
import { ShipslogModule, ShipslogRuntime } from '../src/shipslog.module.js';
import type { Load, Outcome } from './http-client.js';
import { inFolder, measure, median, print, type Figures } from './measure.js';

const CONNECTIONS = 64;
const REQUESTS = 20_000;
const DEPLOYMENTS = 500;
const ROUNDS = 5;

@Controller()
class Hello {
  @Get() hello(): string {
    return 'Hello World!';
  }

  @Post() take(@Body() body: object): object {
    return body;
  }
}
@Module({ controllers: [Hello] })
class HelloModule {}

/** A server that listens, and its port. */
interface Server {
  readonly app: NestFastifyApplication;
  readonly port: number;
}

async function listening(app: NestFastifyApplication): Promise<Server> {
  await app.listen(0, '127.0.0.1');
  return { app, port: (app.getHttpServer().address() as AddressInfo).port };
}

async function helloWorld(): Promise<Server> {
  const adapter = new FastifyAdapter();
  const app = await NestFactory.create<NestFastifyApplication>(HelloModule, adapter, {
    logger: false,
  } as object);
  return listening(app);
}

/** A service on SQLite with deployments of which each has a running attempt. */
async function service(folder: string, name: string): Promise<Server> {
  const at = (kind: string): string => `sqlite:${join(folder, `${name}-${kind}.db`)}`;
  const module = ShipslogModule.forRoot({ eventStore: at('events'), readModels: at('tables') });
  const server = await listening(
    await createHttpApplication(module, { host: '127.0.0.1', logger: false }),
  );
  const post = async (path: string, body: object): Promise<void> => {
    const { statusCode } = await server.app.inject({
      method: 'POST',
      url: `/v1/deployments${path}`,
      payload: body,
    });
    if (statusCode > 299) throw new Error(`POST ${path}: ${statusCode}`);
  };
  for (let n = 0; n < DEPLOYMENTS; n += 1) {
    await post('', { deploymentId: `d${n}` });
    await post(`/d${n}/attempts`, { attemptId: 'a1' });
    await post(`/d${n}/attempts/a1/start`, {});
  }
  return server;
}

/** Has a service answer every command with one receipt: what is left is the cost of HTTP. */
function answerAtOnce({ app }: Server): void {
  const id = '00000000-0000-5000-8000-000000000000';
  const receipt: Receipt = {
    deploymentId: 'd0',
    state: 'deploying',
    revision: 1_000n,
    position: 100_000n,
    changed: true,
    replayed: false,
    events: [{ id, type: 'deployment_updated', revision: 1_000n }],
  };
  Object.assign(app.get(CommandBus, { strict: false }), { execute: async () => receipt });
}

function sent(client: ChildProcess, load: Load): Promise<Outcome> {
  const answer = new Promise<Outcome>((done) =>
    client.once('message', (told) => done(told as Outcome)),
  );
  client.send(load);
  return answer;
}

const LAYERS = [
  'hello-world, POST of 400 bytes',
  'command, answered by the bus at once',
  'command, not folded',
  'command',
] as const;

async function contend(client: ChildProcess, folder: string): Promise<void> {
  const hello = await helloWorld();
  const [http, unfolded, whole] = [
    await service(folder, 'http'),
    await service(folder, 'unfolded'),
    await service(folder, 'whole'),
  ];
  answerAtOnce(http);
  await unfolded.app.get(ShipslogRuntime, { strict: false }).projector.stop();
  const contenders: readonly (readonly [string, Server, Load['kind']])[] = [
    ['hello-world, GET', hello, 'hello'],
    [LAYERS[0], hello, 'hello-json'],
    [LAYERS[1], http, 'command'],
    [LAYERS[2], unfolded, 'command'],
    [LAYERS[3], whole, 'command'],
    ['heartbeat', whole, 'heartbeat'],
    ['one deployment', whole, 'get'],
  ];
  const rounds = new Map<string, Figures[]>(contenders.map(([name]) => [name, []]));
  // The first round warms up and is not counted.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [name, { port }, kind] of contenders) {
      const load = {
        port,
        kind,
        connections: CONNECTIONS,
        requests: REQUESTS,
        deployments: DEPLOYMENTS,
      };
      const figures = await measure(async () => {
        const { took, failed } = await sent(client, load);
        if (failed > 0) throw new Error(`${name}: ${failed} requests failed`);
        return took;
      });
      if (round > 0) rounds.get(name)?.push(figures);
    }
  }
  const floor = median(rounds.get('hello-world, GET') ?? []);
  for (const [name, figures] of rounds) print(name, median(figures), floor);
  const of = (name: (typeof LAYERS)[number]): Figures => median(rounds.get(name) ?? []);
  printLayers([of(LAYERS[0]), of(LAYERS[1]), of(LAYERS[2]), of(LAYERS[3])]);
  for (const { app } of [hello, http, unfolded, whole]) await app.close();
}

/** Of a hello-world with a body, a command that the bus answers at once, one that is not folded, a whole one. */
type Layers = readonly [Figures, Figures, Figures, Figures];

/** Prints what each layer adds to the one before. */
function printLayers([framework, http, unfolded, whole]: Layers): void {
  const added = (to: Figures, from: Figures): string => (to.cpuMicros - from.cpuMicros).toFixed(0);
  process.stdout.write(
    `µs CPU of a command: framework ${framework.cpuMicros.toFixed(0)}, + our HTTP ${added(http, framework)}, ` +
      `+ command path and durable append ${added(unfolded, http)}, + read models ${added(whole, unfolded)}\n` +
      `${(whole.perSecond / framework.perSecond).toFixed(2)} × a hello-world that takes the same body\n`,
  );
}

process.stdout.write(`${CONNECTIONS} connections, ${REQUESTS} requests a round\n`);
const client = fork(fileURLToPath(new URL('./http-client.ts', import.meta.url)), {
  execArgv: process.execArgv,
});
await inFolder((folder) => contend(client, folder));
client.kill();
