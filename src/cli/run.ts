/** `shipslog run`: any command becomes an attempt with heartbeats and an honest end. */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { constants, hostname } from 'node:os';
import { Client } from '../client/client.js';
import { LeaseKeeper } from '../client/lease-keeper.js';
import { jittered, pause, timeLimit } from '../client/pause.js';
import { ServiceError } from '../client/service-error.js';
import { userName, type AskingContext } from './asking.js';
import { EXIT } from './exit-codes.js';
import { inWords } from './progress.js';
import { RunVoice } from './run-voice.js';
import { refuse } from './service-verbs.js';
import { deliver, Spool, spoolFolder, type Delivery, type SpooledEnd } from './spool.js';
import { StoppableCommand, type CommandEnd } from './stoppable-command.js';

/** What is run, as what. Times in milliseconds. */
export interface RunOptions {
  readonly deployment: string;
  readonly command: readonly [string, ...string[]];
  readonly scope?: string;
  /** An attempt of this id: opened, or, where it is open already, only started. */
  readonly attempt?: string;
  readonly create?: true;
  readonly label?: Readonly<Record<string, string>>;
  readonly leaseMs?: number;
  readonly graceMs: number;
  /** How long the service may be out of reach before the command is started. */
  readonly startTimeoutMs: number;
  /** How long the end is tried before it is left in the spool. */
  readonly endTimeoutMs: number;
  readonly quiet?: true;
  readonly url?: string;
  readonly actor?: string;
  readonly json?: true;
}

/** Between two tries while the service is out of reach. */
const RETRY_MS = { min: 200, max: 5_000 } as const;
/** What an earlier end may take before this attempt is opened. */
const FLUSH_MS = 5_000;
/** What it may take to take back an attempt whose command never ran. */
const TAKE_BACK_MS = 2_000;
const TOKEN_BYTES = 32;

/** Runs a command as an attempt. Shape: the exit code of the process. */
export async function run(context: AskingContext, options: RunOptions): Promise<number> {
  const { environment, urlOf } = context;
  const spool = new Spool(spoolFolder(environment));
  const actor = options.actor ?? environment['SHIPSLOG_ACTOR'] ?? `runner:${runnerId()}`;
  const client = new Client({ url: urlOf(options), actor });
  const voice = new RunVoice(context.terminal, options);
  await spool.flush(FLUSH_MS);
  const { deployment: deploymentId, attempt: attemptId } = options;
  const asked = {
    verb: 'run',
    deploymentId,
    client,
    asJson: options.json === true,
    sayerOf: ([member = '']: readonly string[]) => FLAGS[member] ?? null,
    ...(attemptId !== undefined && { attemptId }),
  };
  const signals = new Interruption();
  try {
    const { signal } = signals;
    const started = await start({ client, context, options, voice, spool, actor, signal });
    signals.release();
    return await new Running({ started, options, actor, spool, voice, context }).toTheEnd();
  } catch (error) {
    if (signals.signal.aborted) return signals.exitCode;
    if (!(error instanceof ServiceError)) throw error;
    let code: number = EXIT.error;
    await refuse(error, { terminal: context.terminal, exit: (refused) => (code = refused) }, asked);
    return code;
  } finally {
    signals.release();
  }
}

/** The flags of members that are called otherwise by the verbs that run stands for. */
const FLAGS: Readonly<Record<string, string>> = {
  deploymentId: '--deployment',
  attemptId: '--attempt',
  labels: '--label',
};

