/** The verbs of `keyturn secrets-encrypt`. */
import type { Verb } from "../rotation/operation.ts"
import { type ConnectOptions, connect } from "./connect.ts"
import { type Context, note, say } from "./context.ts"
import { follow, takenBefore } from "./follow.ts"
import { bodyOf, VERB_COMMANDS } from "./verb-commands.ts"

export interface VerbOptions extends ConnectOptions {
  readonly force?: boolean
  readonly skip?: boolean
  readonly vacuum?: boolean
  readonly wait?: boolean
}

export async function runVerb(verb: Verb, options: VerbOptions, context: Context): Promise<void> {
  const { taken, finished, waits } = VERB_COMMANDS[verb]
  const { force = false, skip = false, vacuum = false, wait = waits } = options
  const client = await connect(options, context)
  try {
    const id = await client.take({ ...bodyOf(verb), force, skip, ...(vacuum && { vacuum }) })
    if (!(waits && wait)) say(context, taken)
    if (finished === null) return
    if (!wait) {
      if (id === null) note(context, takenBefore(verb))
      return
    }
    await follow(client, { id, kind: verb }, context)
    say(context, finished)
  } catch (error) {
    if (context.signal.aborted) {
      note(context, "the server finishes what it has begun; see: keyturn secrets-encrypt status")
    }
    throw error
  }
}
