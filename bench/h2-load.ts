import { connect, type Socket } from 'node:net'

/** Unary calls over one HTTP/2 connection, written as ready-made frames so that the caller costs little beside what it measures. */
export interface H2Load {
  port: number
  path: string
  message: Buffer
  /** Calls under way at a time. */
  streams: number
  milliseconds: number
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')
const HEADERS = 1
const DATA = 0
const SETTINGS = 4
const PING = 6
const GOAWAY = 7
const END_STREAM = 1
const END_HEADERS = 4

/** One HTTP/2 frame. */
export function h2Frame(type: number, flags: number, stream: number, payload: Uint8Array = Buffer.alloc(0)): Buffer {
  const out = Buffer.alloc(9 + payload.length)
  out.writeUIntBE(payload.length, 0, 3)
  out[3] = type
  out[4] = flags
  out.writeUInt32BE(stream, 5)
  out.set(payload, 9)
  return out
}

/** Header fields as HPACK literals that touch no table: names and values under 127 bytes. */
export function hpack(fields: readonly (readonly [string, string])[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => [Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value)]),
  )
}

/** Calls again and again for a time; resolves with the number of calls that ended. */
export function runH2Load(load: H2Load): Promise<number> {
  const head = hpack([
    [':method', 'POST'],
    [':scheme', 'http'],
    [':path', load.path],
    [':authority', 'localhost'],
    ['content-type', 'application/grpc'],
    ['te', 'trailers'],
    ['user-agent', 'bench'],
  ])
  const body = Buffer.alloc(5 + load.message.length)
  body.writeUInt32BE(load.message.length, 1)
  body.set(load.message, 5)
  const call = Buffer.concat([h2Frame(HEADERS, END_HEADERS, 0, head), h2Frame(DATA, END_STREAM, 0, body)])
  const second = 9 + head.length
  return new Promise((resolve, reject) => {
    const socket: Socket = connect({ port: load.port, host: '127.0.0.1', noDelay: true })
    const end = performance.now() + load.milliseconds
    let next = 1
    let open = 0
    let done = 0
    let rest: Buffer = Buffer.alloc(0)
    const calls = (count: number): Buffer => {
      const out = Buffer.allocUnsafe(call.length * count)
      for (let index = 0; index < count; index++) {
        const at = index * call.length
        out.set(call, at)
        out.writeUInt32BE(next, at + 5)
        out.writeUInt32BE(next, at + second + 5)
        next += 2
      }
      open += count
      return out
    }
    const windowUpdate = Buffer.alloc(4)
    windowUpdate.writeUInt32BE(1 << 30)
    socket.once('connect', () => {
      socket.write(Buffer.concat([PREFACE, h2Frame(SETTINGS, 0, 0), h2Frame(8, 0, 0, windowUpdate), calls(load.streams)]))
    })
    socket.on('data', (chunk: Buffer) => {
      const bytes: Buffer = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
      let at = 0
      let ended = 0
      const answers: Buffer[] = []
      while (bytes.length - at >= 9) {
        const length = bytes.readUIntBE(at, 3)
        if (bytes.length - at - 9 < length) break
        const type = bytes[at + 3] as number
        const flags = bytes[at + 4] as number
        if ((type === HEADERS || type === DATA) && flags & END_STREAM) ended++
        else if (type === SETTINGS && !(flags & 1)) answers.push(h2Frame(SETTINGS, 1, 0))
        else if (type === PING && !(flags & 1)) answers.push(h2Frame(PING, 1, 0, bytes.subarray(at + 9, at + 17)))
        else if (type === GOAWAY || type === 3) return void socket.destroy(new Error(`the server sent frame type ${type}`))
        at += 9 + length
      }
      rest = at === bytes.length ? Buffer.alloc(0) : bytes.subarray(at)
      open -= ended
      done += ended
      if (performance.now() < end) {
        if (ended > 0) answers.push(calls(ended))
      } else if (open === 0) {
        socket.destroy()
        return resolve(done)
      }
      if (answers.length > 0) socket.write(answers.length === 1 ? (answers[0] as Buffer) : Buffer.concat(answers))
    })
    socket.once('error', reject)
    socket.once('close', () => reject(new Error('the server closed the connection')))
  })
}
