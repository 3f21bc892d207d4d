/** The story of the demo: 200 deployments over 90 days, the same for the same seed and end. */
import type { CommandName } from '../application/commands.js';
import type { Actor, Instant, LossCause, Outcome } from '../domain/event-schema.js';

/** One thing that somebody asked for. */
export interface Ask {
  readonly atMs: number;
  readonly deploymentId: string;
  readonly command: CommandName;
  readonly members: Readonly<Record<string, unknown>>;
  readonly actor: Actor;
}

/** What a story is made of. */
export interface Plot {
  readonly seed: number;
  /** When it ends; nothing happens later. */
  readonly until: Instant;
}

const SERVICES =
  'accounts billing cart catalog checkout coupons currency delivery docs emails exports feed files ' +
  'gateway images imports inventory invoices ledger login mailer maps metrics notes orders payments ' +
  'pricing profiles queue ratings refunds reports returns search sessions shipping stock support tax web';
const ENVIRONMENTS = ['production', 'staging', 'test', 'preview', 'sandbox'] as const;
const TEAMS = ['atlas', 'breeze', 'compass', 'delta', 'ember', 'fjord'] as const;
const PEOPLE = ['alice', 'bob', 'carol', 'dan', 'erin'] as const;

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const DAYS = 90;
/** How often each environment is deployed to. */
const PAUSE_DAYS: Readonly<Record<(typeof ENVIRONMENTS)[number], number>> = {
  production: 9,
  staging: 6,
  test: 5,
  preview: 7,
  sandbox: 12,
};
const LEASE_MS = 90 * SECOND;
/** The stuck one has a lease of a day, so that it stays what it is. */
const STUCK_LEASE_MS = DAY;

/** Who is what at the end, by the number of the deployment; the others are as their last attempt left them. */
const UNKNOWN = new Set([7, 41, 88, 123, 166]);
const STUCK = 20;
const TORN_DOWN = new Set([34, 99, 154, 189]);
const ARCHIVED = new Set([99, 189]);

/** Everything that was asked for, in the order of time. */
export function demoStory(plot: Plot): readonly Ask[] {
  const asks = SERVICES.split(' ').flatMap((service, row) =>
    ENVIRONMENTS.flatMap((environment, column) => {
      const number = row * ENVIRONMENTS.length + column;
      const chance = chanceOf(plot.seed * 1_000 + number);
      return new Life({ ...plot, number, service, environment, chance }).asks();
    }),
  );
  return asks.sort((a, b) => a.atMs - b.atMs);
}

interface LifePlot extends Plot {
  readonly number: number;
  readonly service: string;
  readonly environment: (typeof ENVIRONMENTS)[number];
  readonly chance: () => number;
}

/** One deployment from its creation to the end of the story. */
class Life {
  readonly #plot: LifePlot;
  readonly #endMs: number;
  readonly #asks: Ask[] = [];
  #atMs: number;
  #attempts = 0;

  constructor(plot: LifePlot) {
    this.#plot = plot;
    this.#endMs = Date.parse(plot.until) - 10 * MINUTE;
    this.#atMs = this.#endMs - (DAYS - plot.chance() * 8) * DAY;
  }

  asks(): readonly Ask[] {
    const { number } = this.#plot;
    this.#create();
    const last = this.#endMs - this.#between(12 * HOUR, 60 * HOUR);
    let freeMs = this.#atMs;
    this.#pause();
    while (this.#atMs < last) {
      this.#attempt();
      freeMs = this.#atMs;
      this.#pause();
    }
    this.#atMs = Math.max(freeMs, last) + this.#between(10 * MINUTE, HOUR);
    if (UNKNOWN.has(number)) this.#lose('lease_expired');
    else if (number === STUCK) this.#getStuck();
    else if (TORN_DOWN.has(number)) this.#tearDown();
    return this.#asks;
  }

