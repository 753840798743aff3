import { randomBytes } from "node:crypto"
import type { DatabaseSync, StatementSync } from "node:sqlite"
import { bug } from "../errors.ts"
import { bufferOf } from "../format/wire.ts"
import type { RecordName, RecordStep, StoredRecord } from "./store.ts"

/** The records and the fence, in tables of their own beside kine's. */
export class RecordTable {
  readonly #record: StatementSync
  readonly #version: StatementSync
  readonly #fence: StatementSync
  readonly #put: StatementSync
  readonly #setFence: StatementSync

  constructor(db: DatabaseSync) {
    this.#record = db.prepare("SELECT value, version FROM keyturn_record WHERE name = ?")
    this.#version = db.prepare("SELECT version FROM keyturn_record WHERE name = ?")
    this.#fence = db.prepare("SELECT fence FROM keyturn_fence")
    this.#put = db.prepare(
      "INSERT OR REPLACE INTO keyturn_record (name, version, value) VALUES (?, ?, ?)",
    )
    this.#setFence = db.prepare("INSERT OR REPLACE INTO keyturn_fence (id, fence) VALUES (1, ?)")
  }

  record(name: RecordName): StoredRecord | undefined {
    const row = this.#record.get(name)
    if (row === undefined) return undefined
    const { value, version } = row
    if (!(value instanceof Uint8Array) || typeof version !== "string") {
      return bug(`record ${name} is not a blob with a version`)
    }
    return { value: bufferOf(value), version }
  }

  fence(): string | undefined {
    const fence = this.#fence.get()?.["fence"]
    return typeof fence === "string" ? fence : undefined
  }

  /** All of the step or nothing; false where a compare failed. To be called inside a transaction. */
  step({ compare, put = [], fence }: RecordStep): boolean {
    const holds = compare.every(({ name, version }) => this.#versionOf(name) === version)
    if (!holds || (fence && (this.fence() ?? null) !== fence.expected)) return false
    // Random, so that a record restored from a backup and changed again never repeats a version somebody has seen.
    for (const { name, value } of put) this.#put.run(name, randomBytes(16).toString("hex"), value)
    if (fence?.next !== undefined) this.#setFence.run(fence.next)
    return true
  }

  #versionOf(name: RecordName): string | null {
    const version = this.#version.get(name)?.["version"]
    return typeof version === "string" ? version : null
  }
}
