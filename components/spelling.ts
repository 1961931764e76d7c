// What a misspelt word was meant to be.

/** The nearest of the candidates by edit distance, or undefined when none is near enough to be a misspelling. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  let best: { name: string; distance: number } | undefined;
  for (const name of candidates) {
    const distance = editDistance(word.toLowerCase(), name.toLowerCase());
    const near = distance <= Math.floor(Math.max(word.length, name.length) / 3);
    if (near && (best === undefined || distance < best.distance)) {
      best = { name, distance };
    }
  }
  return best?.name;
}

/** `did you mean "x"? ` with a trailing blank, or nothing. */
export function didYouMean(word: string, candidates: readonly string[]): string {
  const hint = nearest(word, candidates);
  return hint === undefined ? "" : `did you mean "${hint}"? `;
}

/** Levenshtein distance with adjacent transpositions counted as one. */
function editDistance(left: string, right: string): number {
  const rows: number[][] = [Array.from({ length: right.length + 1 }, (_, column) => column)];
  for (let row = 1; row <= left.length; row++) {
    const line: number[] = [row];
    for (let column = 1; column <= right.length; column++) {
      const cost = left[row - 1] === right[column - 1] ? 0 : 1;
      let distance = Math.min(
        (line[column - 1] ?? 0) + 1,
        (rows[row - 1]?.[column] ?? 0) + 1,
        (rows[row - 1]?.[column - 1] ?? 0) + cost,
      );
      if (
        row > 1 &&
        column > 1 &&
        left[row - 1] === right[column - 2] &&
        left[row - 2] === right[column - 1]
      ) {
        distance = Math.min(distance, (rows[row - 2]?.[column - 2] ?? 0) + 1);
      }
      line.push(distance);
    }
    rows.push(line);
  }
  return rows[left.length]?.[right.length] ?? 0;
}
