/** What happens, as it happens. */
import type { Deployment, Event } from '../client/answers.js';
import type { Client } from '../client/client.js';
import { deploymentColumns } from './answers.js';
import type { AskingContext } from './asking.js';
import { EXIT } from './exit-codes.js';
import { drawTimeline } from './history-picture.js';
import { inWords } from './progress.js';
import { paintState, symbolOf } from './states.js';
import { onOneLine, writeTable } from './table.js';
import type { Output, Terminal } from './terminal.js';

interface WatchOptions {
  readonly deployment?: string;
  readonly json?: true;
  readonly jsonl?: true;
  readonly after?: string;
}

/** Follows all deployments, or one, until it is interrupted. */
export async function watch(
  context: AskingContext,
  client: Client,
  options: WatchOptions,
): Promise<number> {
  const asLines = options.json === true || options.jsonl === true;
  if (context.terminal.out.isTerminal && !asLines)
    return new Picture(context, client, options).show();
  const { deployment: deploymentId, after } = options;
  const { out } = context.terminal;
  const following = {
    ...(deploymentId !== undefined && { deploymentId }),
    after: after ?? (await headOf(client, deploymentId)),
  };
  for await (const event of client.events(following)) {
    if (asLines) await out.line(JSON.stringify(event));
    else if (event.type === 'state_transition') await out.line(changeLine(event));
  }
  return EXIT.ok;
}

/** Where the log ends now: with a position to resume from, a lost connection leaves no gap. */
async function headOf(client: Client, deploymentId: string | undefined): Promise<string> {
  if (deploymentId === undefined) {
    const { items } = await client.call('listProjections', {});
    return items[0]?.headPosition ?? 'start';
  }
  const deployment = await client.call('getDeployment', { deploymentId, consistency: 'strong' });
  return deployment.position;
}

function changeLine({ recordedAt, deploymentId, data, metadata }: Event): string {
  const text = (name: string): string => (typeof data[name] === 'string' ? data[name] : '');
  const { actor } = metadata;
  return [
    recordedAt,
    deploymentId,
    data['from'] === null ? 'none' : text('from'),
    text('to'),
    text('trigger'),
    text('attemptId'),
    text('reason'),
    `${actor.kind}:${actor.id}`,
  ]
    .map(onOneLine)
    .join('\t');
}

/** Between two pictures, however much happens; and while nothing does, since times go on. */
const REDRAW_MS = 250;
const TICK_MS = 1_000;
/** Lines above the table. */
const HEAD_LINES = 3;
const ROWS = { min: 5, default: 20, max: 200 } as const;

/** A picture on a terminal that is drawn again over itself. */
class Picture {
  readonly #context: AskingContext;
  readonly #client: Client;
  readonly #options: WatchOptions;
  #lines = 0;
  #isLive = false;
  #position: string | null = null;
  #isDue = true;
  #isOver = false;

  constructor(context: AskingContext, client: Client, options: WatchOptions) {
    this.#context = context;
    this.#client = client;
    this.#options = options;
  }

  async show(): Promise<number> {
    const { deployment: deploymentId, after } = this.#options;
    const position = after ?? (await headOf(this.#client, deploymentId));
    void this.#keepDrawing();
    const following = {
      ...(deploymentId !== undefined && { deploymentId }),
      after: position,
      onOpen: () => this.#turnsLive(true),
      onLost: () => this.#turnsLive(false),
    };
    try {
      for await (const event of this.#client.events(following)) {
        this.#position = event.position;
        this.#isDue = true;
      }
    } finally {
      this.#isOver = true;
    }
    return EXIT.ok;
  }

  #turnsLive(isLive: boolean): void {
    this.#isLive = isLive;
    this.#isDue = true;
  }

  async #keepDrawing(): Promise<void> {
    const { clock } = this.#context;
    let drawnAtMs = -Infinity;
    while (!this.#isOver) {
      const isTick = clock.monotonicMs() - drawnAtMs >= TICK_MS;
      if (this.#isDue || isTick) {
        this.#isDue = false;
        drawnAtMs = clock.monotonicMs();
        await this.#draw();
      }
      await new Promise((resolve) => {
        setTimeout(resolve, REDRAW_MS);
      });
    }
  }

