/** A real etcd of its own for a test file: a temporary directory, free ports, ended with the file. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { EtcdChannel } from "../../src/store/etcd-channel.ts"
import {
  bytes,
  decodeRanged,
  encodeRange,
  int,
  type KeyValue,
} from "../../src/store/etcd-messages.ts"
import { freePort } from "./ports.ts"
import { Program, until } from "./process.ts"

/** From the first key to the last. */
const ALL = { key: "\0", end: "\0" }

export class Etcd implements AsyncDisposable {
  readonly port: number
  readonly #peerPort: number
  readonly #folder = mkdtempSync(join(tmpdir(), "keyturn-etcd-"))
  readonly #scheme: "http" | "https"
  readonly #args: readonly string[]
  #program: Program | undefined

  private constructor(ports: { client: number; peer: number }, args: readonly string[]) {
    this.port = ports.client
    this.#peerPort = ports.peer
    this.#args = args
    this.#scheme = args.some((arg) => arg.startsWith("--cert-file")) ? "https" : "http"
  }

  static async start(...args: readonly string[]): Promise<Etcd> {
    const etcd = new Etcd({ client: await freePort(), peer: await freePort() }, args)
    await etcd.start()
    return etcd
  }

  get endpoint(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}`
  }

  async start(): Promise<void> {
    const peer = `http://127.0.0.1:${this.#peerPort}`
    const own = {
      name: "test",
      "data-dir": join(this.#folder, "data"),
      "listen-client-urls": this.endpoint,
      "advertise-client-urls": this.endpoint,
      "listen-peer-urls": peer,
      "initial-advertise-peer-urls": peer,
      "initial-cluster": `test=${peer}`,
      "log-level": "warn",
      logger: "zap",
    }
    const args = Object.entries(own).map(([name, value]) => `--${name}=${value}`)
    const program = new Program("etcd", [...args, ...this.#args])
    this.#program = program
    if (this.#scheme === "https") return
    await until(
      () => {
        if (!program.isRunning) throw new Error(program.stderr)
        return this.entries({ key: "none" }).catch(() => undefined)
      },
      { timeoutMs: 20_000, what: "etcd answers" },
    )
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.#program?.end(signal)
    this.#program = undefined
  }

  /** Stops it where it stands, or lets it go on. */
  signal(name: NodeJS.Signals): void {
    this.#program?.signal(name)
  }

  /** What a reader beside keyturn finds; `revision`: as it was. */
  async entries(
    range: { key: string; end?: string; revision?: number } = ALL,
  ): Promise<KeyValue[]> {
    const answer = await this.#ask("/etcdserverpb.KV/Range", encodeRange(range))
    return decodeRanged(answer).entries
  }

  async deleteAll(): Promise<void> {
    const message = Buffer.concat([bytes(1, ALL.key), bytes(2, ALL.end)])
    await this.#ask("/etcdserverpb.KV/DeleteRange", message)
  }

  async put(key: string, value: string): Promise<void> {
    await this.#ask("/etcdserverpb.KV/Put", Buffer.concat([bytes(1, key), bytes(2, value)]))
  }

  /** With a lease that etcd chose, as kube-apiserver does it. */
  async putWithLease(key: string, value: string): Promise<void> {
    const grant = await this.#ask("/etcdserverpb.Lease/LeaseGrant", int(1, 3600))
    // LeaseGrantResponse: the header, then ID = 2, which is more than a number holds.
    const rest = grant.subarray(2 + (grant[1] ?? 0))
    const id = rest.subarray(1, 1 + rest.subarray(1).findIndex((byte) => byte < 0x80) + 1)
    const lease = Buffer.concat([Buffer.from([0x18]), id])
    const put = [bytes(1, key), bytes(2, value), lease]
    await this.#ask("/etcdserverpb.KV/Put", Buffer.concat(put))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop("SIGKILL")
    rmSync(this.#folder, { recursive: true, force: true })
  }

  async #ask(method: string, message: Buffer): Promise<Buffer> {
    const channel = new EtcdChannel({ endpoints: [this.endpoint] })
    try {
      return await channel.call(method, message)
    } finally {
      channel.close()
    }
  }
}
