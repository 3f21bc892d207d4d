import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { describe, expect, it } from '@jest/globals';

/*
 * The rules of docs/STYLE.md that neither the compiler nor the linter sees. A failure lists the
 * places, so that the message is all one needs.
 */

const FILE_LINES_MAX = 500;
const DECISION_LINES_MAX = 60;
const TEXT =
  /\.(ts|mjs|cjs|json|jsonc|md|ya?ml|sh|svg|html|css)$|(^|\/)(\.[a-z]+rc|run|Dockerfile)$/;
/** The noun of the idea, and a suffix only where readers of Nest or of tests look for one. */
const FILE_NAME =
  /^[a-z0-9]+(-[a-z0-9]+)*(\.(module|controller|filter|guard|worker|spec|contract))?\.ts$/;
/** A home folder of some machine, on any system. */
const MACHINE_PATH = /(?<![\w.:/-])\/(home|root|Users|work|builds)\/[\w.-]+|[A-Z]:\\\\?Users\\/;
/** Written in two parts, so that this file does not find itself. */
const UNFINISHED = new RegExp(
  `\\b(${['TO' + 'DO', 'FIX' + 'ME', 'HA' + 'CK', 'X' + 'XX'].join('|')})\\b`,
);
const SILENCED = new RegExp(
  [
    '\\bas ' + 'any\\b',
    'as unknown ' + 'as\\b',
    'eslint-' + 'disable',
    '@ts-(ignore|nocheck)',
  ].join('|'),
);

const IGNORED = new Set([
  '.git',
  ...read('.gitignore')
    .split('\n')
    .filter((line) => line.endsWith('/'))
    .map((line) => line.slice(0, -1)),
]);
const files = filesBelow('.');
const texts = files.filter((file) => TEXT.test(file) && file !== 'package-lock.json');
const sources = files.filter((file) => file.startsWith('src/'));
const typescript = files.filter((file) => file.endsWith('.ts'));
const pages = files.filter((file) => file.endsWith('.md'));
const decisions = pages.filter((file) => /^docs\/decisions\/\d/.test(file));

describe('the tree', () => {
  it('holds nothing unfinished', () => {
    expect(linesMatching(texts, UNFINISHED)).toEqual([]);
  });

  it('silences neither the compiler nor the linter', () => {
    expect(linesMatching(typescript, SILENCED)).toEqual([]);
  });

  it('names no place on the machine of its author', () => {
    expect(linesMatching(texts, MACHINE_PATH)).toEqual([]);
  });

  it('locks packages without tying them to a registry', () => {
    expect(linesMatching(['package-lock.json'], /"resolved": "https?:/)).toEqual([]);
  });
});

describe('a source file', () => {
  it('never writes to the console', () => {
    expect(linesMatching(sources, /\bconsole\./)).toEqual([]);
  });

  it(`has at most ${FILE_LINES_MAX} lines`, () => {
    // Made by programs, and growing with the routes.
    const made = ['src/api/examples.ts', 'src/client/operations.ts'];
    const written = sources.filter((file) => !made.includes(file));
    expect(written.filter((file) => linesOf(file).length > FILE_LINES_MAX)).toEqual([]);
  });

  it('is named by its idea, in kebab case', () => {
    expect(typescript.filter((file) => !FILE_NAME.test(basename(file)))).toEqual([]);
  });

  it('is a barrel only as src/index.ts', () => {
    const barrels = typescript.filter((file) => basename(file) === 'index.ts');
    expect(barrels.filter((file) => file !== 'src/index.ts')).toEqual([]);
  });
});

describe('a page', () => {
  it('links to files that exist', () => {
    expect(pages.flatMap((page) => deadLinksOf(page))).toEqual([]);
  });

  it(`about a decision has a number of its own and at most ${DECISION_LINES_MAX} lines`, () => {
    const numbers = decisions.map((file) => basename(file).slice(0, 4));
    expect(numbers.filter((number, index) => numbers.indexOf(number) !== index)).toEqual([]);
    expect(decisions.filter((file) => linesOf(file).length > DECISION_LINES_MAX)).toEqual([]);
  });

  it('about a decision stands in the index', () => {
    const index = read('docs/decisions/README.md');
    expect(decisions.filter((file) => !index.includes(`(${basename(file)})`))).toEqual([]);
  });

  it('about a decision gives the reason of each runtime dependency', () => {
    const { dependencies, optionalDependencies, peerDependencies } = JSON.parse(
      read('package.json'),
    ) as Record<string, Record<string, string> | undefined>;
    const names = Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });
    const said = decisions.map(read).join('\n');
    expect(names.filter((name) => !said.includes(`\`${name}\``))).toEqual([]);
  });
});

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (IGNORED.has(entry.name)) return [];
    const path = join(folder, entry.name);
    return entry.isDirectory() ? filesBelow(path) : entry.isFile() ? [path] : [];
  });
}

function linesMatching(inFiles: readonly string[], pattern: RegExp): string[] {
  return inFiles.flatMap((file) =>
    linesOf(file).flatMap((line, index) =>
      pattern.test(line) ? [`${file}:${index + 1}: ${line.trim()}`] : [],
    ),
  );
}

function deadLinksOf(page: string): string[] {
  const withoutCode = read(page).replace(/```[\s\S]*?```|`[^`\n]*`/g, '');
  return [...withoutCode.matchAll(/\]\((?![a-z]+:|#)([^)#\s]+)/g)]
    .map(([, target = '']) => normalize(join(dirname(page), target)))
    .filter((target) => !files.includes(target) && !files.some((file) => file.startsWith(target)))
    .map((target) => `${page} → ${target}`);
}

function linesOf(file: string): string[] {
  return read(file).replace(/\n$/, '').split('\n');
}

function read(file: string): string {
  return readFileSync(file, 'utf8');
}
