import { once } from "node:events"
import { createServer } from "node:net"

/** Below those that Linux gives away by itself (32,768 and up), to who listens on port 0 and to who connects: a port from here is
 *  still free when the program that is told it starts, and when it starts again. */
const FIRST = 10_240
const END = 32_768

let next = Math.floor(Math.random() * (END - FIRST))

/** A port of 127.0.0.1 that nobody listens on, and that this process asks for once. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST + (next++ % (END - FIRST))
    const server = createServer().listen(port, "127.0.0.1")
    const isFree = await once(server, "listening").then(
      () => true,
      () => false,
    )
    if (!isFree) continue
    server.close()
    await once(server, "close")
    return port
  }
}
