import { get, request, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { openSqliteEventStore } from '../../src/adapters/sqlite/event-store.js';
import { systemClock } from '../../src/adapters/system-clock.js';
import { Story } from '../support/events.js';
import { cleanUp, startService, temporaryFolder, type Service } from '../support/service.js';

/*
 * A real service with many readers on real sockets, some of which take nothing. STREAM_CLIENTS sets how many
 * (npm run test:streams: 1,000); one of twenty is stalled, one of ten is cut off on the way and resumes.
 */
const CLIENTS = Number(process.env['STREAM_CLIENTS'] ?? 200);
const STALLED = CLIENTS / 20;
const BRISK = CLIENTS - STALLED;

/** What stalled readers ask for: 3,000 events of 8 KiB. */
const HISTORY = { deployments: 40, updates: 75, labels: 30, labelBytes: 256 } as const;
const HISTORY_BYTES = HISTORY.deployments * HISTORY.updates * HISTORY.labels * HISTORY.labelBytes;
/** Events that happen while all of them watch. */
const LIVE_DEPLOYMENTS = ['d0', 'd1', 'd2', 'd3', 'd4', 'd5'];
const LIVE_EVENTS = LIVE_DEPLOYMENTS.length * 50;
/** The heap that the service gets: far less than what is unread. It ends when it needs more. */
const HEAP_MIB = 76 + CLIENTS / 10;
/** What all streams together may add to its memory. */
const ADDED_MIB_MAX = HEAP_MIB;
/** A stalled reader is dropped after 15 s. */
const TEST_MS_MAX = 60_000 + CLIENTS * 240;

describe(`a service with ${CLIENTS} streams, ${STALLED} of them stalled`, () => {
  let service: Service;
  const readers: Reader[] = [];
  const open = (from: string, until: Until = {}): Reader => {
    const reader = new Reader(`${service.url}/v1/events`, from, until);
    readers.push(reader);
    return reader;
  };

  beforeAll(async () => {
    const folder = await temporaryFolder();
    await fill(join(folder, 'events.db'));
    const settings = { NODE_OPTIONS: `--max-old-space-size=${HEAP_MIB}` };
    service = await startService({ folder, settings });
  }, TEST_MS_MAX);
  afterAll(async () => {
    for (const reader of readers) reader.leave();
    await cleanUp();
  });

  it(
    'gives every other one each event once and in order, drops those, and keeps its memory',
    async () => {
      const before = await memoryOf(service.url);
      const head = BigInt(HISTORY.deployments * (HISTORY.updates + 2));
      const end = head + BigInt(LIVE_EVENTS);
      const stalled = Array.from({ length: STALLED }, () => open('start', { stallsAt: 1n }));
      await Promise.all(stalled.map((reader) => reader.until(() => reader.last > 0n)));
      const brisk = Array.from({ length: BRISK }, (_, n) => {
        const leavesAt = head + BigInt((n * 7) % LIVE_EVENTS) + 1n;
        return open(String(head), n % 10 === 0 ? { leavesAt } : {});
      });
      await Promise.all(brisk.map((reader) => reader.until(() => reader.isOpen)));

      const watch = new MemoryWatch(service.url);
      await Promise.all(LIVE_DEPLOYMENTS.map((id) => relabel(service.url, id)));
      await Promise.all(brisk.map((reader) => reader.until(() => reader.last >= end)));
      expect(brisk.filter(({ isExact }) => !isExact)).toEqual([]);
      expect(brisk.filter(({ resumed }) => resumed > 0)).toHaveLength(Math.ceil(BRISK / 10));

      await watch.until(({ sockets }) => sockets <= before.sockets + BRISK);
      const peak = await watch.stop();
      const added = peak.rss - before.rss;
      process.stderr.write(
        `${CLIENTS} streams: ${inMiB(added)} MiB more than the ${inMiB(before.rss)} before, heap at ` +
          `most ${inMiB(peak.heap)}; unread ${inMiB(STALLED * HISTORY_BYTES)}\n`,
      );
      expect(inMiB(added)).toBeLessThan(ADDED_MIB_MAX);

      for (const reader of stalled) reader.goOn();
      await Promise.all(stalled.map((reader) => reader.until(() => reader.last >= end)));
      expect(stalled.filter(({ isExact, resumed }) => !isExact || resumed === 0)).toEqual([]);

      expect(await service.end('SIGTERM')).toBe(0);
      const all = [...brisk, ...stalled];
      await Promise.all(all.map((reader) => reader.until(() => reader.isTold)));
    },
    TEST_MS_MAX,
  );
});

/** The event after which a reader takes nothing any more, or leaves and comes back. */
interface Until {
  readonly stallsAt?: bigint;
  readonly leavesAt?: bigint;
}

/** A reader of all events on a connection of its own; it comes back by the last id that it got. */
class Reader {
  isOpen = false;
  /** Whether each event came once and in order; positions of the embedded log have no gaps. */
  isExact = true;
  /** Whether it was told that the service ends, and when to come back. */
  isTold = false;
  last: bigint;
  resumed = 0;
  readonly #url: string;
  #until: Until;
  #stream: IncomingMessage | null = null;
  #rest = '';
  #hasLeft = false;
  #look: () => void = () => undefined;

  constructor(url: string, from: string, until: Until) {
    this.#url = url;
    this.#until = until;
    this.last = from === 'start' ? 0n : BigInt(from);
    this.#connect({ from });
  }

  until(isSo: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#look = () => {
        if (isSo()) resolve();
      };
      this.#look();
    });
  }

  /** Takes again what it is given, after it has stalled. */
  goOn(): void {
    this.#until = {};
    this.#stream?.resume();
  }

  leave(): void {
    this.#hasLeft = true;
    this.#stream?.destroy();
  }

  #connect({ from, lastId }: { readonly from?: string; readonly lastId?: bigint }): void {
    const query = from === undefined ? '' : `?after=${from}`;
    const headers = lastId === undefined ? {} : { 'last-event-id': String(lastId) };
    const asked = get(this.#url + query, { agent: false, headers }, (stream) => {
      this.#stream = stream;
      this.#rest = '';
      stream.setEncoding('utf8').on('data', (text: string) => this.#take(text));
      stream.on('error', () => undefined);
      stream.once('close', () => this.#closed());
    });
    asked.on('error', () => undefined);
  }

  #closed(): void {
    if (this.isTold || this.#hasLeft) return;
    this.resumed += 1;
    this.#connect({ lastId: this.last });
  }

  #take(text: string): void {
    this.isOpen = true;
    const frames = (this.#rest + text).split('\n\n');
    this.#rest = frames.pop() ?? '';
    for (const frame of frames) {
      const id = /^id: (\d+)$/m.exec(frame.slice(0, 100))?.[1];
      // What still lies here of a connection that was given up did not arrive.
      if (id !== undefined && this.#stream?.destroyed === false) this.#got(BigInt(id));
      else if (frame.startsWith('retry: ')) this.isTold = true;
    }
    this.#look();
  }

  #got(id: bigint): void {
    this.isExact &&= id === this.last + 1n;
    this.last = id;
    if (this.#until.leavesAt === this.last) this.#stream?.destroy();
    if (this.#until.stallsAt === this.last) this.#stream?.pause();
  }
}

interface Memory {
  /** Bytes. */
  readonly rss: number;
  readonly heap: number;
  /** Connections that the service holds. */
  readonly sockets: number;
}

/** Looks at the memory of a service again and again. */
class MemoryWatch {
  #peak: Memory | null = null;
  #now: Memory | null = null;
  #isOver = false;
  #look: () => void = () => undefined;
  readonly #watching: Promise<void>;

  constructor(url: string) {
    this.#watching = this.#watch(url);
  }

  /** Waits until the service is so; the test's own time limit ends the wait. */
  until(isSo: (now: Memory) => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#look = () => {
        if (this.#now !== null && isSo(this.#now)) resolve();
      };
    });
  }

  /** The most of each that was seen. */
  async stop(): Promise<Memory> {
    this.#isOver = true;
    await this.#watching;
    return this.#peak!;
  }

  async #watch(url: string): Promise<void> {
    while (!this.#isOver) {
      const now = await memoryOf(url);
      const peak = this.#peak ?? now;
      this.#now = now;
      this.#peak = {
        ...now,
        rss: Math.max(peak.rss, now.rss),
        heap: Math.max(peak.heap, now.heap),
      };
      this.#look();
      await new Promise((next) => setTimeout(next, 100));
    }
  }
}

