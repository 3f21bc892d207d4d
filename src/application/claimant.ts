import type { Clock } from '../ports/clock.js';
import type { Ownership, ReadModels } from '../ports/read-models.js';
import { emit } from '../ports/signals.js';

/** How long a claim holds unless it is renewed: what another waits before it takes over. Milliseconds. */
const CLAIM_TTL_MS = 5_000;
/** How often it is renewed, and how often one who stands by asks for it. Milliseconds. */
export const CLAIM_RENEW_MS = 1_000;

/** What a claimant works with. */
export interface ClaimantOptions {
  readonly readModels: ReadModels;
  readonly clock: Clock;
  /** Who this is, for people, as `host/pid`. */
  readonly owner: string;
  /** Whether whoever owned the tables before must be gone, since this process alone has the log. */
  readonly takesOver: boolean;
  /** The claim was renewed. */
  readonly onRenewed: () => void;
  /** Another owns the tables now, or did meanwhile: what is known of them may be of the past. */
  readonly onLost: () => void;
}

/**
 * Claims the read models for one projector, and keeps the claim while it can.
 *
 * That it holds is only a guess as soon as it is said: a process can be frozen. What is certain is that a
 * write of an owner that was overtaken fails.
 */
export class Claimant {
  #isOwner = false;
  #seen: Ownership | null = null;
  /** The number of the claim that was ours last. */
  #fence: bigint | null = null;
  #takesOver: boolean;
  #isReleased = false;
  #asking: Promise<boolean> | null = null;
  #cancel: () => void = () => undefined;

  constructor(private readonly options: ClaimantOptions) {
    this.#takesOver = options.takesOver;
  }

  /** Whether the last word was that the tables are ours. */
  get isOwner(): boolean {
    return this.#isOwner;
  }

  /** Who owned the tables when they were last looked at; null before. */
  get seen(): Ownership | null {
    return this.#seen;
  }

  /** Asks for the tables, and keeps them once they are ours. */
  async claim(): Promise<boolean> {
    if (this.#isOwner || this.#isReleased) return this.#isOwner;
    const isOwner = await this.#ask();
    if (isOwner) this.#renewLater();
    return isOwner;
  }

  /** Looks who owns the tables, without asking for them. */
  async look(): Promise<void> {
    this.#seen = await this.options.readModels.ownership();
  }

  /** Gives the tables up to whoever can do more with them. Never fails: else the claim is past soon. */
  async yield(): Promise<void> {
    await this.#asking?.catch(() => undefined);
    this.#cancel();
    this.#isOwner = false;
    await this.options.readModels.release().catch((error: unknown) => {
      emit('trouble', { where: 'projector', error });
    });
  }

  /** A write was refused: the tables are another's. */
  lost(): void {
    this.#cancel();
    if (!this.#isOwner) return;
    this.#isOwner = false;
    this.options.onLost();
  }

  /** Gives the tables up for good. */
  async release(): Promise<void> {
    this.#cancel();
    this.#isReleased = true;
    this.#isOwner = false;
    await this.options.readModels.release();
  }

  /** Asks for the tables, once at a time; whether they are ours. */
  #ask(): Promise<boolean> {
    this.#asking ??= this.#askNow().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #askNow(): Promise<boolean> {
    const { readModels, owner } = this.options;
    const takesOver = this.#takesOver;
    const { isOurs, ...seen } = await readModels.claim({ owner, ttlMs: CLAIM_TTL_MS, takesOver });
    this.#takesOver = false;
    this.#seen = seen;
    this.#isOwner = isOurs && !this.#isReleased;
    if (isOurs) this.#fence = seen.fence;
    if (isOurs && this.#isReleased) await readModels.release();
    return this.#isOwner;
  }

  #renewLater(): void {
    this.#cancel();
    this.#cancel = this.options.clock.after(CLAIM_RENEW_MS, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const before = this.#fence;
    try {
      if ((await this.#ask()) && this.#fence === before) this.options.onRenewed();
      else this.options.onLost();
    } catch (error) {
      // The claim may still hold; if it does not, the next write says so.
      emit('trouble', { where: 'projector', error });
    }
    if (this.#isOwner) this.#renewLater();
  }
}
