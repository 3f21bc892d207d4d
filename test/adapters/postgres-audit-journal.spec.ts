import { expect, test } from '@jest/globals';
import { postgresAuditJournal } from '../../src/adapters/postgres/audit-journal.js';
import { openPostgres, type Rows } from '../../src/adapters/postgres/database.js';
import { listen } from '../../src/ports/signals.js';
import { auditJournalContract, refusal } from '../contracts/audit-journal.contract.js';
import { FakeClock } from '../support/fake-clock.js';
import { onPostgres } from '../support/on-postgres.js';
import { freshDatabase } from '../support/postgres.js';
import { openProxy } from '../support/proxy.js';

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

  test('a batch whose answer was lost is written again, and stands once', async () => {
    const { url, drop } = await freshDatabase();
    const watching = await openPostgres({ url });
    const proxy = await openProxy(url);
    const { port } = new URL(proxy.url);
    const database = await openPostgres({ url: Object.assign(new URL(url), { port }).href });
    const journal = postgresAuditJournal(database, clock);
    for (let n = 0; n < 3; n++) journal.record(refusal(n));
    const holding = proxy.hold(/insert into shipslog\.shipslog_refusals/, { arrives: true });
    const listing = journal.list();
    const loseTheAnswer = await holding;
    const written = (): Promise<Rows> => watching.query('select 1 from shipslog.shipslog_refusals');
    while ((await written()).length < 3);
    loseTheAnswer();
    await listing;
    journal.record(refusal(3));
    const listed = await journal.list();
    await journal.close();
    await proxy.close();
    await watching.close();
    await drop();
    expect(listed).toEqual([3, 2, 1, 0].map((n) => refusal(n)));
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
