import { execFile } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';

/*
 * The import rules are data in .dependency-cruiser.cjs. A rule with a typing error in its pattern
 * refuses nothing and nobody notices, so here each one is broken once on purpose, in a small tree
 * that has the shape of ours: one line is one file with one import.
 */
const REFUSED: readonly (readonly [file: string, imports: string, rule: string])[] = [
  ['src/domain/a.ts', 'node:crypto', 'domain-imports'],
  ['src/domain/b.ts', 'rxjs', 'domain-imports'],
  ['src/domain/c.ts', '../ports/target.js', 'domain-imports'],
  ['src/ports/a.ts', '../projections/target.js', 'ports-imports'],
  ['src/ports/b.ts', 'node:fs', 'ports-imports'],
  ['src/ports/c.ts', '@nestjs/common', 'ports-imports'],
  ['src/projections/a.ts', '../application/target.js', 'projections-imports'],
  ['src/projections/b.ts', 'node:fs', 'projections-imports'],
  ['src/application/a.ts', '../api/target.js', 'application-imports'],
  ['src/application/b.ts', '../adapters/memory/target.js', 'application-imports'],
  ['src/application/c.ts', 'node:fs', 'application-imports'],
  ['src/application/d.ts', '@nestjs/core', 'application-imports'],
  ['src/api/a.ts', '../cli/target.js', 'api-imports'],
  ['src/api/b.ts', '../adapters/memory/target.js', 'api-imports'],
  ['src/api/c.ts', 'pino', 'api-imports'],
  ['src/cli/a.ts', '../api/target.js', 'cli-imports'],
  ['src/cli/b.ts', '@nestjs/common', 'cli-imports'],
  ['src/outbound/a.ts', '../api/target.js', 'outbound-imports'],
  ['src/observability/a.ts', '../ports/target.js', 'observability-imports'],
  ['src/observability/b.ts', '../application/target.js', 'observability-imports'],
  ['src/client/a.ts', '../ports/target.js', 'client-imports'],
  ['src/client/b.ts', 'rxjs', 'client-imports'],
  ['src/client/c.ts', '../domain/target.js', 'client-knows-only-types'],
  ['src/adapters/sqlite/a.ts', '../memory/target.js', 'adapters/sqlite-imports'],
  ['src/adapters/sqlite/b.ts', 'pg', 'adapters/sqlite-imports'],
  ['src/adapters/sqlite/c.ts', '../../application/target.js', 'adapters/sqlite-imports'],
  ['src/adapters/sql/a.ts', '../sqlite/target.js', 'adapters/sql-imports'],
  ['src/adapters/postgres/a.ts', '@photostructure/sqlite', 'adapters/postgres-imports'],
  ['src/adapters/eventstoredb/a.ts', 'pg', 'adapters/eventstoredb-imports'],
  ['src/adapters/memory/a.ts', '../sqlite/target.js', 'adapters-without-driver-imports'],
  ['src/adapters/memory/b.ts', 'pg', 'adapters-without-driver-imports'],
  ['src/adapters/clock.ts', './memory/target.js', 'adapters-without-driver-imports'],
  [
    'src/adapters/memory/c.ts',
    '../../projections/projection.js',
    'adapters-know-only-projection-types',
  ],
  ['src/api/d.ts', '../settings.js', 'root-files-are-the-top'],
  ['src/cli/c.ts', '../settings.js', 'root-files-are-the-top'],
  ['src/index.ts', './main.js', 'entry-points-are-started-not-imported'],
  ['src/cli/d.ts', './main.js', 'entry-points-are-started-not-imported'],
  ['src/util/a.ts', '../domain/target.js', 'no-other-folders'],
  ['src/settings.ts', '../test/target.js', 'src-needs-no-test'],
  ['src/shell.ts', 'fast-check', 'src-needs-no-dev-dependency'],
  ['src/shipslog.module.ts', 'fastify', 'src-needs-no-dev-dependency'],
  ['src/lost.ts', './nowhere.js', 'no-unresolvable'],
  ['src/domain/egg.ts', 'type ./hen.js', 'no-cycles'],
];

const ALLOWED: readonly (readonly [file: string, imports: string])[] = [
  ['src/ports/ok1.ts', 'node:diagnostics_channel'],
  ['src/projections/ok1.ts', '../domain/target.js'],
  ['src/application/ok1.ts', 'node:crypto'],
  ['src/application/ok2.ts', '@nestjs/cqrs'],
  ['src/application/ok4.ts', 'node:assert/strict'],
  ['src/application/ok3.ts', '../projections/target.js'],
  ['src/api/ok1.ts', '../application/target.js'],
  ['src/api/ok2.ts', 'node:http'],
  ['src/cli/ok1.ts', '../client/target.js'],
  ['src/cli/main.ts', '../settings.js'],
  ['src/cli/ok2.ts', '../adapters/system-clock.js'],
  ['src/cli/ok3.ts', '../adapters/folders.js'],
  ['src/client/ok1.ts', 'type ../domain/target.js'],
  ['src/observability/ok1.ts', '../ports/signals.js'],
  ['src/observability/ok2.ts', 'pino'],
  ['src/adapters/memory/ok1.ts', 'type ../../projections/projection.js'],
  ['src/adapters/memory/ok2.ts', '../../ports/target.js'],
  ['src/adapters/memory/ok3.ts', '../ownership.js'],
  ['src/adapters/sqlite/ok1.ts', '@photostructure/sqlite'],
  ['src/adapters/sqlite/ok2.ts', 'node:sqlite'],
  ['src/adapters/sqlite/ok3.ts', '../sql/target.js'],
  ['src/adapters/eventstoredb/ok1.ts', '@eventstore/db-client'],
  ['src/main.ts', './settings.js'],
  ['test/ok1.ts', '../src/api/target.js'],
];

