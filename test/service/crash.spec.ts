import { afterAll, describe, expect, it } from '@jest/globals';
import { ask, historyOf, type Answer, type EventBody, type ReceiptBody } from '../support/http.js';
import { seeded } from '../support/seeded.js';
import { cleanUp, startService, temporaryFolder, type Service } from '../support/service.js';

/*
 * The process is killed with -9 at a moment of chance while clients send commands at once; then it is
 * started again on the same files. CRASH_ROUNDS says how often (npm run test:crash: 100 times),
 * CRASH_SEED repeats the moments of a run that failed.
 */

const ROUNDS = Number(process.env['CRASH_ROUNDS'] ?? 3);
const SEED = Number(process.env['CRASH_SEED'] ?? 20_261_125);
const ROUND_MS_MAX = 20_000;

/** Clients that each drive a deployment of their own, and clients that share one. */
const OWNERS = 8;
const SHARERS = 8;
/** The process is killed after up to so many answers, more often after few. */
const ANSWERS_MAX = 400;

/** A command as it was sent: what is needed to send it once more. */
interface Sent {
  readonly key: string;
  readonly deploymentId: string;
  readonly line: string;
  readonly body: object;
}
type Acknowledged = Sent & { readonly receipt: ReceiptBody };

describe('a service that is killed with -9 under load', () => {
  afterAll(cleanUp);

  it(
    `loses and doubles nothing that it acknowledged, in ${ROUNDS} rounds`,
    async () => {
      const random = seeded(SEED);
      const folder = await temporaryFolder();
      const all: Acknowledged[] = [];
      let cutOff = 0;
      let service = await startService({ folder });
      for (let round = 0; round < ROUNDS; round += 1) {
        const where = `round ${round}; repeat with CRASH_SEED=${SEED} CRASH_ROUNDS=${round + 1}`;
        const load = new Load(service.url, round);
        await load.until(Math.floor(random() ** 2 * ANSWERS_MAX));
        expect(await service.end('SIGKILL')).toBe('SIGKILL');
        await load.ended;

        service = await startService({ folder });
        const settled = await Promise.all(load.unanswered.map((sent) => settle(service, sent)));
        expect({ where, odd: load.unexpected }).toEqual({ where, odd: [] });
        const kept = [...load.acknowledged, ...settled];
        await expectKept(service, kept, where);
        all.push(...kept);
        cutOff += load.unanswered.length;
      }
      await expectKept(service, all, 'at the end');
      expect(await service.end('SIGTERM')).toBe(0);
      process.stderr.write(
        `${ROUNDS} rounds: ${all.length} commands acknowledged, ${cutOff} answers cut off\n`,
      );
    },
    ROUND_MS_MAX * (ROUNDS + 1),
  );
});

/** Clients that send as fast as they are answered, until the service is gone. */
class Load {
  readonly acknowledged: Acknowledged[] = [];
  /** Sent, and never answered. */
  readonly unanswered: Sent[] = [];
  /** Answered by something else than a receipt. */
  readonly unexpected: unknown[] = [];
  /** When every client has met the end of the service. */
  readonly ended: Promise<unknown>;
  #keys = 0;
  #answered: () => void = () => undefined;

