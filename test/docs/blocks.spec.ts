import { afterAll, describe, expect, it } from '@jest/globals';
import { TestServer } from '../support/eventstoredb/server.js';
import { cleanUp } from '../support/service.js';
import { hasProgram, PageShell } from '../support/page-shell.js';
import { blocksOf, difference, pages, textFits, type Block } from '../support/pages.js';

/*
 * The blocks of the documents are run as a reader would run them: those of one page one after the other
 * in one terminal. `sh` is typed into bash, `py` is run by Python, `ts` by its own spec; `json` or `text`
 * right after a block shows what that block has written.
 */

const PAGE_MS_MAX = 180_000;
/** What a page shows, and what is only looked at. */
const RUN = ['sh', 'py'];
const SHOWN = ['json', 'text'];
const ELSEWHERE = ['ts', 'diff', 'mermaid'];
/** As at a terminal, but for how often silent attempts are looked for: a test is less patient. */
const SETTINGS = { SHIPSLOG_LOG_FORMAT: 'pretty', SHIPSLOG_REAPER_INTERVAL_MS: '50' };

/** Where the documents have EventStoreDB; a page that speaks of it gets a test server. */
const EVENTSTOREDB = 'esdb://localhost:2113?tls=false';

/** What running a block takes, beside Node; a page of which something is missing is told and left out. */
const TOOLS: Readonly<Record<string, readonly string[]>> = {
  sh: ['bash', 'curl'],
  py: ['bash', 'python3'],
};
const missing = new Set(
  Object.values(TOOLS)
    .flat()
    .filter((program) => !hasProgram(program)),
);

const all = pages().flatMap(blocksOf);
const runnable = new Map(
  pages()
    .map((page) => [page, blocksOf(page).filter(({ notRun }) => notRun === null)] as const)
    .filter(([, blocks]) => blocks.some(({ language }) => RUN.includes(language))),
);

describe('a block of the documents', () => {
  afterAll(cleanUp);

  it('is run, or says why it is not', () => {
    const known = [...RUN, ...SHOWN, ...ELSEWHERE];
    const odd = all.filter(({ language, notRun }) => notRun === null && !known.includes(language));
    expect(odd.map(placeOf)).toEqual([]);
    const notRun = all.filter((block) => block.notRun !== null);
    expect(notRun.map(({ page, notRun: why }) => `${page}: ${why ?? ''}`)).toEqual([
      'CONTRIBUTING.md: .ci/run does so',
      'CONTRIBUTING.md: a form',
      'docs/STYLE.md: a form',
      'docs/STYLE.md: a form',
      'docs/explanation/read-model-queries.md: it takes minutes',
      'docs/how-to/eventstoredb.md: it needs Docker',
      'docs/how-to/eventstoredb.md: it needs Docker',
      'docs/how-to/eventstoredb.md: it needs a server',
      'docs/how-to/postgresql.md: it needs Docker',
      'docs/how-to/postgresql.md: it needs Docker',
      'docs/how-to/postgresql.md: it needs a server',
      'docs/how-to/postgresql.md: it needs a server',
    ]);
  });

  it(
    'does what its page says',
    async () => {
      const failed = await Promise.all(
        [...runnable].map(async ([page, blocks]) => {
          const lacks = blocks
            .flatMap(({ language }) => TOOLS[language] ?? [])
            .filter((program) => missing.has(program));
          if (lacks.length === 0) return failureOf(blocks);
          process.stderr.write(`NOT RUN: ${page}, since there is no ${lacks[0]} here\n`);
          return process.env['REQUIRE_TOOLS'] === '1' ? `${page} was not run` : null;
        }),
      );
      expect(failed.filter((failure) => failure !== null)).toEqual([]);
    },
    PAGE_MS_MAX,
  );
});

/** Runs the blocks of a page; the first that does not do as shown, in words. */
async function failureOf(blocks: readonly Block[]): Promise<string | null> {
  const shell = await PageShell.open(SETTINGS);
  const isOnServer = blocks.some(({ text }) => text.includes(EVENTSTOREDB));
  const server = isOnServer ? await TestServer.start() : null;
  const log = server?.url ?? EVENTSTOREDB;
  try {
    return await firstFailure(shell, blocks, (text) => text.replaceAll(EVENTSTOREDB, log));
  } catch (error) {
    return `${placeOf(blocks[0]!)}: ${String(error)}`;
  } finally {
    shell.close();
    await server?.stop();
  }
}

async function firstFailure(
  shell: PageShell,
  blocks: readonly Block[],
  addressed: (text: string) => string,
): Promise<string | null> {
  for (const [index, block] of blocks.entries()) {
    if (!RUN.includes(block.language)) continue;
    const next = blocks[index + 1];
    const shown = SHOWN.includes(next?.language ?? '') ? next : undefined;
    const ran = await shell.run(addressed(commandOf(block)));
    const wrong = ran.code === 0 ? differenceOf(shown, ran.out, shell) : `ended with ${ran.code}`;
    if (wrong !== null) return `${placeOf(block)} ${wrong}\n${ran.out}${ran.err}`;
  }
  return null;
}

function commandOf({ language, text }: Block): string {
  return language === 'py' ? `python3 - <<'PYTHON_BLOCK'\n${text}PYTHON_BLOCK` : text.trimEnd();
}

/** The last line for `json`, all of the output for `text`. */
function differenceOf(shown: Block | undefined, out: string, shell: PageShell): string | null {
  if (shown === undefined) return null;
  const written = shell.documented(out).trimEnd();
  if (shown.language === 'json') {
    const last = jsonOf(written.split('\n').at(-1) ?? '');
    return last === null ? 'wrote no JSON' : difference(JSON.parse(shown.text), last);
  }
  return textFits(shown.text.trimEnd(), written)
    ? null
    : 'wrote something else than the page shows';
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function placeOf({ page, line, language }: Block): string {
  return `${page}:${line} (${language})`;
}
