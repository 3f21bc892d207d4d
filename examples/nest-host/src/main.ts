import 'reflect-metadata';
import { Injectable, Logger, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandBus, CqrsModule, QueryBus } from '@nestjs/cqrs';
import {
  CreateDeployment,
  EndAttempt,
  GetDeployment,
  OpenAttempt,
  Refused,
  Shipslog,
  ShipslogModule,
  StartAttempt,
} from 'shipslog';

/** Deploys by way of the host's own buses. */
@Injectable()
class Deployer {
  constructor(
    private readonly commands: CommandBus,
    private readonly queries: QueryBus,
  ) {}

  async deploy(deploymentId: string): Promise<string> {
    await this.commands.execute(CreateDeployment.of({ deploymentId, environment: 'staging' }));
    const { attemptId = '' } = await this.commands.execute(OpenAttempt.of({ deploymentId }));
    await this.commands.execute(
      StartAttempt.of({ deploymentId, attemptId, runner: { id: 'nest-host' } }),
    );
    await this.commands.execute(
      EndAttempt.of({ deploymentId, attemptId, outcome: 'succeeded', exitCode: 0 }),
    );
    const { state } = await this.queries.execute(GetDeployment.of({ deploymentId }));
    return state;
  }

  async deployTwice(deploymentId: string): Promise<string> {
    await this.commands.execute(OpenAttempt.of({ deploymentId, attemptId: 'second' }));
    try {
      await this.commands.execute(OpenAttempt.of({ deploymentId, attemptId: 'third' }));
      return 'accepted';
    } catch (error) {
      return error instanceof Refused ? error.code : String(error);
    }
  }
}

/** Reacts to every change of state, as a notifier or a gate would. */
@Injectable()
class Watcher {
  readonly seen: string[] = [];
  private readonly log = new Logger(Watcher.name);

  constructor(private readonly shipslog: Shipslog) {}

  async watch(until: string): Promise<void> {
    for await (const { type, data } of this.shipslog.subscribe({ after: 'start' })) {
      if (type !== 'state_transition') continue;
      this.seen.push(String(data['to']));
      this.log.log(
        `${String(data['deploymentId'])}: ${String(data['from'])} → ${String(data['to'])}`,
      );
      if (data['to'] === until) return;
    }
  }
}

@Module({
  imports: [
    CqrsModule.forRoot(),
    ShipslogModule.forRoot({ eventStore: 'memory:', readModels: 'memory:' }),
  ],
  providers: [Deployer, Watcher],
})
class HostModule {}

const app = await NestFactory.createApplicationContext(HostModule, {
  logger: ['log', 'warn', 'error'],
});
app.enableShutdownHooks();
const deployer = app.get(Deployer);
const watcher = app.get(Watcher);
const watching = watcher.watch('ready');
const state = await deployer.deploy('web');
await watching;
const refusal = await deployer.deployTwice('web');
await app.close();

const told = JSON.stringify({ state, transitions: watcher.seen, refusal });
console.log(told);
if (
  told !==
  '{"state":"ready","transitions":["pending","deploying","ready"],"refusal":"ATTEMPT_IN_PROGRESS"}'
) {
  throw new Error(`the host saw something else: ${told}`);
}
