import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

/** A fenced block of a page. */
export interface Block {
  readonly page: string;
  /** Line of its first fence, from 1. */
  readonly line: number;
  readonly language: string;
  readonly text: string;
  /** Why it is not run, from a comment `<!-- not run: … -->` right above it; null when it is. */
  readonly notRun: string | null;
}

/** All pages that a reader of the documents meets. */
export function pages(): readonly string[] {
  const below = readdirSync('docs', { recursive: true, encoding: 'utf8' });
  const docs = below.filter((file) => file.endsWith('.md')).map((file) => join('docs', file));
  return ['README.md', 'CONTRIBUTING.md', ...docs.sort()];
}

/** The fenced blocks of a page, in order. */
export function blocksOf(page: string): readonly Block[] {
  const text = readFileSync(page, 'utf8');
  const fences = text.matchAll(
    /(?:^<!-- not run: (?<notRun>[^\n]+?) -->\n\n?)?^```(?<language>\w*)\n(?<text>[\s\S]*?)^```$/gm,
  );
  return [...fences].map((fence) => {
    const { notRun, language = '', text: inside = '' } = fence.groups ?? {};
    const head = fence[0].slice(0, fence[0].indexOf('```'));
    return {
      page,
      line: text.slice(0, fence.index + head.length).split('\n').length,
      language,
      text: inside,
      notRun: notRun ?? null,
    };
  });
}

/**
 * Compares an answer with what a page shows of it. A text `…` stands for anything; a last member `"…": "…"`
 * says that there are more members than the page shows.
 * Shape: the first place that differs, in words; null when there is none.
 */
export function difference(shown: unknown, answer: unknown, at = ''): string | null {
  if (Array.isArray(shown) && Array.isArray(answer)) return ofArrays(shown, answer, at);
  if (isObject(shown) && isObject(answer)) return ofObjects(shown, answer, at);
  return shown === '…' || sameText(shown, answer)
    ? null
    : `${nameOf(at)} is ${JSON.stringify(answer)}, and the page shows ${JSON.stringify(shown)}`;
}

function sameText(shown: unknown, answer: unknown): boolean {
  if (typeof shown !== 'string' || typeof answer !== 'string') return shown === answer;
  return textFits(shown, answer);
}

function nameOf(place: string): string {
  return place === '' ? 'it' : place;
}

function ofArrays(shown: unknown[], answer: unknown[], at: string): string | null {
  const isOpen = shown.at(-1) === '…';
  const items = isOpen ? shown.slice(0, -1) : shown;
  if (isOpen ? answer.length < items.length : answer.length !== items.length) {
    return `${nameOf(at)} has ${answer.length} items, and the page shows ${items.length}`;
  }
  return first(items.map((item, index) => difference(item, answer[index], `${at}/${index}`)));
}

function ofObjects(
  { '…': more, ...members }: Record<string, unknown>,
  answer: Record<string, unknown>,
  at: string,
): string | null {
  const hidden = Object.keys(answer).filter((name) => !Object.hasOwn(members, name));
  if (more === undefined && hidden.length > 0) {
    return `${nameOf(at)} also has ${hidden.join(', ')}, which the page does not show`;
  }
  return first(
    Object.entries(members).map(([name, value]) =>
      difference(value, answer[name], `${at}/${name}`),
    ),
  );
}

/** A text of a page with `…` inside stands for every text that has something else there. */
export function textFits(shown: string, text: string): boolean {
  const parts = shown.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return new RegExp(`^${parts.join('[\\s\\S]*?')}$`).test(text);
}

function first(found: readonly (string | null)[]): string | null {
  return found.find((each) => each !== null) ?? null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
