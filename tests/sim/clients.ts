/** What people do to a server of a simulation: Secrets written, read and deleted, verbs, compaction. Every answer is held against
 *  the ledger. */
import { randomUUID } from "node:crypto"
import { ERRORS, isKnown } from "../../src/errors.ts"
import { KEY_PROVIDERS } from "../../src/providers/provider.ts"
import { takeVerb } from "../../src/rewriter/take-verb.ts"
import { destroyKey } from "../../src/rewriter/destroy.ts"
import { entryOf } from "../../src/rotation/history.ts"
import { type Verb, VERBS } from "../../src/rotation/operation.ts"
import type { Request } from "../../src/rotation/verbs.ts"
import { CALLER } from "../harness/verbs.ts"
import type { Asked, Ledger } from "./ledger.ts"
import { keyOf, refOf, SECRETS, secretOf, writeIn } from "./secret.ts"
import type { Running } from "./server.ts"
import type { Life, World } from "./world.ts"

/** What a server may answer while a datastore fails, others write too, and verbs come in any order: all but what is damaged. */
export const isForeseen = (error: unknown): boolean =>
  isKnown(error) && ERRORS[error.code].http !== 500

/** What leads on comes more often. */
const OFTEN: readonly Verb[] = [...VERBS, "rotate-keys", "rotate-keys", "enable"]

export interface ClientsParts {
  readonly world: World
  readonly ledger: Ledger
  readonly secrets: readonly string[]
  readonly wrong: (what: string) => void
}

/** A server that is asked. */
export interface Asking extends Running {
  readonly life: Life
  readonly name: string
  readonly now: () => Date
}

type Deed = (server: Asking) => Promise<void>

export class Clients {
  readonly #parts: ClientsParts
  readonly #waiting = new Set<{ readonly life: Life }>()

  constructor(parts: ClientsParts) {
    this.#parts = parts
  }

  /** Whether a server that lives has not answered yet. */
  get isAnyWaiting(): boolean {
    return [...this.#waiting].some(({ life }) => !life.isOver)
  }

  /** One request of any kind. */
  async act(server: Asking): Promise<void> {
    const { world, secrets } = this.#parts
    const name = world.pick(secrets) ?? ""
    const choice = world.below(100)
    if (choice < 52) return this.write(server)
    if (choice < 68) return this.read(server, name)
    if (choice < 76) return this.#do(server, "list", (to) => this.#list(to))
    if (choice < 82) return this.#do(server, "compact", compact)
    if (choice < 85) return this.#do(server, "destroy a retired key", (to) => this.#destroy(to))
    return this.verb(server, this.#request())
  }

  write(server: Asking): Promise<void> {
    const { world, secrets } = this.#parts
    const name = world.pick(secrets) ?? ""
    return world.happens(0.8)
      ? this.#do(server, `put ${name}`, (to) => this.#put(to, name))
      : this.#do(server, `delete ${name}`, (to) => this.#remove(to, name))
  }

  verb(server: Asking, request: Request): Promise<void> {
    const { verb, force, skip } = request
    const flags = `${force ? " --force" : ""}${skip ? " --skip" : ""}`
    return this.#do(server, verb + flags, async ({ keys, name: nodeName, now }) => {
      const provider = this.#parts.world.pick(KEY_PROVIDERS) ?? "aescbc"
      const [mismatch, publish, taken] = [async () => undefined, async () => {}, () => {}]
      const parts = { keys, nodeName, provider, now, mismatch, publish, taken }
      await takeVerb(request, CALLER, parts)
    })
  }

