import { transformFile, type Options } from '@swc/core';
import { cp, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';

/**
 * Compiles the sources into a folder, laid out as the package is; the paths of programs begin at `dist`.
 *
 * Tests that start processes need no build first, never meet yesterday's code, and start three times
 * faster than from TypeScript.
 * Cost: about 100 ms.
 */
export async function compileTo(folder: string, sources = 'src'): Promise<void> {
  const options = JSON.parse(await readFile('.swcrc', 'utf8')) as Options & { $schema?: string };
  delete options.$schema;
  const files = await readdir(sources, { recursive: true });
  await Promise.all(
    files
      .filter((file) => file.endsWith('.ts'))
      .map(async (file) => {
        const source = join(sources, file);
        const { code } = await transformFile(source, {
          ...options,
          swcrc: false,
          sourceMaps: false,
        });
        const target = join(folder, 'dist', file.replace(/\.ts$/, '.js'));
        await mkdir(dirname(target), { recursive: true });
        await writeFile(target, code);
      }),
  );
  await cp('package.json', join(folder, 'package.json'));
  await symlink(resolve('node_modules'), join(folder, 'node_modules'));
}
