/** One simulation, from its seed to its end: what is dealt, the faults, and the checks after every event. */
import { isKnown } from "../../src/errors.ts"
import { prefixOf } from "../../src/format/value.ts"
import { writingKey } from "../../src/keyring/keyring.ts"
import { newClusterKey } from "../../src/keyring/record.ts"
import { KEY_PROVIDERS, type KeyProvider } from "../../src/providers/provider.ts"
import { isRunning } from "../../src/rotation/verbs.ts"
import { random } from "../harness/random.ts"
import { askAtOnce } from "./ask.ts"
import { type Asking, Clients, isForeseen } from "./clients.ts"
import { type Character, type Datastore, makeDatastore } from "./datastore.ts"
import { INVARIANTS, leftBy } from "./invariants.ts"
import { Ledger, newRows } from "./ledger.ts"
import { Observer, type Seen } from "./observer.ts"
import type { Bug } from "./planted.ts"
import { DAMAGED_KEY, keyOf, plaintextOf } from "./secret.ts"
import { serve } from "./server.ts"
import { watchSecrets } from "./watcher.ts"
import { Life, type Troubles, World } from "./world.ts"

export interface Outcome {
  readonly seed: number
  readonly dealt: Dealt
  readonly events: number
  /** What was wrong first; undefined: nothing. */
  readonly finding: string | undefined
}

interface Dealt {
  readonly character: Character
  readonly servers: number
  readonly secrets: number
  readonly requests: number
  /** null: the servers start without encryption. */
  readonly firstKey: KeyProvider | null
  /** Secrets that were there, in plain text, before there was a keyring. */
  readonly old: number
  /** When a stored value is damaged, in requests that are left; null: never. */
  readonly damagedAt: number | null
  readonly troubles: Troubles
  /** How often a fault comes in the place of an event. */
  readonly faults: number
  /** Whether it ends with a rotation that no fault disturbs, and that must leave nothing under an older key. */
  readonly lastRotation: boolean
}

const START = Date.UTC(2026, 10, 23)
const REQUEST = 0.12
/** After the last fault everything must end by itself within this time of the simulation's clock, and so many events. While work is done
 *  its clock goes faster than any real one. */
const END_WITHIN_MS = 600_000
const END_WITHIN_EVENTS = 20_000

interface Server {
  readonly name: string
  life: Life
  running: Asking | undefined
  skewMs: number
}

export interface SimulationOptions {
  readonly seed: number
  readonly bug: Bug
  /** Called with each event, in words. */
  readonly note: (line: string) => void
}

export const simulate = (options: SimulationOptions): Promise<Outcome> =>
  new Simulation(options).run()

class Simulation {
  readonly #options: SimulationOptions
  readonly #world: World
  readonly #dealt: Dealt
  readonly #datastore: Datastore
  readonly #observer: Observer
  readonly #clusterKey = newClusterKey()
  readonly #ledger: Ledger
  readonly #clients: Clients
  readonly #servers: Server[]
  readonly #secrets: readonly string[]
  #snapshot: (() => void) | undefined
  #seen: Seen
  #changes = 0
  #events = 0
  #isDamaged = false
  #finding: string | undefined

