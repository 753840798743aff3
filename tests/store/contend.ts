import type { Store } from "../../src/store/store.ts"
import { bytes, key } from "../contract/store-helpers.ts"

/** Creates, changes and deletes keys that the others want as well; the revisions made. */
export async function contend(store: Store, lane: number): Promise<number[]> {
  const made: number[] = []
  for (let turn = 0; turn < 60; turn += 1) {
    const name = turn % 3 === 0 ? `own-${lane}-${turn}` : `common-${turn % 5}`
    const entry = await store.get(key(name))
    const write = { key: key(name), value: bytes(`${lane}`), fence: undefined }
    const result =
      entry === undefined
        ? await store.create(write)
        : turn % 4 === 0
          ? await store.delete({ ...write, expected: entry.revision })
          : await store.update({ ...write, expected: entry.revision })
    if (result.outcome === "done") made.push(result.revision)
  }
  return made
}
