/** What every datastore must do, in terms of the Store interface alone. A backend's test file calls storeContract with
 *  a way to open an empty store; what a backend cannot do by its nature stands in `skip` with the reason. */
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import type { Store } from "../../src/store/store.ts"
import { compactionContract, historyContract } from "./store-history.contract.ts"
import { modelContract } from "./store-model.contract.ts"
import { recordContract } from "./store-records.contract.ts"
import { valueContract } from "./store-values.contract.ts"
import { watchContract } from "./store-watch.contract.ts"

export interface OpenStore {
  readonly store: Store
  /** Closes the store and removes what it left. */
  readonly cleanup: () => Promise<void>
}

/** A skipped test that passes fails the run: the reason has gone. */
export interface Skip {
  readonly test: string
  readonly because: string
}

export interface ContractOptions {
  readonly skip?: readonly Skip[]
  /** Random histories to try; each is some 40 calls. */
  readonly modelRuns?: number
}

export type Check = (title: string, body: (store: Store) => Promise<void>) => void

export function storeContract(
  name: string,
  open: () => Promise<OpenStore>,
  { skip = [], modelRuns = 40 }: ContractOptions = {},
): void {
  describe(`${name} keeps the store's contract`, () => {
    let opened: OpenStore
    const titles = new Set<string>()
    beforeEach(async () => {
      opened = await open()
    })
    afterEach(() => opened.cleanup())

    const check: Check = (title, body) => {
      titles.add(title)
      const skipped = skip.find((entry) => entry.test === title)
      if (skipped === undefined) test(title, () => body(opened.store))
      else {
        test.fails(`${title} (not here: ${skipped.because})`, () => body(opened.store))
      }
    }
    valueContract(check)
    historyContract(check)
    compactionContract(check)
    recordContract(check)
    watchContract(check)
    modelContract(check, open, modelRuns)

    test("every skipped test exists", () => {
      for (const entry of skip) expect(titles, entry.test).toContain(entry.test)
    })
  })
}
