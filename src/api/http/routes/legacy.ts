import { OutriderError } from '../../../errors.ts'
import type { Handler } from '../route.ts'

/** For blocks whose errors carry details over gRPC only: the HTTP reply has none. */
export function withoutDetails(handler: Handler): Handler {
  return async (call) => {
    try {
      return await handler(call)
    } catch (thrown) {
      const error = OutriderError.from(thrown)
      if (error.details.length === 0) throw error
      const { code, http, grpc, message, hint, retryable } = error
      throw new OutriderError({ code, http, grpc, message, retryable, cause: error.cause, ...(hint !== undefined && { hint }) })
    }
  }
}
