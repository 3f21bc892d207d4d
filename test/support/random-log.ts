import * as fc from 'fast-check';
import type { EventMetadata } from '../../src/domain/event-schema.js';
import type { RecordedEvent } from '../../src/ports/event-store.js';
import { Story } from './events.js';

type Move = (story: Story) => Story;

/** What a command could do to a deployment as it stands now; every history made of these is a legal one. */
function movesOf(story: Story): readonly Move[] {
  const { created, state, currentAttempt } = story.deployment;
  if (created === null) return [(s) => s.created({ labels: { tier: 'web' } })];
  const name = `name ${String(story.events.length)}`;
  const moves: Move[] = [(s) => s.updated({ name })];
  const number = (currentAttempt?.number ?? 0) + 1;
  if (number > 2) moves.push((s) => s.stale('a1', 'failed'));
  const attemptId = `a${String(number)}`;
  if (currentAttempt?.state === 'pending') {
    moves.push(
      (s) => s.started({ runner: { id: 'r1' } }),
      (s) => s.lost('start_timeout'),
      (s) => s.ended('failed', { exitCode: 7 }),
    );
  } else if (currentAttempt?.state === 'running') {
    moves.push(
      (s) => s.ended('succeeded'),
      (s) => s.ended('failed', { reason: 'no "room"' }),
      (s) => s.cancelRequested(),
      (s) => s.lost(),
    );
  } else if (state === 'unknown') {
    moves.push(
      (s) => s.resolved('failed'),
      (s) => s.resolved('torn_down'),
    );
  } else {
    moves.push(
      (s) => s.opened(attemptId),
      (s) => s.opened(attemptId, 'teardown', 'teardown'),
    );
  }
  return moves;
}

/**
 * Logs of up to five deployments whose commands interleave, at most `commandsMax` of them; with `poison`,
 * some events are such as nobody can read.
 */
export function logs(options: {
  readonly commandsMax: number;
  readonly poison?: boolean;
}): fc.Arbitrary<readonly RecordedEvent[]> {
  const step = fc.record({ whose: fc.nat(4), which: fc.nat(11), bad: fc.nat(30) });
  return fc.array(step, { maxLength: options.commandsMax }).map((steps) => {
    const stories = Array.from({ length: 5 }, (_, n) => new Story(`d${String(n)}`));
    const log: RecordedEvent[] = [];
    for (const { whose, which, bad } of steps) {
      const story = stories[whose];
      if (story === undefined) continue;
      const before = story.events.length;
      const moves = movesOf(story);
      if (options.poison === true && bad === 0) story.poisoned();
      else moves[which % moves.length]?.(story);
      for (const [n, event] of story.events.slice(before).entries()) {
        const position = BigInt(log.length + 1) * 3n;
        log.push({ ...event, stream: story.stream, revision: BigInt(before + n), position });
      }
    }
    return log;
  });
}

/** An instant by a minute of a day: few, so that equal times are common. */
export const instantAt = (minute: number): string =>
  new Date(Date.parse('2026-01-01T12:00:00.000Z') + minute * 60_000).toISOString();

/** Logs whose events were recorded one after the other, some of them long after they happened. */
export function lateLogs(options: {
  readonly commandsMax: number;
}): fc.Arbitrary<readonly RecordedEvent[]> {
  const delays = fc.array(fc.constantFrom(0, 0, 0, 1, 3, 9), { minLength: 1, maxLength: 7 });
  return fc.tuple(logs(options), delays).map(([log, late]) =>
    log.map((event, n) => {
      const recorded = Math.floor(n / 2);
      const times = {
        recordedAt: instantAt(recorded),
        occurredAt: instantAt(recorded - (late[n % late.length] ?? 0)),
      };
      const metadata = { ...(JSON.parse(event.metadata) as EventMetadata), ...times };
      return { ...event, metadata: JSON.stringify(metadata) };
    }),
  );
}
