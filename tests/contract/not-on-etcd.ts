import type { Skip } from "./store.contract.ts"

const inPlace = "nothing changes in place: a rewrite is an update, and a revision says which bytes"

/** What no etcd does, by its nature. */
export const NOT_ON_ETCD: readonly Skip[] = [
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
]
