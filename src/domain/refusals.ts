/** Every "no" of the rules, as data: a stable code and what it means to the caller. */
export const REFUSALS = {
  INVALID_BODY: 'A member of the command is missing, unknown or out of bounds.',
  SCOPE_UNSUPPORTED: 'No such scope is registered with this service.',
  TEARDOWN_CONFIRM_MISMATCH: 'The confirm phrase is not the one of the deployment.',
  LEASE_TOKEN_MISMATCH: 'The attempt was started with another lease token.',
  HUMAN_REQUIRED: 'Only a human may decide this.',
  DEPLOYMENT_NOT_FOUND: 'No such deployment is recorded.',
  ATTEMPT_NOT_FOUND: 'The deployment has no such attempt.',
  REVISION_NOT_FOUND: 'The stream has no such revision.',
  DEPLOYMENT_EXISTS: 'The id belongs to a deployment that was declared otherwise.',
  ATTEMPT_EXISTS: 'The deployment has an attempt of this id already.',
  DEPLOYMENT_TORN_DOWN: 'The deployment is torn down and its policy retires it.',
  ATTEMPT_IN_PROGRESS: 'An attempt is pending or running.',
  DEPLOYMENT_UNKNOWN_STATE: 'Nobody knows what runs: resolve it first.',
  ATTEMPT_TERMINAL: 'The attempt has ended, or a human has closed it.',
  ATTEMPT_ALREADY_STARTED: 'Another runner started the attempt.',
  ATTEMPT_NOT_STARTED: 'The attempt has not been started.',
  ATTEMPT_SUPERSEDED: 'A newer attempt was opened: the runner must stop.',
  LEASE_ACTIVE: 'The time of the attempt is not past.',
  DEPLOYMENT_NOT_UNKNOWN: 'There is nothing to resolve.',
  DEPLOYMENT_NOT_TORN_DOWN: 'Something may still run: tear it down first.',
  DEPLOYMENT_ARCHIVED: 'The deployment is archived; its history stays readable.',
  REVISION_MISMATCH: 'The stream has moved since the given revision.',
  COMMAND_ID_REUSED: 'The command id was used for another command of this deployment.',
  PRECONDITION_REQUIRED: 'The command must say which revision it was decided on.',
} as const satisfies Record<string, string>;
export type RefusalCode = keyof typeof REFUSALS;

/** A member of a body that is wrong: a JSON pointer to it and what is wrong, in words. */
export interface MemberProblem {
  readonly pointer: string;
  readonly message: string;
}

/** A refusal as `decide` returns it: it changes nothing. */
export interface Refusal {
  readonly code: RefusalCode;
  /** What happened, why, and what to do next, for a person. */
  readonly detail: string;
  readonly errors?: readonly MemberProblem[];
}
