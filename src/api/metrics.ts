/** Counts and times in Prometheus' text form, under Kubernetes' own names where there is one. Labels hold names of kinds,
 *  verbs and codes, never of objects. */

type Labels = Readonly<Record<string, string>>

export interface Counter {
  add(labels: Labels, by?: number): void
}

export interface Gauge {
  add(labels: Labels, by: number): void
}

export interface Histogram {
  observe(labels: Labels, seconds: number): void
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

  counter(name: string, help: string): Counter {
    return this.#sums({ name, help, type: "counter" })
  }

  gauge(name: string, help: string): Gauge {
    return this.#sums({ name, help, type: "gauge" })
  }

  /** A gauge whose values are asked for when the metrics are read. */
  gaugeOf(name: string, help: string, read: () => Iterable<readonly [Labels, number]>): void {
    const lines = function* () {
      for (const [labels, value] of read()) yield sample(name, print(labels), value)
    }
    this.#families.push({ name, help, type: "gauge", lines })
  }

  histogram(name: string, help: string): Histogram {
    const all = new Map<string, { counts: number[]; sum: number }>()
    const lines = function* () {
      for (const [labels, { counts, sum }] of all) {
        let total = 0
        for (const [index, count] of counts.entries()) {
          total += count
          const le = BUCKETS_SECONDS[index] ?? "+Inf"
          yield `${name}_bucket{${labels},le="${le}"} ${total}`
        }
        yield `${name}_sum{${labels}} ${sum}`
        yield `${name}_count{${labels}} ${total}`
      }
    }
    this.#families.push({ name, help, type: "histogram", lines })
    return {
      observe(labels, seconds) {
        const key = print(labels)
        let one = all.get(key)
        if (one === undefined) {
          one = { counts: new Array(BUCKETS_SECONDS.length + 1).fill(0), sum: 0 }
          all.set(key, one)
        }
        const found = BUCKETS_SECONDS.findIndex((limit) => seconds <= limit)
        const index = found < 0 ? BUCKETS_SECONDS.length : found
        one.counts[index] = (one.counts[index] ?? 0) + 1
        one.sum += seconds
      },
    }
  }

  render(): string {
    const parts: string[] = []
    for (const { name, help, type, lines } of this.#families) {
      parts.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines())
    }
    return `${parts.join("\n")}\n`
  }

  #sums(family: Omit<Family, "lines">): Counter & Gauge {
    const all = new Map<string, number>()
    const lines = function* () {
      for (const [labels, sum] of all) yield sample(family.name, labels, sum)
    }
    this.#families.push({ ...family, lines })
    return {
      add(labels, by = 1) {
        const key = print(labels)
        all.set(key, (all.get(key) ?? 0) + by)
      },
    }
  }
}

const sample = (name: string, labels: string, value: number): string =>
  `${name}${labels && `{${labels}}`} ${value}`

/** Every label value is one of ours or was checked against a table, so nothing needs escaping. */
const print = (labels: Labels): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}="${value}"`)
    .join(",")
