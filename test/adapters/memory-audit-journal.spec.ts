import { expect, test } from '@jest/globals';
import { MemoryAuditJournal } from '../../src/adapters/memory/audit-journal.js';
import { auditJournalContract, refusal } from '../contracts/audit-journal.contract.js';

auditJournalContract('memory', async () => ({
  journal: new MemoryAuditJournal(),
  dispose: async () => {},
}));

test('the oldest entries make room for the newest', async () => {
  const journal = new MemoryAuditJournal(3);
  for (let n = 0; n < 5; n++) journal.record(refusal(n));
  expect(await journal.list()).toEqual([refusal(4), refusal(3), refusal(2)]);
});
