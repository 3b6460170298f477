/** A call over HTTP/1.1 that brought no reply, or not all of it. Errors of the system (ECONNREFUSED and its like) come as they are. */
export class HttpCallError extends Error {
  override readonly name = 'HttpCallError'
  readonly code: HttpCallErrorCode

  constructor(code: HttpCallErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}

/**
 * `ECONNRESET`: the server closed the connection. `ETIMEDOUT`: it took too long. `EPROTO`: what it sent is no HTTP/1.1.
 * `EINVAL`: the request cannot be sent. `EBUSY`: too many wait already. `ECANCELED`: given up, or the pool is closed.
 */
export type HttpCallErrorCode = 'ECONNRESET' | 'ETIMEDOUT' | 'EPROTO' | 'EINVAL' | 'EBUSY' | 'ECANCELED'

/** The server broke the rules of HTTP/1.1; where one message ends and the next begins is no longer certain. */
export function malformed(what: string): HttpCallError {
  return new HttpCallError('EPROTO', `malformed HTTP response: ${what}`)
}
