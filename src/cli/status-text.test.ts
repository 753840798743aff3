import { expect, test } from "vitest"
import type { Status } from "../server/status.ts"
import { statusJson, statusText, statusWide } from "./status-text.ts"

// The first text is the one in K3s' manual (https://docs.k3s.io/cli/secrets-encrypt); the others follow its source.
const TEXTS: Record<string, readonly [Omit<Status, "servers">, string]> = {
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
  expect(statusText({ ...status, servers: [] })).toBe(text)
})

const servers: Status["servers"] = [
  {
    name: "a",
    ready: true,
    stage: "start",
    hash: "0123456789abcdef".repeat(4),
    epoch: 12,
    lastseenseconds: 0,
    flags: { "encryption-reload": "watch" },
  },
  { name: "bee", ready: false, lastseenseconds: 171.2, flags: {} },
  { name: "c", ready: false, flags: {} },
]

test("wide: K3s' text, then the servers, then which flags differ", () => {
  const status: Status = { stage: "start", activekey: "", enable: false, hashmatch: true, servers }
  expect(statusWide({ ...status, flagerrors: ["--a is b on c and d on e"] }, [])).toBe(
    `${statusText(status)}Server  Status    Stage  Hash          Epoch  Last Seen
------  ------    -----  ----          -----  ---------
a       Ready     start  0123456789ab  12     0s ago
bee     NotReady  -      -             -      2m51s ago
c       NotReady  -      -             -      -

Flags differ: --a is b on c and d on e
`,
  )
  expect(statusWide({ stage: "", activekey: "", servers: [] }, [])).toBe(
    `Encryption Status: Disabled, no configuration file found

Server  Status  Stage  Hash  Epoch  Last Seen
------  ------  -----  ----  -----  ---------
`,
  )
})

test("wide: archived keys that are needed stand before the servers", () => {
  const status: Status = { stage: "start", activekey: "", enable: false, servers: [] }
  const archived = [
    { key: "AES-CBC aescbckey", storedvalues: 12 },
    { key: "XSalsa20-POLY1305 a name", storedvalues: 3 },
  ]
  expect(statusWide(status, archived)).toBe(
    `${statusText(status)}Archived keys still needed, until the next rotation:
Stored Values  Key Type           Name
-------------  --------           ----
12             AES-CBC            aescbckey
3              XSalsa20-POLY1305  a name

Server  Status  Stage  Hash  Epoch  Last Seen
------  ------  -----  ----  -----  ---------
`,
  )
})

test("JSON: tabs, K3s' order whatever the server's, and what K3s has not at the end", () => {
  const status: Status = {
    flagerrors: ["--a is b on c and d on e"],
    servers: [],
    inactivekeys: ["AES-CBC old"],
    hashmatch: true,
    enable: true,
    activekey: "AES-CBC new",
    stage: "rotate",
  }
  expect(statusJson(status)).toBe(
    '{\n\t"stage": "rotate",\n\t"activekey": "AES-CBC new",\n\t"enable": true,\n\t"hashmatch": true,\n\t"inactivekeys": [\n\t\t"AES-CBC old"\n\t],\n\t"servers": [],\n\t"flagerrors": [\n\t\t"--a is b on c and d on e"\n\t]\n}\n',
  )
  expect(JSON.parse(statusJson({ stage: "", activekey: "", servers }))).toEqual({
    stage: "",
    activekey: "",
    servers,
  })
})
