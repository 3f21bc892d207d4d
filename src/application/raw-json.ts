/** JSON text in pieces: what JSON.parse gives back loses the bytes, and bytes are what a log keeps. */

/**
 * Splits the text of a JSON object into the texts of its members, byte for byte.
 *
 * Shape: member name → its value as text; null when the text is no JSON object, or names a member twice.
 */
export function rawMembers(text: string): ReadonlyMap<string, string> | null {
  if (!isObjectText(text)) return null;
  const members = new Map<string, string>();
  let at = skipBlanks(text, text.indexOf('{') + 1);
  while (text[at] === '"') {
    const nameEnd = endOfString(text, at);
    const name = JSON.parse(text.slice(at, nameEnd)) as string;
    const start = skipBlanks(text, text.indexOf(':', nameEnd) + 1);
    const end = endOfValue(text, start);
    if (members.has(name)) return null;
    members.set(name, text.slice(start, end));
    at = skipBlanks(text, end);
    if (text[at] === ',') at = skipBlanks(text, at + 1);
  }
  return members;
}

/** Whether the whole text is one JSON object; from then on its form need not be doubted. */
function isObjectText(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (text[at] === ' ' || text[at] === '\t' || text[at] === '\n' || text[at] === '\r') at += 1;
  return at;
}

/** The place behind the closing quote of the string that begins here. */
function endOfString(text: string, from: number): number {
  for (let at = from + 1; ; at += 1) {
    if (text[at] === '\\') at += 1;
    else if (text[at] === '"') return at + 1;
  }
}

/** The place behind the value that begins here. */
function endOfValue(text: string, from: number): number {
  const letter = text[from];
  if (letter === '"') return endOfString(text, from);
  if (letter === '{' || letter === '[') return endOfNested(text, from);
  return from + (/^[^\s,}\]]+/.exec(text.slice(from))?.[0].length ?? 0);
}

function endOfNested(text: string, from: number): number {
  let depth = 0;
  let at = from;
  do {
    const letter = text[at];
    if (letter === '{' || letter === '[') depth += 1;
    if (letter === '}' || letter === ']') depth -= 1;
    at = letter === '"' ? endOfString(text, at) : at + 1;
  } while (depth > 0);
  return at;
}
