import { expect, test } from "vitest"
import { Metrics } from "./metrics.ts"

test("series of each kind, in Prometheus' text form", () => {
  const metrics = new Metrics()
  const total = metrics.counter("requests_total", "Requests.")
  total({ verb: "GET", code: "200" }).add(1)
  total({ verb: "GET", code: "200" }).add(2)
  total({ verb: "PUT", code: "409" }).add(1)
  metrics.gaugeOf("keys", "Keys.", () => [
    [{}, 3],
    [{ key: 'a "quoted" \\ name\n' }, 1],
  ])
  const duration = metrics.histogram("duration_seconds", "Durations.")({ verb: "GET" })
  for (const seconds of [0.001, 0.03, 0.03, 1_000]) duration.observe(seconds)
  const text = metrics.render()
  expect(text).toContain(
    [
      "# HELP requests_total Requests.",
      "# TYPE requests_total counter",
      'requests_total{verb="GET",code="200"} 3',
      'requests_total{verb="PUT",code="409"} 1',
      "# HELP keys Keys.",
      "# TYPE keys gauge",
      "keys 3",
      'keys{key="a \\"quoted\\" \\\\ name\\n"} 1',
      "# HELP duration_seconds Durations.",
      "# TYPE duration_seconds histogram",
      'duration_seconds_bucket{verb="GET",le="0.005"} 1',
      'duration_seconds_bucket{verb="GET",le="0.025"} 1',
      'duration_seconds_bucket{verb="GET",le="0.05"} 3',
    ].join("\n"),
  )
  expect(text).toContain('duration_seconds_bucket{verb="GET",le="60"} 3\n')
  expect(text).toContain('duration_seconds_bucket{verb="GET",le="+Inf"} 4\n')
  expect(text).toContain('duration_seconds_sum{verb="GET"} 1000.061\n')
  expect(text.endsWith('duration_seconds_count{verb="GET"} 4\n')).toBe(true)
})
