/** The contract on a real PostgreSQL. What several servers and a failing one make of it: postgres-shared.test.ts. */
import { afterAll, beforeAll } from "vitest"
import { openPostgres } from "../../src/store/postgres.ts"
import { storeContract } from "../contract/store.contract.ts"
import { Postgres } from "../harness/postgres.ts"
import { missing, needs } from "../harness/programs.ts"

needs("postgres")
let server: Postgres | undefined
beforeAll(async () => {
  if ((await missing("postgres")) === undefined) server = await Postgres.start()
})
afterAll(() => server?.[Symbol.asyncDispose]())

storeContract(
  "postgres",
  async () => {
    if (server === undefined) throw new Error("PostgreSQL does not run")
    const store = await openPostgres({ address: server.newDatabase() })
    return { store, cleanup: () => store.close() }
  },
  { modelRuns: 10 },
)
