import { afterEach, expect, test } from '@jest/globals';
import { Injectable, Module, type INestApplicationContext, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { CommandBus, CqrsModule, QueryBus } from '@nestjs/cqrs';
import {
  CountByState,
  CreateDeployment,
  EndAttempt,
  GetDeployment,
  GetStateAt,
  ListTransitions,
  ManualClock,
  MarkUnknown,
  OpenAttempt,
  Refused,
  ResolveUnknown,
  Shipslog,
  ShipslogModule,
  ShipslogTestingModule,
  StartAttempt,
  type ShipslogAsyncOptions,
} from '../../src/index.js';

let app: INestApplicationContext;
afterEach(() => app.close());

/** A host with a service of its own that has nothing but the buses. */
@Injectable()
class Host {
  constructor(
    readonly commands: CommandBus,
    readonly queries: QueryBus,
    readonly shipslog: Shipslog,
  ) {}
}

async function boot(imports: NonNullable<Parameters<typeof Module>[0]['imports']>): Promise<Host> {
  @Module({ imports, providers: [Host] })
  class HostModule {}
  app = await NestFactory.createApplicationContext(HostModule as Type, { logger: false });
  return app.get(Host);
}

const first = { deploymentId: 'web', attemptId: 'a1' };

async function deploy({ commands }: Host): Promise<void> {
  await commands.execute(CreateDeployment.of({ deploymentId: 'web' }));
  await commands.execute(OpenAttempt.of(first));
  await commands.execute(StartAttempt.of({ ...first, runner: { id: 'r' } }));
}

test('a host drives deployments by its own command bus and reads them by its own query bus', async () => {
  const host = await boot([CqrsModule.forRoot(), ShipslogModule.forRoot()]);
  await deploy(host);
  const receipt = await host.commands.execute(EndAttempt.of({ ...first, outcome: 'succeeded' }));
  expect(receipt).toMatchObject({ state: 'ready', changed: true });
  const view = await host.queries.execute(GetDeployment.of({ deploymentId: 'web' }));
  expect(view).toMatchObject({
    state: 'ready',
    lastReadyAttempt: 'a1',
    revision: receipt.revision,
  });
  expect(await host.queries.execute(CountByState.of({}))).toMatchObject({ ready: 1, total: 1 });
});

test('options can come from a factory of the host, and the module can be global', async () => {
  @Module({ providers: [{ provide: 'SCOPE', useValue: 'snapshot' }], exports: ['SCOPE'] })
  class ConfigModule {}
  const host = await boot([
    ShipslogModule.forRootAsync({
      imports: [ConfigModule],
      inject: ['SCOPE'],
      useFactory: async (scope: string) => ({ scopes: { [scope]: 'maintenance' } }),
      isGlobal: true,
    }),
    CqrsModule,
  ]);
  await host.commands.execute(CreateDeployment.of({ deploymentId: 'web' }));
  const opened = await host.commands.execute(OpenAttempt.of({ ...first, scope: 'snapshot' }));
  expect(opened.number).toBe(1);
});

test('a bad option stops the start and is named', async () => {
  expect(() => ShipslogModule.forRoot({ policy: { leaseMs: 1 } })).toThrow(
    /SHIPSLOG_LEASE_MS=1 .*1000/,
  );
  const misspelt = { evntStore: 'sqlite:./elsewhere.db' } as object;
  expect(() => ShipslogModule.forRoot(misspelt)).toThrow(
    'evntStore is not an option of ShipslogModule; did you mean eventStore?',
  );
  const made = ShipslogModule.forRootAsync({ useFactory: () => misspelt });
  const options = { logger: false, abortOnError: false } as const;
  await expect(NestFactory.createApplicationContext(made, options)).rejects.toThrow(/evntStore/);
  const forgetful = { useFactory: () => undefined as never } satisfies ShipslogAsyncOptions;
  await expect(
    NestFactory.createApplicationContext(ShipslogModule.forRootAsync(forgetful), options),
  ).rejects.toThrow('the options of ShipslogModule must be an object');
  await boot([ShipslogModule.forRoot()]);
});

test.each([
  [
    { roles: 'api' },
    "roles of ShipslogModule must be a list like ['api', 'projector'], and is 'api'",
  ],
  [{ roles: ['api', 'writer'] }, /^SHIPSLOG_ROLES=api,writer is not right: .*$/],
  [{ roles: ['api'] }, /^SHIPSLOG_ROLES leaves out projector, and no other process can fold .*$/],
  [
    { scopes: ['snapshot'] },
    /^scopes of ShipslogModule must be an object like .*, and is \[ 'snapshot' \]$/,
  ],
  [{ policy: null }, /^policy of ShipslogModule must be an object like .*, and is null$/],
  [
    { policy: { leaseMS: 5_000 } },
    'policy.leaseMS is not an option of ShipslogModule; did you mean leaseMs?',
  ],
  [{ onFatal: true }, 'onFatal of ShipslogModule must be a function, and is true'],
  [{ clock: Date }, /^clock of ShipslogModule must be a clock, and is .*$/],
])('an option that only JavaScript can give, %j, is told in one line', async (wrong, line) => {
  expect(() => ShipslogModule.forRoot(wrong as object)).toThrow(line);
  await boot([ShipslogModule.forRoot()]);
});

test('a refusal carries its code, the state and what is allowed', async () => {
  const host = await boot([ShipslogModule.forRoot()]);
  await deploy(host);
  const refusal = await host.commands
    .execute(OpenAttempt.of({ deploymentId: 'web' }))
    .catch((error: unknown) => error);
  expect(refusal).toBeInstanceOf(Refused);
  expect(refusal).toMatchObject({ code: 'ATTEMPT_IN_PROGRESS', standing: { state: 'deploying' } });
});

test('a host follows the events of all deployments, and leaves when it wants', async () => {
  const host = await boot([ShipslogModule.forRoot()]);
  await deploy(host);
  const seen: string[] = [];
  for await (const event of host.shipslog.subscribe({ after: 'start' })) {
    if (event.type === 'state_transition') seen.push(String(event.data['to']));
    if (seen.length === 2) break;
  }
  expect(seen).toEqual(['pending', 'deploying']);
});

test('a subscription without a place begins with the next event', async () => {
  const host = await boot([ShipslogModule.forRoot()]);
  await deploy(host);
  const events = host.shipslog.subscribe();
  const next = events.next();
  await new Promise((resolve) => setImmediate(resolve));
  await host.commands.execute(EndAttempt.of({ ...first, outcome: 'failed', exitCode: 7 }));
  expect((await next).value).toMatchObject({ type: 'attempt_end', data: { exitCode: 7 } });
  await events.return();
});

test('a strong read and a past state come from the log', async () => {
  const host = await boot([ShipslogModule.forRoot()]);
  await deploy(host);
  expect(await host.shipslog.read('web')).toMatchObject({ state: 'deploying', revision: 4n });
  expect(await host.shipslog.replay('web', { revision: 1n })).toMatchObject({
    state: 'pending',
    currentAttempt: null,
  });
  await expect(
    host.queries.execute(GetStateAt.of({ deploymentId: 'web', revision: 9n })),
  ).rejects.toMatchObject({
    code: 'REVISION_NOT_FOUND',
  });
});

test('the testing module moves time by hand: a silent runner becomes unknown, a human resolves it', async () => {
  const host = await boot([ShipslogTestingModule.forRoot({ policy: { leaseMs: 10_000 } })]);
  const clock = app.get(ManualClock);
  await deploy(host);
  await host.shipslog.heartbeat({ ...first, progress: { step: 1 } });
  await clock.advance(30_000);
  const lost = await host.shipslog.read('web');
  expect(lost).toMatchObject({ state: 'unknown', reason: 'lease_expired' });
  const again = MarkUnknown.of({ ...first, cause: 'operator' });
  expect(await host.commands.execute(again)).toMatchObject({ changed: false });
  const resolve = ResolveUnknown.of({
    deploymentId: 'web',
    as: 'failed',
    reason: 'the host is gone',
    actor: { id: 'alice', kind: 'human' },
    expectedRevision: lost.revision,
  });
  expect(await host.commands.execute(resolve)).toMatchObject({ state: 'failed' });
  const { items } = await host.queries.execute(ListTransitions.of({ deploymentId: 'web' }));
  expect(items.map(({ to }) => to)).toEqual(['pending', 'deploying', 'unknown', 'failed']);
});
