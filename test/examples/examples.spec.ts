import { spawn } from 'node:child_process';
import { chmod, mkdir, readdir, readlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { Client } from '../../src/client/client.js';
import { hasProgram } from '../support/page-shell.js';
import { startRunner, type Runner } from '../support/runner.js';
import { cleanUp, launched, startService, temporaryFolder } from '../support/service.js';

/** Programs are compiled when they start, and the machine may be busy. */
jest.setTimeout(60_000);

const IN_MEMORY = { SHIPSLOG_EVENT_STORE: 'memory:', SHIPSLOG_READ_MODELS: 'memory:' };
const hasPython = hasProgram('python3');
const withPython = hasPython || process.env['REQUIRE_TOOLS'] === '1' ? it : it.skip;
if (!hasPython)
  process.stderr.write('NOT RUN: the Python example, since there is no python3 here\n');

describe('the examples', () => {
  let folder: string;
  let url: string;

  beforeAll(async () => {
    folder = await temporaryFolder();
    ({ url } = await startService({ folder, settings: IN_MEMORY }));
  });
  afterAll(cleanUp);

  describe('deploy.sh', () => {
    const deploy = async (release: string, deployment: string): Promise<Runner> =>
      startRunner({
        args: ['run', '--deployment', deployment, '--create', '--', 'examples/deploy.sh'].concat(
          join(folder, release),
          join(folder, 'site'),
        ),
        folder,
        url,
      });
    const release = async (name: string, files: Readonly<Record<string, string>>) => {
      await mkdir(join(folder, name));
      for (const [file, text] of Object.entries(files)) {
        await writeFile(join(folder, name, file), text);
        await chmod(join(folder, name, file), 0o755);
      }
    };

    it('puts a release live as an attempt, and leaves the old one when it fails or is cancelled', async () => {
      const client = new Client({ url });
      const current = async () => {
        const web = await client.call('getDeployment', {
          deploymentId: 'web',
          consistency: 'strong',
        });
        return web.currentAttempt!;
      };
      await release('good', { 'index.html': 'hello' });
      await release('bad', { 'readme.txt': 'there is no page' });
      await release('slow', { 'index.html': 'hello', check: '#!/bin/sh\nsleep 60\n' });

      const good = await deploy('good', 'web');
      expect(await good.ended).toBe(0);
      const live = `release-${(await current()).attemptId}`;
      expect(await readlink(join(folder, 'site/live'))).toBe(join(folder, 'site', live));

      const bad = await deploy('bad', 'web');
      expect(await bad.ended).toBe(3);
      expect(await current()).toMatchObject({ state: 'failed', exitCode: 3 });

      await client.call('updateDeployment', {
        deploymentId: 'web',
        body: { policy: { heartbeatMs: 100 } },
      });
      const slow = await deploy('slow', 'web');
      await slow.saying(/checking/);
      await client.call('cancelAttempt', {
        deploymentId: 'web',
        attemptId: (await current()).attemptId,
      });
      expect(await slow.ended).toBe(143);
      expect(await current()).toMatchObject({ state: 'cancelled' });
      expect((await readdir(join(folder, 'site'))).sort()).toEqual(['live', live]);
    });
  });

  withPython('python/backend.py drives each way in which an attempt can go', async () => {
    const program = spawn('python3', [resolve('examples/python/backend.py'), url], {
      env: { ...process.env, PYTHONDONTWRITEBYTECODE: '1' },
    });
    const { said, ended } = launched(program);
    expect({ code: await ended, said: said() }).toEqual({
      code: 0,
      said: [
        'works: ready',
        'fails: failed (no room for two replicas)',
        'stops: failed',
        "orphans: ['vanishes']",
        'vanishes: unknown (orphaned)',
        'teardown: DEPLOYMENT_UNKNOWN_STATE',
        'vanishes: failed (looked at it: half installed)',
        '',
      ].join('\n'),
    });
  });
});