  async #destroy({ store, keys, now, name: server }: Asking): Promise<void> {
    const { keys: all } = keys.view.record.keyring
    const target = this.#parts.world.pick(all.filter(({ state }) => state === "archived"))?.name
    if (target === undefined) return
    const verb = "keys destroy"
    const entry = entryOf({ caller: CALLER, id: randomUUID(), verb, server, target, now: now() })
    await destroyKey({ store, keys, entry, now }, target)
  }

  read(server: Asking, name: string): Promise<void> {
    return this.#do(server, `get ${name}`, async (to) => void (await this.#get(to, name)))
  }

  async #get({ registry }: Asking, name: string) {
    const { ledger, wrong } = this.#parts
    const since = ledger.moment
    const stored = await registry.get(SECRETS, refOf(name))
    const write = stored === undefined ? null : writeIn(stored.object)
    if (!ledger.mayHaveRead(keyOf(name), { since, write }))
      wrong(
        `I5: ${name} was read as ${write === null ? "absent" : `write ${write}`}, which it was not at any moment of the read`,
      )
    return stored
  }

  async #put(server: Asking, name: string): Promise<void> {
    const stored = await this.#get(server, name)
    const kind = stored === undefined ? "create" : "update"
    const expected = stored?.revision ?? 0
    await this.#write({ kind, key: keyOf(name), expected }, async ({ write }) => {
      const secret = secretOf(name, write)
      const made = stored
        ? await server.registry.replace(stored, secret)
        : await server.registry.create(SECRETS, refOf(name), secret)
      return Number(made.metadata.resourceVersion)
    })
  }

  async #remove(server: Asking, name: string): Promise<void> {
    const stored = await this.#get(server, name)
    if (stored === undefined) return
    const { key, revision } = stored
    await this.#write({ kind: "delete", key, expected: revision }, () =>
      server.registry.remove({ key, revision }),
    )
  }

  async #list({ registry }: Asking): Promise<void> {
    const { ledger, secrets, wrong } = this.#parts
    const since = ledger.moment
    const { items } = await registry.list(SECRETS, {})
    const read = new Map(items.map(({ key, object }) => [key, writeIn(object)]))
    for (const key of secrets.map(keyOf)) {
      const write = read.get(key) ?? null
      if (!ledger.mayHaveRead(key, { since, write }))
        wrong(`I5: ${key} was listed as write ${write}`)
    }
  }

  /** `commit` returns the revision that it was told. */
  async #write(of: Omit<Asked, "write">, commit: (asked: Asked) => Promise<number>): Promise<void> {
    const { ledger, wrong } = this.#parts
    const { restores } = ledger
    const asked = ledger.ask(of)
    const what = `write ${asked.write}, the ${asked.kind} of ${asked.key}`
    try {
      const revision = await commit(asked)
      const written = asked.kind === "delete" ? null : asked.write
      const isThere = ledger.commit({ key: asked.key, revision })?.write === written
      if (!isThere && ledger.restores === restores)
        wrong(`I5: ${what}, was told to be done at ${revision}, and is not there`)
    } catch (error) {
      if (isKnown(error) && error.code !== "OutcomeUnknown") {
        ledger.refused.add(asked.write)
        if (asked.kind !== "delete" && ledger.hasHappened(asked.write))
          wrong(`I5: ${what}, was told to have failed (${error.code}), and is there`)
      }
      throw error
    }
  }

  async #do(server: Asking, what: string, deed: Deed): Promise<void> {
    const { world, ledger, wrong } = this.#parts
    const { restores } = ledger
    world.note(`${server.name} is asked to ${what}`)
    const waiting = { life: server.life }
    this.#waiting.add(waiting)
    try {
      await deed(server)
      world.note(`${server.name} has done ${what}`)
    } catch (error) {
      world.note(`${server.name} refuses to ${what}: ${String(error)}`)
      const isOfRestore = isKnown(error, "RecordCorrupt") && ledger.restores > restores
      if (!isForeseen(error) && !isOfRestore)
        wrong(`a server answered ${what} with ${String(error)}`)
    } finally {
      this.#waiting.delete(waiting)
    }
  }

  #request(): Request {
    const { world } = this.#parts
    const verb = world.pick(OFTEN) ?? "enable"
    return { verb, force: world.happens(0.2), skip: world.happens(0.1) }
  }
}

async function compact({ store }: Asking): Promise<void> {
  await store.compact(await store.revision())
}
