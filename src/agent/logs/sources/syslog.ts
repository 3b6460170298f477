import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { createServer, type Server, type Socket } from 'node:net'
import { messageOf } from '../../../errors.ts'
import { cleanTag, LogEvent } from '../event.ts'
import { parseSyslog } from '../formats/syslog.ts'
import { timeParser } from '../formats/time.ts'
import type { Intake, Source } from '../intake.ts'
import type { SyslogSourceSpec } from '../spec.ts'

const DEFAULT_PORT = 5140
const CONNECTIONS = 1000
/** Bytes of one message over TCP. */
const MESSAGE = 256 * 1024
/** UDP messages that wait for those before them to be on disk. */
const WAITING = 10_000

/** Splits a TCP stream: `<length> <message>`, or lines. Gives whole messages and how many bytes they took; throws when one is too long. */
export function syslogFrames(bytes: Buffer): { messages: string[]; used: number } {
  const messages: string[] = []
  let at = 0
  while (at < bytes.length) {
    const first = bytes[at] as number
    if (first >= 0x31 && first <= 0x39) {
      const space = bytes.subarray(at, at + 8).indexOf(32)
      const length = space < 0 ? Number.NaN : Number(bytes.toString('latin1', at, at + space))
      if (space < 0 && bytes.length - at < 8) break
      if (!Number.isInteger(length) || length > MESSAGE)
        throw new Error(`a message has no length in front, or is longer than ${MESSAGE} bytes`)
      if (at + space + 1 + length > bytes.length) break
      messages.push(bytes.toString('utf8', at + space + 1, at + space + 1 + length))
      at += space + 1 + length
      continue
    }
    const newline = bytes.indexOf(10, at)
    if (newline < 0) break
    if (newline > at) messages.push(bytes.toString('utf8', at, newline))
    at = newline + 1
  }
  if (bytes.length - at > MESSAGE + 8) throw new Error(`a message is longer than ${MESSAGE} bytes`)
  return { messages, used: at }
}

/** A syslog server, RFC 5424 and 3164. Over TCP a connection is not read while there is no room; UDP is dropped then, and counted. */
export class SyslogSource implements Source {
  readonly #tag: string
  readonly #intake: Intake
  readonly #stop = new AbortController()
  readonly #open = new Map<Socket, Promise<void>>()
  readonly #time = timeParser(undefined)
  #server: Server | undefined
  #udp: UdpSocket | undefined
  #waiting: LogEvent[] = []
  #writing: Promise<void> | undefined

  private constructor(tag: string, intake: Intake) {
    this.#tag = cleanTag(tag)
    this.#intake = intake
  }

  /** Rejects when its port is taken. */
  static async open(spec: SyslogSourceSpec, tag: string, intake: Intake): Promise<SyslogSource> {
    const source = new SyslogSource(tag, intake)
    const { host = '127.0.0.1', port = DEFAULT_PORT, protocol = 'udp' } = spec
    try {
      if (protocol !== 'udp') await source.#listen(host, port)
      if (protocol !== 'tcp') await source.#bind(host, protocol === 'both' ? source.port : port)
    } catch (error) {
      await source[Symbol.asyncDispose]()
      throw new Error(`port ${port} for syslog cannot be opened: ${messageOf(error)}`)
    }
    return source
  }

  get port(): number {
    const address = this.#server?.address()
    return address && typeof address === 'object' ? address.port : (this.#udp?.address().port ?? 0)
  }

  #listen(host: string, port: number): Promise<void> {
    const server = createServer((socket) => {
      const running = this.#serve(socket).finally(() => this.#open.delete(socket))
      this.#open.set(socket, running)
    })
    server.maxConnections = CONNECTIONS
    this.#server = server
    return new Promise((resolve, reject) => server.once('error', reject).listen({ host, port }, resolve))
  }

  #bind(host: string, port: number): Promise<void> {
    const socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 })
    this.#udp = socket
    socket.on('message', (bytes) => this.#datagram(bytes))
    return new Promise((resolve, reject) => {
      socket.once('error', reject)
      socket.bind(port, host, () => {
        socket.removeListener('error', reject).on('error', (error) => this.#intake.log.warn(`syslog: ${error.message}`))
        resolve()
      })
    })
  }

  #event(text: string): LogEvent {
    const record = parseSyslog(text)
    if (!record) this.#intake.unparsed(1)
    return new LogEvent(this.#time(record?.time) ?? Date.now(), this.#tag, record ?? { message: text })
  }

  #datagram(bytes: Buffer): void {
    if (this.#intake.full || this.#waiting.length >= WAITING) return this.#intake.dropped(1)
    this.#waiting.push(this.#event(bytes.toString('utf8').replace(/[\r\n\0]+$/, '')))
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined
    })
  }

  /** Many messages in one write. */
  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      await new Promise((resolve) => setImmediate(resolve))
      const events = this.#waiting
      this.#waiting = []
      await this.#intake.take(events).catch(() => this.#intake.dropped(events.length))
    }
  }

  async #serve(socket: Socket): Promise<void> {
    socket.on('error', () => undefined)
    let rest = Buffer.alloc(0)
    try {
      for await (const piece of socket) {
        const bytes = rest.length === 0 ? (piece as Buffer) : Buffer.concat([rest, piece as Buffer])
        const { messages, used } = syslogFrames(bytes)
        rest = Buffer.from(bytes.subarray(used))
        await this.#take(messages)
        if (this.#stop.signal.aborted) break
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#intake.log.warn(`syslog: ${socket.remoteAddress ?? 'a client'} is cut off: ${messageOf(error)}`)
    } finally {
      // The last line of a client that goes may have no end.
      if (rest.length > 0) await this.#take([rest.toString('utf8')]).catch(() => undefined)
      socket.destroy()
    }
  }

  async #take(messages: readonly string[]): Promise<void> {
    if (messages.length === 0) return
    await this.#intake.room(this.#stop.signal)
    await this.#intake.take(messages.map((text) => this.#event(text.replace(/[\r\n\0]+$/, ''))))
  }

  status() {
    return { connections: this.#open.size }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    if (this.#server) this.#server.close(() => resolve())
    else resolve()
    this.#udp?.close()
    this.#stop.abort()
    for (const socket of this.#open.keys()) socket.destroy()
    await Promise.allSettled([...this.#open.values(), this.#writing, closed])
  }
}
