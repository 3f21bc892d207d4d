/**
 * Writes the types of the client from the OpenAPI document.
 *
 * Usage: npm run client [-- --check]    (--check writes nothing and ends with 1 when something differs)
 */
import { readFile, writeFile } from 'node:fs/promises';
import { clientSources } from './client-source.js';

const check = process.argv.includes('--check');
for (const [path, source] of await clientSources()) {
  if ((await readFile(path, 'utf8').catch(() => null)) === source) continue;
  console.error(`${path} ${check ? 'is not what the code makes; run: npm run client' : 'written'}`);
  if (check) process.exitCode = 1;
  else await writeFile(path, source);
}
