import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** A way to a service that can be cut and mended. */
export interface Proxy {
  readonly url: string;
  /** From now on nobody gets through; what was under way is lost. */
  cut(): void;
  mend(): void;
  /**
   * Keeps the next request of such a head back, or only its answer when it `arrives`. Resolves when it has
   * come, with what drops its connection: its caller gets no answer.
   */
  hold(head: RegExp, how?: { readonly arrives: boolean }): Promise<() => void>;
  /** How many requests of such a head came here since it was opened. */
  requests(head: RegExp): number;
  close(): Promise<void>;
}

interface Held {
  readonly head: RegExp;
  readonly arrives: boolean;
  readonly came: (drop: () => void) => void;
}

/** Opens a way to a service on this machine. */
export async function openProxy(target: string): Promise<Proxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let isCut = false;
  let held: Held | null = null;
  const heads: string[] = [];
  const server: Server = createServer((near) => {
    if (isCut) {
      near.destroy();
      return;
    }
    const far = connect(Number(port), hostname);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.on('data', (chunk: Buffer) => {
      const head = chunk.toString('latin1');
      heads.push(head);
      const isHeld = held?.head.test(head) === true;
      if (!isHeld || held?.arrives === true) far.write(chunk);
      if (!isHeld) return;
      far.unpipe(near);
      held?.came(() => near.destroy());
      held = null;
    });
    near.on('end', () => far.end());
    far.pipe(near);
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const cut = (): void => {
    isCut = true;
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    mend: () => {
      isCut = false;
    },
    hold: (head, { arrives } = { arrives: false }) =>
      new Promise((came) => {
        held = { head, arrives, came };
      }),
    requests: (head) => heads.filter((each) => head.test(each)).length,
    close: async () => {
      cut();
      await new Promise((closed) => server.close(closed));
    },
  };
}
