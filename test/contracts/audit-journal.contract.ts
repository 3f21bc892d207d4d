import { afterEach, beforeEach, describe, expect, test } from '@jest/globals';
import type { AuditJournal, AuditEntry } from '../../src/ports/audit-journal.js';

/** A journal to be tested, empty, and what removes its traces. */
export interface AuditJournalUnderTest {
  readonly journal: AuditJournal;
  dispose(): Promise<void>;
}

/** A refusal as the command path reports it. */
export function refusal(n: number, members: Partial<AuditEntry> = {}): AuditEntry {
  return {
    at: '2026-01-01T00:00:00.000Z',
    deploymentId: 'd1',
    attemptId: n % 2 === 0 ? null : `a${String(n)}`,
    command: 'OpenAttempt',
    commandId: `command-${String(n)}`,
    actor: { id: "Zoë O'Neil", kind: 'human' },
    code: 'ATTEMPT_IN_PROGRESS',
    detail: 'attempt a0 is running',
    ...members,
  };
}

/** What every journal of refused commands must do. */
export function auditJournalContract(
  name: string,
  create: () => Promise<AuditJournalUnderTest>,
): void {
  describe(`audit journal in ${name}`, () => {
    let underTest: AuditJournalUnderTest;
    let journal: AuditJournal;
    beforeEach(async () => {
      underTest = await create();
      journal = underTest.journal;
    });
    afterEach(async () => {
      await journal.close();
      await underTest.dispose();
    });

    test('it is empty at first', async () => {
      expect(await journal.list()).toEqual([]);
    });

    test('what was recorded can be listed at once, newest first, as it was told', async () => {
      for (let n = 0; n < 3; n++) journal.record(refusal(n));
      expect(await journal.list()).toEqual([refusal(2), refusal(1), refusal(0)]);
    });

    test('what was refused twice stands twice, though it is the same to the letter', async () => {
      for (let n = 0; n < 2; n++) journal.record(refusal(1));
      expect(await journal.list()).toEqual([refusal(1), refusal(1)]);
    });

    test('one deployment can be asked for', async () => {
      journal.record(refusal(0));
      journal.record(refusal(1, { deploymentId: 'd2' }));
      journal.record(refusal(2));
      expect(await journal.list({ deploymentId: 'd1' })).toEqual([refusal(2), refusal(0)]);
      expect(await journal.list({ deploymentId: "d' or 1=1 --" })).toEqual([]);
    });

    test('a list has 50 entries unless asked otherwise, and never more than 200', async () => {
      for (let n = 0; n < 300; n++) journal.record(refusal(n));
      expect(await journal.list()).toHaveLength(50);
      expect(await journal.list({ limit: 3 })).toEqual([299, 298, 297].map((n) => refusal(n)));
      expect(await journal.list({ limit: 1000 })).toHaveLength(200);
    });

    test('recording never throws, not even after the end', async () => {
      await journal.close();
      expect(() => {
        journal.record(refusal(0));
      }).not.toThrow();
    });
  });
}
