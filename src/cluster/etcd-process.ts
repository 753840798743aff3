/** etcd as a child of the server: started, started again where it dies, ended with the server however that ends. What it is
 *  told to do is etcd-member.ts'. */
import { type ChildProcess, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import { readFileSync, rmSync } from "node:fs"
import { createInterface } from "node:readline"
import { setTimeout as sleep } from "node:timers/promises"
import { promisify } from "node:util"
import { KnownError } from "../errors.ts"
import { readIfPresent, writeDurably } from "./files.ts"

export interface EtcdLog {
  debug(of: object, message: string): void
  info(of: object, message: string): void
  warn(of: object, message: string): void
}

export interface EtcdProcessOptions {
  /** A path, or a name to be found on PATH. */
  readonly binary: string
  readonly args: readonly string[]
  /** Tells an etcd of this server from any other process: so begins a word of its command line. */
  readonly mark: string
  readonly pidFile: string
  readonly log: EtcdLog
  readonly monotonicMs: () => number
}

const STOP_TIMEOUT_MS = 10_000
const PAUSE_MS_MIN = 200
const PAUSE_MS_MAX = 10_000
/** An etcd that ran for this long was a good one. */
const STEADY_MS = 30_000
/** How often an etcd may end before it was ever ready. */
const FAILURES_MAX = 4

/** Of setpriv: what it runs is killed when its parent dies, however that comes. */
const TIE = ["--pdeathsig", "SIGKILL"] as const

const run = promisify(execFile)

export class EtcdProcess {
  /** Rejects when etcd is over for good: EtcdEnded, MemberRemoved. Never resolves. */
  readonly over: Promise<never>
  readonly #options: EtcdProcessOptions
  readonly #command: readonly string[]
  readonly #stop = new AbortController()
  readonly #supervised: Promise<void>
  #child: ChildProcess | undefined
  #wasReady = false
  /** Why its data is of no use to the cluster any more. */
  #expelled: string | undefined
  #lastWords = ""

  private constructor(options: EtcdProcessOptions, command: readonly string[]) {
    this.#options = options
    this.#command = command
    const { promise, reject } = Promise.withResolvers<never>()
    this.over = promise
    this.over.catch(() => {}) // whoever waits for it learns of it
    this.#supervised = this.#supervise().catch(reject)
  }

  /** Ends an orphan of an earlier server first. Throws EtcdMissing. */
  static async start(options: EtcdProcessOptions): Promise<EtcdProcess> {
    const { binary, log } = options
    await refuseMissing(binary)
    await endOrphan(options)
    const isTied = await run("setpriv", [...TIE, "true"]).then(
      () => true,
      () => false,
    )
    if (!isTied)
      log.warn(
        {},
        "there is no setpriv that knows --pdeathsig (package util-linux): where this server is killed its etcd runs on until the next start",
      )
    return new EtcdProcess(options, [...(isTied ? ["setpriv", ...TIE] : []), binary])
  }

  /** To be called once it has answered. */
  ready(): void {
    this.#wasReady = true
  }

  async stop(): Promise<void> {
    this.#stop.abort()
    const late = setTimeout(() => this.#child?.kill("SIGKILL"), STOP_TIMEOUT_MS)
    this.#child?.kill("SIGTERM")
    await this.#supervised
    clearTimeout(late)
  }

  async #supervise(): Promise<void> {
    const { log, monotonicMs } = this.#options
    const { signal } = this.#stop
    for (let failures = 0; !signal.aborted; ) {
      const began = monotonicMs()
      const how = await this.#runOnce()
      if (signal.aborted) return
      if (this.#expelled !== undefined) throw new KnownError("MemberRemoved", this.#expelled)
      failures = monotonicMs() - began > STEADY_MS ? 1 : failures + 1
      if (!this.#wasReady && failures >= FAILURES_MAX)
        throw new KnownError("EtcdEnded", `etcd ${how} before it was ready: ${this.#lastWords}`)
      const pauseMs = Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** (failures - 1))
      log.warn({}, `etcd ${how}; it is started again in ${pauseMs / 1000} s`)
      await sleep(pauseMs, undefined, { signal }).catch(() => {})
    }
  }

  /** Returns how it ended. */
  async #runOnce(): Promise<string> {
    const [command = "", ...first] = this.#command
    // Of a process group of its own: Ctrl-C is for the server, which ends etcd last.
    const child = spawn(command, [...first, ...this.#options.args], {
      stdio: ["ignore", "ignore", "pipe"],
      detached: true,
    })
    this.#child = child
    if (child.pid !== undefined) writeDurably(this.#options.pidFile, `${child.pid}\n`)
    createInterface({ input: child.stderr }).on("line", (line) => this.#hear(line))
    const [code, signal] = await once(child, "close").catch((error: unknown) => [String(error)])
    this.#child = undefined
    rmSync(this.#options.pidFile, { force: true })
    return signal ? `was ended by ${signal}` : `ended with ${code}`
  }

  /** etcd itself would go on, with what others have gone back behind. */
  #expel(why: string): void {
    this.#expelled = why
    this.#child?.kill("SIGKILL")
  }

  #hear(line: string): void {
    const { log } = this.#options
    if (line.includes("permanently removed from the cluster")) this.#expelled = REMOVED
    if (line.includes("ignored by remote peer due to cluster ID mismatch")) this.#expel(RESTORED)
    const { level, msg, ts: _, caller: __, ...of } = spoken(line)
    this.#lastWords = of.error === undefined ? msg : `${msg}: ${of.error}`
    // What is a warning to etcd (a slow disk, a peer that is away) is none of the server's.
    log[level === "warn" || level === "info" ? "info" : "warn"]({ etcd: of }, `etcd: ${msg}`)
  }
}

const REMOVED =
  "this server's member was removed from the etcd cluster: it was told to leave, or its Node was deleted"
const RESTORED =
  "another member was restored from a snapshot: its cluster is a new one, which this server's etcd with the data of before is no part of"

/** A line of etcd's log, whose form is zap's. */
interface Spoken {
  readonly level: string
  readonly msg: string
  readonly error?: string
  readonly ts?: string
  readonly caller?: string
}

function spoken(line: string): Spoken {
  try {
    return JSON.parse(line) as Spoken
  } catch {
    return { level: "info", msg: line }
  }
}

async function refuseMissing(binary: string): Promise<void> {
  try {
    await run(binary, ["--version"])
  } catch (cause) {
    throw new KnownError("EtcdMissing", `there is no etcd that can be run as "${binary}"`, {
      cause,
    })
  }
}

/** Where the server was killed and nothing tied its etcd to it. A process is only believed to be that etcd by its command line. */
async function endOrphan({ pidFile, mark, log }: EtcdProcessOptions): Promise<void> {
  const pid = Number(readIfPresent(pidFile))
  if (!Number.isInteger(pid) || pid <= 1) return
  if (isEtcd(pid, mark)) {
    log.warn({ pid }, "an etcd of an earlier server runs on this data: it is ended")
    process.kill(pid, "SIGKILL")
    while (isEtcd(pid, mark)) await sleep(20)
  }
  rmSync(pidFile, { force: true })
}

function isEtcd(pid: number, mark: string): boolean {
  try {
    const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")
    return words.some((word) => word.startsWith(mark))
  } catch {
    return false
  }
}