const FOLDERS =
  'domain ports projections application api cli outbound observability client ' +
  'adapters/memory adapters/sqlite adapters/sql adapters/postgres adapters/eventstoredb';
const TARGETS = [
  ...FOLDERS.split(' ').map((folder) => `src/${folder}/target.ts`),
  'src/ports/signals.ts',
  'src/projections/projection.ts',
  'src/adapters/folders.ts',
  'src/adapters/system-clock.ts',
  'src/adapters/ownership.ts',
  'test/target.ts',
];
const DEPENDENCIES =
  '@nestjs/common @nestjs/core @nestjs/cqrs @eventstore/db-client @photostructure/sqlite pg pino rxjs';
const DEV_DEPENDENCIES = 'fast-check';
const UNDECLARED = 'fastify';

describe('the import rules', () => {
  let root: string;
  let found: readonly string[];

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), 'shipslog-imports-'));
    await plant(root);
    found = await cruise(root);
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  it.each(REFUSED)('refuse that %s imports %s, by %s', (file, _imports, rule) => {
    expect(found).toContain(`${rule} ${file}`);
  });

  it.each(ALLOWED)('allow that %s imports %s', (file) => {
    expect(found.filter((violation) => violation.endsWith(` ${file}`))).toEqual([]);
  });

  it('are all broken here at least once', async () => {
    const config = (await import(resolve('.dependency-cruiser.cjs'))) as {
      default: { forbidden: { name: string }[] };
    };
    const rules = config.default.forbidden.map(({ name }) => name);
    expect(rules.filter((name) => !REFUSED.some(([, , rule]) => rule === name))).toEqual([]);
  });
});

/** Writes the tree: the files of both tables, what they import, and empty packages. */
async function plant(root: string): Promise<void> {
  const imports = [...REFUSED, ...ALLOWED].map(
    ([file, target]) => [file, importOf(target)] as const,
  );
  const targets = TARGETS.map(
    (file) => [file, 'export type T = 1;\nexport const t = 1;\n'] as const,
  );
  const packages = `${DEPENDENCIES} ${DEV_DEPENDENCIES} ${UNDECLARED}`
    .split(' ')
    .flatMap((name) => [
      [`node_modules/${name}/package.json`, JSON.stringify({ name, main: 'index.js' })] as const,
      [`node_modules/${name}/index.js`, 'exports.t = 1;\n'] as const,
    ]);
  const manifest = {
    type: 'module',
    dependencies: versions(DEPENDENCIES),
    devDependencies: versions(DEV_DEPENDENCIES),
  };
  const compiler = { module: 'NodeNext', verbatimModuleSyntax: true };
  const files = new Map([
    ...targets,
    ...packages,
    ['package.json', JSON.stringify(manifest)] as const,
    ['tsconfig.json', JSON.stringify({ compilerOptions: compiler })] as const,
    ...imports,
    ['src/domain/hen.ts', importOf('./egg.js')] as const,
  ]);
  for (const [file, content] of files) {
    await mkdir(dirname(join(root, file)), { recursive: true });
    await writeFile(join(root, file), content);
  }
  await copyFile('.dependency-cruiser.cjs', join(root, '.dependency-cruiser.cjs'));
}

function importOf(target: string): string {
  return target.startsWith('type ')
    ? `import type { T } from '${target.slice('type '.length)}';\nexport type U = T;\n`
    : `import * as it from '${target}';\nexport const u = it;\n`;
}

function versions(names: string): Record<string, string> {
  return Object.fromEntries(names.split(' ').map((name) => [name, '1.0.0']));
}

/** Checks a tree; answers each violation as `rule file`. */
async function cruise(root: string): Promise<readonly string[]> {
  const program = resolve('node_modules/dependency-cruiser/bin/dependency-cruise.mjs');
  const args = [program, '--config', '.dependency-cruiser.cjs', '-T', 'json', 'src', 'test'];
  const output = await new Promise<string>((done, fail) => {
    execFile(
      process.execPath,
      args,
      { cwd: root, maxBuffer: 16 << 20 },
      (_error, stdout, stderr) => {
        // The exit code is the number of violations, so only an empty answer is a failure.
        if (stdout === '') fail(new Error(stderr));
        else done(stdout);
      },
    );
  });
  const { summary } = JSON.parse(output) as {
    summary: { violations: { from: string; rule: { name: string } }[] };
  };
  return summary.violations.map(({ from, rule }) => `${rule.name} ${from}`);
}
