/** `keyturn_secrets_stored` and the revision that it holds for; a scrape reads numbers that are there. */
import type { Metrics } from "../api/routes/metrics.ts"
import { FOREIGN, type Place, PLAIN, type StoredSecrets } from "../rewriter/stored-secrets.ts"
import type { View } from "../registry/view.ts"

export function addSecretsStored(metrics: Metrics, stored: StoredSecrets): void {
  metrics.gaugeOf(
    "keyturn_secrets_stored",
    "Live Secrets by the key that they are under, at the revision of keyturn_secrets_stored_revision.",
    () => {
      const known = stored.read()
      const counts = known ? [...known.counts] : []
      return counts.map(([place, count]) => [labelsOf(place, known?.view), count] as const)
    },
  )
  metrics.gaugeOf(
    "keyturn_secrets_stored_revision",
    "The revision that keyturn_secrets_stored was counted at.",
    () => {
      const known = stored.read()
      return known ? [[{}, known.revision] as const] : []
    },
  )
}

/** Identity is where no key is: plain text; `unknown` is a key that the keyring does not hold. */
function labelsOf(place: Place, view: View | undefined): { key: string; provider: string } {
  if (place === PLAIN) return { key: "", provider: "identity" }
  if (place === FOREIGN) return { key: "", provider: "unknown" }
  const key = view?.record.keyring.keys.find(({ name }) => name === place)
  return { key: place, provider: key?.provider ?? "unknown" }
}
