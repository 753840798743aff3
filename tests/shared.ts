/** Where the recorded vectors and transcripts are: the folder `shared` beside the repository. */

import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

const SHARED = fileURLToPath(new URL("../../shared/", import.meta.url))

/** Throws where the folder is missing: a test without its vectors must not pass. */
export function sharedPath(...parts: string[]): string {
  if (!existsSync(SHARED))
    throw new Error(`the recorded vectors are missing: put them at ${SHARED}`)
  return SHARED + parts.join("/")
}
