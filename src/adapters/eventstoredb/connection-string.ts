/** Connection strings of EventStoreDB: `esdb://user:password@host:2113,host:2113?tls=true`. */
import { readFileSync } from 'node:fs';
import type {
  ChannelCredentialOptions,
  Credentials,
  DNSClusterOptions,
  GossipClusterOptions,
  SingleNodeOptions,
} from '@eventstore/db-client';
import { STREAM_PREFIX } from '../../ports/event-store.js';

/** What the client is made with. */
export interface ClientSettings {
  readonly nodes: DNSClusterOptions | GossipClusterOptions | SingleNodeOptions;
  readonly channel: ChannelCredentialOptions;
  readonly user: Credentials | undefined;
}

/** A connection string that was checked, with what of it matters here. */
export interface ConnectionString {
  /** Scheme and hosts, without credentials: fit to be shown. */
  readonly display: string;
  /** Silence after which the client pings the server. Milliseconds. */
  readonly keepAliveMs: number;
  /** What stands before the names of our streams on the server, so that services can share one; may be empty. */
  readonly streamPrefix: string;
  /**
   * Settings for a client; no two ordinals share a TCP connection. A node to avoid is one that has just
   * failed: others are asked who leads, unless there are none.
   */
  toClient(ordinal: number, avoid: string | null): ClientSettings;
}

const FORM = /^esdb(\+discover)?:\/\/(?:([^:@/?]+):([^@/?]*)@)?([^@/?]+)\/?(?:\?(.*))?$/;
const DEFAULT_PORT = '2113';
/** The client's own defaults, and the shortest interval that it takes without a warning. Milliseconds. */
const KEEP_ALIVE_INTERVAL_MS = 10_000;
const KEEP_ALIVE_TIMEOUT_MS = 10_000;
/** A node that is frozen answers no gossip: the client's default of 5 s would delay every failover. */
const GOSSIP_TIMEOUT_S = 1;
const ORDINALS_MAX = 1_000;
const NODES = { leader: 'leader', follower: 'follower', random: 'random' } as const;

/** Options by the name that is compared: without case, `_` and `-`, as the client does it. */
type Options = ReadonlyMap<string, string>;
const KNOWN: ReadonlySet<string> = new Set([
  ...['connectionname', 'keepaliveinterval', 'keepalivetimeout', 'nodepreference'],
  ...['discoveryinterval', 'gossiptimeout', 'maxdiscoverattempts'],
  ...['tls', 'tlsverifycert', 'tlscafile', 'usercertfile', 'userkeyfile'],
  // Ours, not the client's.
  'streamprefix',
  // Of no effect here: appends have a time limit of their own, and their failures are always told.
  ...['defaultdeadline', 'throwonappendfailure'],
]);

/**
 * Checks a connection string, and reads the certificates that it names.
 * @throws {Error} of one line that never shows the credentials.
 */
export function parseConnectionString(text: string): ConnectionString {
  const [, discover, username, password, hosts] = FORM.exec(text.trim()) ?? [];
  if (hosts === undefined) {
    throw new Error(
      'the address of EventStoreDB is malformed; write esdb://host:2113?tls=false, with commas between several hosts',
    );
  }
  const display = `esdb${discover ?? ''}://${hosts}`;
  const options = optionsOf(FORM.exec(text.trim())?.[5] ?? '', display);
  const endpoints = hosts.split(',').map((host) => endpointOf(host, display));
  const [first = { address: '', port: 0 }] = endpoints;
  const discovery = discoveryOf(options, display);
  const keepAliveMs = keepAliveOf(options, display);
  const timeoutMs = numberOf(options, 'keepalivetimeout', display) ?? KEEP_ALIVE_TIMEOUT_MS;
  const channel = channelOf(options, display);
  const user =
    username === undefined
      ? undefined
      : { username: decodeURIComponent(username), password: decodeURIComponent(password ?? '') };
  return {
    display,
    keepAliveMs,
    streamPrefix: streamPrefixOf(options, display),
    toClient: (ordinal, avoid) => {
      const others = endpoints.filter(
        ({ address, port }) => `${address}:${String(port)}` !== avoid,
      );
      const client = {
        connectionName: options.get('connectionname') ?? 'shipslog',
        keepAliveInterval: keepAliveMs,
        // gRPC lets clients of equal options share one connection, and with it the time for which it
        // does not try again after a failure. A timeout that differs by a millisecond keeps them apart.
        keepAliveTimeout: timeoutMs + (ordinal % ORDINALS_MAX),
      };
      const named =
        discover !== undefined
          ? { ...discovery, discover: first }
          : endpoints.length > 1
            ? { ...discovery, endpoints: others.length > 0 ? others : endpoints }
            : { endpoint: first };
      return { nodes: { ...client, ...named }, channel, user };
    },
  };
}

