import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { parseConnectionString } from '../../src/adapters/eventstoredb/connection-string.js';

const settings = (text: string, avoid: string | null = null) =>
  parseConnectionString(text).toClient(7, avoid);

describe('a connection string', () => {
  it('names one node', () => {
    expect(settings('esdb://db.example:2114?tls=false')).toEqual({
      nodes: {
        connectionName: 'shipslog',
        keepAliveInterval: 10_000,
        keepAliveTimeout: 10_007,
        endpoint: { address: 'db.example', port: 2114 },
      },
      channel: { insecure: true },
      user: undefined,
    });
  });

  it('takes port 2113 and TLS when it does not say otherwise', () => {
    expect(settings('esdb://db')).toMatchObject({
      nodes: { endpoint: { address: 'db', port: 2113 } },
      channel: { insecure: false },
    });
  });

  it('names a cluster by its nodes, of which one that has failed is left out', () => {
    const text = 'esdb://a:1,b:2,c:3?nodePreference=leader&gossip_timeout=3&discoveryInterval=50';
    expect(settings(text, 'b:2').nodes).toMatchObject({
      endpoints: [
        { address: 'a', port: 1 },
        { address: 'c', port: 3 },
      ],
      nodePreference: 'leader',
      gossipTimeout: 3,
      discoveryInterval: 50,
    });
  });

  it('names a cluster by its DNS name', () => {
    expect(settings('esdb+discover://db.example?tls=false').nodes).toMatchObject({
      discover: { address: 'db.example', port: 2113 },
      gossipTimeout: 1,
    });
  });

  it('carries credentials, and never shows them', () => {
    const parsed = parseConnectionString('esdb://alice:p%40ss@db:2113/?tls=true');
    expect(parsed.toClient(0, null).user).toEqual({ username: 'alice', password: 'p@ss' });
    expect(parsed.display).toBe('esdb://db:2113');
  });

  it('sets our streams apart when it says so', () => {
    expect(parseConnectionString('esdb://db').streamPrefix).toBe('');
    expect(parseConnectionString('esdb://db?streamPrefix=staging-').streamPrefix).toBe('staging-');
  });

  it('names certificates, which are read', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'shipslog-certificates-'));
    const [ca, certificate, key] = ['ca', 'user', 'key'].map((name) => join(folder, name));
    for (const file of [ca!, certificate!, key!]) await writeFile(file, file);
    const query = `tlsCAFile=${ca!}&userCertFile=${certificate!}&userKeyFile=${key!}`;
    expect(settings(`esdb://db?${query}`).channel).toEqual({
      insecure: false,
      rootCertificate: Buffer.from(ca!),
      userCertFile: Buffer.from(certificate!),
      userKeyFile: Buffer.from(key!),
    });
    await rm(folder, { recursive: true });
  });

  it.each([
    ['of another kind', 'http://db', /malformed/],
    ['without a host', 'esdb://', /malformed/],
    ['with a port that is none', 'esdb://db:x', /no host with a port/],
    ['with an unknown option', 'esdb://u:secret@db?colour=red', /colour is not an option/],
    ['with an option without value', 'esdb://db?tls=', /tls is not an option.*or has no value/],
    ['with a tls that is neither', 'esdb://db?tls=maybe', /tls is true or false/],
    ['with a number that is none', 'esdb://a,b?gossipTimeout=soon', /whole number above 0/],
    ['with pings that servers refuse', 'esdb://db?keepAliveInterval=500', /at least 10000 ms/],
    ['with an unknown preference', 'esdb://a,b?nodePreference=best', /leader, follower, random/],
    ['that would not verify', 'esdb://db?tlsVerifyCert=false', /no effect/],
    ['with a missing certificate', 'esdb://db?tlsCAFile=/nowhere/ca.crt', /can not be read/],
    ['with a prefix of the server', 'esdb://db?streamPrefix=$a', /streamPrefix is 1 to 64 letters/],
    [
      'with a prefix that hides',
      'esdb://db?streamPrefix=deployment-',
      /does not contain deployment-/,
    ],
    ['with half a pair', `esdb://db?userCertFile=${import.meta.filename}`, /belong together/],
  ])('%s is refused in one line that shows no secret', (_, text, message) => {
    const failure = (() => {
      try {
        settings(text);
        return '';
      } catch (error) {
        return (error as Error).message;
      }
    })();
    expect(failure).toMatch(message);
    expect(failure).not.toMatch(/secret|\n/);
  });
});
