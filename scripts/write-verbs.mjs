/**
 * Writes down the verbs of the command line beside its code, after a build.
 *
 * They are made from the tables of the service, whose loading takes longer than a command line may: it
 * reads this file instead, and makes the verbs itself only where there is none.
 */
import { readFile, writeFile } from 'node:fs/promises';

const { version } = JSON.parse(await readFile('package.json', 'utf8'));
const { serviceVerbs } = await import('../dist/verbs.js');
await writeFile('dist/cli/verbs.json', JSON.stringify(serviceVerbs(version)));
