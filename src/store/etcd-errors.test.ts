import { expect, test } from "vitest"
import { isKnown } from "../errors.ts"
import { etcdError } from "./etcd-errors.ts"
import { AnswerLost, NotDone } from "./lost-answer.ts"

// The words are those of etcd (api/v3rpc/rpctypes/error.go) and of grpc-go (rpc_util.go, server.go).
test.each([
  { code: 3, message: "etcdserver: request is too large" },
  { code: 8, message: "grpc: received message larger than max (2621440 vs. 2097152)" },
])("what is too large for etcd to take is the object's fault: $message", (status) => {
  expect(isKnown(etcdError(status, "etcd"), "ObjectInvalid")).toBe(true)
})

test("an answer that is too large to send is a lost one: what was asked for may be done", () => {
  const message = "grpc: trying to send message larger than max (2147483648 vs. 2147483647)"
  expect(etcdError({ code: 8, message }, "etcd")).toBeInstanceOf(AnswerLost)
})

test("a member without a quorum wrote nothing, and says what it lacks", () => {
  const error = etcdError({ code: 14, message: "etcdserver: no leader" }, "etcd at host")
  expect(error).toBeInstanceOf(NotDone)
  expect(error.message).toBe(
    "etcd at host: etcdserver: no leader: more than half of its members must run",
  )
})
