/** Live entries that were read lately, for a store that knows when one changes. */
import type { Entry } from "./store.ts"

const BYTES_MAX = 2 << 20
/** Larger ones would push out too many others. */
const ENTRY_BYTES_MAX = 64 << 10

export class RecentEntries {
  /** The least recently read first. */
  readonly #entries = new Map<string, Entry>()
  #sizeBytes = 0

  get(key: string): Entry | undefined {
    const entry = this.#entries.get(key)
    if (entry === undefined) return undefined
    this.#entries.delete(key)
    this.#entries.set(key, entry)
    return entry
  }

  add(entry: Entry): void {
    if (entry.value.length > ENTRY_BYTES_MAX) return
    this.forget(entry.key)
    this.#entries.set(entry.key, entry)
    this.#sizeBytes += entry.value.length
    for (const key of this.#entries.keys()) {
      if (this.#sizeBytes <= BYTES_MAX) return
      this.forget(key)
    }
  }

  forget(key: string): void {
    this.#sizeBytes -= this.#entries.get(key)?.value.length ?? 0
    this.#entries.delete(key)
  }

  clear(): void {
    this.#entries.clear()
    this.#sizeBytes = 0
  }
}
