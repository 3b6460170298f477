import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

const MAGIC = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const FRAME_HEAD = 9
/** The largest HEADERS frame that every peer takes. */
const MAX_BLOCK = 16_384
/** A client's first SETTINGS frame is far smaller. */
const MAX_SETTINGS = 4096
const HELD_BACK = new Set(['connection', 'upgrade', 'http2-settings', 'keep-alive', 'proxy-connection', 'transfer-encoding', 'host'])

/** Whether a request asks to go on in HTTP/2 without TLS, and can: one with a body is answered in HTTP/1.1. */
export function wantsHttp2(request: IncomingMessage): boolean {
  const { headers } = request
  return (
    headers.upgrade?.toLowerCase() === 'h2c' &&
    headers['http2-settings'] !== undefined &&
    headers['transfer-encoding'] === undefined &&
    Number(headers['content-length'] ?? 0) === 0
  )
}

/**
 * Switches a connection to HTTP/2. The request that asked for it is stream 1, which node:http2 cannot be told of; so it
 * gets it as a HEADERS frame of ours, put into the client's bytes behind the client's own first SETTINGS frame.
 * `take` is given the socket when it is ready for an HTTP/2 server.
 */
export function upgradeToHttp2(request: IncomingMessage, socket: Socket, early: Buffer, take: (socket: Socket) => void): void {
  socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n')
  const late = setTimeout(() => socket.destroy(), 10_000)
  socket.once('close', () => clearTimeout(late))
  let received = early
  const look = () => {
    const opening = MAGIC.length + FRAME_HEAD
    if (!received.subarray(0, MAGIC.length).equals(MAGIC.subarray(0, received.length))) return socket.destroy()
    if (received.length < opening) return
    const settings = received.readUIntBE(MAGIC.length, 3)
    if (received[MAGIC.length + 3] !== 4 || settings > MAX_SETTINGS) return socket.destroy()
    if (received.length < opening + settings) return
    clearTimeout(late)
    socket.off('data', onData)
    socket.pause()
    socket.unshift(Buffer.concat([received.subarray(0, opening + settings), firstStream(request), received.subarray(opening + settings)]))
    take(socket)
  }
  const onData = (chunk: Buffer) => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk])
    look()
  }
  socket.on('data', onData)
  socket.resume()
  if (early.length > 0) look()
}

/** The request as HEADERS frame of stream 1, ended: literals without indexing, so that no compression state changes. */
function firstStream(request: IncomingMessage): Buffer {
  const block = [
    literal(':method', request.method ?? 'GET'),
    literal(':scheme', 'http'),
    literal(':path', request.url ?? '/'),
    literal(':authority', request.headers.host ?? 'localhost'),
  ]
  for (let index = 0; index + 1 < request.rawHeaders.length; index += 2) {
    const name = (request.rawHeaders[index] as string).toLowerCase()
    if (!HELD_BACK.has(name)) block.push(literal(name, request.rawHeaders[index + 1] as string))
  }
  const payload = Buffer.concat(block)
  const head = Buffer.alloc(FRAME_HEAD)
  head.writeUIntBE(Math.min(payload.length, MAX_BLOCK), 0, 3)
  head[3] = 1
  head[4] = payload.length > MAX_BLOCK ? 0x1 : 0x5
  head.writeUInt32BE(1, 5)
  if (payload.length <= MAX_BLOCK) return Buffer.concat([head, payload])
  const rest = Buffer.alloc(FRAME_HEAD)
  rest.writeUIntBE(payload.length - MAX_BLOCK, 0, 3)
  rest[3] = 9
  rest[4] = 0x4
  rest.writeUInt32BE(1, 5)
  return Buffer.concat([head, payload.subarray(0, MAX_BLOCK), rest, payload.subarray(MAX_BLOCK)])
}

function literal(name: string, value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1')
  return Buffer.concat([Buffer.of(0), length(name.length), Buffer.from(name, 'latin1'), length(bytes.length), bytes])
}

/** A number with seven bits of its first byte, as HPACK writes lengths. */
function length(value: number): Buffer {
  if (value < 127) return Buffer.of(value)
  const bytes = [127]
  for (value -= 127; value >= 128; value = Math.floor(value / 128)) bytes.push((value % 128) | 128)
  bytes.push(value)
  return Buffer.from(bytes)
}
