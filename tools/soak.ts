/** `npm run test:soak -- [--minutes N] [--seeds N] [--first SEED] [word …]`: what `npm test` takes one of, taken whole: every list
 *  and every fault on every engine, seed after seed, until all seeds were run or the time is over. A word takes only the pieces
 *  whose line holds it. The output of a run that failed is kept in .soak/. Prints docs/soak.md's table. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdirSync, writeFileSync } from "node:fs"
import { text } from "node:stream/consumers"
import { parseArgs } from "node:util"

interface Piece {
  readonly file: string
  readonly engines: readonly string[]
  /** How many seeds one run takes; without it there is one run, whatever the seeds. */
  readonly seedsEach?: number
  readonly env?: Readonly<Record<string, string>>
}

const SHARED = ["etcd", "mariadb", "postgres"]
const ALL = [...SHARED, "embedded"]

const PIECES: readonly Piece[] = [
  { file: "tests/e2e/several-lists", engines: ALL },
  { file: "tests/e2e/several-servers", engines: ALL, env: { KEYTURN_TEST_SECRETS: "5000" } },
  { file: "tests/e2e/leases", engines: ALL },
  { file: "tests/e2e/several-restore", engines: SHARED },
  { file: "tests/e2e/several-proofs", engines: SHARED },
  { file: "tests/e2e/several-starts", engines: SHARED, seedsEach: 10 },
  { file: "tests/e2e/several-faults", engines: ALL, seedsEach: 5 },
  { file: "tests/e2e/crash", engines: ["sqlite"], seedsEach: 10 },
  {
    file: "tests/e2e/failpoints",
    engines: ["sqlite", "etcd", "postgres"],
    env: { KEYTURN_TEST_ROUNDS: "1" },
  },
  { file: "tests/sim", engines: ["memory"], env: { KEYTURN_TEST_SEEDS: "100000" } },
]

interface Run {
  readonly file: string
  readonly engine: string
  readonly seed: number
  readonly seeds: number
  readonly env: Readonly<Record<string, string>>
}

interface Ended extends Run {
  readonly passed: number
  readonly failed: number
  readonly seconds: number
}

/** In the order in which they are run: all pieces with the first seeds, then with the next ones. */
function runsOf(pieces: readonly Piece[], { first, seeds }: { first: number; seeds: number }) {
  const runs = pieces.flatMap(({ file, engines, seedsEach, env = {} }) =>
    engines.flatMap((engine) => {
      const each = seedsEach ?? 1
      const times = seedsEach === undefined ? 1 : Math.ceil(seeds / each)
      return Array.from({ length: times }, (_, turn): Run & { turn: number } => {
        const seed = first + turn * each
        return { file, engine, seed, seeds: each, env, turn }
      })
    }),
  )
  return runs.toSorted((a, b) => a.turn - b.turn)
}

async function run(one: Run): Promise<Ended> {
  const began = performance.now()
  const child = spawn("bash", ["scripts/test", one.file], {
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      ...process.env,
      ...one.env,
      KEYTURN_TEST_ENGINE: one.engine,
      KEYTURN_TEST_SEED: String(one.seed),
      ...(one.seeds > 1 && { KEYTURN_TEST_ROUNDS: String(one.seeds) }),
    },
  })
  const closed = once(child, "close") as Promise<[number | null]>
  const [output, [code]] = await Promise.all([text(child.stdout), closed])
  const [, passed = 0, failed = 0] = /^(\d+) passed, (\d+) failed, /m.exec(output) ?? []
  const ended = {
    ...one,
    passed: Number(passed),
    failed: Math.max(Number(failed), code === 0 ? 0 : 1),
    seconds: Math.round((performance.now() - began) / 1000),
  }
  if (ended.failed > 0) keep(ended, output)
  return ended
}

function keep({ file, engine, seed }: Run, output: string): void {
  mkdirSync(".soak", { recursive: true })
  writeFileSync(`.soak/${file.replaceAll("/", "-")}-${engine}-${seed}.log`, output)
}

function table(ended: readonly Ended[]): string {
  const lines = [...Map.groupBy(ended, ({ file, engine }) => `${file} | ${engine}`)].map(
    ([of, runs]) => {
      const sum = (count: (run: Ended) => number) => runs.reduce((n, run) => n + count(run), 0)
      const red = runs.filter(({ failed }) => failed > 0).map(({ seed }) => seed)
      const seeds = sum((run) => run.seeds)
      const counts = `${seeds} | ${sum((run) => run.passed)} | ${sum((run) => run.failed)}`
      return `| ${of} | ${counts} | ${sum((run) => run.seconds)} s | ${red.join(", ")} |`
    },
  )
  return [
    "| file | engine | seeds | passed | failed | took | failed from seed |",
    "| --- | --- | --- | --- | --- | --- | --- |",
    ...lines,
  ].join("\n")
}

const { values, positionals: words } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string", default: "600" },
    seeds: { type: "string", default: "100" },
    first: { type: "string", default: "1" },
  },
})
const over = performance.now() + Number(values.minutes) * 60_000
const runs = runsOf(PIECES, { first: Number(values.first), seeds: Number(values.seeds) }).filter(
  ({ file, engine }) =>
    words.length === 0 || words.some((word) => `${file} ${engine}`.includes(word)),
)
const ended: Ended[] = []
for (const one of runs) {
  if (performance.now() > over) break
  const { passed, failed, seconds, file, engine, seed, seeds } = await run(one)
  ended.push({ ...one, passed, failed, seconds })
  console.log(
    `${file} on ${engine}, seed ${seed} and on (${seeds}): ${passed} passed, ${failed} failed, ${seconds} s`,
  )
}
console.log(`\n${ended.length} of ${runs.length} runs\n\n${table(ended)}`)
process.exitCode = ended.some(({ failed }) => failed > 0) ? 1 : 0
