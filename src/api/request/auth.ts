/** Who asks, and what he may do.
 *
 *  A client certificate is first (CN is the user, each O a group), then a bearer token or Basic. Of a credential only its
 *  digest is compared, one digest is made whether there is a credential or not, and no time depends on which is wrong. */

import type { IncomingMessage } from "node:http"
import type { Http2ServerRequest } from "node:http2"
import type { TLSSocket } from "node:tls"
import { KnownError } from "../../errors.ts"
import { digestOf, sameSecret } from "../../keyring/same-secret.ts"
import { isStored, RESOURCES } from "../kinds/resources.ts"
import { goQuote } from "../text/go-text.ts"
import type { RequestInfo } from "./request.ts"
import { badRequest, forbidden, type StatusError, unauthorized } from "../status.ts"

export type ApiRequest = Http2ServerRequest | IncomingMessage

export interface User {
  readonly name: string
  readonly uid: string
  readonly groups: readonly string[]
}

export const ADMIN_GROUP = "system:masters"
export const SERVER_GROUP = "k3s:server"
const AUTHENTICATED = "system:authenticated"

export const ANONYMOUS: User = Object.freeze({
  name: "system:anonymous",
  uid: "",
  groups: ["system:unauthenticated"],
})

const userOf = (name: string, groups: readonly string[], uid = ""): User =>
  Object.freeze({
    name,
    uid,
    groups: groups.includes(AUTHENTICATED) ? groups : [...groups, AUTHENTICATED],
  })

export const isAnonymous = ({ groups }: User): boolean => !groups.includes(AUTHENTICATED)
export const isAdmin = ({ groups }: User): boolean => groups.includes(ADMIN_GROUP)

/** Returns {@link ANONYMOUS} where no credential is given. Throws 401 for one that is wrong. */
export type Authenticator = (req: ApiRequest) => User

export interface Credentials {
  /** By the hex digest of the token; see {@link parseTokenFile}. */
  readonly tokens: ReadonlyMap<string, User>
  /** The password of the user `server`, as it is now. */
  serverPassword(): string
}

const SERVER = userOf("server", [SERVER_GROUP])

export function createAuthenticator({ tokens, serverPassword }: Credentials): Authenticator {
  return (req) => {
    const byCertificate = certificateUser(req)
    if (byCertificate === "untrusted") throw unauthorized()
    if (byCertificate !== undefined) return byCertificate
    const { scheme, secret } = readAuthorization(req.headers.authorization ?? "")
    const byToken = tokens.get(digestOf(secret).toString("hex"))
    if (scheme === "none") return ANONYMOUS
    if (scheme === "bearer" && byToken !== undefined) return byToken
    if (scheme === "basic" && sameSecret(secret, `server:${serverPassword()}`)) return SERVER
    throw unauthorized()
  }
}

function readAuthorization(header: string): {
  scheme: "none" | "bearer" | "basic"
  secret: string
} {
  const blank = header.indexOf(" ")
  const scheme = header.slice(0, blank).toLowerCase()
  const secret = header.slice(blank + 1).trim()
  if (blank < 0 || secret === "") return { scheme: "none", secret: "" }
  if (scheme === "bearer") return { scheme, secret }
  if (scheme === "basic") return { scheme, secret: Buffer.from(secret, "base64").toString() }
  return { scheme: "none", secret: "" }
}

type CertificateUser = User | "untrusted" | undefined

/** A connection's certificate does not change, so it is read once a connection. */
const certificateUsers = new WeakMap<object, CertificateUser>()

function certificateUser(req: ApiRequest): CertificateUser {
  const connection = "stream" in req ? (req.stream.session ?? req.socket) : req.socket
  if (certificateUsers.has(connection)) return certificateUsers.get(connection)
  const user = readCertificate(req.socket as TLSSocket)
  certificateUsers.set(connection, user)
  return user
}

function readCertificate(socket: TLSSocket): CertificateUser {
  const { subject } = socket.getPeerCertificate()
  if (subject === undefined) return undefined
  if (!socket.authorized || typeof subject.CN !== "string") return "untrusted"
  const groups: string | string[] = subject.O ?? []
  return userOf(subject.CN, typeof groups === "string" ? [groups] : groups)
}

/** A static token file in Kubernetes' own form: lines `token,user,uid,"group1,group2"`. Throws ConfigInvalid with the line,
 *  never with what stands in it. The key of each user is the hex digest of the token. */
export function parseTokenFile(path: string, content: string): Map<string, User> {
  const tokens = new Map<string, User>()
  for (const [index, line] of content.split(/\r?\n/).entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue
    const [token = "", name = "", uid, groups = ""] = readCsvLine(line) ?? []
    const wrong = (why: string) =>
      new KnownError("ConfigInvalid", `${path}, line ${index + 1}: ${why}`)
    if (uid === undefined || token === "" || name === "")
      throw wrong('expected token,user,uid and then, if wanted, "group1,group2"')
    const key = digestOf(token).toString("hex")
    if (tokens.has(key)) throw wrong("this token stands in the file already")
    const list = groups.split(",").map((group) => group.trim())
    tokens.set(
      key,
      userOf(
        name,
        list.filter((group) => group !== ""),
        uid,
      ),
    )
  }
  return tokens
}

