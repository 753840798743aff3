/** etcd's keys in every version since the last compaction. A transaction is one step: nothing is ever in flight. */

/** What one transaction made of one key. */
export interface Version {
  readonly revision: number
  readonly key: string
  /** undefined: deleted. */
  readonly value: Buffer | undefined
  readonly createRevision: number
}

export interface Put {
  readonly key: string
  /** undefined: delete. */
  readonly value: Uint8Array | undefined
}

export class EtcdHistory {
  /** In order; what was compacted is left out. */
  #versions: Version[] = []
  #live = new Map<string, Version>()
  #revision = 1
  #compacted = 0
  /** Counts commits of any kind. */
  changes = 0

  get versions(): readonly Version[] {
    return this.#versions
  }

  get revision(): number {
    return this.#revision
  }

  get compacted(): number {
    return this.#compacted
  }

  live(key: string): Version | undefined {
    return this.#live.get(key)
  }

  /** The live versions under a prefix and above a key, in order. */
  under(prefix: string, { after = "", revision = this.#revision } = {}): Version[] {
    const found = revision === this.#revision ? this.#live : this.#liveAt(revision)
    const versions = [...found.values()].filter(({ key }) => key.startsWith(prefix) && key > after)
    return versions.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  }

  /** What a version replaced, undefined where that was nothing. */
  before({ key, revision }: Version): Version | undefined {
    const before = this.#versions.findLast((one) => one.key === key && one.revision < revision)
    return before?.value === undefined ? undefined : before
  }

  /** One transaction: one revision for all of it. */
  put(puts: readonly Put[]): number {
    const revision = ++this.#revision
    for (const { key, value } of puts) {
      const createRevision = this.#live.get(key)?.createRevision ?? revision
      const version = { revision, key, value: value && Buffer.from(value), createRevision }
      this.#versions.push(version)
      if (value === undefined) this.#live.delete(key)
      else this.#live.set(key, version)
    }
    this.changes += 1
    return revision
  }

  compact(revision: number): void {
    const kept = new Set(this.#liveAt(revision).values())
    this.#versions = this.#versions.filter((one) => one.revision > revision || kept.has(one))
    this.#compacted = revision
    this.changes += 1
  }

  /** A copy of all that there is, to be put back by calling what is returned. */
  snapshot(): () => void {
    const [versions, live] = [this.#versions.slice(), new Map(this.#live)]
    const [revision, compacted] = [this.#revision, this.#compacted]
    return () => {
      this.#versions = versions.slice()
      this.#live = new Map(live)
      this.#revision = revision
      this.#compacted = compacted
      this.changes += 1
    }
  }

  #liveAt(revision: number): Map<string, Version> {
    const live = new Map<string, Version>()
    for (const version of this.#versions) {
      if (version.revision > revision) break
      if (version.value === undefined) live.delete(version.key)
      else live.set(version.key, version)
    }
    return live
  }
}
