import { fieldLine } from './request-head.ts'

export const NO_TRAILERS: readonly string[] = []

/**
 * What decides how a message is framed, where it goes, who sends it and how it is read has to be known before its body, so after it means
 * nothing, or harm: https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1
 */
const NEVER = new Set(
  `transfer-encoding content-length host connection keep-alive proxy-connection te trailer upgrade expect max-forwards
  authorization proxy-authorization proxy-authenticate www-authenticate cookie set-cookie forwarded x-forwarded-for x-forwarded-proto
  x-forwarded-host content-encoding content-type content-range range cache-control age expires date location retry-after vary
  if-match if-none-match if-modified-since if-unmodified-since if-range`.split(/\s+/),
)

/** Whether a field, by its name in lower case, may stand after a body. */
export function mayTrail(name: string): boolean {
  return !NEVER.has(name) && !name.startsWith(':')
}

/** The end of a body in chunks: the last one, then the lines of its trailers. Throws EINVAL for a value that is none. */
export function lastChunk(trailers: readonly string[]): string {
  if (trailers.length === 0) return '0\r\n\r\n'
  let text = '0\r\n'
  for (let i = 0; i < trailers.length; i += 2) {
    const name = trailers[i] as string
    if (mayTrail(name)) text += fieldLine(name, trailers[i + 1] as string)
  }
  return `${text}\r\n`
}
