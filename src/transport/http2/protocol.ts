/** HTTP/2 error codes: https://www.rfc-editor.org/rfc/rfc9113#section-7 */
export const H2 = {
  NO_ERROR: 0,
  PROTOCOL: 1,
  FLOW_CONTROL: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE: 6,
  REFUSED: 7,
  CANCEL: 8,
  COMPRESSION: 9,
  CALM: 11,
} as const

export const T = { DATA: 0, HEADERS: 1, PRIORITY: 2, RST: 3, SETTINGS: 4, PUSH: 5, PING: 6, GOAWAY: 7, WINDOW: 8, CONTINUATION: 9 } as const

/** An error code as the payload of RST_STREAM. */
export function code(error: number): Buffer {
  const out = Buffer.alloc(4)
  out.writeUInt32BE(error)
  return out
}
