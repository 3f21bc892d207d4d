/**
 * Requests over HTTP at 64 connections, beside the framework's own hello-world in the same run. The server
 * is this process, the client another one; CPU is the server's.
 *
 * Run: npm run bench -- http
 */
import 'reflect-metadata';
import { Body, Controller, Get, Module, Post } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { fork, type ChildProcess } from 'node:child_process';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createHttpApplication } from '../src/http-application.js';
import { ShipslogModule } from '../src/shipslog.module.js';
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

/** A service with deployments of which each has a running attempt. */
async function service(stores: string, folder: string): Promise<Server> {
  const at = (name: string): string =>
    stores === 'memory:' ? stores : `${stores}${join(folder, name)}`;
  const module = ShipslogModule.forRoot({ eventStore: at('e.db'), readModels: at('r.db') });
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

function sent(client: ChildProcess, load: Load): Promise<Outcome> {
  const answer = new Promise<Outcome>((done) =>
    client.once('message', (told) => done(told as Outcome)),
  );
  client.send(load);
  return answer;
}

async function contend(client: ChildProcess, folder: string): Promise<void> {
  const hello = await helloWorld();
  const inMemory = await service('memory:', folder);
  const onDisk = await service('sqlite:', folder);
  const contenders: readonly (readonly [string, Server, Load['kind']])[] = [
    ['hello-world, GET', hello, 'hello'],
    ['hello-world, POST of 400 bytes', hello, 'hello-json'],
    ['command, in memory', inMemory, 'command'],
    ['command, SQLite', onDisk, 'command'],
    ['heartbeat', inMemory, 'heartbeat'],
    ['one deployment', inMemory, 'get'],
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
  for (const { app } of [hello, inMemory, onDisk]) await app.close();
}

process.stdout.write(`${CONNECTIONS} connections, ${REQUESTS} requests a round\n`);
const client = fork(fileURLToPath(new URL('./http-client.ts', import.meta.url)), {
  execArgv: process.execArgv,
});
await inFolder((folder) => contend(client, folder));
client.kill();
