/** A client that watches the Secrets of one server: it must be told every commit once, in order, with what was replaced, and nothing
 *  of rewriting in place. */
import { setTimeout as sleep } from "node:timers/promises"
import { isKnown } from "../../src/errors.ts"
import type { ObjectEvent, Registry } from "../../src/registry/registry.ts"
import type { Commit, Ledger } from "./ledger.ts"
import { SECRETS, writeIn } from "./secret.ts"

const AGAIN_MS = 1_000

interface Watching {
  readonly ledger: Ledger
  readonly wrong: (what: string) => void
  /** Until the datastore is put back to another history: a server that has not noticed that tells of the one before. */
  readonly goesOn: () => boolean
}

/** A watch that ends begins anew, as an informer's does. */
export async function watchSecrets(registry: Registry, watching: Watching): Promise<void> {
  while (watching.goesOn()) {
    try {
      await watchOnce(registry, watching)
    } catch (error) {
      if (!isKnown(error)) throw error
      await sleep(AGAIN_MS)
    }
  }
}

async function watchOnce(registry: Registry, { ledger, wrong, goesOn }: Watching): Promise<void> {
  const { signal } = new AbortController()
  let after = await registry.revision()
  for await (const events of registry.watch(SECRETS, { after, signal })) {
    if (!goesOn()) return
    const upTo = events.at(-1)?.revision ?? after
    const [told, done] = [events.map(eventLine), ledger.between({ after, upTo }).map(commitLine)]
    if (told.join() !== done.join()) wrong(`I5: a watch told ${told.join()} of ${done.join()}`)
    after = upTo
  }
}

const line = (
  { key, revision }: { readonly key: string; readonly revision: number },
  { from, to }: { readonly from: number | null; readonly to: number | null },
): string => `${key} at ${revision}: ${from ?? "nothing"} → ${to ?? "nothing"}`

const eventLine = (event: ObjectEvent): string =>
  line(event, {
    from: event.previous ? writeIn(event.previous) : null,
    to: event.type === "delete" ? null : writeIn(event.object),
  })

const commitLine = (commit: Commit): string =>
  line(commit, { from: commit.replaced, to: commit.write })
