/**
 * Operating errors: the world failed, not the rules and not us. Thrown by adapters only; the command
 * path retries some of them, the HTTP border turns each code into one status.
 */
export const FAULTS = {
  REVISION_CONFLICT: 'another event already holds the revision that the append expected',
  STORE_UNAVAILABLE: 'the store cannot be reached or has no room in its queue; nothing was written',
  OUTCOME_UNKNOWN: 'the store did not say whether it wrote; repeating the same command is safe',
  STREAM_DELETED: 'the stream was deleted in the store',
  EVENT_TOO_LARGE: 'the events of one append exceed 1 MiB',
  STORE_FULL: 'the disk of the store is full; reads go on, writes resume when there is room',
  STORE_CORRUPT: 'the store is damaged, or shorter than what was acknowledged',
  STORE_OWNED: 'another process owns the store',
  STORE_FOREIGN: 'the file is not a Shipslog store, or was written by a newer version',
  POSITION_INVALID: "the position is malformed or beyond the log's end",
  NOT_YET_VISIBLE: 'the read model has not reached the asked position in time',
} as const satisfies Record<string, string>;
export type FaultCode = keyof typeof FAULTS;

const RETRYABLE: ReadonlySet<FaultCode> = new Set([
  'REVISION_CONFLICT',
  'STORE_UNAVAILABLE',
  'OUTCOME_UNKNOWN',
  'NOT_YET_VISIBLE',
]);

/** An operating error with a stable code; `message` says what happened and where. */
export class Fault extends Error {
  override readonly name = 'Fault';
  readonly retryable: boolean;

  constructor(
    readonly code: FaultCode,
    detail: string = FAULTS[code],
    options?: ErrorOptions,
  ) {
    super(detail, options);
    this.retryable = RETRYABLE.has(code);
  }
}

/** Tells whether an error is a fault, of the given code if one is given. */
export function isFault(error: unknown, code?: FaultCode): error is Fault {
  return error instanceof Fault && (code === undefined || error.code === code);
}
