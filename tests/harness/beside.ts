/** The datastore of servers, opened beside them: as by somebody who can write to it and has no key. */
import { pino } from "pino"
import { datastoreOf, openNow } from "../../src/server/datastore.ts"
import type { Store } from "../../src/store/store.ts"
import { NO_TLS_FILES } from "../../src/store/tls-files.ts"
import type { Datastore } from "./engines.ts"

/** To be closed. */
export function openBeside({ endpoint }: Datastore): Promise<Store> {
  const of = datastoreOf({ text: endpoint, where: "the test" }, { standard: "", tls: NO_TLS_FILES })
  return openNow(of, pino({ level: "silent" }))
}

/** What is at `key` now, whoever put it there. */
export async function plant(
  datastore: Datastore,
  { key, value }: { key: string; value: Buffer },
): Promise<void> {
  const store = await openBeside(datastore)
  try {
    const entry = await store.get(key)
    const write = { key, value, fence: undefined }
    const { outcome } = await (entry
      ? store.update({ ...write, expected: entry.revision })
      : store.create(write))
    if (outcome !== "done") throw new Error(`${key} could not be planted: ${outcome}`)
  } finally {
    await store.close()
  }
}
