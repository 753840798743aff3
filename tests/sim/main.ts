/** `npm run sim -- --seed N`: one simulation, or `--count M` of them from that seed on; `--trace` tells each event, `--bug NAME` plants
 *  one of planted.ts, and ends with its first finding. Ends with 1 where something was found, and says how to see it again. */
import { parseArgs } from "node:util"
import { installTimers } from "./virtual-timers.ts"

installTimers()
const { simulate } = await import("./simulation.ts")
const { bugNamed } = await import("./planted.ts")

/** How often a long run says where it is. */
const TOLD_EVERY = 10_000

const {
  seed: given,
  count,
  bug,
  trace,
} = parseArgs({
  options: {
    seed: { type: "string" },
    count: { type: "string", default: "1" },
    bug: { type: "string" },
    trace: { type: "boolean", default: false },
  },
}).values

const first = Number(given ?? Math.floor(Math.random() * 1_000_000_000))
const last = first + Number(count) - 1
const planted = bugNamed(bug)
const note = trace ? (line: string) => console.log(line) : () => {}
const total = { events: 0, findings: 0 }
let seed = first

const again = () =>
  `again: npm run sim -- --seed ${seed}${bug === undefined ? "" : ` --bug ${bug}`} --trace`
const tell = () =>
  console.log(`seeds ${first} to ${seed}: ${total.events} events, ${total.findings} findings`)

process.on("unhandledRejection", (error) => {
  console.log(`seed=${seed} found a rejection that nobody handled\n${again()}`, error)
  process.exit(1)
})

console.log(`seed=${first} count=${count}`)
for (; seed <= last; seed++) {
  const { dealt, events, finding } = await simulate({ seed, bug: planted, note })
  total.events += events
  if (finding !== undefined) {
    total.findings += 1
    console.log(`seed=${seed} found ${finding}\n${JSON.stringify(dealt)}\n${again()}`)
  }
  const isEnough = seed === last || (bug !== undefined && finding !== undefined)
  if (isEnough || (seed - first + 1) % TOLD_EVERY === 0) tell()
  if (isEnough) break
}
process.exitCode = total.findings === 0 ? 0 : 1
