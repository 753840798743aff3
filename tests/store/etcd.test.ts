/** The contract on a real etcd. What is etcd's own: etcd-shared.test.ts; a failing one: etcd-faults.test.ts. */
import { storeContract } from "../contract/store.contract.ts"
import { EtcdStores } from "../harness/etcd-stores.ts"

const etcd = new EtcdStores()
const inPlace = "nothing changes in place: a rewrite is an update, and a revision says which bytes"

storeContract(
  "etcd",
  async () => {
    await etcd.server.deleteAll()
    const store = await etcd.open()
    return { store, cleanup: () => store.close() }
  },
  {
    modelRuns: 10,
    skip: [
      {
        test: "rows are the whole history in order, tombstones included",
        because: "history is compacted, not rewritten: rows are what lives",
      },
      {
        test: "rewriting replaces bytes in place, without a revision or an event",
        because: inPlace,
      },
      {
        test: "rewriting in place compares the bytes, for others may have rewritten them",
        because: inPlace,
      },
      { test: "a step makes no revision", because: "the records are keys like any other" },
    ],
  },
)
