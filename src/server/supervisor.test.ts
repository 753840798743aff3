import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { openKeyring } from "../cluster/bootstrap.ts"
import { openDataDir, readToken } from "../cluster/data-dir.ts"
import { readIfPresent } from "../cluster/files.ts"
import { passwordOf } from "../cluster/token.ts"
import { isKnown } from "../errors.ts"
import { readOutside } from "../keyring/record.ts"
import { unlock } from "../keyring/slots.ts"
import { Registry } from "../registry/registry.ts"
import { openSqlite } from "../store/sqlite.ts"
import type { Store } from "../store/store.ts"
import { afterSteps } from "../../tests/harness/after-steps.ts"
import { CALLER, verbsOf } from "../../tests/harness/verbs.ts"
import { makeSupervisor } from "./supervisor.ts"

const dir = mkdtempSync(join(tmpdir(), "keyturn-supervisor-"))
afterAll(() => rmSync(dir, { recursive: true }))

test("of changes of the token that come together, a token that opens lies on the disk at every commit", {
  timeout: 20_000,
}, async () => {
  const now = () => new Date()
  const { paths, release } = openDataDir(dir, { now: now() })
  const inner = openSqlite({ path: paths.state, warn: () => {} })
  const opens: boolean[] = []
  const store = afterSteps(inner, async () => {
    const files = [readToken(paths), readIfPresent(paths.nextToken)?.trim()]
    opens.push(
      await opensBy(
        inner,
        files.flatMap((text) => text ?? []),
      ),
    )
  })
  const { keys } = await openKeyring({
    store,
    paths,
    now,
    server: "n1",
    token: null,
    recoveryKey: null,
    configuration: null,
    firstKey: null,
  })
  const registry = new Registry(store, keys)
  const supervisor = makeSupervisor({
    ...verbsOf(keys, now),
    registry,
    paths,
    store,
    files: [],
    shown: () => keys.view.record.keyring,
    trouble: () => undefined,
    servers: async () => [],
    monotonicMs: () => 0,
    limits: { keyMaxAgeMs: null, autoRotate: false },
    engine: "sqlite" as const,
    agree: { reload: "restart", signal: new AbortController().signal },
  })
  const refused = supervisor.rotateToken("", CALLER)
  const tokens = await Promise.all(
    [undefined, undefined].map((newToken) => supervisor.rotateToken(newToken, CALLER)),
  )
  await expect(refused).rejects.toMatchObject({ code: "TokenInvalid" })
  // The first keyring, and of each change the keyring and that what it left is cleared.
  expect(opens).toEqual([true, true, true, true, true])
  expect(readToken(paths)).toBe(tokens.at(-1))
  expect(keys.view.record.keyring.password).toBe(passwordOf(tokens.at(-1) ?? ""))
  await inner.close()
  release()
})

async function opensBy(store: Store, tokens: readonly string[]): Promise<boolean> {
  const stored = await store.record("keyring")
  const { slots } = readOutside(stored?.value ?? Buffer.of())
  for (const token of tokens)
    try {
      await unlock(slots, { kind: "token", secret: passwordOf(token) })
      return true
    } catch (error) {
      if (!isKnown(error, "SlotDidNotOpen")) throw error
    }
  return false
}
