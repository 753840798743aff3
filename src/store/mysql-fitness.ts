/** Which MariaDB and MySQL servers keep what keyturn builds on. */

const PACKET_BYTES_MIN = 16 << 20
/** The oldest that have what the procedures use. */
const OLDEST = { MariaDB: [10, 6, 0], MySQL: [8, 0, 29] } as const

/** `settings`: server variables and states by their names. Why the server must not be used; undefined where it may. */
export function unfitness(settings: ReadonlyMap<string, string>): string | undefined {
  const text = settings.get("version") ?? ""
  const product = text.includes("MariaDB") ? "MariaDB" : "MySQL"
  const oldest = OLDEST[product]
  // Behind some proxies MariaDB's has "5.5.5-" before it.
  const version = text
    .replace(/^5\.5\.5-/, "")
    .split(/[.-]/, 3)
    .map(Number)
  if (isBelow(version, oldest)) {
    return `the server is ${product} ${text}; ${oldest.join(".")} is the oldest served`
  }
  const nodes = Number(settings.get("wsrep_cluster_size") ?? 0)
  if (settings.get("wsrep_on") === "ON" && nodes > 1) {
    return `the server is one of ${nodes} nodes of a Galera cluster; its locks do not reach the other nodes, where a value could be written under a key that is being retired`
  }
  const flush = settings.get("innodb_flush_log_at_trx_commit") ?? ""
  if (flush === "0" || flush === "2") {
    return `innodb_flush_log_at_trx_commit is ${flush}, expected 1; a crash would lose what was acknowledged`
  }
  const packetBytes = Number(settings.get("max_allowed_packet"))
  if (packetBytes < PACKET_BYTES_MIN) {
    return `max_allowed_packet is ${packetBytes}, expected at least ${PACKET_BYTES_MIN}; a large Secret could not be rewritten`
  }
  return undefined
}

function isBelow(version: readonly number[], oldest: readonly number[]): boolean {
  const place = oldest.findIndex((number, index) => version[index] !== number)
  return place >= 0 && !((version[place] ?? 0) > (oldest[place] ?? 0))
}
