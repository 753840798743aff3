/** What a sick disk does to a server: system calls that fail while it runs, by Debian's libfiu, and a write-ahead log whose end is
 *  not whole. */
import { readFileSync, truncateSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { run } from "./process.ts"
import type { TestServer } from "./server.ts"

/** What fails, and with which errno. Sockets and pipes are written by other calls than databases. */
const FAULTS = {
  "no space": { calls: ["posix/io/rw/pwrite"], errno: 28 },
  "read-only": { calls: ["posix/io/rw/pwrite"], errno: 30 },
  "no sync": { calls: ["posix/io/sync/fsync", "posix/io/sync/fdatasync"], errno: 5 },
} as const
export type Fault = keyof typeof FAULTS

export interface SickDisk {
  /** Of the servers that it is to be told to. */
  readonly env: Readonly<Record<string, string>>
  begin(server: TestServer, fault: Fault): Promise<void>
  end(server: TestServer, fault: Fault): Promise<void>
}

/** `folder`: where servers are told of it. */
export async function sickDisk(folder: string): Promise<SickDisk> {
  const control = join(folder, "faults")
  const { stdout } = await run("fiu-run", ["-n", "-x", "-f", control, "true"])
  const found = stdout.matchAll(/\b(LD_PRELOAD|FIU_CTRL_FIFO)="(.*?)"/g)
  const tell = async ({ pid }: TestServer, commands: readonly string[]) => {
    const each = commands.flatMap((command) => ["-c", command])
    const told = await run("fiu-ctrl", ["-f", control, ...each, `${pid}`])
    if (told.code !== 0 || told.stdout !== "") throw new Error(told.stdout + told.stderr)
  }
  return {
    env: Object.fromEntries(Array.from(found, ([, name = "", value = ""]) => [name, value])),
    begin(server, fault) {
      const { calls, errno } = FAULTS[fault]
      const fail = calls.map((name) => `enable name=${name},failinfo=${errno}`)
      return tell(server, fail)
    },
    end: (server, fault) =>
      tell(
        server,
        FAULTS[fault].calls.map((name) => `disable name=${name}`),
      ),
  }
}

const LOG_HEADER = 32
const FRAME_HEADER = 24

/** Where the last page of a write-ahead log ends that counts; old ones may lie behind it (sqlite.org/walformat.html). */
function endOfLog(log: Buffer): number {
  const frameBytes = FRAME_HEADER + log.readUInt32BE(8)
  const salts = log.subarray(16, 24)
  let end = LOG_HEADER
  while (end + frameBytes <= log.length && log.subarray(end + 8, end + 16).equals(salts))
    end += frameBytes
  return end
}

/** What a machine that lost its power may leave of a log. `path`: of the database. */
export const TORN: Readonly<Record<string, (path: string) => void>> = {
  "its last page is cut": (path) => cut(path, 3_000),
  "its last pages are cut": (path) => cut(path, 40_000),
  "its last page is garbled"(path) {
    const log = readFileSync(`${path}-wal`)
    const end = endOfLog(log)
    log.fill(0x5a, end - 2_000, end - 1_000)
    writeFileSync(`${path}-wal`, log)
  },
}

const cut = (path: string, bytes: number) =>
  truncateSync(`${path}-wal`, endOfLog(readFileSync(`${path}-wal`)) - bytes)