  constructor(options: SimulationOptions) {
    this.#options = options
    const note = (what: string): void =>
      options.note(
        `${String(this.#events).padStart(5)} ${(this.#world.nowMs / 1000).toFixed(3)}s ${what}`,
      )
    this.#world = new World({ random: random(options.seed), note })
    const dealt = deal(this.#world)
    this.#dealt = dealt
    this.#secrets = Array.from({ length: dealt.secrets }, (_, n) => `s${n}`)
    this.#datastore = makeDatastore(dealt.character)
    this.#observer = new Observer(this.#datastore, this.#clusterKey)
    this.#ledger = new Ledger({ isInPlace: dealt.character === "sql" })
    this.#seen = this.#observer.look()
    this.#clients = new Clients({
      world: this.#world,
      ledger: this.#ledger,
      secrets: this.#secrets,
      wrong: (what) => this.#found(what),
    })
    this.#servers = Array.from({ length: dealt.servers }, (_, n) => ({
      name: `server-${n + 1}`,
      life: new Life("", this.#world),
      running: undefined,
      skewMs: 0,
    }))
  }

  async run(): Promise<Outcome> {
    await this.#putOldSecrets()
    for (const server of this.#servers) this.#start(server)
    for (let left = this.#dealt.requests; left > 0 && this.#goesOn; ) {
      if (this.#world.happens(this.#dealt.faults)) this.#fault()
      else if (this.#world.happens(REQUEST)) left -= this.#request()
      if (left === this.#dealt.damagedAt) this.#damage()
      await this.#turn()
    }
    this.#heal()
    await this.#untilQuiet("what ran")
    if (this.#dealt.lastRotation) await this.#rotateOnceMore()
    await this.#readBack()
    const { seed } = this.#options
    return { seed, dealt: this.#dealt, events: this.#events, finding: this.#finding }
  }

  get #goesOn(): boolean {
    return this.#finding === undefined
  }

  #found(what: string): void {
    if (this.#finding !== undefined) return
    this.#world.note(`FOUND ${what}`)
    this.#finding = what
  }

  async #turn(): Promise<void> {
    this.#events += 1
    await this.#world.turn()
    this.#check()
  }

  /** Looks at every byte that is stored, if any changed. */
  #check(): void {
    const changes = this.#datastore.changes()
    if (changes === this.#changes) return
    this.#changes = changes
    const now = this.#observer.look()
    const event = { before: this.#seen, now, ledger: this.#ledger }
    for (const [name, invariant] of Object.entries(INVARIANTS)) {
      const [wrong] = invariant(event)
      if (wrong !== undefined) this.#found(`${name}: ${wrong}`)
    }
    for (const row of newRows(this.#seen, now)) this.#ledger.take(row)
    this.#seen = now
  }

  async #putOldSecrets(): Promise<void> {
    const store = await this.#datastore.open(askAtOnce)
    for (const name of this.#secrets.slice(0, this.#dealt.old)) {
      const key = keyOf(name)
      const { write } = this.#ledger.ask({ kind: "create", key, expected: 0 })
      await store.create({ key, value: plaintextOf(name, write), fence: undefined })
      this.#check()
    }
    await store.close()
  }

  #start(server: Server): void {
    const life = new Life(server.name, this.#world)
    const { restores } = this.#ledger
    const now = () => new Date(START + this.#world.nowMs + server.skewMs)
    server.life = life
    this.#world.note(`${server.name} starts`)
    life.run(() => {
      const parts = {
        life,
        now,
        open: async () => this.#options.bug.store(await this.#datastore.open(life.ask)),
        run: this.#options.bug.run,
        clusterKey: this.#clusterKey,
        firstKey: this.#dealt.firstKey,
        monotonicMs: () => this.#world.nowMs,
        failed: (error: unknown) => this.#hear(server, error),
      }
      const wrong = (what: string) => this.#found(what)
      const goesOn = () => this.#ledger.restores === restores
      serve(parts)
        .then((running) => {
          server.running = { ...running, life, now, name: server.name }
          return watchSecrets(running.registry, { ledger: this.#ledger, wrong, goesOn })
        })
        .catch((error: unknown) => this.#hear(server, error))
    })
  }

  /** What a server would write into its log. */
  #hear({ name }: Server, error: unknown): void {
    this.#world.note(`${name} tells of ${String(error)}`)
    const isOfRestore = this.#ledger.restores > 0 && isKnown(error, "RecordCorrupt")
    if (!isForeseen(error) && !isOfRestore) this.#found(`${name} failed: ${String(error)}`)
  }

  /** Sends a request to some server; 0 where there is none to ask. */
  #request(): 0 | 1 {
    const server = this.#world.pick(this.#servers.flatMap(({ running }) => running ?? []))
    if (server === undefined) return 0
    server.life.run(() => void this.#clients.act(server))
    return 1
  }

  #fault(): void {
    const server = this.#world.pick(this.#servers)
    if (server === undefined) return
    const { life, name } = server
    const afterMs = this.#world.below(15_000)
    const later = (what: string, undo: () => void) => {
      this.#world.note(`${name} ${what}`)
      this.#world.setTimer(undefined, afterMs, undo)
    }
    const choice = this.#world.below(100)
    if (choice < 35) this.#crash(server)
    else if (choice < 50) {
      life.isPaused = true
      later("stands still", () => (life.isPaused = false))
    } else if (choice < 65) {
      this.#world.cut(life)
      later("is cut off", () => (life.isCut = false))
    } else if (choice < 75) {
      server.skewMs = this.#world.below(1_200_000) - 600_000
      this.#world.note(`${name} has its clock ${server.skewMs / 1000} s off`)
    } else if (choice < 88) {
      this.#world.note("the datastore starts anew")
      this.#world.restartDatastore()
    } else if (choice < 95) this.#copy()
    else this.#restore()
  }

  /** A value under the key that writes does not open any more, so that key must stay. */
  #damage(): void {
    const writer = this.#seen.keyring && writingKey(this.#seen.keyring)
    if (writer === undefined || this.#isDamaged) return
    this.#isDamaged = true
    this.#world.note(`${DAMAGED_KEY} is damaged`)
    this.#datastore.put(DAMAGED_KEY, Buffer.concat([prefixOf(writer), Buffer.alloc(64, 7)]))
    this.#check()
  }

  #crash(server: Server): void {
    if (server.life.isOver) return
    this.#world.note(`${server.name} dies`)
    this.#world.end(server.life)
    server.running = undefined
    this.#world.setTimer(undefined, this.#world.below(20_000), () => this.#start(server))
  }

  /** Of a datastore that holds a keyring: before that there is nothing to come back to. */
  #copy(): void {
    if (this.#seen.keyring === undefined) return
    this.#world.note("a snapshot is made")
    const [datastore, ledger] = [this.#datastore.snapshot(), this.#ledger.snapshot()]
    this.#snapshot = () => {
      datastore()
      ledger()
    }
  }

  #restore(): void {
    if (this.#snapshot === undefined) return
    this.#world.note("the snapshot is restored")
    this.#world.restartDatastore({ forgetsAll: true })
    this.#snapshot()
    this.#seen = this.#observer.look()
    this.#check()
  }

  #heal(): void {
    this.#world.note("no more faults")
    this.#world.troubles = NO_TROUBLES
    for (const { life } of this.#servers) {
      life.isPaused = false
      life.isCut = false
    }
  }

  /** I6: everything ends by itself. */
  async #untilQuiet(what: string): Promise<void> {
    const [byMs, byEvent] = [this.#world.nowMs + END_WITHIN_MS, this.#events + END_WITHIN_EVENTS]
    while (this.#goesOn && !this.#isQuiet) {
      if (this.#world.nowMs > byMs || this.#events > byEvent)
        return this.#found(`I6: ${what} did not end by itself`)
      await this.#turn()
    }
  }

  get #isQuiet(): boolean {
    const isUp = this.#servers.every(({ running }) => running !== undefined)
    return isUp && !this.#clients.isAnyWaiting && !isRunning(this.#seen.operation)
  }

  /** From whatever the faults left. */
  async #rotateOnceMore(): Promise<void> {
    for (const verb of ["enable", "rotate-keys"] as const) {
      if (!this.#goesOn) return
      const server = this.#world.pick(this.#servers)?.running
      server?.life.run(() => void this.#clients.verb(server, { verb, force: true, skip: false }))
      await this.#untilQuiet(`the last ${verb}`)
    }
    const [left] = leftBy(this.#seen)
    if (left !== undefined) this.#found(`I6: ${left}`)
  }

  async #readBack(): Promise<void> {
    for (const { running } of this.#servers)
      for (const name of this.#secrets)
        running?.life.run(() => void this.#clients.read(running, name))
    await this.#untilQuiet("the last reads")
  }
}

const NO_TROUBLES: Troubles = { lostRequest: 0, lostAnswer: 0, late: 0, rolledBack: 0 }

/** Every seed is another cluster; a third of them has no faults but the order of events. */
function deal(world: World): Dealt {
  const chance = (most: number) => (world.happens(0.5) ? world.random() * most : 0)
  const troubles = {
    lostRequest: chance(0.03),
    lostAnswer: chance(0.03),
    late: chance(0.03),
    rolledBack: chance(0.05),
  }
  const isCalm = world.happens(0.33)
  world.troubles = isCalm ? NO_TROUBLES : troubles
  const secrets = 2 + world.below(5)
  return {
    character: world.happens(0.6) ? "sql" : "etcd",
    servers: 1 + world.below(3),
    secrets,
    requests: 10 + world.below(50),
    firstKey: world.happens(0.6) ? (world.pick(KEY_PROVIDERS) ?? null) : null,
    old: world.happens(0.3) ? world.below(secrets) : 0,
    damagedAt: world.happens(0.15) ? world.below(10) : null,
    troubles: world.troubles,
    faults: isCalm ? 0 : chance(0.04),
    lastRotation: world.happens(0.3),
  }
}
