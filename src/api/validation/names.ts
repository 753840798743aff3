/** What Kubernetes lets names, keys and label values be, and its words for what they are not: each function returns one
 *  message for each rule that is broken (k8s.io/apimachinery/pkg/util/validation). */

const tooLong = (max: number, unit: "bytes" | "characters"): string =>
  `must be no more than ${max} ${unit}`

/** `examples` are joined as Kubernetes joins them, two spaces included. */
const mismatch = (rule: string, format: string, ...examples: string[]): string => {
  const shown = examples.map((example) => `'${example}', `).join(" or ")
  return `${rule} (e.g. ${shown}regex used for validation is '${format}')`
}

const whole = (format: string): RegExp => new RegExp(`^${format}$`)

const DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
const DNS_SUBDOMAIN = `${DNS_LABEL}(\\.${DNS_LABEL})*`
const LABEL_NAME = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
const LABEL_VALUE = `(${LABEL_NAME})?`
const CONFIG_KEY = "[-._a-zA-Z0-9]+"

const DNS_LABEL_PATTERN = whole(DNS_LABEL)
const DNS_SUBDOMAIN_PATTERN = whole(DNS_SUBDOMAIN)
const LABEL_NAME_PATTERN = whole(LABEL_NAME)
const LABEL_VALUE_PATTERN = whole(LABEL_VALUE)
const CONFIG_KEY_PATTERN = whole(CONFIG_KEY)

export function dnsLabelErrors(value: string): string[] {
  const errors = value.length > 63 ? [tooLong(63, "characters")] : []
  if (DNS_LABEL_PATTERN.test(value)) return errors
  if (DNS_SUBDOMAIN_PATTERN.test(value)) return [...errors, "must not contain dots"]
  const rule =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', " +
    "and must start and end with an alphanumeric character"
  return [...errors, mismatch(rule, DNS_LABEL, "my-name", "123-abc")]
}

export function dnsSubdomainErrors(value: string): string[] {
  const errors = Buffer.byteLength(value) > 253 ? [tooLong(253, "characters")] : []
  if (DNS_SUBDOMAIN_PATTERN.test(value)) return errors
  const rule =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', " +
    "and must start and end with an alphanumeric character"
  return [...errors, mismatch(rule, DNS_SUBDOMAIN, "example.com")]
}

const LABEL_NAME_RULE =
  "must consist of alphanumeric characters, '-', '_' or '.', " +
  "and must start and end with an alphanumeric character"
const labelNameMismatch = () =>
  mismatch(LABEL_NAME_RULE, LABEL_NAME, "MyName", "my.name", "123-abc")

/** Label keys, annotation keys, finalizers: a name, with a DNS subdomain and a slash before it or not. */
export function labelKeyErrors(key: string): string[] {
  const parts = key.split("/")
  if (parts.length > 2)
    return [
      `a valid label key ${labelNameMismatch()} with an optional DNS subdomain prefix and '/' ` +
        "(e.g. 'example.com/MyName')",
    ]
  const name = parts.at(-1) ?? ""
  const prefix = parts.length === 2 ? parts[0] : undefined
  const errors: string[] = []
  if (prefix === "") errors.push("prefix part must be non-empty")
  else if (prefix !== undefined)
    errors.push(...dnsSubdomainErrors(prefix).map((error) => `prefix part ${error}`))
  if (name === "") errors.push("name part must be non-empty")
  else if (Buffer.byteLength(name) > 63) errors.push(`name part ${tooLong(63, "bytes")}`)
  if (!LABEL_NAME_PATTERN.test(name)) errors.push(`name part ${labelNameMismatch()}`)
  return errors
}

export function labelValueErrors(value: string): string[] {
  const errors = Buffer.byteLength(value) > 63 ? [tooLong(63, "bytes")] : []
  if (LABEL_VALUE_PATTERN.test(value)) return errors
  const rule =
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', " +
    "and must start and end with an alphanumeric character"
  return [...errors, mismatch(rule, LABEL_VALUE, "MyValue", "my_value", "12345")]
}

/** Keys of a Secret's data. */
export function configKeyErrors(key: string): string[] {
  const errors = Buffer.byteLength(key) > 253 ? [tooLong(253, "characters")] : []
  if (!CONFIG_KEY_PATTERN.test(key)) {
    const rule = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
    errors.push(mismatch(rule, CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
  }
  if (key === "." || key === "..") errors.push(`must not be '${key}'`)
  else if (key.startsWith("..")) errors.push("must not start with '..'")
  return errors
}

/** What any name must be to stand in a path. */
export function pathSegmentErrors(name: string): string[] {
  if (name === "." || name === "..") return [`may not be '${name}'`]
  return ["/", "%"].filter((part) => name.includes(part)).map((part) => `may not contain '${part}'`)
}

/** A prefix may end in a dash, as something will follow it. */
export const withoutTrailingDash = (prefix: string): string =>
  prefix.length > 1 && prefix.endsWith("-") ? `${prefix.slice(0, -2)}a` : prefix