  constructor(
    private readonly url: string,
    private readonly round: number,
  ) {
    const owners = Array.from({ length: OWNERS }, (_, client) => this.#own(client));
    const sharers = Array.from({ length: SHARERS }, (_, client) => this.#share(client));
    this.ended = Promise.all([...owners, ...sharers]);
  }

  /** Waits until so many commands were acknowledged. */
  async until(answers: number): Promise<void> {
    while (this.acknowledged.length < answers) {
      await new Promise<void>((next) => (this.#answered = next));
    }
  }

  /** Drives deployments through whole attempts, one after the other. */
  async #own(client: number): Promise<void> {
    for (let n = 0; ; n += 1) {
      const id = `own-${this.round}-${client}-${n}`;
      const attempt = `/v1/deployments/${id}/attempts/first`;
      const steps = [
        ['/v1/deployments', { deploymentId: id }],
        [`/v1/deployments/${id}/attempts`, { attemptId: 'first' }],
        [`${attempt}/start`, { runner: { id: `client-${client}` } }],
        [`${attempt}/end`, { outcome: 'succeeded', exitCode: 0 }],
      ] as const;
      for (const [path, body] of steps) {
        if (!(await this.#send(id, `POST ${path}`, body))) return;
      }
    }
  }

  /** Changes one deployment that all of them share; each change is one that was not there before. */
  async #share(client: number): Promise<void> {
    const id = `shared-${this.round}`;
    if (!(await this.#send(id, 'POST /v1/deployments', { deploymentId: id }))) return;
    for (let n = 0; ; n += 1) {
      const labels = { client: String(client), n: String(n) };
      if (!(await this.#send(id, `PATCH /v1/deployments/${id}`, { labels }))) return;
    }
  }

  async #send(deploymentId: string, line: string, body: object): Promise<boolean> {
    const sent = { key: `${this.round}-${this.#keys++}`, deploymentId, line, body };
    let answer: Answer<ReceiptBody>;
    try {
      answer = await send(this.url, sent);
    } catch {
      this.unanswered.push(sent);
      return false;
    }
    if (answer.status < 300) this.acknowledged.push({ ...sent, receipt: answer.body });
    else this.unexpected.push({ sent, status: answer.status, body: answer.body });
    this.#answered();
    return answer.status < 300;
  }
}

function send(url: string, { key, line, body }: Sent): Promise<Answer<ReceiptBody>> {
  return ask<ReceiptBody>(url, line, { body, headers: { 'idempotency-key': key } });
}

/** Repeats a command whose answer was lost, twice: it is carried out once, whether it was stored or not. */
async function settle({ url }: Service, sent: Sent): Promise<Acknowledged> {
  const first = await send(url, sent);
  expect({ sent, answer: first.body }).toMatchObject({
    answer: { deploymentId: sent.deploymentId },
  });
  expect(first.status).toBeLessThan(300);
  // What wrote nothing is in no log, so its repeat is decided on what there is then.
  if (!first.body.changed) return { ...sent, receipt: first.body };
  const second = await send(url, sent);
  expect(second.status).toBe(first.status);
  expect(second.body).toEqual({
    ...first.body,
    ...leaseOf(second.body),
    replayed: true,
  });
  return { ...sent, receipt: first.body };
}

/** Every receipt stands in the history once, in its place, and is given again for its key. */
async function expectKept(
  { url }: Service,
  acknowledged: readonly Acknowledged[],
  where: string,
): Promise<void> {
  const byDeployment = grouped(acknowledged, ({ deploymentId }) => deploymentId);
  for (const [deploymentId, commands] of byDeployment) {
    const history = await historyOf(url, deploymentId);
    expect({ where, revisions: history.map(({ revision }) => revision) }).toEqual({
      where,
      revisions: history.map((_, index) => String(index)),
    });
    const byKey = grouped(history, ({ metadata }) => String(metadata['commandId']));
    const written = commands.filter(({ receipt }) => receipt.changed);
    expect({ where, keys: [...byKey.keys()].sort() }).toEqual({
      where,
      keys: written.map(({ key }) => key).sort(),
    });
    for (const { key, receipt } of written) {
      expect({ where, events: byKey.get(key)!.map(entryOf) }).toEqual({
        where,
        events: receipt.events,
      });
    }
    const [newest] = written.slice(-1);
    if (newest !== undefined) await expectReplayed(url, newest);
  }
}

async function expectReplayed(url: string, { receipt, ...sent }: Acknowledged): Promise<void> {
  const { body, headers } = await send(url, sent);
  expect(body).toEqual({ ...receipt, ...leaseOf(body), replayed: true });
  expect(headers.get('idempotent-replayed')).toBe('true');
}

function entryOf({ id, type, revision }: EventBody): ReceiptBody['events'][number] {
  return { id, type, revision };
}

function grouped<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}

/** A lease moves on, so a repeated start tells today's. */
function leaseOf(receipt: ReceiptBody & { leaseExpiresAt?: string }): object {
  return receipt.leaseExpiresAt === undefined ? {} : { leaseExpiresAt: receipt.leaseExpiresAt };
}
