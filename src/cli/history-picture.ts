/** Histories and attempts as pictures made of text. */
import type { Attempt, Deployment, Event } from '../client/answers.js';
import type { Clock } from '../ports/clock.js';
import { inWords } from './progress.js';
import { paintState, stateText, symbolOf } from './states.js';
import { onOneLine } from './table.js';
import type { Terminal } from './terminal.js';

/** What one command did, as a line of the picture. */
interface Happening {
  readonly event: Event;
  /** The state that it led to; null when it changed none. */
  readonly to: string | null;
}

/**
 * Draws a history: for a person, a line for each thing that happened, beside the state that it led to;
 * for a pipe, a line for each event.
 */
export async function drawHistory(
  events: readonly Event[],
  terminal: Terminal,
  clock: Clock,
): Promise<void> {
  const { out } = terminal;
  if (!out.isTerminal) {
    for (const event of events) await out.line(plainLine(event));
    return;
  }
  const happenings = happeningsOf(events);
  let before: Event | null = null;
  let state = 'pending';
  for (const { event, to } of happenings) {
    state = to ?? state;
    const shown = to === null ? beside(state, terminal) : stateText(to, terminal);
    const when = before === null ? event.recordedAt : `+${timeBetween(before, event)}`;
    await out.line(
      [
        out.paint('dim', when.padStart(24)),
        paintState(shown.padEnd(11), state, out),
        event.type.replaceAll('_', ' ').padEnd(21),
        onOneLine(detailOf(event)),
        out.paint('dim', whoOf(event)),
      ].join('  '),
    );
    before = event;
  }
  if (before === null) return;
  const sinceMs = Date.parse(clock.now()) - Date.parse(before.recordedAt);
  await out.line(out.paint('dim', `+${inWords(Math.max(0, sinceMs))}`.padStart(24) + '  now'));
}

function beside(state: string, { isUnicode }: Terminal): string {
  return state === 'deploying' && isUnicode ? '│' : isUnicode ? '·' : '|';
}

/** A change of state follows its cause in the same command; the two are one line. */
function happeningsOf(events: readonly Event[]): readonly Happening[] {
  const happenings: Happening[] = [];
  for (const event of events) {
    const last = happenings.at(-1);
    const isOfLast = last?.event.metadata.commandId === event.metadata.commandId;
    const to = event.type === 'state_transition' ? wordOf(event.data['to']) : null;
    if (to !== null && last !== undefined && isOfLast) {
      happenings[happenings.length - 1] = { event: last.event, to };
    } else {
      happenings.push({ event, to });
    }
  }
  return happenings;
}

function wordOf(state: unknown): string {
  return typeof state === 'string' ? state : 'none';
}

function timeBetween(a: Event, b: Event): string {
  return inWords(Math.max(0, Date.parse(b.recordedAt) - Date.parse(a.recordedAt)));
}

/** What is worth knowing of an event at a glance. */
function detailOf({ data }: Event): string {
  const told = [
    data['attemptId'],
    data['scope'],
    data['outcome'],
    typeof data['exitCode'] === 'number' ? `exit code ${data['exitCode']}` : undefined,
    data['as'],
    data['cause'],
    data['reason'] ?? data['code'],
  ];
  return told.filter((value) => typeof value === 'string').join(' · ');
}

function whoOf({ metadata: { actor } }: Event): string {
  return `${actor.kind}:${actor.id}`;
}

function plainLine(event: Event): string {
  const { revision, recordedAt, type, data } = event;
  const to = type === 'state_transition' ? `${wordOf(data['from'])} → ${wordOf(data['to'])}` : '';
  return [revision, recordedAt, type, to, detailOf(event), whoOf(event)].map(onOneLine).join('\t');
}

const LABEL_COLUMNS = 30;
const RESULT_COLUMNS = 24;
const TIMELINE_MIN = 20;

