/** Opens and seals for a rewrite, on a thread of its own where there is much of it: all that is allocated meanwhile is collected
 *  there, and no request waits for that. */
import { once } from "node:events"
import { extname, join } from "node:path"
import { Worker } from "node:worker_threads"
import type { OpenRecord } from "../keyring/record.ts"
import type { Unreadable } from "../rotation/operation.ts"
import type { Replacement } from "../store/store.ts"
import { type Stale, sealAnew, type Target } from "./rewrite.ts"
import { type Answered, type Asked, gathered } from "./sealer-messages.ts"

const THREAD = join(import.meta.dirname, `sealer-thread${extname(import.meta.filename)}`)
/** A thread takes longer to start than fewer take to seal. */
const WORTH_A_THREAD = 100

export interface Sealed {
  readonly replacements: Replacement[]
  /** What does not open, and stays as it is. */
  readonly unreadable: Unreadable[]
}

export class Sealer implements AsyncDisposable {
  readonly #target: Target
  #thread: Worker | undefined

  constructor(target: Target) {
    this.#target = target
  }

  /** Each of `stale` once. To be called again only when the call before has ended. */
  async seal(stale: readonly Stale[]): Promise<Sealed> {
    if (stale.length >= WORTH_A_THREAD) this.#thread ??= startThread(this.#target)
    const anew =
      this.#thread === undefined
        ? stale.map((one) => sealAnew(one, this.#target))
        : await answerOf(this.#thread, stale)
    const sealed: Sealed = { replacements: [], unreadable: [] }
    for (const [at, one] of stale.entries()) {
      const now = anew[at]
      if (now instanceof Uint8Array) sealed.replacements.push({ ...one, replacement: now })
      else if (now !== undefined) sealed.unreadable.push(now)
    }
    return sealed
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#thread?.terminate()
  }
}

/** Of the keyring it is given the keys, and nothing that it does not need. */
function startThread({ view: { record } }: Target): Worker {
  const none = { cert: "", key: "" }
  const authorities = { server: none, client: none }
  const workerData: OpenRecord = {
    ...record,
    slots: [],
    keyring: { ...record.keyring, authorities, password: "" },
  }
  return new Worker(THREAD, { workerData, execArgv: [], env: {} })
}

async function answerOf(thread: Worker, stale: readonly Stale[]): Promise<Answered> {
  const { views, buffer } = gathered(stale.map(({ expected }) => expected))
  const asked: Asked = stale.map(({ key, expected }, at) => ({
    key,
    expected: views[at] ?? expected,
  }))
  const answered = once(thread, "message")
  thread.postMessage(asked, [buffer])
  return (await answered)[0]
}
