/** The message of coordination/v1 (k8s.io/api/coordination/v1/generated.proto) that servers tell each other with. Stored, not served. */

// biome-ignore-all format: tables

import { ObjectMeta } from "./meta.ts"
import { int32, string } from "./scalars.ts"
import { message } from "./schema.ts"
import { microTime } from "./time.ts"

const LeaseSpec = message("LeaseSpec", [
  [1, "holderIdentity",       string,    "set"],
  [2, "leaseDurationSeconds", int32,     "set"],
  [3, "acquireTime",          microTime, "set"],
  [4, "renewTime",            microTime, "set"],
  [5, "leaseTransitions",     int32,     "set"],
  [6, "strategy",             string,    "set"],
  [7, "preferredHolder",      string,    "set"],
])

export const Lease = message("Lease", [
  [1, "metadata", ObjectMeta, "always"],
  [2, "spec",     LeaseSpec,  "always"],
])