/** RFC 4180, one line. Undefined where quotes do not match. */
function readCsvLine(line: string): string[] | undefined {
  const fields: string[] = []
  const FIELD = /\s*(?:"((?:[^"]|"")*)"|([^",]*))(,|$)/y
  for (let end = ","; end === ","; ) {
    const found = FIELD.exec(line)
    if (found === null) return undefined
    fields.push(found[1]?.replaceAll('""', '"') ?? (found[2] ?? "").trim())
    end = found[3] ?? ""
  }
  return fields
}

/** What anybody may read without a word about himself. */
const OPEN_PATHS: ReadonlySet<string> = new Set(["/version", "/cacerts"])
const HEALTH_PATHS = ["/healthz", "/livez", "/readyz"]

/** What every authenticated user may read: which API this is. */
const DISCOVERY_PATHS = ["/api", "/apis", "/openapi"]

const isUnder = (roots: readonly string[], path: string): boolean =>
  roots.some((root) => path === root || path.startsWith(`${root}/`))

/** What every authenticated user may create: questions about himself. */
const SELF_REVIEWS = RESOURCES.filter((resource) => !isStored(resource))

/** Whether a supervisor route may be taken. */
export const isServer = (user: User): boolean => user.groups.includes(SERVER_GROUP) || isAdmin(user)

/** Throws 401 to whom is not known, 403 to whom is known and may not. */
export function authorize(user: User, info: RequestInfo): void {
  if (isAdmin(user)) return
  const { target, verb, path } = info
  const isRead = verb === "get" || verb === "head"
  if (target === undefined && isRead && (OPEN_PATHS.has(path) || isUnder(HEALTH_PATHS, path)))
    return
  if (isAnonymous(user)) throw unauthorized()
  if (target === undefined) {
    if (isRead && isUnder(DISCOVERY_PATHS, path)) return
    throw forbidden(
      { resource: "" },
      `User ${goQuote(user.name)} cannot ${verb} path ${goQuote(path)}`,
    )
  }
  const { group, plural } = target
  const isSelfReview = SELF_REVIEWS.some((own) => own.plural === plural && own.group === group)
  if (verb === "create" && isSelfReview) return
  throw denied(user, { ...target, verb })
}

/** All that {@link authorize} lets an authenticated user do, as Kubernetes lists it; `get` stands for HEAD too. */
export function rulesOf(user: User) {
  if (isAdmin(user))
    return {
      resourceRules: [{ verbs: ["*"], apiGroups: ["*"], resources: ["*"] }],
      nonResourceRules: [{ verbs: ["*"], nonResourceURLs: ["*"] }],
    }
  const below = [...HEALTH_PATHS, ...DISCOVERY_PATHS].flatMap((root) => [root, `${root}/*`])
  return {
    resourceRules: SELF_REVIEWS.map(({ group, plural }) => ({
      verbs: ["create"],
      apiGroups: [group],
      resources: [plural],
    })),
    nonResourceRules: [{ verbs: ["get"], nonResourceURLs: [...OPEN_PATHS, ...below] }],
  }
}

interface Attributes {
  readonly verb: string
  readonly group: string
  readonly plural: string
  readonly namespace?: string | undefined
  readonly name?: string | undefined
  readonly subresource?: string | undefined
}

function denied(user: User, of: Attributes): StatusError {
  const { verb, group, namespace, name } = of
  const resource = of.subresource === undefined ? of.plural : `${of.plural}/${of.subresource}`
  const where =
    namespace === undefined ? "at the cluster scope" : `in the namespace ${goQuote(namespace)}`
  return forbidden(
    { group, resource: of.plural, name },
    `User ${goQuote(user.name)} cannot ${verb} resource ${goQuote(resource)} in API group ` +
      `${goQuote(group)} ${where}`,
  )
}

/** The user that an administrator speaks for (`kubectl --as`), or `user`. Throws 400, 403. */
export function impersonated(user: User, headers: ApiRequest["headers"]): User {
  const name = one(headers["impersonate-user"])
  const uid = one(headers["impersonate-uid"])
  const group = headers["impersonate-group"]
  if (name === undefined) {
    if (group === undefined && uid === undefined) return user
    throw badRequest("requested impersonation without impersonating a user")
  }
  const groups = [group ?? []].flat()
  if (!isAdmin(user)) throw denied(user, { verb: "impersonate", group: "", plural: "users", name })
  return userOf(
    name,
    groups.flatMap((names) => names.split(/,\s*/)),
    uid,
  )
}

const one = (header: string | string[] | undefined): string | undefined =>
  typeof header === "string" && header !== "" ? header : undefined
