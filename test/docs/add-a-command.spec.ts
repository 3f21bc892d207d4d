import { execFile } from 'node:child_process';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import { compileTo } from '../support/compiled.js';
import { ask, historyOf } from '../support/http.js';
import { blocksOf } from '../support/pages.js';
import {
  cleanUp,
  plainEnvironment,
  startService,
  temporaryFolder,
  type Service,
} from '../support/service.js';

/*
 * docs/how-to/add-a-command.md says which files a new command touches. Its changes are made to a copy of
 * the sources; nothing else is, and the command has to be there in full.
 */

const PAGE = 'docs/how-to/add-a-command.md';
/** A compiler on a busy machine takes its time. */
const MS_MAX = 180_000;

interface Change {
  readonly file: string;
  readonly hunks: readonly { readonly before: string; readonly after: string }[];
}

describe('a command that is added as the documents say', () => {
  let copy: string;
  let service: Service;
  const changes = blocksOf(PAGE)
    .filter(({ language }) => language === 'diff')
    .map(({ text }) => changeOf(text));

  beforeAll(async () => {
    copy = await temporaryFolder();
    await cp('src', join(copy, 'src'), { recursive: true });
    for (const { file, hunks } of changes) {
      const path = join(copy, file);
      await writeFile(path, hunks.reduce(applied, await readFile(path, 'utf8')));
    }
    await compileTo(copy, join(copy, 'src'));
    service = await startService({ folder: copy, program: join(copy, 'dist/main.js') });
  }, MS_MAX);
  afterAll(cleanUp);

  it('touches the files that the page lists', async () => {
    const listed = [...(await readFile(PAGE, 'utf8')).matchAll(/^\| `(src\/[^`]+)`/gm)];
    expect(changes.map(({ file }) => file).sort()).toEqual(listed.map(([, file]) => file).sort());
  });

  it(
    'has all the types that it needs',
    () => {
      const { config } = ts.readConfigFile('tsconfig.json', (path) => ts.sys.readFile(path)) as {
        config: { compilerOptions: object };
      };
      const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, resolve('.'));
      const program = ts.createProgram([join(copy, 'src/main.ts')], { ...options, noEmit: true });
      const wrong = changes.flatMap(({ file }) => {
        const source = program.getSourceFile(join(copy, file))!;
        return program
          .getSemanticDiagnostics(source)
          .map(
            ({ messageText }) => `${file}: ${ts.flattenDiagnosticMessageText(messageText, ' ')}`,
          );
      });
      expect(wrong).toEqual([]);
    },
    MS_MAX,
  );

  it('is served, documented, allowed, recorded and replayed', async () => {
    const { url } = service;
    await ask(url, 'POST /v1/deployments', { body: { deploymentId: 'web' } });
    const path = '/v1/deployments/web/notes';
    const note = { body: { text: 'watch the queue' }, headers: { 'idempotency-key': 'n1' } };
    expect((await ask(url, `POST ${path}`, note)).status).toBe(201);
    expect(await ask(url, `POST ${path}`, note)).toMatchObject({ body: { replayed: true } });
    expect(await ask(url, `POST ${path}`, { body: {} })).toMatchObject({
      status: 400,
      body: { code: 'INVALID_BODY', errors: [{ pointer: '/text' }] },
    });
    expect((await historyOf(url, 'web')).at(-1)).toMatchObject({
      type: 'deployment_noted',
      data: { text: 'watch the queue' },
    });
    const { body } = await ask<{ allowed: string[] }>(url, 'GET /v1/deployments/web');
    expect(body.allowed).toContain('NoteDeployment');
    const openApi = await ask<{ paths: object }>(url, 'GET /openapi.json');
    expect(openApi.body.paths).toHaveProperty(['/v1/deployments/{deploymentId}/notes', 'post']);
    const lifecycle = await ask<{ items: object[] }>(url, 'GET /v1/lifecycle');
    expect(lifecycle.body.items).toContainEqual(
      expect.objectContaining({ row: '23', commands: ['NoteDeployment'] }),
    );
  });

  it(
    'is a verb of the command line, with flags, help and completion',
    async () => {
      const shipslog = async (...args: readonly string[]): Promise<string> => {
        const program = join(copy, 'dist/cli/main.js');
        const env = { ...plainEnvironment(), SHIPSLOG_URL: service.url };
        return (await promisify(execFile)(process.execPath, [program, ...args], { env })).stdout;
      };
      const help = await shipslog('help', 'note');
      expect(help).toContain('Writes a note into the history of a deployment.');
      expect(help).toMatch(/^ +--text <text> /m);
      expect(help).toMatch(/Examples:\n {2}shipslog note web --text .*\n {2}shipslog note web /);
      expect(await shipslog('complete', 'fish', '', '--', 'shipslog no')).toMatch(/^note\t/);
      expect(await shipslog('complete', 'fish', '', '--', 'shipslog note web --te')).toMatch(
        /^--text\t/,
      );
      await shipslog('create', 'noted');
      const told = await shipslog('note', 'noted', '--text', 'all is well', '--json');
      expect(JSON.parse(told)).toMatchObject({ deploymentId: 'noted', revision: '2' });
    },
    MS_MAX,
  );
});

/** A block like a unified diff, but without line numbers: hunks are found by their words. */
function changeOf(block: string): Change {
  const [head = '', ...lines] = block.trimEnd().split('\n');
  const hunks = lines
    .join('\n')
    .split('\n@@\n')
    .map((hunk) => {
      const marked = hunk.split('\n').map((line) => [line.charAt(0), line.slice(1)] as const);
      const without = (mark: string): string =>
        marked.flatMap(([sign, text]) => (sign === mark ? [] : [text])).join('\n');
      return { before: without('+'), after: without('-') };
    });
  return { file: head.replace('--- ', ''), hunks };
}

function applied(text: string, { before, after }: Change['hunks'][number]): string {
  expect({ before, times: text.split(before).length - 1 }).toEqual({ before, times: 1 });
  return text.replace(before, () => after);
}
