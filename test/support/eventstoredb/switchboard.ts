/** The faults that the test server plays on demand. */

/** What can go wrong with an append. */
export type AppendFault =
  /** Neither written nor answered. */
  | { readonly fault: 'silence' }
  /** Written; then the call ends with UNAVAILABLE. */
  | { readonly fault: 'commit_then_unavailable' }
  /** Written; answered with DeadlineExceeded. */
  | { readonly fault: 'commit_then_deadline' }
  /** Answered with DeadlineExceeded, and written later all the same. */
  | { readonly fault: 'reject_then_commit'; readonly delayMs: number }
  /** Not written; answered with DeadlineExceeded. */
  | { readonly fault: 'deadline' }
  /** Written; answered late. */
  | { readonly fault: 'late_reply'; readonly delayMs: number }
  /** Written or not; then the server ends the stream as if all were well. */
  | { readonly fault: 'ok_end'; readonly commit: boolean }
  /** Written or not; then the connection is reset. */
  | { readonly fault: 'reset'; readonly commit: boolean }
  /** Written or not; then the stream is reset without a reason, as a server does that is stopped. */
  | { readonly fault: 'internal'; readonly commit: boolean }
  | { readonly fault: 'not_ready' }
  | { readonly fault: 'not_leader'; readonly host: string; readonly port: number };

/** What can go wrong with a read. */
export type ReadFault =
  | { readonly fault: 'silence' }
  | { readonly fault: 'unavailable' }
  | { readonly fault: 'not_ready' }
  | { readonly fault: 'reset' }
  | { readonly fault: 'not_leader'; readonly host: string; readonly port: number };

/** What can go wrong with a subscription, before the event at hand is sent. */
export type SubscriptionFault =
  /** Nothing is sent any more, and the stream stays open. */
  | { readonly fault: 'silence' }
  | { readonly fault: 'unavailable' }
  | { readonly fault: 'internal' }
  | { readonly fault: 'reset' }
  | { readonly fault: 'ok_end' }
  /** The event is sent twice. */
  | { readonly fault: 'duplicate' }
  /** The event is sent after the one that follows it, if that is there already. */
  | { readonly fault: 'reorder' }
  /** The event is sent when the one that comes next has been sent for a while. */
  | { readonly fault: 'late'; readonly delayMs: number }
  /** A checkpoint is sent that lies beyond events that were not sent. */
  | { readonly fault: 'checkpoint_past' }
  | { readonly fault: 'caught_up_again' }
  /** The event is sent late. */
  | { readonly fault: 'slow'; readonly delayMs: number };

interface FaultsOf {
  readonly append: AppendFault;
  readonly read: ReadFault;
  readonly subscription: SubscriptionFault;
}
export type Kind = keyof FaultsOf;

/** A fault to play: at how many calls (or, in a subscription, events), and at each which one. */
export type Plan = {
  readonly [K in Kind]: {
    readonly on: K;
    readonly play: FaultsOf[K];
    /** How often; for ever when absent. */
    readonly times?: number;
    /** Every how many calls; each one when absent. */
    readonly every?: number;
    /** Only streams that begin with this text. */
    readonly prefix?: string;
  };
}[Kind];

/** Holds the plans, and hands out their faults call by call. */
export class Switchboard {
  readonly #plans = new Map<Plan, { calls: number; played: number }>();
  /** Faults played since the start, by name. */
  readonly played = new Map<string, number>();

  plan(plan: Plan): void {
    this.#plans.set(plan, { calls: 0, played: 0 });
  }

  clear(): void {
    this.#plans.clear();
  }

  /** The fault to play at this call; null when all is well. */
  take<K extends Kind>(on: K, stream: string): FaultsOf[K] | null {
    for (const [plan, state] of this.#plans) {
      if (plan.on !== on || !stream.startsWith(plan.prefix ?? '')) continue;
      state.calls += 1;
      if (state.calls % (plan.every ?? 1) !== 0) continue;
      state.played += 1;
      if (state.played >= (plan.times ?? Infinity)) this.#plans.delete(plan);
      const { fault } = plan.play;
      this.played.set(fault, (this.played.get(fault) ?? 0) + 1);
      return plan.play as FaultsOf[K];
    }
    return null;
  }
}
