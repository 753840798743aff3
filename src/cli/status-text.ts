/** `secrets-encrypt status` as K3s prints it, byte for byte: scripts match on it. */
import { humanDuration } from "../api/text/human-duration.ts"
import type { ArchivedKeyInUse, ServerStatus, Status } from "../server/status.ts"
import { aligned } from "./text.ts"

/** K3s' fields in its order, then ours. */
export function statusJson(status: Status): string {
  const { stage, activekey, enable, hashmatch, hasherror, inactivekeys, ...beyond } = status
  const { servers, flagerrors, warnings } = beyond
  const k3s = { stage, activekey, enable, hashmatch, hasherror, inactivekeys }
  return `${JSON.stringify({ ...k3s, servers, flagerrors, warnings }, null, "\t")}\n`
}

/** What K3s prints, then the archived keys that are needed, and the servers. */
export function statusWide(status: Status, archived: readonly ArchivedKeyInUse[]): string {
  const rows = [
    ["Server", "Status", "Stage", "Hash", "Epoch", "Last Seen"],
    ["------", "------", "-----", "----", "-----", "---------"],
    ...status.servers.map(serverRow),
  ]
  const remarks = (status.flagerrors ?? []).map((error) => `Flags differ: ${error}`)
  const wide = [
    ...archivedKeys(archived),
    ...aligned(rows),
    ...(remarks.length > 0 ? ["", ...remarks] : []),
  ]
  const text = statusText(status)
  return `${text}${text.endsWith("\n\n") ? "" : "\n"}${wide.join("\n")}\n`
}

function archivedKeys(inUse: readonly ArchivedKeyInUse[]): string[] {
  if (inUse.length === 0) return []
  const rows = [
    ["Stored Values", "Key Type", "Name"],
    ["-------------", "--------", "----"],
    ...inUse.map(({ key, storedvalues }) => [String(storedvalues), ...typeAndName(key)]),
  ]
  return ["Archived keys still needed, until the next rotation:", ...aligned(rows), ""]
}

function serverRow({ name, ready, stage, hash, epoch, lastseenseconds }: ServerStatus): string[] {
  const seen = lastseenseconds === undefined ? NONE : `${humanDuration(lastseenseconds * 1000)} ago`
  const shortHash = hash?.slice(0, 12) ?? NONE
  const told = epoch === undefined ? NONE : String(epoch)
  return [name, ready ? "Ready" : "NotReady", stage ?? NONE, shortHash, told, seen]
}

const NONE = "-"

export function statusText(status: Status): string {
  if (status.enable === undefined) {
    return "Encryption Status: Disabled, no configuration file found\n"
  }
  const { stage, activekey, hashmatch, hasherror, inactivekeys = [] } = status
  const rows = [
    ["Active", "Key Type", "Name"],
    ["------", "--------", "----"],
    ...(activekey === "" ? [] : [[" *", ...typeAndName(activekey)]]),
    ...inactivekeys.map((key) => ["", ...typeAndName(key)]),
  ]
  return [
    `Encryption Status: ${status.enable ? "Enabled" : "Disabled"}`,
    `Current Rotation Stage: ${stage}`,
    `Server Encryption Hashes: ${hashmatch === true ? "All hashes match" : hasherror}`,
    "",
    ...aligned(rows),
    "\n",
  ].join("\n")
}

/** `AES-CBC aescbckey`: a key's type holds no blank, its name may. */
function typeAndName(key: string): string[] {
  const border = key.indexOf(" ")
  return [key.slice(0, border), key.slice(border + 1)]
}
