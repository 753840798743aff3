/** The options of one server, checked and typed: a flag beats the environment, and that beats the configuration file. */
import { isIP } from "node:net"
import { join } from "node:path"
import { canonicalName } from "../cluster/certificates.ts"
import { dataDirPaths } from "../cluster/data-dir.ts"
import { bug } from "../errors.ts"
import { KEY_PROVIDERS, type KeyProvider } from "../providers/provider.ts"
import { formatAge, parseAge } from "../rotation/due.ts"
import type { Datastore } from "../store/datastore.ts"
import { datastoreOf } from "./datastore.ts"
import { type FlagName, LOG_FORMATS, LOG_LEVELS, RELOADS, SERVER_FLAGS, SWITCH } from "./flags.ts"
import { nearest } from "./nearest.ts"
import {
  fromArguments,
  fromEnvironment,
  fromFile,
  type Setting,
  type Settings,
  usage,
} from "./settings.ts"

/** Paths are as given: absolute, or relative to the working directory. null is "not given". */
export interface ServerOptions {
  readonly dataDir: string
  readonly bindAddress: string
  readonly httpsListenPort: number
  /** In canonical form. */
  readonly tlsSans: readonly string[]
  /** In any form that cluster/token.ts reads, and not yet checked; from --token or --token-file. */
  readonly token: string | null
  readonly nodeName: string
  readonly secretsEncryption: boolean
  readonly secretsEncryptionProvider: KeyProvider
  /** Of no effect while one server takes every verb itself: what it shows then follows at once in both modes. */
  readonly encryptionReload: (typeof RELOADS)[number]
  readonly keyMaxAgeMs: number | null
  readonly autoRotate: boolean
  readonly encryptionProviderConfig: string | null
  readonly tokenAuthFile: string | null
  readonly recoveryKeyFile: string | null
  readonly writeKubeconfig: string
  readonly writeKubeconfigMode: number
  readonly logLevel: (typeof LOG_LEVELS)[number]
  readonly logFormat: (typeof LOG_FORMATS)[number]
  readonly datastore: Datastore
  readonly clusterInit: boolean
  readonly clusterReset: boolean
  /** Of the cluster to be joined: an origin. */
  readonly server: string | null
  readonly nodeIp: string | null
  readonly etcdBinary: string
  readonly etcdClientPort: number
  readonly etcdPeerPort: number
}

/** By name: the flags that are to be the same on all servers. */
export const agreedFlags = (options: ServerOptions): Readonly<Record<string, string>> => ({
  "auto-rotate": String(options.autoRotate),
  "encryption-reload": options.encryptionReload,
  "key-max-age": options.keyMaxAgeMs === null ? "none" : formatAge(options.keyMaxAgeMs),
  "secrets-encryption-provider": options.secretsEncryptionProvider,
})

export interface OptionSources {
  /** What follows `keyturn server`. */
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  /** The file's text, or null where there is none. */
  readFile(path: string): string | null
  readonly isRoot: boolean
  readonly home: string
  readonly hostname: string
}

/** Throws KnownError UsageInvalid: one sentence about the first mistake. */
export function parseServerOptions(sources: OptionSources): ServerOptions {
  const nearer = { ...fromEnvironment(sources.env), ...fromArguments(sources.argv) }
  const given = { ...configured(nearer, sources), ...nearer }
  refuseEmpty(given)
  const setting = (name: FlagName): Setting => given[name] ?? standard(name, { given, ...sources })
  const path = (name: FlagName) => pathOf(setting(name), sources)
  const ifGiven = (name: FlagName) => (given[name] === undefined ? null : path(name))
  const dataDir = path("data-dir")
  refuseTwoDatastores(given)
  const { server, "node-ip": nodeIp, "key-max-age": maxAge } = given
  return Object.freeze({
    dataDir,
    bindAddress: addressOf(setting("bind-address")),
    httpsListenPort: portOf(setting("https-listen-port")),
    tlsSans: Object.freeze(namesOf(setting("tls-san"))),
    token: tokenOf(given, sources),
    nodeName: nodeNameOf(setting("node-name")),
    secretsEncryption: oneOf(SWITCH, setting("secrets-encryption")) === "true",
    secretsEncryptionProvider: oneOf(KEY_PROVIDERS, setting("secrets-encryption-provider")),
    encryptionReload: oneOf(RELOADS, setting("encryption-reload")),
    keyMaxAgeMs: maxAge === undefined ? null : ageOf(maxAge),
    autoRotate: oneOf(SWITCH, setting("auto-rotate")) === "true",
    encryptionProviderConfig: ifGiven("encryption-provider-config"),
    tokenAuthFile: ifGiven("token-auth-file"),
    recoveryKeyFile: ifGiven("recovery-key-file"),
    writeKubeconfig: path("write-kubeconfig"),
    writeKubeconfigMode: modeOf(setting("write-kubeconfig-mode")),
    logLevel: oneOf(LOG_LEVELS, setting("log-level")),
    logFormat: oneOf(LOG_FORMATS, setting("log-format")),
    datastore: datastoreOf(setting("datastore-endpoint"), {
      standard: dataDirPaths(dataDir).state,
      tls: {
        ca: ifGiven("datastore-cafile"),
        cert: ifGiven("datastore-certfile"),
        key: ifGiven("datastore-keyfile"),
      },
    }),
    clusterInit: oneOf(SWITCH, setting("cluster-init")) === "true",
    clusterReset: oneOf(SWITCH, setting("cluster-reset")) === "true",
    server: server === undefined ? null : originOf(server),
    nodeIp: nodeIp === undefined ? null : addressOf(nodeIp),
    etcdBinary: path("etcd-binary"),
    etcdClientPort: portOf(setting("etcd-client-port"), 1),
    etcdPeerPort: portOf(setting("etcd-peer-port"), 1),
  })
}