function optionsOf(query: string, display: string): Options {
  const options = new Map<string, string>();
  for (const pair of query === '' ? [] : query.split('&')) {
    const [name = '', value = ''] = pair.split('=', 2);
    const flat = name.toLowerCase().replace(/[_-]/g, '');
    if (value === '' || !KNOWN.has(flat)) {
      throw new Error(`${display}: ${name} is not an option of EventStoreDB, or has no value`);
    }
    options.set(flat, decodeURIComponent(value));
  }
  if (options.get('tlsverifycert') === 'false') {
    throw new Error(
      `${display}: tlsVerifyCert=false has no effect in EventStoreDB's client; name the authority with tlsCAFile`,
    );
  }
  return options;
}

function endpointOf(host: string, display: string): { address: string; port: number } {
  const [address = '', port = DEFAULT_PORT] = host.trim().split(':');
  if (address === '' || !/^\d{1,5}$/.test(port)) {
    throw new Error(`${display}: ${host} is no host with a port`);
  }
  return { address, port: Number(port) };
}

function numberOf(options: Options, name: string, display: string): number | undefined {
  const text = options.get(name);
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text) || Number(text) === 0) {
    throw new Error(`${display}: ${name} is a whole number above 0`);
  }
  return Number(text);
}

function keepAliveOf(options: Options, display: string): number {
  const interval = numberOf(options, 'keepaliveinterval', display) ?? KEEP_ALIVE_INTERVAL_MS;
  if (interval < KEEP_ALIVE_INTERVAL_MS) {
    throw new Error(
      `${display}: keepAliveInterval is at least ${String(KEEP_ALIVE_INTERVAL_MS)} ms; servers end connections that ping more often`,
    );
  }
  return interval;
}

/** A name of the server's own begins with `$`; one with `deployment-` in it could hold streams of others. */
function streamPrefixOf(options: Options, display: string): string {
  const prefix = options.get('streamprefix') ?? '';
  if (
    prefix === '' ||
    (/^[A-Za-z0-9][\w.-]{0,63}$/.test(prefix) && !prefix.includes(STREAM_PREFIX))
  ) {
    return prefix;
  }
  throw new Error(
    `${display}: streamPrefix is 1 to 64 letters, digits and . _ -, begins with a letter or digit, and does not contain ${STREAM_PREFIX}`,
  );
}

function discoveryOf(options: Options, display: string): object {
  const preference = options.get('nodepreference');
  const node = Object.entries(NODES).find(([name]) => name === preference?.toLowerCase())?.[1];
  if (preference !== undefined && node === undefined) {
    throw new Error(`${display}: nodePreference is one of ${Object.keys(NODES).join(', ')}`);
  }
  const maxDiscoverAttempts = numberOf(options, 'maxdiscoverattempts', display);
  const discoveryInterval = numberOf(options, 'discoveryinterval', display);
  return {
    gossipTimeout: numberOf(options, 'gossiptimeout', display) ?? GOSSIP_TIMEOUT_S,
    ...(node !== undefined && { nodePreference: node }),
    ...(maxDiscoverAttempts !== undefined && { maxDiscoverAttempts }),
    ...(discoveryInterval !== undefined && { discoveryInterval }),
  };
}

function channelOf(options: Options, display: string): ChannelCredentialOptions {
  const tls = options.get('tls') ?? 'true';
  if (tls !== 'true' && tls !== 'false') throw new Error(`${display}: tls is true or false`);
  if (tls === 'false') return { insecure: true };
  const file = (name: string): Buffer | undefined => {
    const path = options.get(name);
    try {
      return path === undefined ? undefined : readFileSync(path);
    } catch (cause) {
      throw new Error(`${display}: ${name} names ${String(path)}, which can not be read`, {
        cause,
      });
    }
  };
  const rootCertificate = file('tlscafile');
  const userCertFile = file('usercertfile');
  const userKeyFile = file('userkeyfile');
  if ((userCertFile === undefined) !== (userKeyFile === undefined)) {
    throw new Error(`${display}: userCertFile and userKeyFile belong together`);
  }
  return {
    insecure: false,
    ...(rootCertificate !== undefined && { rootCertificate }),
    ...(userCertFile !== undefined && { userCertFile }),
    ...(userKeyFile !== undefined && { userKeyFile }),
  };
}
