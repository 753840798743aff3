import { describe, expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import { environmentName, SERVER_FLAGS } from "./flags.ts"
import { type OptionSources, parseServerOptions } from "./options.ts"

interface Given extends Partial<Omit<OptionSources, "readFile">> {
  readonly files?: Readonly<Record<string, string>>
}

const DEFAULT_CONFIG = "/etc/keyturn/config.yaml"

const parse = ({ files = {}, ...given }: Given) =>
  parseServerOptions({
    argv: [],
    env: {},
    readFile: (path) => files[path] ?? null,
    isRoot: true,
    home: "/home/ann",
    hostname: "Node-1",
    ...given,
  })

/** The sentence of the UsageInvalid that `given` ends in. */
function refusal(given: Given): string {
  try {
    parse(given)
  } catch (error) {
    if (isKnown(error, "UsageInvalid")) return error.message
    throw error
  }
  return "accepted"
}

const argv = (...words: string[]): Given => ({ argv: words })
const config = (text: string): Given => ({ files: { [DEFAULT_CONFIG]: text } })

test("with nothing given every option has its default", () => {
  expect(parse({})).toEqual({
    dataDir: "/var/lib/keyturn",
    bindAddress: "0.0.0.0",
    httpsListenPort: 6443,
    tlsSans: [],
    token: null,
    nodeName: "node-1",
    secretsEncryption: false,
    secretsEncryptionProvider: "aescbc",
    encryptionReload: "watch",
    keyMaxAgeMs: null,
    autoRotate: false,
    encryptionProviderConfig: null,
    tokenAuthFile: null,
    recoveryKeyFile: null,
    writeKubeconfig: "/var/lib/keyturn/keyturn.yaml",
    writeKubeconfigMode: 0o600,
    logLevel: "info",
    logFormat: "text",
    datastore: { kind: "sqlite", path: "/var/lib/keyturn/server/db/state.db" },
    clusterInit: false,
    clusterReset: false,
    server: null,
    nodeIp: null,
    etcdBinary: "etcd",
    etcdClientPort: 2379,
    etcdPeerPort: 2380,
  })
})

test("a server founds a cluster, or joins one, or is told its datastore", () => {
  const both = ["--cluster-init", "--server=https://a:6443"]
  expect(refusal(argv(...both))).toContain("founds a cluster and --server joins one")
  const endpoint = "--datastore-endpoint=https://a:2379"
  for (const flag of both)
    expect(refusal(argv(flag, endpoint))).toContain("and --datastore-endpoint names a datastore")
  expect(refusal(argv("--server=https://ann:p4ss@a/path"))).toBe(
    "--server must be an address such as https://first:6443",
  )
  expect(parse(argv("--cluster-init=false", endpoint)).clusterInit).toBe(false)
})

test("another user than root has a data directory of his own, and what lies in it follows", () => {
  expect(parse({ isRoot: false })).toMatchObject({
    dataDir: "/home/ann/.keyturn",
    writeKubeconfig: "/home/ann/.keyturn/keyturn.yaml",
    datastore: { kind: "sqlite", path: "/home/ann/.keyturn/server/db/state.db" },
  })
  expect(parse(argv("--data-dir", "~/x")).writeKubeconfig).toBe("/home/ann/x/keyturn.yaml")
})

test("PostgreSQL's address comes with the files for TLS", () => {
  const flags = ["--datastore-cafile=~/ca.pem", "--datastore-certfile=/c.pem"]
  const endpoint = "--datastore-endpoint=postgresql://ann:p4ss@db.example/keys"
  expect(parse(argv(endpoint, ...flags)).datastore).toMatchObject({
    kind: "postgres",
    address: { host: "db.example", port: 5432, user: "ann", password: "p4ss", database: "keys" },
    tls: { ca: "/home/ann/ca.pem", cert: "/c.pem", key: null },
  })
})

test("etcd's members come with the files for TLS", () => {
  const flags = ["--datastore-cafile=/ca.pem"]
  const endpoint = "--datastore-endpoint=https://a:2379,https://b:2379"
  expect(parse(argv(endpoint, ...flags)).datastore).toEqual({
    kind: "etcd",
    endpoints: ["https://a:2379", "https://b:2379"],
    tls: { ca: "/ca.pem", cert: null, key: null },
  })
})

test.each(["mysql://ann:p4ss@tcp(db.example:6000)/keys", "mysql://ann:p4ss@db.example:6000/keys"])(
  "MySQL's address may be %s",
  (endpoint) => {
    expect(parse(argv(`--datastore-endpoint=${endpoint}`)).datastore).toMatchObject({
      kind: "mysql",
      address: { host: "db.example", port: 6000, user: "ann", password: "p4ss", database: "keys" },
    })
  },
)

test("options are frozen", () => {
  const options = parse(argv("--tls-san", "a"))
  expect(Object.isFrozen(options)).toBe(true)
  expect(Object.isFrozen(options.tlsSans)).toBe(true)
})

/** A value for every flag, and what options hold then. A flag that is missing here fails the test below. */
const SAMPLES: Readonly<Record<string, readonly [text: string, expected: object]>> = {
  config: [DEFAULT_CONFIG, {}],
  "data-dir": ["/d", { dataDir: "/d" }],
  "bind-address": ["0:0::1", { bindAddress: "::1" }],
  "https-listen-port": ["0", { httpsListenPort: 0 }],
  "tls-san": [
    "B.example,*.a.example,FD00:0::5",
    { tlsSans: ["b.example", "*.a.example", "fd00::5"] },
  ],
  token: ["p4ss", { token: "p4ss" }],
  "token-file": ["/tok", { token: "from-file" }],
  "node-name": ["n2.example", { nodeName: "n2.example" }],
  "secrets-encryption": ["true", { secretsEncryption: true }],
  "secrets-encryption-provider": ["secretbox", { secretsEncryptionProvider: "secretbox" }],
  "encryption-reload": ["restart", { encryptionReload: "restart" }],
  "key-max-age": ["90d", { keyMaxAgeMs: 90 * 86_400_000 }],
  "auto-rotate": ["true", { autoRotate: true }],
  "encryption-provider-config": ["/e.yaml", { encryptionProviderConfig: "/e.yaml" }],
  "token-auth-file": ["/t.csv", { tokenAuthFile: "/t.csv" }],
  "recovery-key-file": ["~/r", { recoveryKeyFile: "/home/ann/r" }],
  "write-kubeconfig": ["/k.yaml", { writeKubeconfig: "/k.yaml" }],
  "write-kubeconfig-mode": ["644", { writeKubeconfigMode: 0o644 }],
  "log-level": ["debug", { logLevel: "debug" }],
  "log-format": ["json", { logFormat: "json" }],
  "cluster-init": ["true", { clusterInit: true }],
  server: ["https://first:6443/", { server: "https://first:6443" }],
  "cluster-reset": ["true", { clusterReset: true }],
  "node-ip": ["FD00:0::5", { nodeIp: "fd00::5" }],
  "etcd-binary": ["~/etcd", { etcdBinary: "/home/ann/etcd" }],
  "etcd-client-port": ["65535", { etcdClientPort: 65535 }],
  "etcd-peer-port": ["1", { etcdPeerPort: 1 }],
  "datastore-endpoint": ["sqlite:///x/y.db", { datastore: { kind: "sqlite", path: "/x/y.db" } }],
  "datastore-cafile": ["/ca.pem", {}],
  "datastore-certfile": ["/cert.pem", {}],
  "datastore-keyfile": ["/key.pem", {}],
}

describe.each(SERVER_FLAGS)("--$name", ({ name, short, type }) => {
  const [text, expected] = SAMPLES[name] ?? [`no sample for ${name}`, {}]
  const files = { "/tok": "from-file\n", [DEFAULT_CONFIG]: "" }

  test("as a flag, in each way of writing it", () => {
    expect(parse({ argv: [`--${name}=${text}`], files })).toMatchObject(expected)
    if (type !== "switch") {
      expect(parse({ argv: [`--${name}`, text], files })).toMatchObject(expected)
    }
    if (short !== "") expect(parse({ argv: [`-${short}`, text], files })).toMatchObject(expected)
  })

  test("as a variable", () => {
    const env = { [environmentName(name)]: text }
    expect(parse({ env, files })).toMatchObject(expected)
  })

  if (name === "config") return
  test("as a key of the file, as the flag reads it", () => {
    const inFile = { ...files, [DEFAULT_CONFIG]: `${name}: "${text}"` }
    expect(parse({ files: inFile })).toMatchObject(expected)
  })
})

test("a flag beats the environment, and that beats the file", () => {
  const files = { [DEFAULT_CONFIG]: "log-level: warn\nlog-format: json\nnode-name: from-file" }
  const env = { KEYTURN_LOG_LEVEL: "error", KEYTURN_NODE_NAME: "from-env" }
  expect(parse({ argv: ["--node-name=from-flag"], env, files })).toMatchObject({
    nodeName: "from-flag",
    logLevel: "error",
    logFormat: "json",
  })
})

test("a switch stands alone; the last of several is right; a list grows", () => {
  expect(parse(argv("--secrets-encryption")).secretsEncryption).toBe(true)
  expect(parse(argv("--log-level=warn", "--log-level=error")).logLevel).toBe("error")
  expect(parse(argv("--tls-san", "a,b", "--tls-san=c")).tlsSans).toEqual(["a", "b", "c"])
  expect(parse(config("tls-san:\n- a\n- 10.0.0.1")).tlsSans).toEqual(["a", "10.0.0.1"])
})

test("the file's values are taken as they are written", () => {
  expect(parse(config("write-kubeconfig-mode: 0644")).writeKubeconfigMode).toBe(0o644)
  expect(parse(config("token: 0123e4")).token).toBe("0123e4")
  expect(parse(config("# nothing yet\n")).logLevel).toBe("info")
})

test("--config and KEYTURN_CONFIG name another file, which must exist", () => {
  const files = { "/c.yaml": "log-level: warn", "/home/ann/c": "log-level: error" }
  expect(parse({ argv: ["-c", "/c.yaml"], files }).logLevel).toBe("warn")
  expect(parse({ env: { KEYTURN_CONFIG: "~/c" }, files }).logLevel).toBe("error")
  expect(refusal(argv("--config=/no"))).toBe("--config: there is no file /no")
})

test("variables that are empty or not ours are as if not set", () => {
  const env = { KEYTURN_TOKEN: "", KEYTURN_PORT: "tcp://10.43.0.9:6443", KEYTURN_SERVICE_HOST: "x" }
  expect(parse({ env }).token).toBeNull()
})

test.each<[Given, string]>([
  // names
  [argv("--data-dri", "/x"), "unknown flag --data-dri; the nearest is --data-dir"],
  [
    argv("--no-secrets-encryption"),
    "unknown flag --no-secrets-encryption; the nearest is --secrets-encryption",
  ],
  [argv("-x"), "unknown flag -x; the nearest is -c"],
  [argv("-data-dir=/x"), "-d is followed by a blank and its value, or write --data-dir=DIR"],
  [
    config("tls-sans: [a]"),
    `unknown key "tls-sans" in ${DEFAULT_CONFIG}; the nearest is "tls-san"`,
  ],
  [config("config: /x"), `unknown key "config" in ${DEFAULT_CONFIG}; the nearest is "token"`],
  // places
  [argv("--data-dir"), "--data-dir needs a value: --data-dir DIR"],
  [argv("--log-level"), "--log-level needs a value: --log-level debug|info|warn|error"],
  [
    argv("--data-dir", "--secrets-encryption"),
    "--data-dir needs a value; one that begins with a dash is written --data-dir=VALUE",
  ],
  [
    argv("--secrets-encryption", "true"),
    "a word after --secrets-encryption belongs to no flag: keyturn server takes flags only, as in --data-dir DIR",
  ],
  [
    argv("start"),
    "a word after keyturn server belongs to no flag: keyturn server takes flags only, as in --data-dir DIR",
  ],
  // values
  [
    argv("--log-level=wran"),
    '--log-level cannot be "wran"; the nearest of debug, info, warn, error is "warn"',
  ],
  [
    { env: { KEYTURN_LOG_FORMAT: "jsno" } },
    'KEYTURN_LOG_FORMAT cannot be "jsno"; the nearest of text, json is "json"',
  ],
  [
    argv("--secrets-encryption-provider=AESGCM"),
    '--secrets-encryption-provider cannot be "AESGCM"; the nearest of aescbc, aesgcm, secretbox is "aesgcm"',
  ],
  [
    config("secrets-encryption-provider: aescb"),
    `secrets-encryption-provider in ${DEFAULT_CONFIG} cannot be "aescb"; the nearest of aescbc, aesgcm, secretbox is "aescbc"`,
  ],
  [
    argv("--secrets-encryption=yes"),
    '--secrets-encryption cannot be "yes"; the nearest of true, false is "true"',
  ],
  [
    argv("--https-listen-port=65536"),
    '--https-listen-port must be a port from 0 to 65535, not "65536"',
  ],
  [argv("--etcd-client-port=0"), '--etcd-client-port must be a port from 1 to 65535, not "0"'],
  [argv("--https-listen-port=+1"), '--https-listen-port must be a port from 0 to 65535, not "+1"'],
  [argv("--bind-address=lo"), '--bind-address must be an IP address such as 127.0.0.1, not "lo"'],
  [
    argv("--bind-address=fe80::1%lo"),
    '--bind-address must be an IP address such as 127.0.0.1, not "fe80::1%lo"',
  ],
  [argv("--tls-san=a_b"), '--tls-san must be host names or IP addresses, not "a_b"'],
  [argv("--tls-san=a.*.b"), '--tls-san must be host names or IP addresses, not "a.*.b"'],
  [
    argv("--write-kubeconfig-mode=0o600"),
    '--write-kubeconfig-mode must be permissions in octal such as 0600, not "0o600"',
  ],
  [
    { hostname: "my_host" },
    'the default of --node-name must be a name of letters, digits, dashes and dots, a letter or digit at both ends of each part, not "my_host"; give one with --node-name',
  ],
  [argv("--token="), "--token must not be empty"],
  [config("token:"), `token in ${DEFAULT_CONFIG} must not be empty`],
  [argv("--token-file=/no"), "--token-file: there is no file /no"],
  [{ argv: ["--token-file=/t"], files: { "/t": "\n" } }, "--token-file: /t is empty"],
  [
    { argv: ["--token=a"], env: { KEYTURN_TOKEN_FILE: "/t" } },
    "--token and KEYTURN_TOKEN_FILE cannot both be given",
  ],
  [
    argv("--datastore-endpoint=nats://u:p4ss@h/db"),
    "--datastore-endpoint must be empty, sqlite:///path, https://host:2379, postgres://… or mysql://…, not nats",
  ],
  [
    argv("--datastore-endpoint=sqlite://x.db"),
    "--datastore-endpoint must be empty, sqlite:///path, https://host:2379, postgres://… or mysql://…",
  ],
  // the file's form
  [config("a: b: p4ss"), `${DEFAULT_CONFIG} is not valid YAML at line 1, column 4`],
  [config("token: a\ntoken: b"), `${DEFAULT_CONFIG} is not valid YAML at line 2, column 1`],
  [config("- token"), `${DEFAULT_CONFIG} must hold settings as "name: value"`],
  [config("token: {a: b}"), `token in ${DEFAULT_CONFIG} must be a plain value`],
  [config("token: [a]"), `token in ${DEFAULT_CONFIG} must be a plain value`],
  [
    config("tls-san: [[a]]"),
    `tls-san in ${DEFAULT_CONFIG} must be a plain value or a list of them`,
  ],
])("%j is refused: %s", (given, sentence) => {
  expect(refusal(given)).toBe(sentence)
})

test.each<[string, Given]>([
  ["after another flag", argv("--secrets-encryption", "p4ss-word")],
  ["as a second word", argv("--token", "one", "p4ss-word")],
  ["glued to -t", argv("-tp4ss-word")],
  ["in broken YAML", config("token: *p4ss-word\ntoken: 'p4ss-word")],
  ["in another datastore's address", argv("--datastore-endpoint=etcd://p4ss-word@h")],
  ["in an address with a mistake", argv("--datastore-endpoint=postgres://u:p4ss-word@h:x/db")],
])("a token %s is not repeated in the message", (_, given) => {
  expect(refusal(given)).not.toMatch(/accepted|p4ss-word/)
})
