import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { EndPoint, Member } from './node.js';
import type { Plan } from './switchboard.js';

/** What a parent tells the server. */
export interface Order {
  readonly id: number;
  readonly what:
    | { readonly order: 'plan'; readonly plan: Plan }
    | { readonly order: 'clear' }
    | { readonly order: 'reset' }
    | { readonly order: 'played' }
    | {
        readonly order: 'follow';
        readonly leader: EndPoint | null;
        readonly members: readonly Member[];
      }
    | { readonly order: 'lead'; readonly members: readonly Member[] }
    | { readonly order: 'tell'; readonly members: readonly Member[] };
}

/** What the server tells its parent. */
export type Report =
  | { readonly kind: 'started'; readonly port: number }
  | {
      readonly kind: 'obeyed';
      readonly id: number;
      readonly played: Readonly<Record<string, number>>;
    };

export interface ServerProcessOptions {
  readonly port?: number;
  /** File that keeps the log over restarts, and hands it to the next leader. */
  readonly log?: string;
  readonly indexLagMs?: number;
  readonly dropMs?: number;
  readonly notReadyMs?: number;
  readonly isFollower?: boolean;
}

/** A test server in a process of its own. */
export class ServerProcess {
  #nextId = 0;

  private constructor(
    private readonly child: ChildProcess,
    readonly port: number,
  ) {}

  /** Starts one; it is ready to be connected to when this resolves. */
  static async start(options: ServerProcessOptions = {}): Promise<ServerProcess> {
    const { port = 0, log, indexLagMs = 20, dropMs = 2_500, notReadyMs = 0 } = options;
    const child = fork(
      fileURLToPath(new URL('./main.ts', import.meta.url)),
      [
        ...['--port', String(port), '--index-lag', String(indexLagMs), '--drop-ms', String(dropMs)],
        ...['--not-ready', String(notReadyMs)],
        ...(log === undefined ? [] : ['--log', log]),
        ...(options.isFollower === true ? ['--follower'] : []),
      ],
      { execArgv: ['--import', '@swc-node/register/esm-register'] },
    );
    const [message] = (await once(child, 'message')) as [Report];
    if (message.kind !== 'started') throw new Error('the server did not start');
    return new ServerProcess(child, message.port);
  }

  get url(): string {
    return `esdb://127.0.0.1:${String(this.port)}?tls=false`;
  }

  get endPoint(): EndPoint {
    return { host: '127.0.0.1', port: this.port };
  }

  /** Gives an order; answers how often each fault has been played so far. */
  async order(what: Order['what']): Promise<Readonly<Record<string, number>>> {
    this.#nextId += 1;
    const id = this.#nextId;
    this.child.send({ id, what } satisfies Order);
    while (true) {
      const [message] = (await once(this.child, 'message')) as [Report];
      if (message.kind === 'obeyed' && message.id === id) return message.played;
    }
  }

  /** Stops the process as it stands; `continue` wakes it. */
  freeze(): void {
    this.child.kill('SIGSTOP');
  }

  continue(): void {
    this.child.kill('SIGCONT');
  }

  /** Asks it to stop, as an operator would. */
  terminate(): void {
    this.child.kill('SIGTERM');
  }

  /** Ends it at once, as it stands. Safe to repeat. */
  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await gone;
  }
}