  #create(): void {
    const { service, environment, number } = this.#plot;
    const [team = 'atlas'] = TEAMS.slice(number % TEAMS.length);
    this.#ask('CreateDeployment', CI, {
      name: `${service} (${environment})`,
      environment,
      labels: { demo: 'true', team, service },
      ...(number === STUCK && { policy: { leaseMs: STUCK_LEASE_MS } }),
    });
  }

  #attempt(): void {
    const fate = this.#plot.chance();
    if (fate < 0.03) this.#loseAndResolve();
    else if (fate < 0.045) this.#loseAndHear();
    else if (fate < 0.06) this.#cancel();
    else this.#deploy(fate < 0.14 ? 'failed' : 'succeeded');
  }

  #deploy(outcome: Outcome): void {
    this.#start();
    this.#wait(30 * SECOND, 12 * MINUTE);
    const failed = outcome === 'failed';
    this.#end(outcome, {
      exitCode: failed ? 1 : 0,
      ...(failed && this.#pick(FAILURES)),
    });
  }

  #cancel(): void {
    this.#start();
    this.#wait(30 * SECOND, 5 * MINUTE);
    this.#ask('CancelAttempt', this.#person(), { ...this.#about(), reason: 'wrong version' });
    this.#wait(2 * SECOND, 30 * SECOND);
    this.#end('cancelled', { exitCode: 143, code: 'SIGTERM' });
  }

  #loseAndResolve(): void {
    this.#lose(this.#pick(['lease_expired', 'lease_expired', 'orphaned', 'abandoned'] as const));
    this.#wait(5 * MINUTE, 9 * HOUR);
    const as = this.#plot.chance() < 0.6 ? 'failed' : 'ready';
    this.#ask('ResolveUnknown', this.#person(), {
      as,
      reason: as === 'ready' ? 'the new version answers' : 'looked at the host: half installed',
    });
  }

  #loseAndHear(): void {
    this.#lose('lease_expired');
    this.#wait(MINUTE, 20 * MINUTE);
    this.#end('succeeded', { exitCode: 0 });
  }

  #lose(cause: LossCause): void {
    this.#start();
    this.#wait(30 * SECOND, 6 * MINUTE);
    this.#atMs += LEASE_MS;
    this.#ask('MarkUnknown', REAPER, { ...this.#about(), cause });
  }

  #getStuck(): void {
    this.#atMs = Math.max(this.#atMs, this.#endMs - 5 * HOUR);
    this.#start();
  }

  #tearDown(): void {
    this.#start('teardown');
    this.#wait(10 * SECOND, 4 * MINUTE);
    this.#end('succeeded', { exitCode: 0 });
    if (!ARCHIVED.has(this.#plot.number)) return;
    this.#wait(MINUTE, HOUR);
    this.#ask('ArchiveDeployment', this.#person(), { reason: 'replaced by another service' });
  }

  #start(scope = this.#plot.chance() < 0.15 ? 'configure' : 'full'): void {
    this.#attempts += 1;
    const meta = { version: `${1 + Math.floor(this.#attempts / 9)}.${this.#attempts % 9}.0` };
    this.#ask('OpenAttempt', this.#starter(), { ...this.#about(), scope, meta });
    this.#wait(SECOND, 20 * SECOND);
    const id = `runner-${1 + Math.floor(this.#plot.chance() * 6)}`;
    const runner = { id, host: `${id}.example.org`, pid: 1_000 + (this.#attempts % 500) };
    this.#ask('StartAttempt', { id, kind: 'runner' }, { ...this.#about(), runner });
  }

  #end(outcome: Outcome, result: Readonly<Record<string, unknown>>): void {
    const actor = { id: 'runner', kind: 'runner' } as const;
    this.#ask('EndAttempt', actor, { ...this.#about(), outcome, ...result });
  }

  #ask(command: CommandName, actor: Actor, members: Ask['members']): void {
    const deploymentId = `${this.#plot.service}-${this.#plot.environment}`;
    this.#asks.push({ atMs: Math.round(this.#atMs), deploymentId, command, members, actor });
  }

  #about(): { readonly attemptId: string } {
    return { attemptId: `${this.#plot.environment}-${this.#attempts}` };
  }

  #starter(): Actor {
    return this.#plot.chance() < 0.7 ? CI : this.#person();
  }

  #person(): Actor {
    return { id: this.#pick(PEOPLE), kind: 'human' };
  }

  /** Goes on to the next attempt. */
  #pause(): void {
    const days = PAUSE_DAYS[this.#plot.environment];
    this.#atMs += (0.3 + 1.4 * this.#plot.chance()) * days * DAY;
  }

  #wait(minMs: number, maxMs: number): void {
    this.#atMs += this.#between(minMs, maxMs);
  }

  #between(minMs: number, maxMs: number): number {
    return minMs + this.#plot.chance() * (maxMs - minMs);
  }

  #pick<T>(list: readonly T[]): T {
    const picked = list[Math.floor(this.#plot.chance() * list.length)];
    if (picked === undefined) throw new Error('there is nothing to pick from');
    return picked;
  }
}

const CI: Actor = { id: 'ci', kind: 'service' };
const REAPER: Actor = { id: 'reaper', kind: 'system' };
const FAILURES = [
  { code: 'quota_exceeded', reason: 'no room for two more replicas' },
  { code: 'image_not_found', reason: 'the image was not pushed' },
  { code: 'health_check', reason: 'the new version did not answer' },
  { code: 'timeout', reason: 'the database was not migrated in time' },
] as const;

/** Numbers in [0, 1) that are the same for the same seed (mulberry32). */
function chanceOf(seed: number): () => number {
  let state = Math.imul(seed, 0x9e37_79b1) >>> 0;
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
