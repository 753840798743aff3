/** The contract on a real PostgreSQL. Several servers: postgres-shared.test.ts; a failing one:
 *  postgres-faults.test.ts. */
import { storeContract } from "../contract/store.contract.ts"
import { PostgresStores } from "../harness/postgres-stores.ts"

const pg = new PostgresStores()

storeContract(
  "postgres",
  async () => {
    pg.newDatabase()
    const store = await pg.open()
    return { store, cleanup: () => store.close() }
  },
  { modelRuns: 10 },
)
