/** What somebody probably meant who wrote `word`: the candidate with the fewest edits (letters added, dropped or changed), the
 *  first of several. The caller gives at least one candidate. */
export function nearest(word: string, candidates: readonly string[]): string {
  const scored = candidates.map((candidate) => ({ candidate, edits: edits(word, candidate) }))
  return scored.reduce((best, next) => (next.edits < best.edits ? next : best)).candidate
}

/** Levenshtein's distance. */
export function edits(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, column) => column)
  for (const [index, letter] of [...from].entries()) {
    const next = [index + 1]
    for (let column = 0; column < to.length; column++) {
      const change = at(row, column) + (letter === to[column] ? 0 : 1)
      next.push(Math.min(change, at(row, column + 1) + 1, at(next, column) + 1))
    }
    row = next
  }
  return at(row, to.length)
}

const at = (row: readonly number[], column: number): number => row[column] ?? Infinity
