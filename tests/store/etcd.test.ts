/** The contract on a real etcd. What is etcd's own: etcd-shared.test.ts; a failing one: etcd-faults.test.ts. */
import { NOT_ON_ETCD } from "../contract/not-on-etcd.ts"
import { storeContract } from "../contract/store.contract.ts"
import { EtcdStores } from "../harness/etcd-stores.ts"

const etcd = new EtcdStores()

storeContract(
  "etcd",
  async () => {
    await etcd.server.deleteAll()
    const store = await etcd.open()
    return { store, cleanup: () => store.close() }
  },
  { modelRuns: 10, skip: NOT_ON_ETCD },
)
