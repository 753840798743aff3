import type { Store } from "../../src/store/store.ts"

/** The store, of which a reading of whole values, not of their heads alone, never comes to an end: its rows begin anew. */
export const endless = (store: Store, began: () => void): Store =>
  new Proxy(store, {
    get(target, name) {
      if (name === "rows")
        return async (query: Parameters<Store["rows"]>[0]) => {
          if (query.headBytes !== undefined) return target.rows(query)
          began()
          return { ...(await target.rows({ ...query, cursor: "" })), isLast: false }
        }
      const value: unknown = Reflect.get(target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })
