/** Counts and times in Prometheus' text form, under Kubernetes' own names where there is one. Labels hold names of kinds,
 *  verbs, codes and keys, never of objects. */

type Labels = Readonly<Record<string, string>>

/** One series of a family; keep it where it is wanted often. */
export interface Sum {
  add(by: number): void
}

export interface Histogram {
  observe(seconds: number): void
}

interface Family {
  readonly name: string
  readonly help: string
  readonly type: "counter" | "gauge" | "histogram"
  lines(): Iterable<string>
}

/** apiserver_request_duration_seconds' own. */
const BUCKETS_SECONDS = [
  0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45,
  60,
]

export class Metrics {
  readonly #families: Family[] = []

  counter(name: string, help: string): (labels: Labels) => Sum {
    const all = new Map<string, Total>()
    const lines = function* () {
      for (const [labels, { value }] of all) yield sample(name, labels, value)
    }
    this.#families.push({ name, help, type: "counter", lines })
    return (labels) => seriesOf(all, labels, () => new Total())
  }

  /** A gauge whose values are asked for when the metrics are read. */
  gaugeOf(name: string, help: string, read: () => Iterable<readonly [Labels, number]>): void {
    const lines = function* () {
      for (const [labels, value] of read()) yield sample(name, print(labels), value)
    }
    this.#families.push({ name, help, type: "gauge", lines })
  }

  histogram(name: string, help: string): (labels: Labels) => Histogram {
    const all = new Map<string, Distribution>()
    const lines = function* () {
      for (const [labels, distribution] of all) yield* distribution.lines(name, labels)
    }
    this.#families.push({ name, help, type: "histogram", lines })
    return (labels) => seriesOf(all, labels, () => new Distribution())
  }

  render(): string {
    const parts: string[] = []
    for (const { name, help, type, lines } of this.#families) {
      parts.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines())
    }
    return `${parts.join("\n")}\n`
  }
}

class Total implements Sum {
  value = 0

  add(by: number): void {
    this.value += by
  }
}

class Distribution implements Histogram {
  readonly #counts = [0, ...BUCKETS_SECONDS.map(() => 0)]
  #sum = 0

  observe(seconds: number): void {
    const found = BUCKETS_SECONDS.findIndex((limit) => seconds <= limit)
    const index = found < 0 ? BUCKETS_SECONDS.length : found
    this.#counts[index] = (this.#counts[index] ?? 0) + 1
    this.#sum += seconds
  }

  *lines(name: string, labels: string): Iterable<string> {
    const prefix = labels && `${labels},`
    let total = 0
    for (const [index, count] of this.#counts.entries()) {
      total += count
      yield sample(`${name}_bucket`, `${prefix}le="${BUCKETS_SECONDS[index] ?? "+Inf"}"`, total)
    }
    yield sample(`${name}_sum`, labels, this.#sum)
    yield sample(`${name}_count`, labels, total)
  }
}

function seriesOf<T>(all: Map<string, T>, labels: Labels, make: () => T): T {
  const key = print(labels)
  const series = all.get(key) ?? make()
  all.set(key, series)
  return series
}

const sample = (name: string, labels: string, value: number): string =>
  `${name}${labels && `{${labels}}`} ${value}`

const print = (labels: Labels): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(",")

/** Names of keys may hold anything. */
const escaped = (value: string): string =>
  value.replaceAll(/["\\\n]/g, (character) => (character === "\n" ? "\\n" : `\\${character}`))
