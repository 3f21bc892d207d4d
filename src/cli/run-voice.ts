import type { Terminal } from './terminal.js';

/** What `run` tells, with the members that go with it. */
const SENTENCES = {
  waiting: ({ problem, time }) => `${problem}; trying again for ${time}`,
  started: ({ deploymentId, number, attemptId }) =>
    `${deploymentId} attempt ${number} started (${attemptId})`,
  not_started: ({ problem }) => `the command could not be started: ${problem}`,
  cancel_requested: ({ grace }) =>
    `a cancel was requested: the command has ${grace} to end (SIGTERM), then it is killed`,
  superseded: ({ problem }) => `${problem}; the command is stopped`,
  unreachable: ({ problem }) => `${problem}; the command goes on`,
  reachable: () => 'the service is back',
  end_kept: ({ problem }) =>
    `${problem}; the end is kept, and told again until the service has it (Ctrl-C leaves it to the next run)`,
  end_not_kept: ({ problem, unkept }) =>
    `${problem}; the end is told again until the service has it, and cannot be kept beyond that: ${unkept}`,
  end_lost: () =>
    'the end is lost: the service has not heard it, and the deployment will be unknown; see shipslog resolve',
  end_left: () => 'the end is kept: the next shipslog run tells it, or shipslog flush',
  end_refused: ({ deploymentId, outcome, problem }) =>
    `${deploymentId}: ${outcome}, but the service says: ${problem}`,
  ended: ({ deploymentId, state, outcome, exitCode, took }) =>
    `${deploymentId} is ${state} (${outcome}, exit code ${exitCode}, ${took})`,
} as const satisfies Readonly<Record<string, (members: Members) => string>>;
type Members = Readonly<Record<string, string | number>>;
type What = keyof typeof SENTENCES;

/** Told while the command runs, though nothing has to be done: on its terminal that would be in the way. */
const CAN_WAIT: ReadonlySet<What> = new Set(['unreachable', 'reachable']);
/** Told also to who wants it quiet: something is not as it should be. */
const LOUD: ReadonlySet<What> = new Set([
  'waiting',
  'not_started',
  'cancel_requested',
  'superseded',
  'end_kept',
  'end_not_kept',
  'end_lost',
  'end_left',
  'end_refused',
]);

/** What `run` says, on stderr: sentences for people, or a line of JSON each. */
export class RunVoice {
  readonly #waiting: string[] = [];

  constructor(
    private readonly terminal: Terminal,
    private readonly options: { readonly json?: true; readonly quiet?: true },
  ) {}

  /** Says something; on a terminal what can wait is said with the next thing that can not. */
  say(what: What, members: Members): void {
    const { json, quiet } = this.options;
    const { err } = this.terminal;
    if (json) {
      void err.line(JSON.stringify({ event: what, ...members }));
      return;
    }
    if (quiet && !LOUD.has(what)) return;
    const sentence = `shipslog: ${SENTENCES[what](members)}`;
    if (CAN_WAIT.has(what) && err.isTerminal) {
      this.#waiting.push(sentence);
      return;
    }
    for (const line of [...this.#waiting.splice(0), sentence]) void err.line(line);
  }
}
