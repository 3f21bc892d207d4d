import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { Ajv } from 'ajv';
import { parse } from 'yaml';
import { parseConnectionString } from '../../src/adapters/eventstoredb/connection-string.js';
import { readSettings, SETTINGS } from '../../src/settings.js';

/*
 * docker-compose.yml, without an engine: its form, and that what one part names is there in another.
 */

interface Service {
  readonly image?: string;
  readonly profiles?: readonly string[];
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
  readonly environment?: Readonly<Record<string, string>>;
  readonly network_mode?: string;
  readonly networks?: Readonly<Record<string, unknown>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly restart?: string;
  readonly healthcheck?: object;
}
interface Compose {
  readonly services: Readonly<Record<string, Service>>;
  readonly networks: Readonly<Record<string, unknown>>;
  readonly volumes: Readonly<Record<string, unknown>>;
}

/** Settings of EventStoreDB 24 that its manual names. */
const VENDOR_SETTINGS: ReadonlySet<string> = new Set([
  'EVENTSTORE_ADVERTISE_HOST_TO_CLIENT_AS',
  'EVENTSTORE_ADVERTISE_NODE_PORT_TO_CLIENT_AS',
  'EVENTSTORE_CERTIFICATE_FILE',
  'EVENTSTORE_CERTIFICATE_PRIVATE_KEY_FILE',
  'EVENTSTORE_CLUSTER_SIZE',
  'EVENTSTORE_DISCOVER_VIA_DNS',
  'EVENTSTORE_GOSSIP_SEED',
  'EVENTSTORE_INSECURE',
  'EVENTSTORE_REPLICATION_IP',
  'EVENTSTORE_RUN_PROJECTIONS',
  'EVENTSTORE_TRUSTED_ROOT_CERTIFICATES_PATH',
  'POSTGRES_DB',
  'POSTGRES_PASSWORD',
  'POSTGRES_USER',
]);

const compose = parse(readFileSync('docker-compose.yml', 'utf8'), { merge: true }) as Compose;
const services = Object.entries(compose.services);
/** What is started without a profile, and with each. */
const profiles = ['none', ...new Set(services.flatMap(([, { profiles: own = [] }]) => own))];

/** The schema of the Compose Specification, as a linter of such files brings it; it names its dialect by another address. */
const { $schema: _dialect, ...schema } = JSON.parse(
  readFileSync('node_modules/dclint/schemas/compose.schema.json', 'utf8'),
) as Readonly<Record<string, unknown>>;
const isCompose = new Ajv({ allErrors: true, strict: false }).compile(schema);
const problemsOf = (file: unknown): unknown =>
  isCompose(file)
    ? []
    : isCompose.errors?.map(({ instancePath, message }) => `${instancePath}: ${String(message)}`);

