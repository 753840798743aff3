import { expect, test } from "vitest"
import { unfitness } from "./mysql-fitness.ts"

const FIT = {
  version: "10.11.19-MariaDB-0+deb12u1",
  innodb_flush_log_at_trx_commit: "1",
  max_allowed_packet: "16777216",
  wsrep_on: "OFF",
}
const seen = (changes: object) => unfitness(new Map(Object.entries({ ...FIT, ...changes })))

test.each([
  {},
  { version: "10.6.0-MariaDB" },
  { version: "5.5.5-10.6.12-MariaDB-log" },
  { version: "11.4.2-MariaDB" },
  { version: "8.0.29", wsrep_on: undefined },
  { version: "9.1.0" },
  { innodb_flush_log_at_trx_commit: "3" },
  { wsrep_on: "ON", wsrep_cluster_size: "1" },
  { wsrep_cluster_size: "3" },
])("served: %o", (changes) => {
  expect(seen(changes)).toBeUndefined()
})

test.each([
  [{ version: "10.5.29-MariaDB" }, /MariaDB 10\.5\.29-MariaDB; 10\.6\.0 is the oldest/],
  [{ version: "8.0.28" }, /MySQL 8\.0\.28; 8\.0\.29 is the oldest/],
  [{ version: "5.7.44-log" }, /MySQL 5\.7\.44-log/],
  [{ version: "" }, /the server is MySQL/],
  [{ wsrep_on: "ON", wsrep_cluster_size: "2" }, /one of 2 nodes of a Galera cluster/],
  [{ innodb_flush_log_at_trx_commit: "0" }, /is 0, expected 1/],
  [{ innodb_flush_log_at_trx_commit: "2" }, /is 2, expected 1/],
  [{ max_allowed_packet: "1048576" }, /max_allowed_packet is 1048576/],
])("refused: %o", (changes, why) => {
  expect(seen(changes)).toMatch(why)
})
