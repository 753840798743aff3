/** Which keys there are in etcd, and how a range of them is said. */
import type { KeySpan } from "./etcd-messages.ts"

export const VALUES = "/registry/"
export const OWN = "/keyturn/"
export const FENCE = `${OWN}fence`
export const MARK = `${OWN}mark`

/** The first bytes above all that begin with `prefix`; its last byte is never 0xff, for it is UTF-8. */
export function endOf(prefix: string): Buffer {
  const end = Buffer.from(prefix)
  end[end.length - 1] = (end.at(-1) ?? 0) + 1
  return end
}

/** Keys that begin with `prefix` and are above `last`. */
export function under(prefix: string, last?: string): KeySpan {
  const [start, next] = [Buffer.from(prefix), Buffer.from(`${last ?? ""}\0`)]
  const isInside = last !== undefined && Buffer.compare(next, start) > 0
  return { key: isInside ? next : start, end: endOf(prefix) }
}

/** Ours and the values, and what lies between them. */
export const FOLLOWED: KeySpan = { key: OWN, end: endOf(VALUES) }