describe('docker-compose.yml', () => {
  it.each(profiles)(
    'has the form that the Compose Specification gives it, profile %s',
    (profile) => {
      const started = services.filter(([, { profiles: own = [] }]) =>
        profile === 'none' ? own.length === 0 : own.length === 0 || own.includes(profile),
      );
      expect(started.length).toBeGreaterThan(0);
      expect(problemsOf({ ...compose, services: Object.fromEntries(started) })).toEqual([]);
    },
  );

  it.each([
    ['a member that is none', { imagine: 'x' }, /additional properties/],
    ['a number of tries that is none', { healthcheck: { retries: [3] } }, /retries: must be/],
    [
      'a condition that is none',
      { depends_on: { a: { condition: 'well' } } },
      /condition: must be/,
    ],
  ])('would be refused with %s', (_, members, says) => {
    const [[name, service] = ['', {}]] = services;
    const spoilt = { ...compose, services: { [name]: { ...service, ...members } } };
    expect(String(problemsOf(spoilt))).toMatch(says);
  });

  it.each(services)('%s depends only on services that its profile starts too', (_, service) => {
    for (const name of Object.keys(service.depends_on ?? {})) {
      const needed = compose.services[name];
      expect(needed).toBeDefined();
      const [wanted, started] = [service.profiles ?? [], needed?.profiles ?? []];
      expect(started.every((profile) => wanted.includes(profile))).toBe(true);
    }
  });

  it.each(services)('%s waits only for health where there is a check', (_, service) => {
    const awaited = Object.entries(service.depends_on ?? {})
      .filter(([, { condition }]) => condition === 'service_healthy')
      .map(([name]) => compose.services[name]?.healthcheck);
    expect(awaited.every((check) => check !== undefined)).toBe(true);
  });

  it.each(services)('%s names networks and volumes that are declared, and none is unused', () => {
    const used = services.flatMap(([, { volumes = [] }]) => volumes.map(nameOf));
    expect(new Set(used)).toEqual(new Set(Object.keys(compose.volumes)));
    const joined = services.flatMap(([, { networks = {} }]) => Object.keys(networks));
    expect(new Set(joined)).toEqual(new Set(Object.keys(compose.networks)));
  });

  it.each(services)('%s can be reached from this machine only', (_, { ports = [] }) => {
    expect(ports.filter((port) => !port.startsWith('127.0.0.1:'))).toEqual([]);
  });

  it('publishes no port twice', () => {
    const published = services.flatMap(([, { ports = [] }]) =>
      ports.map((port) => port.split(':')[1]),
    );
    expect(published).toEqual([...new Set(published)]);
  });

  it.each(services)('%s is of one version', (_, { image = '' }) => {
    expect(image).toMatch(/:\d+(\.\d+)+$/);
  });

  it.each(services)('%s is started again, unless it has work to do once', (name, { restart }) => {
    expect(restart).toBe(name === 'certificates' ? undefined : 'unless-stopped');
  });

  it.each(services)('%s has settings that exist', (_, { environment = {} }) => {
    const unknown = Object.keys(environment).filter(
      (name) => !Object.hasOwn(SETTINGS, name) && !VENDOR_SETTINGS.has(name),
    );
    expect(unknown).toEqual([]);
  });

  it.each(services.filter(([name]) => name.startsWith('shipslog')))(
    '%s listens on the loopback address of the machine, and reaches its log there',
    (_, service) => {
      expect(service).toMatchObject({ network_mode: 'host' });
      expect(service).not.toHaveProperty('ports');
      expect(service.environment).not.toHaveProperty('SHIPSLOG_HOST');
      const address = service.environment?.['SHIPSLOG_EVENT_STORE'] ?? '';
      const hosts = parseConnectionString(address.replace(/\?tlsCAFile=.*/, ''))
        .display.replace('esdb://', '')
        .split(',');
      const published = services.flatMap(([, { ports = [] }]) =>
        ports.map((port) => `localhost:${String(port.split(':')[1])}`),
      );
      const tables = service.environment?.['SHIPSLOG_READ_MODELS'] ?? '';
      // As it is when nothing is set outside.
      const { protocol, host } = new URL(tables.replace(/\$\{\w+:-(\w+)\}/, '$1'));
      expect(protocol).toBe('postgres:');
      expect([...hosts, host].filter((each) => !published.includes(each))).toEqual([]);
    },
  );

  it('lets no two processes of the service listen on one port', () => {
    const inCluster = services.filter(([name]) => name.startsWith('shipslog-cluster'));
    const ports = inCluster.map(([, { environment }]) => environment?.['SHIPSLOG_PORT'] ?? '3000');
    expect(ports).toEqual(['3000', '3001']);
  });

  it.each(services.filter(([name]) => name.startsWith('shipslog')))(
    '%s has settings that the service takes',
    (_, { environment = {} }) => {
      const given: Record<string, string> = {};
      for (const [name, value] of Object.entries(environment)) {
        given[name] = value.replaceAll(/\$\{\w+:-(\w+)\}/g, '$1');
      }
      expect(() => readSettings(given)).not.toThrow();
    },
  );
});

function nameOf(volume: string): string {
  return volume.split(':', 1).join('');
}