/** Draws the attempts of a deployment as bars on one line of time, the newest first. */
export async function drawTimeline(
  deployment: Deployment,
  attempts: readonly Attempt[],
  { terminal, clock }: { readonly terminal: Terminal; readonly clock: Clock },
): Promise<void> {
  const { out } = terminal;
  const { deploymentId, state, since } = deployment;
  if (!out.isTerminal) {
    for (const attempt of attempts) await out.line(plainAttempt(attempt));
    return;
  }
  const nowMs = Date.parse(clock.now());
  const length = since === null ? '' : ` for ${inWords(nowMs - Date.parse(since))}`;
  await out.line(`${deploymentId}  ${paintState(stateText(state, terminal), state, out)}${length}`);
  const fromMs = Math.min(nowMs, ...attempts.map(({ openedAt }) => Date.parse(openedAt)));
  const columns = Math.max(TIMELINE_MIN, out.columns - LABEL_COLUMNS - RESULT_COLUMNS);
  const columnAt = (ms: number): number =>
    Math.min(columns - 1, Math.floor(((ms - fromMs) / Math.max(1, nowMs - fromMs)) * columns));
  await out.line(out.paint('dim', ruler(fromMs, nowMs, columns)));
  for (const attempt of attempts) {
    const bar = barOf(attempt, { columns, columnAt, nowMs, terminal });
    const label = `#${attempt.number} ${attempt.scope} ${attempt.attemptId}`;
    const text = onOneLine(label)
      .slice(0, LABEL_COLUMNS - 2)
      .padEnd(LABEL_COLUMNS);
    await out.line(`${text}${bar}  ${resultOf(attempt, nowMs)}`);
  }
}

function ruler(fromMs: number, nowMs: number, columns: number): string {
  const from = new Date(fromMs).toISOString().slice(0, 16).replace('T', ' ');
  const now = new Date(nowMs).toISOString().slice(0, 16).replace('T', ' ');
  const blank = ' '.repeat(Math.max(1, columns - from.length - now.length));
  return `${' '.repeat(LABEL_COLUMNS)}${from}${blank}${now}`;
}

function barOf(
  attempt: Attempt,
  at: {
    readonly columns: number;
    readonly columnAt: (ms: number) => number;
    readonly nowMs: number;
    readonly terminal: Terminal;
  },
): string {
  const { columns, columnAt, nowMs, terminal } = at;
  const { openedAt, startedAt, state } = attempt;
  const endMs = endOf(attempt, nowMs);
  const [opened, end] = [columnAt(Date.parse(openedAt)), columnAt(endMs)];
  const start = startedAt === null ? end : columnAt(Date.parse(startedAt));
  const [wait, run] = terminal.isUnicode ? ['┄', '━'] : ['.', '='];
  const drawn =
    ' '.repeat(opened) +
    wait.repeat(Math.max(0, start - opened)) +
    run.repeat(Math.max(0, end - start)) +
    symbolOf(state, terminal);
  return paintState(drawn.padEnd(columns), state, terminal.out);
}

function endOf(
  { endedAt, startedAt, openedAt, state, lastHeartbeatAt }: Attempt,
  nowMs: number,
): number {
  if (endedAt !== null) return Date.parse(endedAt);
  return state === 'unknown' ? Date.parse(lastHeartbeatAt ?? startedAt ?? openedAt) : nowMs;
}

function resultOf(attempt: Attempt, nowMs: number): string {
  const { state, startedAt, exitCode } = attempt;
  const took =
    startedAt === null
      ? ''
      : ` ${inWords(Math.max(0, endOf(attempt, nowMs) - Date.parse(startedAt)))}`;
  const exit = exitCode === null || exitCode === 0 ? '' : ` (${exitCode})`;
  return `${state}${exit}${state === 'unknown' ? '' : took}`;
}

function plainAttempt(attempt: Attempt): string {
  const { number, attemptId, scope, state, openedAt, startedAt, endedAt } = attempt;
  return [String(number), attemptId, scope, state, openedAt, startedAt ?? '', endedAt ?? ''].join(
    '\t',
  );
}
