/** `/healthz`, `/livez`, `/readyz`: one word, or one line a check. */

import { type ApiResponse, sendText } from "../answer/respond.ts"

/** By name, whether it holds. */
export type Checks = Readonly<Record<string, boolean>>

/** `path`: `/readyz` or, for one check, `/readyz/<name>`. */
export function sendHealth(
  response: ApiResponse,
  of: { path: string; query: URLSearchParams; checks: Checks },
): void {
  const [, endpoint = "", name] = of.path.split("/")
  const excluded = of.query.getAll("exclude")
  const entries = Object.entries(of.checks).filter(([check]) => !excluded.includes(check))
  const asked = name ? entries.filter(([check]) => check === name) : entries
  if (name && asked.length === 0) return sendText(response, 404, "404 page not found\n")
  const passed = asked.every(([, holds]) => holds)
  if (passed && (name || !of.query.has("verbose"))) return sendText(response, 200, "ok")
  const lines = asked.map(([check, holds]) =>
    holds ? `[+]${check} ok` : `[-]${check} failed: reason withheld`,
  )
  lines.push(`${endpoint} check ${passed ? "passed" : "failed"}`)
  sendText(response, passed ? 200 : 500, `${lines.join("\n")}\n`)
}
