/** The other side of bench/api.ts: the same HTTP stack, with a handler that sends ready-made bytes and does nothing else.
 *  Reads from its parent what to answer, by path; says on which port. */
import { createSecureServer } from "node:http2"
import { issueServing, makeAuthorities } from "../src/cluster/issue.ts"

const answers = new Map<string, Buffer>()
process.on("message", ({ path, body }: { path: string; body: string }) => {
  answers.set(path, Buffer.from(body))
  process.send?.({ path })
})

const now = new Date()
const { server: ca } = await makeAuthorities(now)
const { cert, key } = await issueServing(ca, { names: ["127.0.0.1"], now })
const options = {
  cert,
  key,
  ca: ca.cert,
  allowHTTP1: true,
  requestCert: true,
  rejectUnauthorized: false,
}
const server = createSecureServer({ ...options, minVersion: "TLSv1.2" }, (request, response) => {
  const body = answers.get(request.url) ?? Buffer.alloc(0)
  response.writeHead(200, {
    "cache-control": "no-cache, private",
    "content-type": "application/json",
    "content-length": body.length,
  })
  response.end(body)
})
server.listen(0, "127.0.0.1", () => {
  const address = server.address()
  process.send?.({ port: typeof address === "object" ? address?.port : 0 })
})
process.once("disconnect", () => process.exit(0))
