/** Makes what other people read (files, the Node's annotation) say what the keyring says. */
import { encryptionFiles, writeEncryptionFiles } from "../cluster/encryption-files.ts"
import type { DataDirPaths } from "../cluster/data-dir.ts"
import { type NodeFacts, writeNode } from "../cluster/node.ts"
import type { Keys } from "../registry/keys.ts"
import type { Registry } from "../registry/registry.ts"

export interface PublisherOptions {
  readonly keys: Keys
  readonly registry: Registry
  readonly paths: DataDirPaths
  readonly node: NodeFacts
  readonly now: () => Date
}

/** One at a time, each with the newest view, so that an older one can never be written over a newer. */
export class Publisher {
  readonly #options: PublisherOptions
  #last: Promise<void> = Promise.resolve()
  #published = false

  constructor(options: PublisherOptions) {
    this.#options = options
  }

  /** Whether files and annotation have been written since the start. */
  get published(): boolean {
    return this.#published
  }

  publish(): Promise<void> {
    const next = this.#last.catch(() => {}).then(() => this.#write())
    this.#last = next
    return next
  }

  async #write(): Promise<void> {
    const { keys, registry, paths, node, now } = this.#options
    const files = encryptionFiles(keys.view.record.keyring)
    if (files !== undefined) writeEncryptionFiles(paths, files)
    await writeNode(registry, node, { hash: files?.state, now: now() })
    this.#published = true
  }
}
