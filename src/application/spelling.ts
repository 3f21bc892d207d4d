/** The word that looks most like one that is not known; null when there is none to choose from. */
export function nearestTo(word: string, known: readonly string[]): string | null {
  const [nearest] = known.toSorted((a, b) => editsBetween(a, word) - editsBetween(b, word));
  return nearest ?? null;
}

/** Edits between two words (Levenshtein). */
export function editsBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const substituted = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(substituted, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
