/** What `secrets-encrypt verify` prints for people. Problems are told after it, as the failure of the command. */
import type { Found, Verification } from "../rewriter/verify.ts"
import { KEY_TYPES } from "../server/status.ts"
import { aligned } from "./text.ts"

export function verificationText(found: Verification): string {
  const { revision, stored, live, opened, keys, unencrypted, unreadable, namespaces } = found
  const isSearched = unencrypted.infiles !== null
  const rows = [
    ["State", "Key Type", "Live", "Stored", ...(isSearched ? ["In Files"] : []), "Name"],
    ["-----", "--------", "----", "------", ...(isSearched ? ["--------"] : []), "----"],
    ...keys.map(({ state, provider, name, ...counts }) => [
      state,
      provider === null ? "-" : KEY_TYPES[provider],
      ...numbers(counts),
      name,
    ]),
    ["plain", "-", ...numbers(unencrypted), "(unencrypted)"],
  ]
  const below = [
    ["Namespace", "Stored", "Under Writing Key"],
    ["---------", "------", "-----------------"],
    ...namespaces.map(({ name, stored: all, current }) => [
      name || "-",
      String(all),
      String(current),
    ]),
  ]
  return `${[
    `Revision: ${revision}`,
    `Stored Values: ${stored}, with history; ${live} live`,
    opened ? `Opened: each, ${unreadable.stored} did not open` : "Opened: none (--open opens each)",
    `Database Files: ${isSearched ? "searched" : "not searched, they are the database's own"}`,
    "",
    ...aligned(rows),
    "",
    ...aligned(below),
    ...named(found),
  ].join("\n")}\n`
}

const numbers = ({ live, stored, infiles }: Pick<Found, "live" | "stored" | "infiles">) =>
  [live, stored, ...(infiles === null ? [] : [infiles])].map(String)

/** The names of what is not under the key that writes. */
function named({ keys, unencrypted, unreadable }: Verification): string[] {
  const others = keys
    .filter(({ state }) => state !== "writing")
    .map(({ name, names, stored }) => ({ title: `Under "${name}"`, names, stored }))
  const unopened = unreadable.names.map(({ key, why }) =>
    why.includes(key) ? why : `${key}: ${why}`,
  )
  return [
    ...others,
    { ...unencrypted, title: "Unencrypted" },
    { title: "Unreadable", stored: unreadable.stored, names: [...new Set(unopened)] },
  ].flatMap(({ title, names, stored }) =>
    stored === 0 ? [] : ["", `${title}:`, ...names.map((name) => `  ${name}`)],
  )
}