function configured(nearer: Settings, sources: OptionSources): Settings {
  const path = pathOf(nearer.config ?? standard("config", { given: {}, ...sources }), sources)
  const content = sources.readFile(path)
  if (content !== null) return fromFile(path, content)
  if (nearer.config === undefined) return {}
  throw usage(`${nearer.config.where}: there is no file ${path}`)
}

/** An empty token or path is a variable that was not set, never a wish. */
function refuseEmpty(given: Settings) {
  for (const { name, type } of SERVER_FLAGS) {
    if (type !== "text" || name === "datastore-endpoint") continue
    if (given[name]?.text === "") throw usage(`${given[name].where} must not be empty`)
  }
}

function standard(name: FlagName, sources: OptionSources & { readonly given: Settings }): Setting {
  const flag = SERVER_FLAGS.find((row) => row.name === name) ?? bug(`no flag ${name}`)
  const { default: all } = flag
  const raw = typeof all === "string" ? all : sources.isRoot ? all.root : all.user
  const dataDir = () => (sources.given["data-dir"] ?? standard("data-dir", sources)).text
  const text = raw.replace("<host name>", () => sources.hostname).replace("<data-dir>", dataDir)
  return { text, where: `the default of --${name}` }
}

const pathOf = ({ text }: Setting, { home }: { readonly home: string }): string =>
  text.startsWith("~/") ? join(home, text.slice(2)) : text

function tokenOf(given: Settings, sources: OptionSources): string | null {
  const { token, "token-file": file } = given
  if (token !== undefined && file !== undefined) {
    throw usage(`${token.where} and ${file.where} cannot both be given`)
  }
  if (file === undefined) return token?.text ?? null
  const path = pathOf(file, sources)
  const text = sources.readFile(path)?.trim()
  if (text === undefined) throw usage(`${file.where}: there is no file ${path}`)
  if (text === "") throw usage(`${file.where}: ${path} is empty`)
  return text
}

function oneOf<T extends string>(allowed: readonly T[], { text, where }: Setting): T {
  const found = allowed.find((value) => value === text)
  if (found !== undefined) return found
  const all = allowed.join(", ")
  throw usage(
    `${where} cannot be "${text}"; the nearest of ${all} is "${nearest(text.toLowerCase(), allowed)}"`,
  )
}

function addressOf({ text, where }: Setting): string {
  if (isAddress(text)) return canonicalName(text)
  throw usage(`${where} must be an IP address such as 127.0.0.1, not "${text}"`)
}

/** An address with a zone (`fe80::1%eth0`) fits into no certificate. */
const isAddress = (text: string): boolean => isIP(text) !== 0 && !text.includes("%")

function refuseTwoDatastores(given: Settings) {
  const { "cluster-init": init, server, "datastore-endpoint": endpoint } = given
  const embedded = init?.text === "true" ? init : server
  if (embedded === undefined) return
  if (init?.text === "true" && server !== undefined)
    throw usage(`${init.where} founds a cluster and ${server.where} joins one: give one of them`)
  if ((endpoint?.text ?? "") !== "")
    throw usage(
      `${embedded.where} is for the embedded etcd, and ${endpoint?.where} names a datastore: give one of them`,
    )
}

function originOf({ text, where }: Setting): string {
  const url = URL.parse(text)
  if (url?.protocol === "https:" && url.pathname === "/") return url.origin
  throw usage(`${where} must be an address such as https://first:6443`)
}

function portOf({ text, where }: Setting, least = 0): number {
  const port = Number(text)
  if (/^\d{1,5}$/.test(text) && port >= least && port <= 65535) return port
  throw usage(`${where} must be a port from ${least} to 65535, not "${text}"`)
}

function ageOf({ text, where }: Setting): number {
  const age = parseAge(text)
  if (age !== undefined) return age
  throw usage(`${where} must be whole days or hours such as 90d or 12h, not "${text}"`)
}

function modeOf({ text, where }: Setting): number {
  if (/^0?[0-7]{3}$/.test(text)) return Number.parseInt(text, 8)
  throw usage(`${where} must be permissions in octal such as 0600, not "${text}"`)
}

const LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
const DNS_NAME = new RegExp(`^${LABEL}(\\.${LABEL})*$`)

const isDnsName = (text: string): boolean => DNS_NAME.test(text) && text.length <= 253

function nodeNameOf({ text, where }: Setting): string {
  const name = text.toLowerCase()
  if (isDnsName(name)) return name
  const rule = "letters, digits, dashes and dots, a letter or digit at both ends of each part"
  throw usage(`${where} must be a name of ${rule}, not "${text}"; give one with --node-name`)
}

function namesOf({ text, where }: Setting): string[] {
  const written = text.split(",").map((name) => name.trim())
  return written
    .filter((name) => name !== "")
    .map((name) => {
      const canonical = canonicalName(name)
      if (isAddress(name) || isDnsName(canonical.replace(/^\*\./, ""))) return canonical
      throw usage(`${where} must be host names or IP addresses, not "${name}"`)
    })
}
