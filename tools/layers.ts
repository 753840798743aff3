/** Imports in src/ run down only; layers.test.ts holds it. A room is a folder of src/, or a file beside them. */

import { globSync, readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"

type Layers = readonly (readonly string[])[]

/** From the top down. Rooms of one layer may use each other, but not in a circle. */
const LAYERS: Layers = [
  ["main"],
  ["cli", "server"],
  ["api", "cluster", "rewriter"],
  ["registry"],
  ["store", "rotation", "keyring", "config", "providers", "step"],
  ["format"],
  ["errors", "one-by-one", "shell-word"],
]

/** The rooms inside src/api/, in the same way. */
export const API_LAYERS: Layers = [
  ["api"],
  ["routes"],
  ["verbs"],
  ["answer"],
  ["openapi"],
  ["request"],
  ["patch"],
  ["managed-fields"],
  ["validation"],
  ["kinds"],
  ["status"],
  ["text"],
]

export interface Import {
  /** Path of the importing file below src/. */
  readonly from: string
  /** Path of the imported file below src/; begins with ../ where it lies outside. */
  readonly to: string
}

const roomOf = (path: string): string => path.replace(/\.ts$/, "").split("/", 1)[0] ?? path

/** One sentence for each import that does not run down. */
export function offences(imports: readonly Import[], layers = LAYERS): string[] {
  const layerOf = (room: string): number => layers.findIndex((rooms) => rooms.includes(room))
  return imports.flatMap(({ from, to }) => {
    const [upper, lower] = [roomOf(from), roomOf(to)]
    const offence = (why: string): string[] => [`src/${from} imports src/${to}: ${why}`]
    if (upper === lower) return []
    for (const room of [upper, lower]) {
      if (room === "..") return offence("src/ uses nothing outside of it")
      if (layerOf(room) < 0)
        return offence(`"${room}" has no layer yet, give it one in tools/layers.ts`)
    }
    if (layerOf(lower) > layerOf(upper)) return []
    if (layerOf(lower) < layerOf(upper)) {
      return offence(`${upper} may use only ${layers.slice(layerOf(upper)).flat().join(", ")}`)
    }
    return reaches(imports, lower, upper) ? offence(`${upper} and ${lower} use each other`) : []
  })
}

/** Whether the room `start` uses the room `goal`, directly or through others. */
function reaches(imports: readonly Import[], start: string, goal: string): boolean {
  const seen = new Set([start])
  for (const room of seen) {
    for (const { from, to } of imports) if (roomOf(from) === room) seen.add(roomOf(to))
  }
  return seen.has(goal)
}

/** Every relative import of the program's files; tests may import what they like. */
export function importsOf(src: string): Import[] {
  const files = globSync("**/*.ts", { cwd: src, exclude: (path) => path.endsWith(".test.ts") })
  return files.flatMap((from) => {
    const text = readFileSync(join(src, from), "utf8")
    const found = text.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*"(\.[^"]+)"/g)
    return Array.from(found, ([, path = ""]) => ({
      from,
      to: relative(src, join(src, dirname(from), path)),
    }))
  })
}