const HEARD = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/** Takes signals in place of the system, which would end this process there and then. */
class Interruption {
  readonly #interrupted = new AbortController();
  #heard: NodeJS.Signals = 'SIGINT';
  readonly #hear = (signal: NodeJS.Signals): void => {
    this.#heard = signal;
    this.#interrupted.abort();
  };

  constructor() {
    for (const signal of HEARD) process.on(signal, this.#hear);
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.#interrupted.signal;
  }

  /** What a shell would say of a process that the signal has ended. */
  get exitCode(): number {
    return 128 + constants.signals[this.#heard];
  }

  release(): void {
    for (const signal of HEARD) process.off(signal, this.#hear);
  }
}

/** An attempt that runs, with all that its runner needs. */
interface Started {
  readonly client: Client;
  readonly deploymentId: string;
  readonly attemptId: string;
  readonly number: number;
  readonly leaseToken: string;
  readonly heartbeatMs: number;
}

interface Starting {
  readonly client: Client;
  readonly context: AskingContext;
  readonly options: RunOptions;
  readonly voice: RunVoice;
  readonly spool: Spool;
  readonly actor: string;
  readonly signal: AbortSignal;
}

/** Creates where asked to, opens, starts. @throws {ServiceError} when the rules say no, or time is up. */
async function start(starting: Starting): Promise<Started> {
  const { client, options } = starting;
  const { deployment: deploymentId, attempt, leaseMs } = options;
  const attemptId = attempt ?? randomUUID();
  const leaseToken = randomBytes(TOKEN_BYTES).toString('base64url');
  const patiently = patience(starting);
  if (options.create) await patiently(() => create(client, options));
  let isOpen = false;
  // An attempt that somebody else has opened is left to them.
  let isOurs = attempt === undefined;
  try {
    isOurs = (await patiently(() => open(client, options, attemptId))) || isOurs;
    isOpen = true;
    const key = `run-${attemptId}-${leaseToken.slice(0, 12)}`;
    const runner = runnerOf(starting.context);
    const body = { leaseToken, runner, ...(leaseMs !== undefined && { leaseMs }) };
    const takes = { deploymentId, attemptId, body };
    const { number = 0 } = await patiently(() =>
      client.call('startAttempt', takes, { key, once: true }),
    );
    const { policy } = await patiently(() =>
      client.call('getDeployment', { deploymentId, consistency: 'strong' }, { once: true }),
    );
    const heartbeatMs = Math.min(policy.heartbeatMs, Math.floor((leaseMs ?? policy.leaseMs) / 3));
    return { client, deploymentId, attemptId, number, leaseToken, heartbeatMs };
  } catch (error) {
    if (isOurs && mayBeOpen(error, isOpen)) {
      await takeBack(starting, { attemptId, leaseToken, isOpen });
    }
    throw error;
  }
}

/** Whether an attempt that is not started may be open: it is, or its opening got no answer. */
function mayBeOpen(error: unknown, isOpen: boolean): boolean {
  if (!(error instanceof ServiceError)) return isOpen;
  return isOpen ? error.code !== 'ATTEMPT_ALREADY_STARTED' : error.isPassing;
}

/** A deployment of that id that was declared otherwise is the one that is meant. */
async function create(client: Client, { deployment, label }: RunOptions): Promise<void> {
  const body = { deploymentId: deployment, ...(label !== undefined && { labels: label }) };
  try {
    await client.call(
      'createDeployment',
      { body },
      { key: `run-create-${deployment}`, once: true },
    );
  } catch (error) {
    const isThere =
      error instanceof ServiceError &&
      (error.code === 'DEPLOYMENT_EXISTS' || error.code === 'COMMAND_ID_REUSED');
    if (!isThere) throw error;
  }
}

/**
 * An attempt that was asked for by its id may be open already: whoever starts it first runs it.
 * Shape: whether it was opened here.
 */
async function open(client: Client, options: RunOptions, attemptId: string): Promise<boolean> {
  const { deployment: deploymentId, scope, attempt } = options;
  const body = { attemptId, ...(scope !== undefined && { scope }) };
  const key = `run-${attemptId}-open`;
  try {
    return !(await client.call('openAttempt', { deploymentId, body }, { key, once: true }))
      .replayed;
  } catch (error) {
    const isThere = error instanceof ServiceError && error.code === 'ATTEMPT_EXISTS';
    if (!isThere || attempt === undefined) throw error;
    return false;
  }
}

/** What never ran leaves the deployment as it was; a service out of reach is told by the next run. */
async function takeBack(
  { client, options: { deployment: deploymentId }, voice, spool, actor }: Starting,
  at: { readonly attemptId: string; readonly leaseToken: string; readonly isOpen: boolean },
): Promise<void> {
  const { attemptId, leaseToken, isOpen } = at;
  const body = { outcome: 'cancelled', reason: 'the command was not started', leaseToken } as const;
  const key = `run-${attemptId}-back-${leaseToken.slice(0, 12)}`;
  const end = { url: client.url, actor, key, deploymentId, attemptId, body };
  const { outcome } = await deliver(end, { timeoutMs: TAKE_BACK_MS });
  if (outcome !== 'kept' || !isOpen) return;
  // Where it cannot be kept, the start timeout ends the attempt.
  await spool.keep(end).then(
    () => voice.say('end_left', {}),
    () => undefined,
  );
}

/** Repeats what fails only for now, until the time is up. */
function patience({
  options: { startTimeoutMs },
  voice,
  signal,
}: Starting): <T>(ask: () => Promise<T>) => Promise<T> {
  const over = timeLimit(startTimeoutMs, signal);
  return async (ask) => {
    for (let failures = 0; ; failures += 1) {
      try {
        signal.throwIfAborted();
        return await ask();
      } catch (error) {
        const isPassing = error instanceof ServiceError && error.isPassing;
        if (!isPassing || over.aborted) throw error;
        const { message } = error;
        if (failures === 0)
          voice.say('waiting', { problem: message, time: inWords(startTimeoutMs) });
        await pause(retryMs(failures), over);
        if (signal.aborted) throw error;
      }
    }
  };
}

function retryMs(failures: number): number {
  return jittered(Math.min(RETRY_MS.max, RETRY_MS.min * 2 ** Math.min(failures, 10)));
}

/** A command while it runs, and what is told of it. */
class Running {
  readonly #started: Started;
  readonly #options: RunOptions;
  readonly #actor: string;
  readonly #spool: Spool;
  readonly #voice: RunVoice;
  readonly #context: AskingContext;
  /** Why the command was told to stop; null when it was not. */
  #stopped: 'cancelled' | 'lost' | null = null;
  #stopping: Promise<void> | null = null;

  constructor(parts: {
    readonly started: Started;
    readonly options: RunOptions;
    readonly actor: string;
    readonly spool: Spool;
    readonly voice: RunVoice;
    readonly context: AskingContext;
  }) {
    this.#started = parts.started;
    this.#options = parts.options;
    this.#actor = parts.actor;
    this.#spool = parts.spool;
    this.#voice = parts.voice;
    this.#context = parts.context;
  }

  /** Runs the command to its end and tells the service. Shape: the exit code. */
  async toTheEnd(): Promise<number> {
    const { clock } = this.#context;
    const { deploymentId, attemptId, number } = this.#started;
    const startedAtMs = clock.monotonicMs();
    this.#voice.say('started', { deploymentId, attemptId, number });
    const command = this.#spawn();
    const keeper = this.#keeper(command);
    keeper.start();
    const end = await command.ended;
    // From here on the command hears no signal any more, and what it did must not be lost by one.
    const deaf = new Interruption();
    await this.#stopping;
    await keeper.stop();
    const took = inWords(clock.monotonicMs() - startedAtMs);
    if (end.how === 'not started') this.#voice.say('not_started', { problem: end.problem });
    const spooled = this.#endOf(end);
    const unkept = await this.#keep(spooled);
    deaf.release();
    await this.#tell(spooled, { took, unkept });
    return end.exitCode === 0 && this.#stopped === 'lost' ? EXIT.conflict : end.exitCode;
  }

  #spawn(): StoppableCommand {
    const { deploymentId, attemptId, client } = this.#started;
    return new StoppableCommand({
      command: this.#options.command,
      environment: {
        ...this.#context.environment,
        SHIPSLOG_DEPLOYMENT_ID: deploymentId,
        SHIPSLOG_ATTEMPT_ID: attemptId,
        SHIPSLOG_URL: client.url,
      },
      mark: { name: 'SHIPSLOG_RUN', value: randomUUID() },
    });
  }

  #keeper(command: StoppableCommand): LeaseKeeper {
    const { client, deploymentId, attemptId, leaseToken, heartbeatMs } = this.#started;
    const { graceMs } = this.#options;
    const stop = (why: 'cancelled' | 'lost'): void => {
      this.#stopped = why;
      this.#stopping ??= command.stop(graceMs);
    };
    return new LeaseKeeper({
      client,
      deploymentId,
      attemptId,
      leaseToken,
      heartbeatMs,
      onCancelRequested: () => {
        this.#voice.say('cancel_requested', { grace: inWords(graceMs) });
        stop('cancelled');
      },
      onLost: ({ message }) => {
        this.#voice.say('superseded', { problem: message });
        stop('lost');
      },
      onTrouble: ({ message }) => this.#voice.say('unreachable', { problem: message }),
      onMended: () => this.#voice.say('reachable', {}),
    });
  }

  #endOf(end: CommandEnd): SpooledEnd {
    const { client, deploymentId, attemptId, leaseToken } = this.#started;
    const { exitCode } = end;
    const failed = this.#stopped === 'cancelled' ? 'cancelled' : 'failed';
    const occurredAt = this.#context.clock.now();
    const body = {
      outcome: exitCode === 0 ? 'succeeded' : failed,
      exitCode,
      ...resultOf(end),
      leaseToken,
      occurredAt,
    } as const;
    const key = `run-${attemptId}-end-${leaseToken.slice(0, 12)}`;
    return { url: client.url, actor: this.#actor, key, deploymentId, attemptId, body };
  }

  /** Keeps the end. Shape: why it could not be kept, else null: then it can still be told. */
  async #keep(end: SpooledEnd): Promise<string | null> {
    try {
      await this.#spool.keep(end);
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** Tells the service of the end until it has it, it says no for good, time is up, or a signal comes. */
  async #tell(
    end: SpooledEnd,
    { took, unkept }: { readonly took: string; readonly unkept: string | null },
  ): Promise<void> {
    const impatience = new Interruption();
    const over = timeLimit(this.#options.endTimeoutMs, impatience.signal);
    try {
      for (let failures = 0; ; failures += 1) {
        const delivery = await deliver(end, { signal: over });
        if (delivery.outcome !== 'kept') {
          await this.#spool.forget(end);
          this.#report(delivery, took);
          return;
        }
        if (failures === 0) this.#sayUntold(delivery.problem.message, unkept);
        await pause(retryMs(failures), over);
        if (over.aborted) break;
      }
      this.#voice.say(unkept === null ? 'end_left' : 'end_lost', {});
    } finally {
      impatience.release();
    }
  }

  #sayUntold(problem: string, unkept: string | null): void {
    if (unkept === null) this.#voice.say('end_kept', { problem });
    else this.#voice.say('end_not_kept', { problem, unkept });
  }

  #report(delivery: Delivery, took: string): void {
    const { deploymentId, body } = delivery.end;
    const { outcome, exitCode } = body;
    const told = { deploymentId, outcome, exitCode: exitCode ?? 0, took };
    if (delivery.outcome === 'delivered')
      this.#voice.say('ended', { ...told, state: delivery.state });
    else if (delivery.outcome === 'refused') {
      this.#voice.say('end_refused', { ...told, problem: delivery.problem.message });
    }
  }
}

function resultOf(end: CommandEnd): { readonly code?: string; readonly reason?: string } {
  switch (end.how) {
    case 'exited':
      return {};
    case 'killed':
      return { code: end.signal, reason: `ended by ${end.signal}` };
    case 'not started':
      return { code: 'command_not_started', reason: end.problem.slice(0, 1_000) };
  }
}

const RUNNER_ID_MAX = 128;

function runnerId(): string {
  return `${userName()}@${hostname()}`.slice(0, RUNNER_ID_MAX);
}

function runnerOf({ clock }: AskingContext): {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
  readonly startedAt: string;
  readonly bootId?: string;
} {
  const bootId = bootIdOf();
  return {
    id: runnerId(),
    host: hostname(),
    pid: process.pid,
    startedAt: clock.now(),
    ...(bootId !== null && { bootId }),
  };
}

/** Tells one boot of a host from another; null where the system does not say. */
function bootIdOf(): string | null {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim().slice(0, 64);
  } catch {
    return null;
  }
}
