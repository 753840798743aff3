/** Does the cost of `rotate-keys` grow with the number of Secrets and no faster, and does memory stay flat?
 *
 *  10,000, 100,000 and 1,000,000 Secrets of 1 KiB on SQLite, each in a data directory and a server of their own: the seconds of the command,
 *  and the most memory that the server ever held. The first rotation, in which the key's name grows, is not timed. `--svg` draws it.
 *
 *  npm run bench -- linear [--svg docs/cost.svg] */
import { execFile } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { loadavg } from "node:os"
import { parseArgs, promisify } from "node:util"
import { filledDataDir, KEYTURN, machine, median, startServer } from "./lib.ts"

const COUNTS = [10_000, 100_000, 1_000_000]
const ROUNDS = 3

interface Measured {
  readonly count: number
  readonly seconds: number
  readonly peakMiB: number
}

const { values } = parseArgs({ options: { svg: { type: "string" } } })
const measured: Measured[] = []
for (const count of COUNTS) measured.push(await measure(count))
const [first] = measured
const lines = [
  `${machine()}, ${new Date().toISOString().slice(0, 10)}, load ${loadavg()[0]?.toFixed(1)}`,
  `rotate-keys on SQLite, Secrets of 1 KiB, median of ${ROUNDS}:`,
  ...measured.map(({ count, seconds, peakMiB }) => {
    const each = ((seconds / count) * 1e6).toFixed(1)
    return `  ${String(count).padStart(9)}   ${seconds.toFixed(2)} s   ${each} µs each   at most ${peakMiB.toFixed(0)} MiB`
  }),
]
console.log(lines.join("\n"))
if (values.svg !== undefined && first !== undefined) writeFileSync(values.svg, drawn(measured))

async function measure(count: number): Promise<Measured> {
  const dir = await filledDataDir(count)
  const server = await startServer(dir.path)
  try {
    const rounds: number[] = []
    for (let round = 0; round <= ROUNDS; round++) {
      const started = performance.now()
      await promisify(execFile)(KEYTURN, ["secrets-encrypt", "rotate-keys", "--data-dir", dir.path])
      if (round > 0) rounds.push((performance.now() - started) / 1000)
    }
    return { count, seconds: median(rounds), peakMiB: peakMiB(server.pid) }
  } finally {
    await server.stop()
    dir.remove()
  }
}

/** The most resident memory that a process ever had, in MiB. */
function peakMiB(pid: number): number {
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]
  return Number(kib) / 1024
}

/** Both axes are logarithmic, so that what is proportional lies on a line of 45°. */
function drawn(points: readonly Measured[]): string {
  const [width, height, margin] = [560, 340, 60]
  const x = (count: number) => margin + ((Math.log10(count) - 3.5) / 3) * (width - 2 * margin)
  const y = (seconds: number) =>
    height - margin - ((Math.log10(seconds) + 1) / 3) * (height - 2 * margin)
  const text = (at: readonly [number, number], words: string, anchor = "middle") =>
    `<text x="${at[0].toFixed(0)}" y="${at[1].toFixed(0)}" text-anchor="${anchor}">${words}</text>`
  const last = points.at(-1)
  const slope = last === undefined ? 0 : last.seconds / last.count
  const ends = [COUNTS[0] ?? 1, last?.count ?? 1].map(
    (count) => `${x(count).toFixed(1)},${y(count * slope).toFixed(1)}`,
  )
  const dots = points.flatMap(({ count, seconds, peakMiB: mib }) => [
    `<circle cx="${x(count).toFixed(1)}" cy="${y(seconds).toFixed(1)}" r="5" fill="#2563eb"/>`,
    text([x(count), y(seconds) - 14], `${seconds.toFixed(2)} s, ${mib.toFixed(0)} MiB`),
    text([x(count), height - margin + 22], count.toLocaleString("en")),
  ])
  const ticks = [0.1, 1, 10, 100].map((seconds) =>
    text([margin - 10, y(seconds) + 4], `${seconds} s`, "end"),
  )
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13" fill="#1f2937">
<title>rotate-keys on SQLite: seconds and peak memory by the number of Secrets of 1 KiB</title>
<rect width="${width}" height="${height}" fill="white"/>
<path d="M${margin} ${margin / 2}V${height - margin}H${width - margin / 2}" fill="none" stroke="#9ca3af"/>
<polyline points="${ends.join(" ")}" stroke="#93c5fd" stroke-width="2" stroke-dasharray="6 4"/>
${[...ticks, ...dots].join("\n")}
${text([width / 2, height - 8], "Secrets of 1 KiB on SQLite; dashed: as many microseconds each as the last")}
</svg>
`
}
