/** Loaded by vitest before each test file of whole programs. */
import { afterAll } from "vitest"
import { endAll } from "./process.ts"

afterAll(endAll)
