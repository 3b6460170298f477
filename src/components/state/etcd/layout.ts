import type { StateItem, StateSet } from '../../../blocks/state/driver.ts'
import { bytes, int32, int64, message, nested } from '../../../transport/grpc/message.ts'
import { rfc3339 } from '../ttl.ts'

/** How one version of the component writes values, which real sidecars share. */
export interface Layout {
  /** @param ttl Seconds; undefined: for good. */
  encode(item: StateSet, ttl: number | undefined): Buffer
  decode(stored: Buffer): Pick<StateItem, 'data' | 'metadata'>
}

/** The value as it is. */
const v1: Layout = {
  encode: (item) => item.value,
  // A copy: what was received holds the other answers, too.
  decode: (stored) => ({ data: Buffer.from(stored) }),
}

const Instant = message('google.protobuf.Timestamp', { seconds: int64(1), nanos: int32(2) })
const Span = message('google.protobuf.Duration', { seconds: int64(1), nanos: int32(2) })
const Value = message('dapr.proto.components.state.v2.Value', { data: bytes(1), ts: nested(2, Instant), ttl: nested(3, Span) })

/** The value in an envelope that tells when it was written and how long it stays; zero: for good. */
const v2: Layout = {
  encode(item, ttl) {
    const now = Date.now()
    return Value.encode({
      data: item.value,
      ts: { seconds: Math.floor(now / 1000), nanos: (now % 1000) * 1_000_000 },
      ttl: { seconds: ttl ?? 0 },
    })
  },
  decode(stored) {
    const { data, ts, ttl } = Value.decode(stored)
    const seconds = ttl?.seconds ?? 0
    if (!ts || seconds <= 0) return { data: Buffer.from(data) }
    const expires = (ts.seconds + seconds) * 1000 + ts.nanos / 1_000_000
    return { data: Buffer.from(data), metadata: { ttlExpireTime: rfc3339(expires) } }
  },
}

/** @param version Of the component; anything but v2 is v1. */
export function layoutOf(version: string): Layout {
  return version === 'v2' ? v2 : v1
}
