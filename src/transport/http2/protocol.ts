/** HTTP/2 error codes: https://www.rfc-editor.org/rfc/rfc9113#section-7 */
export const H2 = {
  NO_ERROR: 0,
  PROTOCOL: 1,
  INTERNAL: 2,
  FLOW_CONTROL: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE: 6,
  REFUSED: 7,
  CANCEL: 8,
  COMPRESSION: 9,
  CALM: 11,
  INADEQUATE_SECURITY: 12,
} as const

/** Types of frames: https://www.rfc-editor.org/rfc/rfc9113#section-6 */
export const T = { DATA: 0, HEADERS: 1, PRIORITY: 2, RST: 3, SETTINGS: 4, PUSH: 5, PING: 6, GOAWAY: 7, WINDOW: 8, CONTINUATION: 9 } as const

export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4, PADDED: 8, PRIORITY: 32 } as const

/** The largest frame that both sides take without asking. */
export const MAX_FRAME = 16_384
export const MAX_WINDOW = 0x7fffffff

/** What ends a connection: the other side breaks the protocol, or asks for too much. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError'
  readonly code: number
  constructor(code: number, text: string) {
    super(text)
    this.code = code
  }
}

/** A number of 32 bits, as RST_STREAM and WINDOW_UPDATE have it. */
export function uint32(value: number): Buffer {
  const out = Buffer.allocUnsafe(4)
  out.writeUInt32BE(value)
  return out
}

/** The payload of a frame without its padding. */
export function unpad(flags: number, payload: Buffer): Buffer {
  if (!(flags & FLAG.PADDED)) return payload
  if (payload.length === 0) throw new ConnectionError(H2.FRAME_SIZE, 'padding without its length')
  const padding = payload[0] as number
  if (padding >= payload.length) throw new ConnectionError(H2.PROTOCOL, 'more padding than frame')
  return payload.subarray(1, payload.length - padding)
}

/** Throws for a stream that is to wait for itself: https://www.rfc-editor.org/rfc/rfc7540#section-5.3.1 */
export function dependsOnOther(id: number, priority: Buffer): void {
  if ((priority.readUInt32BE() & MAX_WINDOW) === id) throw new ConnectionError(H2.PROTOCOL, 'a stream that depends on itself')
}

/** Identifiers and values as SETTINGS says them. */
export function settingsPayload(settings: readonly (readonly [number, number])[]): Buffer {
  const payload = Buffer.alloc(settings.length * 6)
  settings.forEach(([id, value], index) => {
    payload.writeUInt16BE(id, index * 6)
    payload.writeUInt32BE(value, index * 6 + 2)
  })
  return payload
}

/** @param last The last stream that was looked at. @param text ASCII, for people. */
export function goAwayPayload(last: number, code: number, text: string): Buffer {
  const payload = Buffer.alloc(8 + text.length)
  payload.writeUInt32BE(last)
  payload.writeUInt32BE(code, 4)
  payload.write(text, 8, 'latin1')
  return payload
}
