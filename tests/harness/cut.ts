/** A TCP way to a server that can be cut: before what is sent arrives, or before the answer comes back. */
import { createServer, type Server, type Socket, connect } from "node:net"

const ENDS_AFTER_MS = 400

type Direction = "requests" | "answers"

export class Way implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #lossy = new Set<Socket>()
  #lost: Direction | undefined
  #keeps = false
  #onLost = () => {}
  #isClosed = false
  #answerBytesMax = Number.POSITIVE_INFINITY

  private constructor(target: number) {
    this.#server = createServer((client) => {
      const server = connect(target, "127.0.0.1")
      this.#pass(client, server, "requests")
      this.#pass(server, client, "answers")
      if (this.#isClosed) client.destroy()
    })
  }

  static async to(target: number): Promise<Way> {
    const way = new Way(target)
    await new Promise<void>((resolve) => way.#server.listen(0, "127.0.0.1", resolve))
    return way
  }

  get port(): number {
    const address = this.#server.address()
    if (address === null || typeof address === "string") throw new Error("the way is closed")
    return address.port
  }

  /** From now on all in one direction is lost, and each connection ends some time after it lost something. */
  lose(direction: Direction): void {
    this.#lost = direction
  }

  /** Ends all connections, and takes no new ones. */
  cut(): void {
    this.#isClosed = true
    this.drop()
  }

  /** Ends all connections. */
  drop(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  /** From now on all in one direction is lost, and connections that lost something stay until {@link release}, as with one who
   *  stands still. Resolves when something was lost. */
  hold(direction: Direction): Promise<void> {
    this.#lost = direction
    this.#keeps = true
    return new Promise((resolve) => (this.#onLost = resolve))
  }

  /** Ends the connections that lost something; what is sent from now on arrives. */
  release(): void {
    this.mend()
    for (const socket of this.#lossy) socket.destroy()
    this.#lossy.clear()
  }

  /** From now on each new connection ends where it has brought back so many bytes. */
  endAfter(answerBytes: number): void {
    this.#answerBytesMax = answerBytes
    this.drop()
  }

  mend(): void {
    this.#lost = undefined
    this.#keeps = false
    this.#isClosed = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #pass(from: Socket, to: Socket, direction: Direction): void {
    this.#sockets.add(from)
    // No TCP goes on behind bytes that it lost.
    let hasLost = false
    let roomBytes = direction === "answers" ? this.#answerBytesMax : Number.POSITIVE_INFINITY
    from.on("data", (chunk) => {
      roomBytes -= chunk.length
      if (roomBytes < 0) return void from.destroy()
      hasLost ||= this.#lost === direction
      if (!hasLost) return void to.write(chunk)
      this.#lossy.add(from)
      this.#onLost()
      if (!this.#keeps) setTimeout(() => from.destroy(), ENDS_AFTER_MS)
    })
    from.on("error", () => {}) // close follows
    from.on("close", () => {
      this.#sockets.delete(from)
      to.destroy()
    })
  }
}
