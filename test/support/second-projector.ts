/**
 * A projector in a process of its own, to be killed, frozen, or let finish.
 * Arguments: the file of the read models, or the address of their database; how many deployments the log has; and
 * `alone`, where whoever had the read models before is known to be gone.
 */
import { openPostgres } from '../../src/adapters/postgres/database.js';
import { postgresReadModels } from '../../src/adapters/postgres/read-models.js';
import { openSqliteReadModels } from '../../src/adapters/sqlite/read-models.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { Projector } from '../../src/application/projector.js';
import { PROJECTIONS } from '../../src/projections/registry.js';
import { longLog, trickling } from './long-log.js';

const [place = '', deployments = '0', how] = process.argv.slice(2);
const readModels = place.startsWith('postgres:')
  ? postgresReadModels(await openPostgres({ url: place }))
  : openSqliteReadModels(place);
const store = trickling(await longLog(Number(deployments)), 3);
const projector = new Projector({
  store: how === 'alone' ? Object.assign(store, { exclusive: true }) : store,
  readModels,
  projections: PROJECTIONS,
  clock: systemClock,
  random: Math.random,
  owner: 'second',
});
await projector.start();
process.stdout.write('started\n');
// The clock's timers keep no process alive; this one lives until it is level.
const alive = setInterval(() => {}, 1000);
await projector.caughtUp;
await projector.stop();
await readModels.close();
clearInterval(alive);