async function memoryOf(url: string): Promise<Memory> {
  const text = await answerTo(url, 'GET /metrics');
  const read = (name: string): number => {
    const line = text.split('\n').find((each) => each.startsWith(`${name} `));
    if (line === undefined) throw new Error(`there is no ${name}`);
    return Number(line.slice(name.length));
  };
  return {
    rss: read('shipslog_process_resident_memory_bytes'),
    heap: read('shipslog_nodejs_heap_size_used_bytes'),
    sockets: read('shipslog_nodejs_active_handles{type="Socket"}'),
  };
}

/** Asks on a connection of its own, which is gone afterwards: connections are counted here. */
function answerTo(url: string, line: string, body?: object): Promise<string> {
  const [method, path = ''] = line.split(' ');
  const headers = { 'content-type': 'application/json' };
  return new Promise((resolve, reject) => {
    const asked = request(url + path, { method, headers, agent: false }, (answer) => {
      let text = '';
      answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      answer.once('end', () => {
        if (answer.statusCode === 200) resolve(text);
        else reject(new Error(`${line}: ${answer.statusCode} ${text}`));
      });
    });
    asked.once('error', reject);
    asked.end(body && JSON.stringify(body));
  });
}

async function fill(file: string): Promise<void> {
  const store = await openSqliteEventStore({ file, clock: systemClock });
  const stories = Array.from({ length: HISTORY.deployments }, (_, n) => new Story(`d${n}`));
  await Promise.all(
    stories.map((story) => {
      story.created();
      for (let n = 0; n < HISTORY.updates; n += 1) {
        const text = String(n).padEnd(HISTORY.labelBytes, 'x');
        const labels = Array.from({ length: HISTORY.labels }, (_, key) => [`l${key}`, text]);
        story.updated({ labels: Object.fromEntries(labels) as Record<string, string> });
      }
      return story.saveTo(store);
    }),
  );
  await store.close();
}

async function relabel(url: string, deploymentId: string): Promise<void> {
  for (let n = 0; n < LIVE_EVENTS / LIVE_DEPLOYMENTS.length; n += 1) {
    await answerTo(url, `PATCH /v1/deployments/${deploymentId}`, { labels: { n: String(n) } });
  }
}

function inMiB(bytes: number): number {
  return Math.round(bytes / 1024 / 1024);
}
