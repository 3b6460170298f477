import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

/** HTTP/2 by hand, for tests that send what no client would and for a load generator that costs little. */

export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')

export const FRAME = { DATA: 0, HEADERS: 1, RST_STREAM: 3, SETTINGS: 4, PING: 6, GOAWAY: 7, WINDOW_UPDATE: 8, CONTINUATION: 9 } as const
export const FLAG = { END_STREAM: 1, ACK: 1, END_HEADERS: 4 } as const

/** One HTTP/2 frame as it came. */
export interface Http2Frame {
  type: number
  flags: number
  stream: number
  payload: Buffer
}

/** One HTTP/2 frame as it goes. */
export function h2Frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const out = Buffer.alloc(9 + payload.length)
  out.writeUIntBE(payload.length, 0, 3)
  out[3] = type
  out[4] = flags
  out.writeUInt32BE(stream, 5)
  out.set(payload, 9)
  return out
}

/** A number as the payload of RST_STREAM or WINDOW_UPDATE. */
export function uint32(value: number): Buffer {
  const out = Buffer.alloc(4)
  out.writeUInt32BE(value)
  return out
}

/** Header fields as HPACK literals that touch no table. */
export function hpack(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), ...literal(name), ...literal(value)]))
}

function literal(text: string): Buffer[] {
  const bytes = Buffer.from(text)
  if (bytes.length < 127) return [Buffer.from([bytes.length]), bytes]
  const length = [127]
  let rest = bytes.length - 127
  for (; rest > 127; rest = rest >> 7) length.push((rest & 127) | 128)
  return [Buffer.from([...length, rest]), bytes]
}

/** The headers of a gRPC call. */
export function grpcHead(path: string, more: readonly (readonly [string, string])[] = []): Buffer {
  return hpack([
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', path],
    [':authority', 'localhost'],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
    ...more,
  ])
}

/** A connection whose frames are written and read one by one; it answers nothing on its own. */
export class RawHttp2 {
  readonly socket: Socket
  readonly frames: Http2Frame[] = []
  closed = false
  #rest: Buffer = Buffer.alloc(0)
  #changed: () => void = () => {}

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('error', () => {})
    socket.on('close', () => {
      this.closed = true
      this.#changed()
    })
  }

  /** Connects and says hello, with SETTINGS as pairs of identifier and value. */
  static async connect(port: number, settings: readonly (readonly [number, number])[] = []): Promise<RawHttp2> {
    const raw = await RawHttp2.bare(port)
    const payload = Buffer.alloc(settings.length * 6)
    settings.forEach(([id, value], index) => {
      payload.writeUInt16BE(id, index * 6)
      payload.writeUInt32BE(value, index * 6 + 2)
    })
    raw.send(PREFACE, h2Frame(FRAME.SETTINGS, 0, 0, payload))
    return raw
  }

  /** Connects and says nothing. */
  static async bare(port: number): Promise<RawHttp2> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    await once(socket, 'connect')
    return new RawHttp2(socket)
  }

  send(...frames: readonly Buffer[]): void {
    if (!this.closed) this.socket.write(Buffer.concat(frames))
  }

  /** The first frame, of those that came and those to come, that fits; undefined: the connection ended before. */
  async until(fits: (frame: Http2Frame) => boolean): Promise<Http2Frame | undefined> {
    for (let seen = 0; ; ) {
      for (; seen < this.frames.length; seen++) {
        const frame = this.frames[seen] as Http2Frame
        if (fits(frame)) return frame
      }
      if (this.closed) return undefined
      await new Promise<void>((resolve) => {
        this.#changed = resolve
      })
    }
  }

  #read(chunk: Buffer): void {
    let bytes = Buffer.concat([this.#rest, chunk])
    while (bytes.length >= 9) {
      const length = bytes.readUIntBE(0, 3)
      if (bytes.length < 9 + length) break
      this.frames.push({
        type: bytes[3] as number,
        flags: bytes[4] as number,
        stream: bytes.readUInt32BE(5),
        payload: bytes.subarray(9, 9 + length),
      })
      bytes = bytes.subarray(9 + length)
    }
    this.#rest = bytes
    this.#changed()
  }

  [Symbol.dispose](): void {
    this.socket.destroy()
  }
}
