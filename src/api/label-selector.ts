/** Label selectors: `app in (web,db),tier!=x,!old`. The grammar and the words for what breaks it are Kubernetes'
 *  (k8s.io/apimachinery/pkg/labels). */

import { badRequest, fieldError } from "./status.ts"
import { labelKeyErrors, labelValueErrors } from "./validation/names.ts"

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
  const requirements = parse(tokenize(text))
  return {
    empty: requirements.length === 0,
    matches: (labels = {}) => requirements.every((requirement) => fulfils(requirement, labels)),
  }
}

function parse(tokens: readonly Token[]): Requirement[] {
  let at = 0
  const end: Token = { kind: "end", text: "" }
  const peek = (): Token => tokens[at] ?? end
  const next = (): Token => tokens[at++] ?? end
  /** Where a name or value is due, `in` and `notin` are words like others. */
  const asWord = (token: Token): Kind =>
    token.kind === "in" || token.kind === "notin" ? "word" : token.kind
  const starts = () => asWord(peek()) === "word" || peek().kind === "!"

  const requirements: Requirement[] = []
  while (peek().kind !== "end") {
    if (!starts())
      throw badRequest(`found '${peek().text}', expected: !, identifier, or 'end of string'`)
    requirements.push(requirement())
    const after = next()
    if (after.kind === "end") break
    if (after.kind !== ",")
      throw badRequest(`found '${after.text}', expected: ',' or 'end of string'`)
    if (!starts()) throw badRequest(`found '${peek().text}', expected: identifier after ','`)
  }
  return requirements

  function fail(why: string): never {
    throw badRequest(`unable to parse requirement: ${why}`)
  }

  function requirement(): Requirement {
    const negated = peek().kind === "!"
    if (negated) next()
    const key = next()
    if (asWord(key) !== "word") fail(`found '${key.text}', expected: identifier`)
    checkKey(key.text)
    if (peek().kind === "end" || peek().kind === ",")
      return { key: key.text, operator: negated ? "!" : "exists", values: [] }
    const token = next()
    const operator = OPERATORS[token.kind]
    if (operator === undefined) return fail(`found '${token.text}', expected: ${BINARY.join(", ")}`)
    const isSet = operator === "in" || operator === "notin"
    const values = [...new Set(isSet ? set() : [exact()])].sort()
    checkValues({ key: key.text, operator, values })
    return { key: key.text, operator, values }
  }

  function exact(): string {
    if (peek().kind === "end" || peek().kind === ",") return ""
    const token = next()
    if (asWord(token) !== "word") fail(`found '${token.text}', expected: identifier`)
    return token.text
  }

  function set(): string[] {
    const open = next()
    if (open.kind !== "(") fail(`found '${open.text}' expected: '('`)
    const first = peek()
    if (first.kind === ")") {
      next()
      return [""]
    }
    if (asWord(first) !== "word" && first.kind !== ",")
      fail(`found '${first.text}', expected: ',', ')' or identifier`)
    const values = setValues()
    next()
    return values
  }

  /** Up to the closing parenthesis; nothing between commas is the empty value. */
  function setValues(): string[] {
    const values: string[] = []
    for (;;) {
      const token = next()
      if (asWord(token) === "word") {
        values.push(token.text)
        if (peek().kind === ")") return values
        if (peek().kind !== ",") fail(`found '${peek().text}', expected: ',' or ')'`)
      } else if (token.kind === ",") {
        if (values.length === 0 || peek().kind === ",") values.push("")
        if (peek().kind === ")") return [...values, ""]
      } else fail(`found '${token.text}', expected: ',', or identifier`)
    }
  }

  function checkKey(key: string): void {
    const wrong = labelKeyErrors(key)
    if (wrong.length === 0) return
    const error = fieldError("Invalid", { field: "<nil>", value: key, detail: wrong.join("; ") })
    fail(`${error.field}: ${error.message}`)
  }

  function checkValues({ key, operator, values }: Requirement): void {
    const errors = values.flatMap((value, index) => {
      const field = `values[${index}][${key}]`
      const notNumber = (operator === "gt" || operator === "lt") && !/^[-+]?\d+$/.test(value)
      const wrong = labelValueErrors(value)
      return [
        ...(notNumber
          ? [
              fieldError("Invalid", {
                field: `values[${index}]`,
                value,
                detail: "for 'Gt', 'Lt' operators, the value must be an integer",
              }),
            ]
          : []),
        ...(wrong.length > 0
          ? [fieldError("Invalid", { field, value, detail: wrong.join("; ") })]
          : []),
      ]
    })
    const lines = errors.map(({ field, message }) => `${field}: ${message}`)
    if (lines.length > 0) fail(lines.length === 1 ? (lines[0] ?? "") : `[${lines.join(", ")}]`)
  }
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
      if (value === undefined || !/^[-+]?\d+$/.test(value)) return false
      const [found, limit] = [
        BigInt(value.replace("+", "")),
        BigInt((values[0] ?? "").replace("+", "")),
      ]
      return operator === "gt" ? found > limit : found < limit
    }
  }
}
