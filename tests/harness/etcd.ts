/** A real etcd of its own for a test file: a temporary directory, free ports, ended with the file. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { EtcdChannel } from "../../src/store/etcd-channel.ts"
import {
  bytes,
  decodeRanged,
  encode,
  encodeRange,
  int,
  type KeyValue,
  long,
} from "../../src/store/etcd-messages.ts"
import { freePort } from "./ports.ts"
import type { Snapshot } from "./engines.ts"
import { Program, run, until } from "./process.ts"

/** From the first key to the last. */
const ALL = { key: "\0", end: "\0" }

const SECRETS = { key: "/registry/secrets/", end: "/registry/secrets0" }

/** Debian's, 3.4, and the next one. */
export type EtcdName = "etcd" | "etcd-3.5"

interface EtcdOptions {
  readonly args?: readonly string[]
  readonly binary?: EtcdName
}

interface Member {
  readonly name: string
  readonly port: number
  readonly peer: string
}

export class Etcd implements AsyncDisposable {
  readonly port: number
  readonly #member: Member
  readonly #cluster: readonly Member[]
  readonly #folder = mkdtempSync(join(tmpdir(), "keyturn-etcd-"))
  readonly #scheme: "http" | "https"
  readonly #args: readonly string[]
  readonly #binary: EtcdName
  #program: Program | undefined

  private constructor(
    member: Member,
    cluster: readonly Member[],
    { args = [], binary = "etcd" }: EtcdOptions,
  ) {
    this.port = member.port
    this.#member = member
    this.#cluster = cluster
    this.#args = args
    this.#binary = binary
    this.#scheme = args.some((arg) => arg.startsWith("--cert-file")) ? "https" : "http"
  }

  static async start(options: EtcdOptions = {}): Promise<Etcd> {
    const member = await newMember("test")
    const etcd = new Etcd(member, [member], options)
    await etcd.start()
    return etcd
  }

  /** Three members. They are slow to think each other dead, for they share few cores. */
  static async cluster(): Promise<Etcd[]> {
    const members: Member[] = []
    for (const name of ["one", "two", "three"]) members.push(await newMember(name))
    const args = ["--heartbeat-interval=500", "--election-timeout=5000"]
    const all = members.map((member) => new Etcd(member, members, { args }))
    await Promise.all(all.map((etcd) => etcd.start()))
    return all
  }

  get endpoint(): string {
    return `${this.#scheme}://127.0.0.1:${this.port}`
  }

  async start(): Promise<void> {
    const { name, peer } = this.#member
    const own = {
      name,
      "data-dir": join(this.#folder, "data"),
      "listen-client-urls": this.endpoint,
      "advertise-client-urls": this.endpoint,
      "listen-peer-urls": peer,
      "initial-advertise-peer-urls": peer,
      "initial-cluster": this.#cluster.map((one) => `${one.name}=${one.peer}`).join(","),
      "log-level": "warn",
      logger: "zap",
    }
    const args = Object.entries(own).map(([flag, value]) => `--${flag}=${value}`)
    const program = new Program(this.#binary, [...args, ...this.#args])
    this.#program = program
    // One that asks for a certificate is asked by its test.
    if (this.#scheme === "https") return
    const answers = () => {
      if (!program.isRunning) throw new Error(program.stderr)
      return this.entries({ key: "none" }).catch(() => undefined)
    }
    await until(answers, { timeoutMs: 40_000, what: "etcd answers" })
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.#program?.end(signal)
    this.#program = undefined
  }

  /** As after a restore from an empty backup. */
  async startAnew(): Promise<void> {
    await this.stop("SIGKILL")
    rmSync(join(this.#folder, "data"), { recursive: true })
    await this.start()
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

  async isLeader(): Promise<boolean> {
    const status = await this.#ask("/etcdserverpb.Maintenance/Status", Buffer.alloc(0))
    // StatusResponse: the header with member_id = 2 comes first, leader = 4. Both are more than a number holds.
    const header = fieldsOf(fieldsOf(status).get(1) ?? Buffer.alloc(0))
    return header.get(2)?.equals(fieldsOf(status).get(4) ?? Buffer.alloc(0)) ?? false
  }

  /** By etcdctl, which makes a data directory of it: etcd is stopped for as long as that takes. */
  async snapshot(): Promise<Snapshot> {
    const file = join(this.#folder, "snapshot")
    rmSync(file, { force: true })
    await etcdctl(`--endpoints=${this.endpoint}`, "snapshot", "save", file)
    const secrets = await this.entries(SECRETS)
    const { name, peer } = this.#member
    return {
      putBack: async () => {
        await this.stop("SIGKILL")
        rmSync(join(this.#folder, "data"), { recursive: true })
        await etcdctl(
          "snapshot",
          "restore",
          file,
          `--data-dir=${join(this.#folder, "data")}`,
          `--name=${name}`,
          `--initial-cluster=${name}=${peer}`,
          `--initial-advertise-peer-urls=${peer}`,
        )
        await this.start()
      },
      putBackSecrets: async () => {
        for (const { key, value } of secrets) await this.put(key, value)
      },
    }
  }

  async deleteAll(): Promise<void> {
    await this.#ask("/etcdserverpb.KV/DeleteRange", encode([bytes(1, ALL.key), bytes(2, ALL.end)]))
  }

  async put(key: string, value: string | Uint8Array): Promise<void> {
    await this.#ask("/etcdserverpb.KV/Put", encode([bytes(1, key), bytes(2, value)]))
  }

  /** With a lease that etcd chose, as kube-apiserver does it. */
  async putWithLease(key: string, value: string): Promise<void> {
    const grant = await this.#ask("/etcdserverpb.Lease/LeaseGrant", encode([int(1, 3600)]))
    // LeaseGrantResponse: the header, then ID = 2, which is more than a number holds.
    const rest = grant.subarray(2 + (grant[1] ?? 0))
    const id = rest.subarray(1, 1 + rest.subarray(1).findIndex((byte) => byte < 0x80) + 1)
    await this.#ask("/etcdserverpb.KV/Put", encode([bytes(1, key), bytes(2, value), long(3, id)]))
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

async function etcdctl(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await run("etcdctl", args)
  if (code !== 0) throw new Error(`etcdctl ${args.join(" ")}: ${stderr}`)
}

const newMember = async (name: string): Promise<Member> => ({
  name,
  port: await freePort(),
  peer: `http://127.0.0.1:${await freePort()}`,
})

/** The last of each field, as its bytes are; of numbers and length-delimited ones only. */
function fieldsOf(message: Buffer): Map<number, Buffer> {
  const fields = new Map<number, Buffer>()
  const endOfVarint = (from: number) => from + message.subarray(from).findIndex((b) => b < 0x80) + 1
  for (let at = 0; at < message.length; ) {
    const tag = message[at] ?? 0
    const start = endOfVarint(at + 1)
    const lengthBytes = message.subarray(at + 1, start)
    const isNumber = (tag & 7) === 0
    const length = lengthBytes.reduceRight((sum, byte) => sum * 0x80 + (byte & 0x7f), 0)
    const end = isNumber ? start : start + length
    fields.set(tag >> 3, isNumber ? lengthBytes : message.subarray(start, end))
    at = end
  }
  return fields
}
