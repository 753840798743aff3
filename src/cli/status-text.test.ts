import { expect, test } from "vitest"
import type { Status } from "../server/status.ts"
import { statusJson, statusText } from "./status-text.ts"

// The first text is the one in K3s' manual (https://docs.k3s.io/cli/secrets-encrypt); the others follow its source.
const TEXTS: Record<string, readonly [Status, string]> = {
  "enabled, a key prepared": [
    {
      stage: "start",
      activekey: "AES-CBC aescbckey",
      enable: true,
      hashmatch: true,
      inactivekeys: ["AES-CBC aescbckey-2022-04-25T20:49:00Z"],
    },
    `Encryption Status: Enabled
Current Rotation Stage: start
Server Encryption Hashes: All hashes match

Active  Key Type  Name
------  --------  ----
 *      AES-CBC   aescbckey
        AES-CBC   aescbckey-2022-04-25T20:49:00Z

`,
  ],
  "a long key type widens its column": [
    {
      stage: "reencrypt_finished",
      activekey: "XSalsa20-POLY1305 secretboxkey-2026-01-02T03:04:05Z",
      enable: true,
      hashmatch: true,
      inactivekeys: ["AES-CBC a name with blanks"],
    },
    `Encryption Status: Enabled
Current Rotation Stage: reencrypt_finished
Server Encryption Hashes: All hashes match

Active  Key Type           Name
------  --------           ----
 *      XSalsa20-POLY1305  secretboxkey-2026-01-02T03:04:05Z
        AES-CBC            a name with blanks

`,
  ],
  "disabled: no key is active": [
    {
      stage: "prepare",
      activekey: "",
      enable: false,
      hasherror: "hash does not match between n1 and n2",
      inactivekeys: ["AES-GCM aesgcmkey"],
    },
    `Encryption Status: Disabled
Current Rotation Stage: prepare
Server Encryption Hashes: hash does not match between n1 and n2

Active  Key Type  Name
------  --------  ----
        AES-GCM   aesgcmkey

`,
  ],
  "identity alone: a table without rows": [
    { stage: "start", activekey: "", enable: false, hashmatch: true },
    `Encryption Status: Disabled
Current Rotation Stage: start
Server Encryption Hashes: All hashes match

Active  Key Type  Name
------  --------  ----

`,
  ],
  "never configured": [
    { stage: "", activekey: "" },
    "Encryption Status: Disabled, no configuration file found\n",
  ],
}

test.each(Object.entries(TEXTS))("text: %s", (_, [status, text]) => {
  expect(statusText(status)).toBe(text)
})

test("JSON: tabs, K3s' order whatever the server's", () => {
  const status: Status = {
    inactivekeys: ["AES-CBC old"],
    hashmatch: true,
    enable: true,
    activekey: "AES-CBC new",
    stage: "rotate",
  }
  expect(statusJson(status)).toBe(
    '{\n\t"stage": "rotate",\n\t"activekey": "AES-CBC new",\n\t"enable": true,\n\t"hashmatch": true,\n\t"inactivekeys": [\n\t\t"AES-CBC old"\n\t]\n}\n',
  )
  expect(statusJson({ stage: "", activekey: "" })).toBe('{\n\t"stage": "",\n\t"activekey": ""\n}\n')
})
