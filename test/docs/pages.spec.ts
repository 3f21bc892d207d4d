import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from '@jest/globals';
import { pages } from '../support/pages.js';
import { cleanUp, launched, plainEnvironment } from '../support/service.js';

const PAGE_LINES_MAX = 150;
const MS_MAX = 120_000;

const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as {
  scripts: Record<string, string>;
};

describe('the documents', () => {
  afterAll(cleanUp);

  it(
    'say of the code what the code says of itself',
    async () => {
      const program = ['--import', '@swc-node/register/esm-register', 'tools/docs.ts', '--check'];
      const { said, ended } = launched(
        spawn(process.execPath, program, { env: plainEnvironment() }),
      );
      expect({ ending: await ended, said: said() }).toEqual({ ending: 0, said: '' });
    },
    MS_MAX,
  );

  it('name scripts and specs that exist', () => {
    const named = pages().flatMap((page) => {
      const text = readFileSync(page, 'utf8');
      const runs = [...text.matchAll(/npm run (?:-\S+ )?([a-z][\w:]*)/g)].map(
        ([, name = '']) => name,
      );
      const specs = [...text.matchAll(/\btest\/[\w/.-]+\.(?:ts|mjs)\b/g)].map(([path]) => path);
      return [
        ...runs.filter((name) => !Object.hasOwn(scripts, name)),
        ...specs.filter((path) => !existsSync(path)),
      ].map((what) => `${page}: ${what}`);
    });
    expect(named).toEqual([]);
  });

  it(`have at most ${PAGE_LINES_MAX} lines a page, but for the README`, () => {
    const long = pages()
      .filter((page) => page !== 'README.md')
      .map((page) => ({ page, lines: readFileSync(page, 'utf8').split('\n').length }))
      .filter(({ lines }) => lines > PAGE_LINES_MAX);
    expect(long).toEqual([]);
  });
});
