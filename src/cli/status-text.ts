/** `secrets-encrypt status` as K3s prints it, byte for byte: scripts match on it. */
import type { Status } from "../server/status.ts"

/** K3s' field order. */
export const statusJson = (status: Status): string =>
  `${JSON.stringify(
    status,
    ["stage", "activekey", "enable", "hashmatch", "hasherror", "inactivekeys"],
    "\t",
  )}\n`

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

/** Go's tabwriter with a padding of 2; the last cell of a row stays as long as it is. */
export function aligned(rows: readonly (readonly string[])[]): string[] {
  const width = (column: number) => 2 + Math.max(...rows.map((row) => row[column]?.length ?? 0))
  const cell = (text: string, column: number, { length }: readonly string[]) =>
    column === length - 1 ? text : text.padEnd(width(column))
  return rows.map((row) => row.map(cell).join(""))
}
