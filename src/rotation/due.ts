/** When the writing key is to be turned: by its age, and by what was sealed under it. Pure: the clock is the caller's own, and
 *  no two are compared. A clock that is wrong turns a key early once and never again and again, for the key that comes of
 *  it is made by the same clock; and by a right one a key that was made in the future is not due. */
import { type Keyring, writingKey } from "../keyring/keyring.ts"
import { isCounted, sealsOf, totalOf, type Usage } from "./usage.ts"

/** Values that one AES-GCM key is to seal: Kubernetes' own figure, far below the 2^32 of SP 800-38D §8.3. */
export const SEALS_MAX = 200_000
const WARN_FROM_PERCENT = 50

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const WARN_DAYS = [1, 7, 30] as const

export interface Limits {
  /** Null: a key may be as old as it gets. */
  readonly keyMaxAgeMs: number | null
  /** Whether a key that is due is turned without anybody asking. */
  readonly autoRotate: boolean
}

export interface Due {
  /** Sentences that stay the same until there is more to say. */
  readonly warnings: readonly string[]
  /** The key that is to be turned now, and why. */
  readonly turn: { readonly key: string; readonly reason: string } | undefined
}

const ADVICE = "; turn it: keyturn secrets-encrypt rotate-keys"

const NOTHING: Due = { warnings: [], turn: undefined }

export interface Seen {
  readonly keyring: Keyring
  readonly usage: Usage
  readonly now: Date
}

export function dueOf({ keyring, usage, now }: Seen, limits: Limits): Due {
  const writer = writingKey(keyring)
  if (writer === undefined) return NOTHING
  const { name, created, provider } = writer
  const judged = [
    ...(limits.keyMaxAgeMs === null ? [] : [byAge(created, now, limits.keyMaxAgeMs)]),
    ...(isCounted(provider) ? [byCount(usage, name)] : []),
  ]
  const reason = judged.find((one) => one.reason !== undefined)?.reason
  return {
    warnings: judged.flatMap(({ warning, isByHand }) => {
      if (warning === undefined) return []
      const advice = limits.autoRotate && isByHand !== true ? "" : ADVICE
      return [`the key "${name}" ${warning}${advice}`]
    }),
    turn: reason === undefined ? undefined : { key: name, reason },
  }
}

interface Judged {
  readonly warning?: string
  /** The limit is reached, and nothing turns the key by itself. */
  readonly isByHand?: boolean
  readonly reason?: string
}

function byAge(created: string, now: Date, maxMs: number): Judged {
  const endMs = Date.parse(created) + maxMs
  const leftMs = endMs - now.getTime()
  if (leftMs > maxMs + DAY_MS)
    return { warning: `was made at ${created}, in the future by this server's clock` }
  const limit = `--key-max-age ${formatAge(maxMs)}`
  if (leftMs <= 0) return { warning: `is older than ${limit}`, reason: `it is older than ${limit}` }
  const days = WARN_DAYS.find((some) => leftMs < some * DAY_MS && some * DAY_MS < maxMs)
  if (days === undefined) return {}
  const within = days === 1 ? "a day" : `${days} days`
  return { warning: `reaches ${limit} in less than ${within}, at ${new Date(endMs).toISOString()}` }
}

/** Where rewriting alone sealed as many, the next key could be due again at once: clients must have written as many. */
function byCount(usage: Usage, name: string): Judged {
  const seals = sealsOf(usage, name)
  const total = totalOf(seals)
  const percent = Math.floor((total / SEALS_MAX) * 10) * 10
  if (percent < WARN_FROM_PERCENT) return {}
  const warning = `has sealed ${Math.min(percent, 100)} % or more of the ${SEALS_MAX} values that an AES-GCM key is for`
  if (total < SEALS_MAX) return { warning }
  if (total < 2 * seals.rewriting) return { warning, isByHand: true }
  return { warning, reason: `it has sealed ${total} values` }
}

/** As --key-max-age takes it. */
export const formatAge = (ms: number): string =>
  ms % DAY_MS === 0 ? `${ms / DAY_MS}d` : `${ms / HOUR_MS}h`

/** Undefined where it is none: whole days or hours, at least one. */
export function parseAge(text: string): number | undefined {
  const [, figures, unit] = /^([1-9]\d{0,5})(d|h)$/.exec(text) ?? []
  return figures === undefined ? undefined : Number(figures) * (unit === "d" ? DAY_MS : HOUR_MS)
}
