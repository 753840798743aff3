/** How keyturn reads under an EncryptionConfiguration, as a server that starts with it does. */

import { keyringFrom } from "../../src/cluster/encryption-files.ts"
import { emptyKeyring } from "../../src/keyring/keyring.ts"
import { makeView, type View } from "../../src/registry/view.ts"

const pair = { cert: "", key: "" }
const empty = emptyKeyring({ server: pair, client: pair }, { password: "pw" })

export function viewOf(text: string): View {
  const keyring = keyringFrom(empty, { file: "vectors", text }, "2026-11-23T00:00:00Z")
  return makeView({ epoch: 1, fence: "", slots: [], keyring }, "")
}
