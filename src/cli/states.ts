/** How states look: each by a symbol, a word and a colour, so that none of the three is needed. */
import type { Output, Paint, Terminal } from './terminal.js';

type Look = readonly [symbol: string, ascii: string, style: Parameters<Paint>[0]];

/** States of deployments and of attempts. */
const LOOKS: Readonly<Record<string, Look>> = {
  pending: ['○', 'o', 'dim'],
  deploying: ['◐', '>', 'cyan'],
  running: ['◐', '>', 'cyan'],
  ready: ['●', '*', 'green'],
  succeeded: ['●', '*', 'green'],
  failed: ['✗', 'x', 'red'],
  cancelled: ['◌', '-', 'dim'],
  unknown: ['?', '?', 'magenta'],
};

/** A state's symbol and word. */
export function stateText(state: string, { isUnicode }: Pick<Terminal, 'isUnicode'>): string {
  return `${symbolOf(state, { isUnicode })} ${state}`;
}

/** A state's symbol alone. */
export function symbolOf(state: string, { isUnicode }: Pick<Terminal, 'isUnicode'>): string {
  const [symbol, ascii] = LOOKS[state] ?? ['·', '.'];
  return isUnicode ? symbol : ascii;
}

/** Paints text in the colour of a state. */
export function paintState(text: string, state: string, { paint }: Pick<Output, 'paint'>): string {
  const style = LOOKS[state]?.[2];
  return style === undefined ? text : paint(style, text);
}
