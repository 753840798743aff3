/** What no server's output ever holds, whatever it goes through. */
import { expect } from "vitest"
import type { TestServer } from "./server.ts"

/** What an embedded etcd says, and that it takes the next member only some seconds after the last one. */
const FORESEEN = /^\S+ (INFO etcd: .*|WARN a request was refused: .* \(MembersUnready\) .*)\n/gm

/** A write that was on its way to a member of the datastore that led and ended. */
const LOST = /^\S+ WARN a request was refused: .* \(OutcomeUnknown\) .*\n/gm

/** Nothing speaks of a bug, nor of a request that was not answered as it should: a leak of listeners, a rejection that nobody
 *  handled, a failure without a name. `losesWrites`: as traffic.ts has it. */
export function expectQuiet(server: TestServer, { losesWrites = false } = {}): void {
  const logs = server.logs().replaceAll(FORESEEN, "")
  expect(losesWrites ? logs.replaceAll(LOST, "") : logs).not.toMatch(
    /Warning:|Unhandled|a request (failed|was refused)|\bbug\b| ERROR /i,
  )
}

/** As {@link expectQuiet}, of one that had its failures to tell of. */
export function expectNoBug(server: TestServer): void {
  expect(server.logs().replaceAll(FORESEEN, "")).not.toMatch(/Warning:|Unhandled|\bbug\b/i)
}
