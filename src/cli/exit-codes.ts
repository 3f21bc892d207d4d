/** What each exit code of the command line means. Scripts rely on them; they never change. */
export const EXIT = {
  ok: 0,
  error: 1,
  usage: 2,
  refused: 3,
  notAllowed: 4,
  notFound: 5,
  conflict: 6,
  timedOut: 7,
  unreachable: 8,
  interrupted: 130,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** The same in words, for help and documents. */
export const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'done',
  error: 'something failed that is described on stderr',
  usage: 'the command line, a setting, or a member of the request is wrong',
  refused: 'the rules say no, or a verification failed',
  notAllowed:
    'the caller may not do this: only a human may, or another runner holds the lease token',
  notFound: 'no such deployment, attempt, revision or projection',
  conflict:
    'somebody else was first: the revision moved, the id is taken, another runner has started',
  timedOut: 'the time to wait is over',
  unreachable: 'the service cannot be reached, or cannot reach its store',
  interrupted: 'stopped by Ctrl-C',
};

/** The table of exit codes as text, one a line. */
export function exitCodesText(): string {
  const lines = Object.entries(EXIT).map(
    ([name, code]) => `  ${String(code).padStart(3)}  ${EXIT_MEANINGS[name as keyof typeof EXIT]}`,
  );
  return [
    'Exit codes:',
    ...lines,
    '',
    '`shipslog run` ends with the exit code of its command, 128 + n when signal n ended that, 126 or 127',
    'when it could not be started; with one of the codes above only when the command never ran.',
  ].join('\n');
}

const CONFLICTS: ReadonlySet<string> = new Set([
  'DEPLOYMENT_EXISTS',
  'ATTEMPT_EXISTS',
  'ATTEMPT_ALREADY_STARTED',
  'ATTEMPT_SUPERSEDED',
  'REVISION_MISMATCH',
  'REVISION_CONFLICT',
  'COMMAND_ID_REUSED',
]);

/** The exit code for an error answer of the service, by its status and code. */
export function exitCodeOf(status: number, code: string | null): ExitCode {
  if (code !== null && CONFLICTS.has(code)) return EXIT.conflict;
  if (code === 'NOT_YET_VISIBLE') return EXIT.timedOut;
  return BY_STATUS[status] ?? (status >= 500 ? EXIT.error : EXIT.refused);
}

const BY_STATUS: Readonly<Record<number, ExitCode>> = {
  400: EXIT.usage,
  401: EXIT.notAllowed,
  403: EXIT.notAllowed,
  404: EXIT.notFound,
  406: EXIT.error,
  412: EXIT.conflict,
  413: EXIT.usage,
  415: EXIT.error,
  422: EXIT.conflict,
  428: EXIT.usage,
  429: EXIT.unreachable,
  502: EXIT.unreachable,
  503: EXIT.unreachable,
  504: EXIT.unreachable,
};
