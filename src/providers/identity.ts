/** Plaintext as it is. Kubernetes keeps `k8s:enc:` for encrypted values, so those are refused here. */

import { KnownError } from "../errors.ts"
import { isEncrypted } from "../format/value.ts"
import type { Provider } from "./provider.ts"

export const identity: Provider = {
  prefix: Buffer.alloc(0),
  seal: (plaintext) => Buffer.from(plaintext),
  open(stored) {
    if (!isEncrypted(stored)) return stored
    throw new KnownError("KeyDidNotOpen", "identity transformer tried to read encrypted data")
  },
}
