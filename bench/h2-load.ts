import { connect, type Socket } from 'node:net'
import { FLAG, FRAME, grpcHead, h2Frame, PREFACE, uint32 } from '../test/http2-frames.ts'

/** Unary calls over one HTTP/2 connection, written as ready-made frames so that the caller costs little beside what it measures. */
export interface H2Load {
  port: number
  path: string
  message: Buffer
  /** Calls under way at a time. */
  streams: number
  milliseconds: number
}

const { DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE } = FRAME

/** Calls again and again for a time; resolves with the number of calls that ended. */
export function runH2Load(load: H2Load): Promise<number> {
  const head = grpcHead(load.path, [['user-agent', 'bench']])
  const body = Buffer.alloc(5 + load.message.length)
  body.writeUInt32BE(load.message.length, 1)
  body.set(load.message, 5)
  const call = Buffer.concat([h2Frame(HEADERS, FLAG.END_HEADERS, 0, head), h2Frame(DATA, FLAG.END_STREAM, 0, body)])
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
    socket.once('connect', () => {
      socket.write(Buffer.concat([PREFACE, h2Frame(SETTINGS, 0, 0), h2Frame(WINDOW_UPDATE, 0, 0, uint32(1 << 30)), calls(load.streams)]))
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
        if ((type === HEADERS || type === DATA) && flags & FLAG.END_STREAM) ended++
        else if (type === SETTINGS && !(flags & 1)) answers.push(h2Frame(SETTINGS, 1, 0))
        else if (type === PING && !(flags & 1)) answers.push(h2Frame(PING, 1, 0, bytes.subarray(at + 9, at + 17)))
        else if (type === GOAWAY || type === RST_STREAM) return void socket.destroy(new Error(`the server sent frame type ${type}`))
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
