/** What no server's output ever holds, whatever it goes through. */
import { expect } from "vitest"
import type { TestServer } from "./server.ts"

/** Nothing speaks of a bug: a leak of listeners, a rejection that nobody handled, a failure without a name. */
export function expectQuiet(server: TestServer): void {
  expect(server.logs()).not.toMatch(/Warning:|Unhandled|a request failed|\bbug\b| ERROR /i)
}

/** As {@link expectQuiet}, of one that had its failures to tell of. */
export function expectNoBug(server: TestServer): void {
  expect(server.logs()).not.toMatch(/Warning:|Unhandled|\bbug\b/i)
}
