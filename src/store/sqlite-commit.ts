/** Group commit: the writes that arrive in one turn of the event loop share one transaction and one sync to the disk.
 *
 *  A write runs inside the transaction, synchronously, and touches nothing but the database and the `changes` it is given:
 *  when another write of its group fails, the transaction is rolled back and it runs again. */
import type { DatabaseSync } from "node:sqlite"
import { KnownError } from "../errors.ts"
import { commitError, isMachineFault, isUnwritten, storeError } from "./sqlite-errors.ts"
import { checkpoint, placeOf } from "./sqlite-file.ts"
import type { Change } from "./store.ts"

interface Pending {
  readonly run: (changes: Change[]) => void
  readonly done: () => void
  readonly failed: (reason: unknown) => void
}

export interface CommitQueueOptions {
  readonly db: DatabaseSync
  readonly path: string
  /** Called after each durable commit, before the writers hear of it. */
  readonly committed: (changes: readonly Change[]) => void
}

export class CommitQueue {
  readonly #db: DatabaseSync
  readonly #path: string
  readonly #committed: (changes: readonly Change[]) => void
  readonly #isInPlace: () => boolean
  #pending: Pending[] = []
  #isHeld = false
  #closed = false

  constructor({ db, path, committed }: CommitQueueOptions) {
    this.#db = db
    this.#path = path
    this.#committed = committed
    this.#isInPlace = placeOf(path)
  }

  /** Resolves with what the write returns once it is durable. */
  submit<T>(write: (changes: Change[]) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#closed) return reject(new KnownError("StoreUnavailable", "the store is closed"))
      if (this.#pending.length === 0) setImmediate(() => this.#isHeld || this.flush())
      let result: () => T
      this.#pending.push({
        run: (changes) => {
          const value = write(changes)
          result = () => value
        },
        done: () => resolve(result()),
        failed: reject,
      })
    })
  }

  /** Commits what waits, now. */
  flush(): void {
    let group = this.#pending
    this.#pending = []
    while (group.length > 0) group = this.#commit(group)
  }

  /** Writes wait until `work` has ended, and nothing stands still for it. One at a time. */
  async hold(work: () => Promise<void>): Promise<void> {
    this.flush()
    this.#isHeld = true
    try {
      await work()
    } finally {
      this.#isHeld = false
      this.flush()
    }
  }

  /** SQLite itself goes on in files that were moved away, where nobody finds it again. Throws StoreUnavailable. */
  refuseAstray(): void {
    if (this.#isInPlace()) return
    throw new KnownError(
      "StoreUnavailable",
      `${this.#path} or its -wal was moved, deleted or replaced while it was open: nothing is written any more. What was stored is read until the server ends: save it with kubectl first`,
    )
  }

  /** Commits what waits and takes nothing more. */
  close(): void {
    this.#closed = true
    this.flush()
  }

  /** Commits the whole group, or fails it, or fails one write and returns the others to be tried again. */
  #commit(group: Pending[]): Pending[] {
    const changes: Change[] = []
    let running: Pending | undefined
    try {
      this.refuseAstray()
      this.#db.exec("BEGIN IMMEDIATE")
      for (running of group) running.run(changes)
      running = undefined
    } catch (error) {
      this.#undo(error)
      const culprits = running === undefined || isMachineFault(error) ? group : [running]
      for (const { failed } of culprits) failed(storeError(this.#path, error))
      return group.filter((pending) => !culprits.includes(pending))
    }
    try {
      this.#db.exec("COMMIT")
    } catch (error) {
      this.#undo(error)
      for (const { failed } of group) failed(commitError(this.#path, error))
      return []
    }
    this.#committed(changes)
    for (const { done } of group) done()
    return []
  }

  /** Where a log may grow no more, what it holds is moved into the file: the next write begins it anew, in its own space. */
  #undo(error: unknown): void {
    if (this.#db.isTransaction) this.#db.exec("ROLLBACK")
    if (!isUnwritten(error)) return
    try {
      checkpoint(this.#db)
    } catch (alsoFull) {
      if (!isMachineFault(alsoFull)) throw alsoFull
    }
  }
}
