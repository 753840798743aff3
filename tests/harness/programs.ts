/** System programs that tests need. `npm test` brings them (scripts/system-programs); where one is missing all the same, the
 *  test is skipped with the reason. */

import { existsSync, globSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { beforeEach } from "vitest"
import { run } from "./process.ts"

const PROGRAMS = {
  kubectl: {
    args: ["version", "--client", "-o", "json"],
    fits: (stdout: string) => Number(/"minor": "(\d+)/.exec(stdout)?.[1]) >= 28,
    wanted: "kubectl 1.28 or later",
  },
  mariadb: {
    args: ["--no-defaults", "--version"],
    fits: (stdout: string) => /Ver (?:10\.(?:[6-9]|\d\d)|1[1-9])\..*MariaDB/.test(stdout),
    wanted: "MariaDB 10.6 or later",
  },
  pgbouncer: {
    args: ["--version"],
    fits: () => true,
    wanted: "PgBouncer",
  },
  openssl: { args: ["version"], fits: () => true, wanted: "openssl" },
  "fiu-run": {
    args: ["-n", "-x", "true"],
    fits: () => true,
    wanted: "libfiu (fiu-utils), which makes system calls fail,",
  },
  etcd: {
    args: ["--version"],
    fits: (stdout: string) => /^etcd Version: (3\.([4-9]|\d\d)|[4-9])/.test(stdout),
    wanted: "etcd 3.4 or later",
  },
  "etcd-3.5": {
    args: ["--version"],
    fits: (stdout: string) => stdout.startsWith("etcd Version: 3.5"),
    wanted: "etcd 3.5 (that of Debian trixie, as etcd-3.5)",
  },
  etcdctl: {
    args: ["version"],
    fits: (stdout: string) => /^etcdctl version: 3\.[45]\./.test(stdout),
    wanted: "etcdctl of etcd 3.4 or 3.5",
  },
  postgres: {
    args: ["--version"],
    fits: (stdout: string) => Number(/\) (\d+)/.exec(stdout)?.[1]) >= 13,
    wanted: "PostgreSQL 13 or later",
  },
} as const

type ProgramName = keyof typeof PROGRAMS

/** Why `name` cannot be used here; undefined where it can. */
export async function missing(name: ProgramName): Promise<string | undefined> {
  const { args, fits, wanted } = PROGRAMS[name]
  try {
    const { code, stdout } = await run(pathOf(name), args)
    if (code === 0 && fits(stdout)) return undefined
  } catch {
    // not on PATH
  }
  return `${wanted} is not installed; run the tests with: npm test`
}

function pathOf(name: ProgramName): string {
  if (name === "postgres") return postgresProgram(name)
  if (name === "pgbouncer") return pgbouncer()
  return name === "mariadb" ? mariadbd() : name
}

export const mariadbd = () => ofRoot("mariadbd")
export const pgbouncer = () => ofRoot("pgbouncer")

/** Debian keeps some where only root's PATH leads. */
function ofRoot(name: string): string {
  const path = join("/usr/sbin", name)
  return existsSync(path) ? path : name
}

/** libfaketime's library; undefined where it is not installed. */
export function faketime(): string | undefined {
  return globSync("/usr/lib/*/faketime/libfaketime.so.1")[0]
}

/** At the top of a test file or of a describe block. */
export function needs(...names: readonly ProgramName[]): void {
  const reasons = Promise.all(names.map(missing))
  beforeEach(async ({ skip }) => {
    const reason = (await reasons).find((found) => found !== undefined)
    skip(reason !== undefined, reason)
  })
}

/** One of PostgreSQL's programs. Debian keeps them outside of PATH, by version: the newest; else the one on PATH. */
export function postgresProgram(name: string): string {
  const versions = "/usr/lib/postgresql"
  const found = existsSync(versions) ? readdirSync(versions) : []
  const [newest] = found.toSorted((a, b) => Number(b) - Number(a))
  return newest === undefined ? name : join(versions, newest, "bin", name)
}
