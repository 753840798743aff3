/** One simulation, from its seed to its end: what is dealt, the faults, and the checks after every event. */
import { isKnown } from "../../src/errors.ts"
import { prefixOf } from "../../src/format/value.ts"
import { writingKey } from "../../src/keyring/keyring.ts"
import { newClusterKey } from "../../src/keyring/record.ts"
import { KEY_PROVIDERS, type KeyProvider } from "../../src/providers/provider.ts"
import { isRunning } from "../../src/rotation/operation.ts"
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
  /** So few that a pass takes several batches. */
  readonly rowsMax: number
  /** How often, where none runs, a rewrite is begun in the place of an event. */
  readonly rewrites: number
  /** Whether it ends with a rotation that no fault disturbs, and that must leave nothing under an older key. */
  readonly lastRotation: boolean
}

const START = Date.UTC(2026, 10, 23)
const REQUEST = 0.12
/** Pass 2 begins where pass 1 ended. */
const BEGINS_CENSUS = /^rows above (0|the first)$/
/** After the last request a rewrite may still meet with what is dealt, for so many events. */
const AMID_EVENTS = 300
/** After the last fault everything must end by itself within this time of the simulation's clock, and so many events; more where many rows
 *  lie there, as after a restore from which a server that died left its gap to be filled. While work is done its clock goes faster than any
 *  real one. */
const END_WITHIN_MS = 600_000
const END_WITHIN_MS_A_ROW = 3_000
const END_WITHIN_EVENTS = 20_000
const END_WITHIN_EVENTS_A_ROW = 50

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
    this.#world = new World({
      random: random(options.seed),
      note,
      meet: (what) => this.#meet(what),
    })
    const dealt = deal(this.#world)
    this.#dealt = dealt
    this.#secrets = Array.from({ length: dealt.secrets }, (_, n) => `s${n}`)
    this.#datastore = makeDatastore(dealt.character, {
      rowsMax: dealt.rowsMax,
      compares: options.bug.compares,
    })
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
      else if (this.#begins()) left -= this.#request((server) => this.#rewrite(server))
      else if (this.#world.happens(REQUEST))
        left -= this.#request((server) => this.#clients.act(server))
      if (left === this.#dealt.damagedAt) this.#damage()
      await this.#turn()
    }
    for (let left = AMID_EVENTS; left > 0 && this.#goesOn && this.#isAmid; left--) {
      if (this.#world.happens(this.#dealt.faults)) this.#fault()
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
  #request(ask: (server: Asking) => Promise<void>): 0 | 1 {
    const server = this.#world.pick(this.#servers.flatMap(({ running }) => running ?? []))
    if (server === undefined) return 0
    server.life.run(() => void ask(server))
    return 1
  }

  get #isAmid(): boolean {
    return isRunning(this.#seen.operation)
  }

  #begins(): boolean {
    return !isRunning(this.#seen.operation) && this.#world.happens(this.#dealt.rewrites)
  }

  #rewrite(server: Asking): Promise<void> {
    const verb = this.#seen.writer === null ? "enable" : "rotate-keys"
    return this.#clients.verb(server, { verb, force: true, skip: false })
  }

  /** Writes come between the read and the rewrite of a row; into the proof comes another verb, or another server. */
  #meet(what: string): boolean {
    const { operation } = this.#seen
    if (!isRunning(operation)) return false
    if (what.startsWith("rewrite")) {
      for (let left = 3; left > 0; left--) this.#request((server) => this.#clients.write(server))
      return true
    }
    if (operation.pass === 1 || operation.upTo === null || !BEGINS_CENSUS.test(what)) return false
    const holder = this.#holder()
    if (holder !== undefined && this.#world.happens(0.2)) this.#pause(holder)
    else {
      const verb = operation.retires ? "abort" : "disable"
      const request = { verb, force: true, skip: false } as const
      this.#request((server) => this.#clients.verb(server, request))
    }
    return true
  }

  #pause({ life, name }: Server): void {
    this.#world.note(`${name} stands still`)
    life.isPaused = true
    this.#world.setTimer(undefined, this.#world.below(15_000), () => (life.isPaused = false))
  }

  #holder(): Server | undefined {
    const { operation } = this.#seen
    if (!isRunning(operation)) return undefined
    return this.#servers.find(({ name }) => name === operation.holder)
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
    else if (choice < 50) this.#pause(server)
    else if (choice < 65) {
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
    const rows = this.#datastore.look().rows.length
    const byMs = this.#world.nowMs + END_WITHIN_MS + rows * END_WITHIN_MS_A_ROW
    const byEvent = this.#events + END_WITHIN_EVENTS + rows * END_WITHIN_EVENTS_A_ROW
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

const NO_TROUBLES: Troubles = {
  lostRequest: 0,
  lostAnswer: 0,
  late: 0,
  slow: 0,
  met: 0,
  rolledBack: 0,
}

/** Every seed is another cluster; a third of them has no faults but the order of events. */
function deal(world: World): Dealt {
  const chance = (most: number) => (world.happens(0.5) ? world.random() * most : 0)
  const troubles = {
    lostRequest: chance(0.03),
    lostAnswer: chance(0.03),
    late: chance(0.03),
    slow: chance(0.1),
    rolledBack: chance(0.05),
  }
  const isCalm = world.happens(0.33)
  const met = world.happens(0.7) ? 0.3 + 0.7 * world.random() : 0
  world.troubles = { ...(isCalm ? NO_TROUBLES : troubles), met }
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
    rowsMax: 1 + world.below(7),
    rewrites: world.happens(0.7) ? world.random() * 0.1 : 0,
    lastRotation: world.happens(0.3),
  }
}
