import type { Store } from "../../src/store/store.ts"

/** The store, with `committed` run after each step that took effect and before its caller learns of it. */
export const afterSteps = (store: Store, committed: () => Promise<unknown>): Store =>
  new Proxy(store, {
    get(target, name) {
      if (name === "step")
        return async (step: Parameters<Store["step"]>[0]) => {
          const result = await target.step(step)
          if (result.outcome === "done") await committed()
          return result
        }
      const value: unknown = Reflect.get(target, name)
      return typeof value === "function" ? value.bind(target) : value
    },
  })
