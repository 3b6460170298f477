import type { Middleware } from '../../blocks/middleware/driver.ts'

/** A middleware that has nothing to open and nothing to close. */
export function step(handle: Middleware['handle']): Middleware {
  return { handle, async init() {}, async [Symbol.asyncDispose]() {} }
}
