/** What a function of the API throws, as the body that a client gets. */

import { goJson } from "../src/api/text/go-text.ts"
import { StatusError } from "../src/api/status.ts"

/** The Status as text; throws where nothing was thrown. */
export function failureOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof StatusError) return `${goJson(error.toStatus())}\n`
    throw error
  }
  throw new Error("it did not fail")
}

/** The message alone. */
export const messageOf = (run: () => unknown): string => JSON.parse(failureOf(run)).message
