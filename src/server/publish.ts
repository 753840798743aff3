/** Makes what other people read (files, the Node's annotation) say what the keyring says, or said when this server showed it
 *  last. */
import { encryptionFiles, writeEncryptionFiles } from "../cluster/encryption-files.ts"
import type { DataDirPaths } from "../cluster/data-dir.ts"
import { type NodeFacts, writeNode } from "../cluster/node.ts"
import { isDestroyed, type Keyring } from "../keyring/keyring.ts"
import type { Keys } from "../registry/keys.ts"
import type { Registry } from "../registry/registry.ts"
import { oneByOne } from "../one-by-one.ts"

export interface PublisherOptions {
  readonly keys: Keys
  readonly registry: Registry
  readonly paths: DataDirPaths
  readonly node: NodeFacts
  readonly now: () => Date
  /** `restart`: what another server changed is shown from the next start on, as in K3s. */
  readonly reload: "watch" | "restart"
}

/** One at a time, each with the newest view, so that an older one can never be written over a newer. */
export class Publisher {
  readonly #options: PublisherOptions
  readonly #inTurn = oneByOne()
  /** Undefined before the first time. */
  #taken: Keyring | undefined
  #published: Keyring | undefined

  constructor(options: PublisherOptions) {
    this.#options = options
  }

  /** Whether files and annotation have been written since the start. */
  get published(): boolean {
    return this.#published !== undefined
  }

  /** The keyring as this server shows it. */
  get shown(): Keyring {
    return this.#follows || this.#taken === undefined ? this.#newest : this.#taken
  }

  /** Shows the newest keyring: at the start, and when this server took a verb. */
  publish(): Promise<void> {
    return this.#inTurn(async () => {
      this.#taken = this.#newest
      await this.#write(this.#taken)
    })
  }

  /** Shows the newest keyring where it changed what this server follows. */
  follow(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#follows && !isShownAlike(this.#published, this.#newest))
        await this.#write(this.#newest)
    })
  }

  /** Writes again what is shown. */
  renew(): Promise<void> {
    return this.#inTurn(() => this.#write(this.shown))
  }

  /** In both modes a server that shows a rewrite as running follows it to its end, whoever runs it, and no file goes on holding
   *  a key that was destroyed. */
  get #follows(): boolean {
    if (this.#options.reload === "watch" || this.#taken?.stage === "reencrypt_active") return true
    return this.#taken?.keys.some(({ name }) => isDestroyed(this.#newest, name)) === true
  }

  get #newest(): Keyring {
    return this.#options.keys.view.record.keyring
  }

  async #write(keyring: Keyring): Promise<void> {
    const { registry, paths, node, now } = this.#options
    const files = encryptionFiles(keyring)
    if (files !== undefined) writeEncryptionFiles(paths, files)
    await writeNode(registry, node, { hash: files?.state, now: now() })
    this.#taken = keyring
    this.#published = keyring
  }
}

const isShownAlike = (one: Keyring | undefined, other: Keyring): boolean =>
  one !== undefined && encryptionFiles(one)?.state === encryptionFiles(other)?.state