  /** Draws what there is to see now; a service that is out of reach leaves the last picture. */
  async #draw(): Promise<void> {
    const { terminal } = this.#context;
    try {
      const lines = new Lines(terminal);
      await this.#picture(lines.terminal);
      const text = lines.text();
      const up = this.#lines > 0 ? `\u001b[${this.#lines}A\u001b[J` : '';
      // A line that is too long is cut, not wrapped: else the way up would be longer.
      await terminal.out.write(`\u001b[?7l${up}${text}\u001b[?7h`);
      this.#lines = text.split('\n').length - 1;
    } catch {
      this.#isLive = false;
    }
  }

  async #picture(terminal: Terminal): Promise<void> {
    const { clock } = this.#context;
    const { deployment: deploymentId } = this.#options;
    const minPosition = this.#position === null ? {} : { minPosition: this.#position };
    if (deploymentId !== undefined) {
      const deployment = await this.#client.call('getDeployment', {
        deploymentId,
        consistency: 'strong',
      });
      const { items } = await this.#client.call('listAttempts', {
        deploymentId,
        limit: ROWS.default,
        ...minPosition,
      });
      await drawTimeline(deployment, items, { terminal, clock });
      await terminal.out.line(this.#status(terminal.out));
      return;
    }
    const limit = Math.min(ROWS.max, Math.max(ROWS.min, rowsOf(process.stdout) - HEAD_LINES - 1));
    const [counts, page] = await Promise.all([
      this.#client.call('countByState', {}),
      this.#client.call('listDeployments', { limit, ...minPosition }),
    ]);
    const told = Object.entries(counts)
      .filter(([state]) => state !== 'total')
      .map(([state, count]) =>
        paintState(`${symbolOf(state, terminal)} ${count} ${state}`, state, terminal.out),
      );
    await terminal.out.line(`${told.join('  ')}  ${this.#status(terminal.out)}`);
    const columns = deploymentColumns(terminal, clock);
    await writeTable<Deployment>(terminal, columns, {
      rows: page.items,
      empty: 'No deployment yet.',
    });
  }

  #status({ paint }: Pick<Output, 'paint'>): string {
    return this.#isLive ? paint('dim', 'live') : paint('yellow', 'not live: connecting …');
  }
}

function rowsOf(stream: { readonly rows?: number }): number {
  return stream.rows ?? ROWS.default;
}

/** A terminal that keeps what is written, to be shown at once. */
class Lines {
  readonly terminal: Terminal;
  #text = '';

  constructor(terminal: Terminal) {
    const write = async (text: string): Promise<void> => void (this.#text += text);
    const output: Output = { ...terminal.out, write, line: (text) => write(`${text}\n`) };
    this.terminal = { ...terminal, out: output, err: output };
  }

  text(): string {
    return this.#text;
  }
}

interface WaitOptions {
  readonly deployment: string;
  readonly for: readonly string[];
  readonly timeout: number;
  readonly json?: true;
}

/** Waits until a deployment is as wanted, or the time is over. */
export async function wait(
  { terminal }: AskingContext,
  client: Client,
  { deployment: deploymentId, for: goals, timeout, json }: WaitOptions,
): Promise<number> {
  const signal = AbortSignal.timeout(timeout);
  const look = (): Promise<Deployment> =>
    client.call('getDeployment', { deploymentId, consistency: 'strong' });
  let now = await look();
  if (!isAt(goals, now)) {
    for await (const { position } of client.events({ deploymentId, after: now.position, signal })) {
      if (BigInt(position) > BigInt(now.position)) now = await look();
      if (isAt(goals, now)) break;
    }
  }
  const { state, since } = now;
  if (!isAt(goals, now)) {
    await terminal.err.line(
      `shipslog wait: ${deploymentId} is ${state} since ${since ?? 'never'}, not ${goals.join(' or ')} within ${inWords(timeout)}`,
    );
    return EXIT.timedOut;
  }
  const { out } = terminal;
  await out.line(
    json ? JSON.stringify(now) : `${deploymentId} is ${paintState(state, state, out)}`,
  );
  return EXIT.ok;
}

function isAt(goals: readonly string[], { state, tornDown, currentAttempt }: Deployment): boolean {
  const isActive = currentAttempt?.state === 'pending' || currentAttempt?.state === 'running';
  return goals.includes(state) || (goals.includes('torn_down') && tornDown && !isActive);
}

/** Draws the attempts of a deployment. */
export async function timeline(
  { terminal, clock }: AskingContext,
  client: Client,
  options: { readonly deployment: string; readonly limit: string; readonly json?: true },
): Promise<number> {
  const { deployment: deploymentId, json } = options;
  const deployment = await client.call('getDeployment', { deploymentId, consistency: 'strong' });
  const { items } = await client.call('listAttempts', {
    deploymentId,
    limit: Number(options.limit),
    minPosition: deployment.position,
  });
  if (json) await terminal.out.line(JSON.stringify({ deployment, attempts: items }));
  else await drawTimeline(deployment, items, { terminal, clock });
  return EXIT.ok;
}
