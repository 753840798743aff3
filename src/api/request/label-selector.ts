/** Label selectors: `app in (web,db),tier!=x,!old`. The grammar and the words for what breaks it are Kubernetes'
 *  (k8s.io/apimachinery/pkg/labels). */

import { badRequest, fieldError } from "../status.ts"
import { labelKeyErrors, labelValueErrors } from "../validation/names.ts"

export type Labels = Readonly<Record<string, string>>

export interface LabelSelector {
  /** Whether everything matches. */
  readonly empty: boolean
  matches(labels: Labels | undefined): boolean
}

type Operator = "=" | "==" | "!=" | "in" | "notin" | "gt" | "lt" | "exists" | "!"

interface Requirement {
  readonly key: string
  readonly operator: Operator
  readonly values: readonly string[]
}

/** `end` and `word` are no literals: a word may read "in". */
type Kind = "end" | "word" | "(" | ")" | "," | "!" | "=" | "==" | "!=" | ">" | "<" | "in" | "notin"

interface Token {
  readonly kind: Kind
  readonly text: string
}

const TOKEN = /[ \t\r\n]*(==|!=|[=!(),<>]|[^ \t\r\n=!(),<>]+)/y
const INTEGER = /^[-+]?\d+$/
const BINARY: readonly string[] = ["in", "notin", "=", "==", "!=", "gt", "lt"]
const OPERATORS: Partial<Record<Kind, Operator>> = {
  in: "in",
  notin: "notin",
  "=": "=",
  "==": "==",
  "!=": "!=",
  ">": "gt",
  "<": "lt",
}

function tokenize(text: string): Token[] {
  const tokens: Token[] = []
  TOKEN.lastIndex = 0
  for (let found = TOKEN.exec(text); found !== null; found = TOKEN.exec(text)) {
    const [, token = ""] = found
    const isWord = /[^=!(),<>]/.test(token) && token !== "in" && token !== "notin"
    tokens.push({ kind: isWord ? "word" : (token as Kind), text: token })
  }
  return [...tokens, { kind: "end", text: "" }]
}

/** Throws 400. */
export function parseLabelSelector(text: string): LabelSelector {
  const requirements = new Parser(tokenize(text)).requirements()
  return {
    empty: requirements.length === 0,
    matches: (labels = {}) => requirements.every((requirement) => fulfils(requirement, labels)),
  }
}

const END: Token = { kind: "end", text: "" }

/** Where a name or a value is due, `in` and `notin` are words like others. */
const isWord = ({ kind }: Token): boolean => kind === "word" || kind === "in" || kind === "notin"

function fail(why: string): never {
  throw badRequest(`unable to parse requirement: ${why}`)
}

class Parser {
  readonly #tokens: readonly Token[]
  #at = 0

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens
  }

  get #next(): Token {
    return this.#tokens[this.#at] ?? END
  }

  #take(): Token {
    const token = this.#next
    this.#at++
    return token
  }

  requirements(): Requirement[] {
    const found: Requirement[] = []
    const starts = () => isWord(this.#next) || this.#next.kind === "!"
    while (this.#next.kind !== "end") {
      if (!starts())
        throw badRequest(`found '${this.#next.text}', expected: !, identifier, or 'end of string'`)
      found.push(this.#requirement())
      const after = this.#take()
      if (after.kind === "end") break
      if (after.kind !== ",")
        throw badRequest(`found '${after.text}', expected: ',' or 'end of string'`)
      if (!starts()) throw badRequest(`found '${this.#next.text}', expected: identifier after ','`)
    }
    return found
  }

  #requirement(): Requirement {
    const negated = this.#next.kind === "!"
    if (negated) this.#take()
    const key = this.#take()
    if (!isWord(key)) fail(`found '${key.text}', expected: identifier`)
    checkKey(key.text)
    if (this.#next.kind === "end" || this.#next.kind === ",")
      return { key: key.text, operator: negated ? "!" : "exists", values: [] }
    const token = this.#take()
    const operator = OPERATORS[token.kind]
    if (operator === undefined) fail(`found '${token.text}', expected: ${BINARY.join(", ")}`)
    const isSet = operator === "in" || operator === "notin"
    const values = [...new Set(isSet ? this.#set() : [this.#exact()])].toSorted()
    checkValues({ key: key.text, operator, values })
    return { key: key.text, operator, values }
  }

  #exact(): string {
    if (this.#next.kind === "end" || this.#next.kind === ",") return ""
    const token = this.#take()
    if (!isWord(token)) fail(`found '${token.text}', expected: identifier`)
    return token.text
  }

  #set(): string[] {
    const open = this.#take()
    if (open.kind !== "(") fail(`found '${open.text}' expected: '('`)
    const first = this.#next
    if (!isWord(first) && first.kind !== "," && first.kind !== ")")
      fail(`found '${first.text}', expected: ',', ')' or identifier`)
    const values = first.kind === ")" ? [""] : this.#setValues()
    this.#take()
    return values
  }

  /** Up to the closing parenthesis; nothing between commas is the empty value. */
  #setValues(): string[] {
    const values: string[] = []
    for (;;) {
      const token = this.#take()
      const { kind, text } = this.#next
      if (isWord(token)) {
        values.push(token.text)
        if (kind === ")") return values
        if (kind !== ",") fail(`found '${text}', expected: ',' or ')'`)
      } else if (token.kind === ",") {
        if (values.length === 0 || kind === ",") values.push("")
        if (kind === ")") return [...values, ""]
      } else fail(`found '${token.text}', expected: ',', or identifier`)
    }
  }
}

function checkKey(key: string): void {
  const wrong = labelKeyErrors(key)
  if (wrong.length === 0) return
  const error = fieldError("Invalid", { field: "<nil>", value: key, detail: wrong.join("; ") })
  fail(`${error.field}: ${error.message}`)
}

function checkValues({ key, operator, values }: Requirement): void {
  const isNumeric = operator === "gt" || operator === "lt"
  const errors = values.flatMap((value, index) => {
    const field = `values[${index}]`
    const wrong = labelValueErrors(value).join("; ")
    const notNumber = "for 'Gt', 'Lt' operators, the value must be an integer"
    return [
      ...(isNumeric && !INTEGER.test(value) ? [{ field, value, detail: notNumber }] : []),
      ...(wrong === "" ? [] : [{ field: `${field}[${key}]`, value, detail: wrong }]),
    ].map((error) => fieldError("Invalid", error))
  })
  const lines = errors.map(({ field, message }) => `${field}: ${message}`)
  if (lines.length > 0) fail(lines.length === 1 ? lines.join("") : `[${lines.join(", ")}]`)
}

function fulfils({ key, operator, values }: Requirement, labels: Labels): boolean {
  const value = Object.hasOwn(labels, key) ? labels[key] : undefined
  switch (operator) {
    case "exists":
      return value !== undefined
    case "!":
      return value === undefined
    case "!=":
    case "notin":
      return value === undefined || !values.includes(value)
    case "=":
    case "==":
    case "in":
      return value !== undefined && values.includes(value)
    case "gt":
    case "lt": {
      if (value === undefined || !INTEGER.test(value)) return false
      const [found = 0n, limit = 0n] = [value, ...values].map((text) =>
        BigInt(text.replace("+", "")),
      )
      return operator === "gt" ? found > limit : found < limit
    }
  }
}
