/** Where the recordings of the real kube-apiserver are: `tests/recorded`, or a larger set in a folder `shared` beside the
 *  repository. */

import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"

const BESIDE = fileURLToPath(new URL("../../shared/", import.meta.url))
const OWN = fileURLToPath(new URL("./recorded/", import.meta.url))
const ROOT = existsSync(`${BESIDE}vectors`) ? BESIDE : OWN

export const sharedPath = (...parts: string[]): string => ROOT + parts.join("/")
