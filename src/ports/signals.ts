import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel';

/** What the service tells about itself while it works. Each signal is a diagnostics channel `shipslog:<name>`. */
export interface Signals {
  /** A command was answered; `result` is `accepted`, `unchanged`, `replayed`, or the code of the refusal or fault. */
  command: { readonly command: string; readonly result: string; readonly ms: number };
  /** An HTTP request was answered; `route` is its pattern, null when nothing is there. */
  request: {
    readonly requestId: string;
    readonly method: string;
    readonly route: string | null;
    readonly status: number;
    readonly ms: number;
  };
  /** Events were appended. */
  append: { readonly events: number; readonly ms: number };
  /** A state changed. */
  transition: {
    readonly deploymentId: string;
    readonly attemptId?: string;
    readonly from: string | null;
    readonly to: string;
    readonly trigger: string;
    readonly reason?: string;
  };
  /** A batch reached the read models. */
  projected: { readonly events: number; readonly ms: number; readonly lagMs: number };
  /** An event could not be projected; its stream is parked in that projection. */
  parked: { readonly projection: string; readonly stream: string; readonly problem: string };
  /** Something outside failed and will be tried again, or needs a person. */
  trouble: { readonly where: string; readonly error: unknown };
}

const channels = new Map<string, ReturnType<typeof channel>>();

function signalChannel(name: keyof Signals): ReturnType<typeof channel> {
  let found = channels.get(name);
  if (found === undefined) channels.set(name, (found = channel(`shipslog:${name}`)));
  return found;
}

/** Tells a signal to whoever listens; a listener that throws harms nobody (Node reports it as uncaught). */
export function emit<N extends keyof Signals>(name: N, signal: Signals[N]): void {
  const to = signalChannel(name);
  if (to.hasSubscribers) to.publish(signal);
}

/** Listens to a signal; the function returned ends it. */
export function listen<N extends keyof Signals>(
  name: N,
  listener: (signal: Signals[N]) => void,
): () => void {
  const guarded = (message: unknown): void => {
    listener(message as Signals[N]);
  };
  subscribe(`shipslog:${name}`, guarded);
  return () => unsubscribe(`shipslog:${name}`, guarded);
}
