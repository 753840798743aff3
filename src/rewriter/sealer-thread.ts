/** The thread that sealer.ts starts. It is given the record whose keyring it works with, and answers each {@link Asked} with an
 *  {@link Answered}. */
import { parentPort, workerData } from "node:worker_threads"
import type { OpenRecord } from "../keyring/record.ts"
import { makeView } from "../registry/view.ts"
import type { Unreadable } from "../rotation/operation.ts"
import { makeTarget, sealAnew } from "./rewrite.ts"
import { type Answered, type Asked, asBuffer, gathered } from "./sealer-messages.ts"

const isSealed = (one: Buffer | Unreadable): one is Buffer => one instanceof Uint8Array

const target = makeTarget(makeView(workerData as OpenRecord, ""))

parentPort?.on("message", (asked: Asked) => {
  const anew = asked.map(({ key, expected }) =>
    sealAnew({ key, expected: asBuffer(expected) }, target),
  )
  const { views, buffer } = gathered(anew.filter(isSealed))
  const answered: Answered = anew.map((one) => (isSealed(one) ? (views.shift() ?? one) : one))
  parentPort?.postMessage(answered, [buffer])
})
