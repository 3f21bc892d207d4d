/**
 * Completes package-lock.json with the binary packages of other platforms.
 *
 * npm leaves an optional package out of the lock when the registry in use does not serve it, and
 * `npm ci` then stops on every machine with `Missing: … from lock file` (npm/cli issue 9846). A stub
 * of version, os, cpu and libc is enough for npm to skip the package here and to fetch it there.
 * Download addresses are left out as well: they would tie the lock to one registry.
 *
 * Usage: node scripts/complete-lockfile.mjs [--check]
 *   --check  writes nothing, and ends with 1 when something would change
 */
import { readFile, writeFile } from 'node:fs/promises';
import process from 'node:process';

const LOCK = 'package-lock.json';
const EXACT = /^\d+\.\d+\.\d+(-[\w.-]+)?$/;
const OS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'sunos', 'win32'];
const OS_ALIASES = { openharmony: 'openharmony', windows: 'win32', macos: 'darwin' };
const CPU = ['arm', 'arm64', 'ia32', 'loong64', 'mips64el', 'ppc64', 'riscv64', 's390x', 'x64'];
const CPU_ALIASES = { wasm32: 'wasm32', armv7: 'arm', aarch64: 'arm64', x86_64: 'x64' };
const LIBC = { gnu: 'glibc', gnueabihf: 'glibc', glibc: 'glibc', musl: 'musl', musleabihf: 'musl' };

const checkOnly = process.argv.includes('--check');
const before = await readFile(LOCK, 'utf8');
const lock = JSON.parse(before);
const added = completed(lock.packages);
const addresses = withoutAddresses(lock.packages);
lock.packages = sorted(lock.packages);
const after = `${JSON.stringify(lock, null, 2)}\n`;

if (after === before) process.exit(0);
for (const path of added) console.error(`${LOCK}: ${path} is missing`);
if (addresses > 0) console.error(`${LOCK}: ${addresses} download addresses`);
if (checkOnly) {
  console.error(`${LOCK} is not complete; run: npm run lockfile`);
  process.exit(1);
}
await writeFile(LOCK, after);
console.error(`${LOCK}: completed`);

/** Adds a stub for each optional dependency that has no entry; answers their paths. */
function completed(packages) {
  const missing = [];
  for (const [path, entry] of Object.entries(packages)) {
    for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
      if (!EXACT.test(version) || isFound(packages, path, { name, version })) continue;
      const at = placeFor(packages, path, name);
      packages[at] = stub(name, version, entry);
      missing.push(at);
    }
  }
  return missing;
}

/** Whether Node, looking up from `path`, finds the package in the wanted version. */
function isFound(packages, path, { name, version }) {
  const nearest = lookupPaths(path)
    .map((folder) => packages[`${folder}node_modules/${name}`])
    .find((entry) => entry !== undefined);
  return nearest?.version === version;
}

/** The root, or, where the root holds another version, the folder of the dependent. */
function placeFor(packages, path, name) {
  const root = `node_modules/${name}`;
  return packages[root] === undefined ? root : `${path}/node_modules/${name}`;
}

/** The folders that Node searches, nearest first: `a/node_modules/b/`, `a/`, and the root. */
function lookupPaths(path) {
  const folders = [''];
  for (let end = path.length; end > 0; end = path.lastIndexOf('/node_modules/', end - 1)) {
    folders.splice(folders.length - 1, 0, `${path.slice(0, end)}/`);
  }
  return folders;
}

function stub(name, version, dependent) {
  const words = name.split(/[/@._-]/);
  const os = wordOf(words, OS, OS_ALIASES);
  const cpu = wordOf(words, CPU, CPU_ALIASES);
  const libc = wordOf(words, [], LIBC);
  return {
    version,
    ...(cpu !== undefined && { cpu: [cpu] }),
    ...(dependent.dev === true && { dev: true }),
    ...(libc !== undefined && os === 'linux' && { libc: [libc] }),
    optional: true,
    ...(os !== undefined && { os: [os] }),
  };
}

function wordOf(words, known, aliases) {
  const word = words.find((each) => known.includes(each) || Object.hasOwn(aliases, each));
  return word === undefined ? undefined : (aliases[word] ?? word);
}

/** Takes the registry's addresses out of all entries; answers how many there were. */
function withoutAddresses(packages) {
  const addressed = Object.values(packages).filter(({ resolved }) => /^https?:/.test(resolved));
  for (const entry of addressed) delete entry.resolved;
  return addressed.length;
}

/** The order that npm writes. */
function sorted(packages) {
  const byPath = ([a], [b]) => a.localeCompare(b, 'en');
  return Object.fromEntries(Object.entries(packages).sort(byPath));
}
