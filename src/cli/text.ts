/** How commands print tables and times. */

/** Go's tabwriter with a padding of 2; the last cell of a row stays as long as it is. */
export function aligned(rows: readonly (readonly string[])[]): string[] {
  const width = (column: number) => 2 + Math.max(...rows.map((row) => row[column]?.length ?? 0))
  const cell = (text: string, column: number, { length }: readonly string[]) =>
    column === length - 1 ? text : text.padEnd(width(column))
  return rows.map((row) => row.map(cell).join(""))
}

export function duration(seconds: number): string {
  if (seconds < 60) return `${seconds} s`
  const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60]
  return minutes < 60
    ? `${minutes} min ${rest} s`
    : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
