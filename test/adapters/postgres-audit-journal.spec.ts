import { expect, test } from '@jest/globals';
import { postgresAuditJournal } from '../../src/adapters/postgres/audit-journal.js';
import { openPostgres } from '../../src/adapters/postgres/database.js';
import { listen } from '../../src/ports/signals.js';
import { auditJournalContract, refusal } from '../contracts/audit-journal.contract.js';
import { FakeClock } from '../support/fake-clock.js';
import { onPostgres } from '../support/on-postgres.js';
import { freshDatabase } from '../support/postgres.js';

const clock = new FakeClock();

await onPostgres(() => {
  auditJournalContract('PostgreSQL', async () => {
    const { url, drop } = await freshDatabase();
    const database = await openPostgres({ url });
    return { journal: postgresAuditJournal(database, clock), dispose: drop };
  });

  test('what the database does not take waits, is told once a try, and is written when it is back', async () => {
    const { url, drop } = await freshDatabase();
    const database = await openPostgres({ url });
    const journal = postgresAuditJournal(database, clock);
    const troubles: string[] = [];
    const stopListening = listen('trouble', ({ where }) => troubles.push(where));
    await database.query('alter table shipslog.shipslog_refusals rename to away');
    journal.record(refusal(0, { detail: 'a NUL\0 inside' }));
    await expect(journal.list()).rejects.toThrow();
    expect(troubles).toEqual(['audit journal']);
    await database.query('alter table shipslog.away rename to shipslog_refusals');
    expect(await journal.list()).toEqual([refusal(0, { detail: 'a NUL\ufffd inside' })]);
    stopListening();
    await journal.close();
    await database.close();
    await drop();
  });

  test('entries beyond the room are counted, and the loss is told', async () => {
    const { url, drop } = await freshDatabase();
    const journal = postgresAuditJournal(await openPostgres({ url }), clock);
    const troubles: string[] = [];
    const stopListening = listen('trouble', ({ error }) => troubles.push(String(error)));
    for (let n = 0; n < 1002; n++) journal.record(refusal(n));
    expect(await journal.list({ limit: 1 })).toEqual([refusal(999)]);
    expect(troubles).toEqual(['Error: 2 refusals found no room and were not recorded']);
    stopListening();
    await journal.close();
    await drop();
  });
});
