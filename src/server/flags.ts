/** Every setting of `keyturn server`, once: the command line and its help, KEYTURN_<NAME>, the keys of the configuration file
 *  and docs/cli all come from this table. What a value means is read in options.ts. */

import { KEY_PROVIDERS } from "../providers/provider.ts"

export interface ServerFlag {
  readonly name: FlagName
  /** One letter, or "". */
  readonly short: string
  /** A `switch` stands alone or has `=true`, `=false`; a `list` may be given several times, and with commas. */
  readonly type: "switch" | "choice" | "list" | "text"
  /** What stands for the value in help; of a switch and a choice all its values. */
  readonly value: string | readonly string[]
  /** "" is none; in it `<data-dir>` and `<host name>` stand for what they are on this machine. */
  readonly default: string | { readonly root: string; readonly user: string }
  readonly help: string
}

export const RELOADS = ["watch", "restart"] as const
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const
export const LOG_FORMATS = ["text", "json"] as const
export const SWITCH = ["true", "false"] as const

const DATA_DIR = { root: "/var/lib/keyturn", user: "~/.keyturn" } as const

// biome-ignore format: a table
const ROWS = [
  // name                         short type      value           default                      help
  ["config",                      "c",  "text",   "FILE",         "/etc/keyturn/config.yaml",  "YAML file whose keys are these names; the default one may be absent"],
  ["data-dir",                    "d",  "text",   "DIR",          DATA_DIR,                    "Folder that holds all state"],
  ["bind-address",                "",   "text",   "IP",           "0.0.0.0",                   "Address to listen on"],
  ["https-listen-port",           "",   "text",   "PORT",         "6443",                      "Port to listen on; 0 picks a free one"],
  ["tls-san",                     "",   "list",   "NAME",         "",                          "One more host name or IP address for the serving certificate"],
  ["token",                       "t",  "text",   "TOKEN",        "",                          "The servers' shared secret, made at the first start. The process list shows it: better --token-file"],
  ["token-file",                  "",   "text",   "FILE",         "",                          "File that holds the token"],
  ["node-name",                   "",   "text",   "NAME",         "<host name>",               "Name of this server's Node"],
  ["secrets-encryption",          "",   "switch", SWITCH,         "false",                     "Encrypt Secrets at rest"],
  ["secrets-encryption-provider", "",   "choice", KEY_PROVIDERS,  "aescbc",                    "Provider of new keys"],
  ["encryption-reload",           "",   "choice", RELOADS,        "watch",                     "When the encryption files and the Node's annotation follow a change: at once, or at a restart as in K3s"],
  ["key-max-age",                 "",   "text",   "DURATION",     "",                          "Age at which the writing key is due: days or hours, as 90d or 12h. The log and status warn 30, 7 and 1 days before"],
  ["auto-rotate",                 "",   "switch", SWITCH,         "false",                     "Turn the key that writes when it is due: by --key-max-age, and an AES-GCM key by 200,000 writes"],
  ["encryption-provider-config",  "",   "text",   "FILE",         "",                          "EncryptionConfiguration whose keys are taken in at the start"],
  ["token-auth-file",             "",   "text",   "FILE",         "",                          "Bearer tokens of API users as in Kubernetes, one a line: token,user,uid,\"group1,group2\""],
  ["recovery-key-file",           "",   "text",   "FILE",         "",                          "File with a recovery key, to start without the right token"],
  ["write-kubeconfig",            "o",  "text",   "FILE",         "<data-dir>/keyturn.yaml",   "Where to write the administrator's kubeconfig"],
  ["write-kubeconfig-mode",       "",   "text",   "MODE",         "0600",                      "Its permissions, in octal"],
  ["log-level",                   "",   "choice", LOG_LEVELS,     "info",                      "Least severity that is logged"],
  ["log-format",                  "",   "choice", LOG_FORMATS,    "text",                      "Form of the log lines on standard error"],
  ["cluster-init",                "",   "switch", SWITCH,         "false",                     "Found a cluster on an embedded etcd; a server on SQLite moves to it. Later starts need no flag"],
  ["server",                      "s",  "text",   "URL",          "",                          "Join the cluster on an embedded etcd that the server at this address belongs to, as https://first:6443; needs its token. Later starts need no flag"],
  ["cluster-reset",               "",   "switch", SWITCH,         "false",                     "Make this server's member of the embedded etcd the only one, where too few are left, and end"],
  ["node-ip",                     "",   "text",   "IP",           "",                          "Address at which the other servers reach this one; without it --bind-address, or this machine's first"],
  ["etcd-binary",                 "",   "text",   "FILE",         "etcd",                      "The etcd to embed, 3.4 or later: a path, or a name on PATH"],
  ["etcd-client-port",            "",   "text",   "PORT",         "2379",                      "Port of 127.0.0.1 on which the embedded etcd serves this server"],
  ["etcd-peer-port",              "",   "text",   "PORT",         "2380",                      "Port on which its members find each other, kept from the first start on"],
  ["datastore-endpoint",          "",   "text",   "URL",          "",                          "sqlite:///path (empty: <data-dir>/server/db/state.db), https://host:2379[,https://host:2379] for etcd, postgres://user:password@host:port/database or mysql://user:password@tcp(host:port)/database. The process list shows it: better in --config or KEYTURN_DATASTORE_ENDPOINT"],
  ["datastore-cafile",            "",   "text",   "FILE",         "",                          "Authorities of the database server's certificate, in PEM"],
  ["datastore-certfile",          "",   "text",   "FILE",         "",                          "Certificate to show to the database server, in PEM"],
  ["datastore-keyfile",           "",   "text",   "FILE",         "",                          "Its key, in PEM"],
] as const

export type FlagName = (typeof ROWS)[number][0]

export const SERVER_FLAGS: readonly ServerFlag[] = ROWS.map(
  ([name, short, type, value, standard, help]) =>
    Object.freeze({ name, short, type, value, default: standard, help }),
)

export const environmentName = (name: FlagName): string =>
  `KEYTURN_${name.toUpperCase().replaceAll("-", "_")}`

/** What stands for the value in help and messages. */
export const placeholder = ({ value }: ServerFlag): string =>
  typeof value === "string" ? value : value.join("|")
