import { spawn } from 'node:child_process';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { transform } from '@swc/core';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import ts from 'typescript';
import { blocksOf, pages, textFits } from '../support/pages.js';
import {
  cleanUp,
  launched,
  plainEnvironment,
  programs,
  temporaryFolder,
} from '../support/service.js';

/*
 * Every TypeScript block of the documents is a program of its own. It is checked as in an application that
 * installed the package, and run; a text block right after it shows what it writes.
 */

/** A compiler on a busy machine takes its time. */
const MS_MAX = 180_000;

const blocks = pages().flatMap((page) => {
  const ofPage = blocksOf(page);
  return ofPage.flatMap((block, index) => {
    if (block.language !== 'ts' || block.notRun !== null) return [];
    const next = ofPage[index + 1];
    const shown = next?.language === 'text' ? next.text : null;
    return [{ name: `${block.page}:${block.line}`, text: block.text, shown }];
  });
});

describe('a TypeScript block of the documents', () => {
  let folder: string;
  const fileOf = (index: number): string => join(folder, `block-${index}.ts`);

  beforeAll(async () => {
    folder = await temporaryFolder();
    await mkdir(join(folder, 'node_modules'));
    for (const name of ['@nestjs', '@types', 'reflect-metadata', 'rxjs']) {
      await symlink(resolve('node_modules', name), join(folder, 'node_modules', name));
    }
    await symlink(await programs(), join(folder, 'node_modules/shipslog'));
    await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
    await Promise.all(blocks.map(({ text }, index) => writeFile(fileOf(index), text)));
  }, MS_MAX);
  afterAll(cleanUp);

  it(
    'has the types that it needs',
    () => {
      const program = ts.createProgram(
        blocks.map((_, index) => fileOf(index)),
        {
          ...{ target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.NodeNext, strict: true },
          ...{ exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true },
          ...{ experimentalDecorators: true, emitDecoratorMetadata: true },
          ...{ noEmit: true, skipLibCheck: true, types: ['node'] },
          paths: { shipslog: [resolve('src/index.ts')] },
        },
      );
      // Only the blocks are checked: the sources have a gate of their own.
      const found = blocks.flatMap(({ name }, index) => {
        const file = program.getSourceFile(fileOf(index))!;
        const wrong = [
          ...program.getSyntacticDiagnostics(file),
          ...program.getSemanticDiagnostics(file),
        ];
        return wrong.map(({ start = 0, messageText }) => {
          const { line } = file.getLineAndCharacterOfPosition(start);
          const message = ts.flattenDiagnosticMessageText(messageText, ' ');
          return `${name}, line ${line + 1} of it: ${message}`;
        });
      });
      expect(found).toEqual([]);
    },
    MS_MAX,
  );

  it.each(blocks.map((block, index) => ({ ...block, index })))(
    '$name does what it says',
    async ({ index, text, shown }) => {
      const { code } = await transform(text, {
        filename: fileOf(index),
        swcrc: false,
        module: { type: 'nodenext' },
        jsc: {
          target: 'es2022',
          parser: { syntax: 'typescript', decorators: true },
          transform: { legacyDecorator: true, decoratorMetadata: true },
        },
      });
      const file = fileOf(index).replace(/\.ts$/, '.js');
      await writeFile(file, code);
      const { said, ended } = launched(
        spawn(process.execPath, [file], { cwd: folder, env: plainEnvironment() }),
      );
      expect({ ending: await ended, said: said() }).toMatchObject({ ending: 0 });
      if (shown !== null && !textFits(shown.trim(), said().trim())) expect(said()).toBe(shown);
    },
    MS_MAX,
  );
});
