import { randomFillSync } from 'node:crypto'

const pool = Buffer.allocUnsafe(4096)
let used = pool.length

function randomHex(bytes: number): string {
  if (used + bytes > pool.length) {
    randomFillSync(pool)
    used = 0
  }
  const text = pool.toString('hex', used, used + bytes)
  used += bytes
  return text
}

const TRACEPARENT = /^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/

/** The W3C traceparent of the span that serves a request: a child of the caller's, or an unsampled new one. */
export function serveTraceparent(incoming: string | undefined): string {
  const parent = incoming === undefined ? null : TRACEPARENT.exec(incoming)
  return parent ? `00-${parent[1]}-${randomHex(8)}-${parent[3]}` : `00-${randomHex(16)}-${randomHex(8)}-00`
}
