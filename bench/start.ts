/** How long does a server take until it is ready, and how much memory does it hold, idle and with 100,000 Secrets?
 *
 *  npm run bench -- start [count] */
import { loadSecrets, machine, median, newDataDir, residentMiB, startServer } from "./lib.ts"

const count = Number(process.argv[2] ?? 100_000)
const STARTS = 5

interface Page {
  readonly items: unknown[]
  readonly metadata: { readonly continue?: string }
}

const dir = newDataDir()
try {
  const first = await startServer(dir.path)
  const firstMs = first.readyMs
  await first.stop()
  const starts: number[] = []
  let idle = 0
  for (let i = 0; i < STARTS; i++) {
    const server = await startServer(dir.path)
    starts.push(server.readyMs)
    idle = residentMiB(server.pid)
    await server.stop()
  }
  const server = await startServer(dir.path)
  await loadSecrets(server, { count })
  const loaded = residentMiB(server.pid)
  const listed = await listInPages()
  const after = residentMiB(server.pid)
  await server.stop()
  const full = await startServer(dir.path)
  await full.stop()

  console.log(machine())
  console.log(`first start, on an empty data directory          ${firstMs.toFixed(0)} ms`)
  console.log(
    `start on an existing one, median of ${STARTS}            ${median(starts).toFixed(0)} ms`,
  )
  console.log(`start with ${count} Secrets                     ${full.readyMs.toFixed(0)} ms`)
  console.log(`resident, idle                                   ${idle.toFixed(0)} MiB`)
  console.log(`resident, ${count} Secrets loaded               ${loaded.toFixed(0)} MiB`)
  console.log(`resident, ${listed} Secrets listed in pages of 500 ${after.toFixed(0)} MiB`)

  async function listInPages(): Promise<number> {
    let seen = 0
    for (let token = ""; ; ) {
      const { body } = await server.call("GET", `/api/v1/secrets?limit=500&continue=${token}`)
      const { items, metadata } = JSON.parse(body) as Page
      seen += items.length
      if (!metadata.continue) return seen
      token = encodeURIComponent(metadata.continue)
    }
  }
} finally {
  dir.remove()
}
