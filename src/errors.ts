/** The one table of failures. Everything that this program foresees has a row here; docs/errors.md is printed from it. */

export interface ErrorRow {
  /** HTTP status the API answers with. */
  readonly http: number
  /** Exit code of a command that ends in it. */
  readonly exit: number
  /** Whether the same call may succeed later without anybody changing anything. */
  readonly again: "final" | "retry"
  /** What the reader does next; empty where the message already says it. */
  readonly hint: string
}

const row = (http: number, exit: number, again: "final" | "retry", hint: string): ErrorRow => ({
  http,
  exit,
  again,
  hint,
})

// biome-ignore format: a table
export const ERRORS = {
  // stored values
  ValueCorrupt:        row(500, 10, "final", "restore this object from a backup"),
  KeyDidNotOpen:       row(500, 11, "final", "put the key that wrote it back: start the server with --encryption-provider-config and a file that holds it"),
  KeyDestroyed:        row(500, 11, "final", "nothing opens this object any more: delete it, or restore it from a backup under another key"),
  PlaintextRefused:    row(500, 33, "final", "see docs/operate/verify.md, \"Plain text that somebody puts there\""),
  ObjectInvalid:       row(400, 1,  "final", ""),
  // the store
  AlreadyExists:       row(409, 1,  "final", ""),
  NotFound:            row(404, 1,  "final", ""),
  Conflict:            row(409, 1,  "retry", "read the object again and apply the change to what it is now"),
  Compacted:           row(410, 1,  "final", "list again without a resourceVersion"),
  FutureRevision:      row(504, 1,  "retry", ""),
  SlowWatcher:         row(410, 1,  "retry", "list again and watch from there"),
  StoreUnavailable:    row(503, 13, "retry", "see whether the datastore runs and can be reached, then try again; the server's log tells of it"),
  RevisionTooLarge:    row(500, 10, "final", "restore the datastore from a backup: nothing more can be written to this one"),
  StoreRefused:        row(503, 13, "final", "see the datastore's address, user and rights"),
  OutcomeUnknown:      row(504, 14, "final", "it may have happened: read the object before you write it again; after a verb run: keyturn secrets-encrypt history"),
  StoreCorrupt:        row(500, 10, "final", "restore the datastore from a backup"),
  DiskFull:            row(507, 13, "retry", "make space under the data directory"),
  // keyring and rotation
  SlotDidNotOpen:      row(500, 15, "final", "start with the token of this datastore, or with --recovery-key-file"),
  RecordCorrupt:       row(500, 10, "final", "restore the datastore from a backup"),
  RotationUnderWay:    row(409, 12, "retry", "run: keyturn secrets-encrypt status, then try again"),
  WrongStage:          row(409, 16, "final", "run: keyturn secrets-encrypt status"),
  RotationAborted:     row(409, 34, "final", "run: keyturn secrets-encrypt history"),
  HashMismatch:        row(409, 16, "retry", "run: keyturn secrets-encrypt status"),
  EncryptionDisabled:  row(409, 16, "final", "run: keyturn secrets-encrypt enable"),
  KeyNameTaken:        row(409, 17, "final", "give the key another name"),
  KeyStillNeeded:      row(409, 18, "final", "see docs/operate/rotation.md, \"When a key is kept\": delete or restore the named objects, then run: keyturn secrets-encrypt reencrypt --force"),
  NotProven:           row(409, 32, "final", "see docs/operate/verify.md; mostly: keyturn secrets-encrypt reencrypt --force, or enable where encryption is off"),
  KeyNotArchived:      row(409, 16, "final", "run: keyturn secrets-encrypt rotate-keys"),
  KeyInUse:            row(409, 18, "final", "run: keyturn secrets-encrypt reencrypt --force, which rewrites what opens; delete or restore what does not; then try again"),
  // files, flags, start
  ConfigInvalid:       row(400, 2,  "final", ""),
  UsageInvalid:        row(400, 2,  "final", ""),
  DataDirInUse:        row(500, 19, "final", "stop that server first; a second one needs a --data-dir and a --datastore-endpoint that no other uses"),
  DatastoreEmpty:      row(500, 31, "final", "give the --datastore-endpoint of before (or bring the database back); to begin anew, move <data-dir>/server away"),
  FilesUnreadable:     row(500, 20, "final", "see the path and its permissions"),
  PortInUse:           row(500, 21, "final", "give another --https-listen-port, or 0 for a free one"),
  TokenInvalid:        row(400, 22, "final", "the token is the content of <data-dir>/server/token"),
  SnapshotInvalid:     row(400, 26, "final", "run: keyturn snapshot list"),
  // the embedded etcd
  EtcdMissing:         row(500, 27, "final", "on Debian or Ubuntu run: sudo apt-get install etcd-server; or say with --etcd-binary where it is"),
  EtcdToolMissing:     row(500, 27, "final", "on Debian or Ubuntu run: sudo apt-get install etcd-client"),
  EtcdEnded:           row(500, 28, "final", "see what etcd says in the server's log, and whether --etcd-client-port and --etcd-peer-port are free"),
  MemberRemoved:       row(500, 29, "final", "to join again, move <data-dir>/server/db/etcd away and start with --server and --token"),
  MembersUnready:      row(503, 30, "retry", "see that every server of the cluster runs, then try again"),
  // talking to a server
  Unauthorized:        row(401, 23, "final", "give the server's token with --token, or run it where --data-dir can be read; KEYTURN_TOKEN goes before that"),
  Forbidden:           row(403, 23, "final", ""),
  ServerUnreachable:   row(503, 24, "retry", "is the server running there? --data-dir or --server say which one is asked"),
  ServerUntrusted:     row(502, 24, "final", "reach it under a name of its certificate, or start it with --tls-san and the name"),
  ServerFailed:        row(500, 25, "final", "see the server's log, and whether a keyturn server is at that address"),
  ServerStarting:      row(503, 24, "retry", "wait until /readyz answers 200"),
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

/** A foreseen failure. `message` reaches clients: no key bytes, no token, no plaintext. `cause` reaches only the log. */
export class KnownError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = "KnownError"
    this.code = code
  }
}

/** Whether `error` is a {@link KnownError} with one of `codes` (with any code where none is given). */
export const isKnown = (error: unknown, ...codes: ErrorCode[]): error is KnownError =>
  error instanceof KnownError && (codes.length === 0 || codes.includes(error.code))

/** The failure of a part as that of the whole, which its message begins with; what was not foreseen stays as it is. */
export const within = (whole: string, error: unknown): unknown =>
  isKnown(error)
    ? new KnownError(error.code, `${whole}: ${error.message}`, { cause: error })
    : error

/** For what cannot happen: a bug, never a user's mistake. Crashes the request, not silently. */
export function bug(message: string): never {
  throw new Error(`bug: ${message}`)
}
