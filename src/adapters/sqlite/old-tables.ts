import { Pace, turn } from '../../ports/pace.js';
import type { Database } from './driver.js';

/** What tables are called that are not wanted any more. */
const PREFIX = 'shipslog_old_';
/** How many of their rows go at a time: a millisecond or two. */
const ROWS_AT_A_TIME = 50;
const OLD_TABLES = `select name from sqlite_master where type = 'table' and name like '${PREFIX}%' order by 1 limit 1`;
const INDEXES_OF =
  "select name from sqlite_master where type = 'index' and tbl_name = ? and sql is not null";

/**
 * Tables that are out of the way, and emptied a few rows at a time: to drop one of some hundred megabytes at
 * once takes half a second, and everybody waits meanwhile.
 */
export class OldTables {
  #count = 0;
  #isGoingOn = false;

  constructor(private readonly database: Database) {}

  /** Takes a table out of the way, within the transaction of the caller. `at` tells two of one name apart. */
  putAway(name: string, at: number): void {
    // The names of its indexes are wanted again.
    for (const index of this.#names(INDEXES_OF, name)) this.database.exec(`drop index "${index}"`);
    this.#count += 1;
    const old = `${PREFIX}${name}_${String(at)}_${String(this.#count)}`;
    this.database.exec(`alter table "${name}" rename to "${old}"`);
  }

  /** Goes on emptying what is left, also from before a crash, while nobody else needs the time. */
  goOn(): void {
    if (this.#isGoingOn) return;
    this.#isGoingOn = true;
    void this.#emptyAll();
  }

  async #emptyAll(): Promise<void> {
    const pace = new Pace();
    try {
      do {
        await turn();
        await pace.giveWay();
      } while (this.database.isOpen && this.#throwAwaySome());
    } catch {
      // Another process writes, or the disk is full: the next occasion goes on with it.
    } finally {
      // At once: what is put away from now on needs another run.
      this.#isGoingOn = false;
    }
  }

  /** Whether anything may be left. */
  #throwAwaySome(): boolean {
    const [name] = this.#names(OLD_TABLES);
    if (name === undefined || this.database.isTransaction) return name !== undefined;
    const some = `select rowid from "${name}" limit ${String(ROWS_AT_A_TIME)}`;
    const { changes } = this.database
      .prepare(`delete from "${name}" where rowid in (${some})`)
      .run();
    if (Number(changes) === 0) this.database.exec(`drop table "${name}"`);
    return true;
  }

  #names(text: string, ...values: readonly string[]): readonly string[] {
    const statement = this.database.prepare(text);
    statement.setReturnArrays(true);
    return (statement.all(...values) as [string][]).map(([name]) => name);
  }
}
