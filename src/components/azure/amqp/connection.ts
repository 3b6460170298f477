import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { messageOf } from '../../../errors.ts'
import { gatherWrites } from '../../gather-writes.ts'
import { open } from './dial.ts'
import { AmqpError, UnreachableError } from './errors.ts'
import {
  AMQP_HEADER,
  BEGIN,
  CLOSE,
  decodeFrame,
  encodeFrame,
  errorIn,
  type Frame,
  MAX_FRAME,
  OPEN,
  SASL_HEADER,
  SASL_INIT,
  SASL_MECHANISMS,
  SASL_OUTCOME,
} from './frames.ts'
import { Session } from './session.ts'
import { symbol, Typed, uint } from './values.ts'

export interface ConnectionOptions {
  host: string
  port: number
  tls: TlsOptions | boolean
  sasl: { username: string; password: string } | 'anonymous' | 'external'
  containerId: string | undefined
  /** Milliseconds. */
  dialTimeout: number
  idleTimeout: number
}

type Stage = 'sasl header' | 'sasl' | 'amqp header' | 'open' | 'up'

/** Sessions at once, also where the peer has room for more. */
const MOST_CHANNELS = 8191
/** How long a peer may take to say goodbye, milliseconds. */
const GOODBYE = 1000

/** One connection: sasl → open → up → ended, for good. Its sessions end with it. */
export class Connection {
  readonly address: string
  /** Resolves with the reason; never rejects. */
  readonly ended: Promise<Error>
  readonly #options: ConnectionOptions
  readonly #socket: Socket
  readonly #sessions = new Map<number, Session>()
  readonly #byRemote = new Map<number, Session>()
  readonly #opened = Promise.withResolvers<void>()
  readonly #onEnd: (error: Error) => void
  #stage: Stage = 'sasl header'
  #over: Error | undefined
  #chunks: Buffer[] = []
  #size = 0
  #wanted = 8
  #peerFrame = 512
  #channels = 0
  #beating: NodeJS.Timeout | undefined
  #watching: NodeJS.Timeout | undefined
  #heard = false
  #wrote = false
  #leaving = false

  private constructor(socket: Socket, options: ConnectionOptions) {
    this.#socket = socket
    this.#options = options
    this.address = `${options.host}:${options.port}`
    const { promise, resolve } = Promise.withResolvers<Error>()
    this.ended = promise
    this.#onEnd = resolve
    this.#opened.promise.catch(() => {})
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (error) => this.#end(new UnreachableError(`the connection to ${this.address} broke: ${messageOf(error)}`)))
    socket.on('close', () => this.#end(new UnreachableError(`${this.address} closed the connection`)))
  }

  /** Rejects with UnreachableError, with AmqpError where the peer refuses, or with the signal's reason. */
  static async open(options: ConnectionOptions, signal: AbortSignal): Promise<Connection> {
    const until = Date.now() + options.dialTimeout
    const socket = await open(options, signal)
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 30_000)
    gatherWrites(socket)
    const connection = new Connection(socket, options)
    const { address } = connection
    const late = () => connection.#end(new UnreachableError(`${address} does not answer in AMQP 1.0 within ${options.dialTimeout} ms`))
    const timer = setTimeout(late, Math.max(1, until - Date.now()))
    const aborted = () => connection.#end(signal.reason as Error)
    signal.addEventListener('abort', aborted, { once: true })
    socket.write(SASL_HEADER)
    try {
      await connection.#opened.promise
      return connection
    } finally {
      clearTimeout(timer)
      signal.removeEventListener('abort', aborted)
    }
  }

  get usable(): boolean {
    return this.#over === undefined && this.#stage === 'up' && !this.#leaving
  }

  /** Why it has ended. */
  get reason(): Error | undefined {
    return this.#over
  }

  /** Bytes of the largest frame that the peer takes. */
  get maxFrame(): number {
    return this.#peerFrame
  }

  /** A session, asked for and not confirmed yet. Throws when the connection has ended or the peer has no room for one more. */
  session(): Session {
    if (this.#over) throw this.#over
    let channel = 0
    while (this.#sessions.has(channel)) channel++
    if (channel > this.#channels)
      throw new AmqpError('amqp:resource-limit-exceeded', `${this.address} takes no more links over one connection`)
    const session = new Session(this, channel)
    this.#sessions.set(channel, session)
    session.begin()
    return session
  }

  /** Its channel is free. */
  forget(channel: number): void {
    const session = this.#sessions.get(channel)
    this.#sessions.delete(channel)
    for (const [remote, one] of this.#byRemote) if (one === session) this.#byRemote.delete(remote)
  }

  write(channel: number, code: number | undefined, fields: readonly unknown[], payload?: Buffer): void {
    if (this.#over) return
    this.#wrote = true
    this.#socket.write(encodeFrame(0, channel, code, fields, payload))
  }

  /** Says goodbye; resolves when the peer has too, or did not in time. */
  async close(): Promise<void> {
    if (this.#over) return
    const timer = setTimeout(() => this.#end(new UnreachableError(`the connection to ${this.address} is closed`)), GOODBYE)
    if (this.#stage === 'up') {
      if (!this.#leaving) this.write(0, CLOSE, [])
      this.#leaving = true
    } else this.#end(new UnreachableError(`the connection to ${this.address} is closed`))
    await this.ended
    clearTimeout(timer)
  }

  /** Ends it without a word: nothing that waits on it would be answered. */
  cut(error: Error): void {
    this.#end(error)
  }

  #receive(chunk: Buffer): void {
    this.#heard = true
    this.#chunks.push(chunk)
    this.#size += chunk.length
    while (this.#size >= this.#wanted && this.#over === undefined) {
      let bytes = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks, this.#size)
      try {
        while (this.#over === undefined) {
          const used = this.#step(bytes)
          if (used === 0) break
          bytes = bytes.subarray(used)
        }
      } catch (error) {
        this.#end(new UnreachableError(`what ${this.address} sends is not AMQP 1.0: ${messageOf(error)}`, { cause: error }))
        return
      }
      this.#chunks = bytes.length > 0 ? [bytes] : []
      this.#size = bytes.length
      if (bytes.length >= this.#wanted) continue
      return
    }
  }

  /** Takes a header or a frame; 0: more bytes are wanted. */
  #step(bytes: Buffer): number {
    if (this.#stage === 'sasl header' || this.#stage === 'amqp header') {
      this.#wanted = 8
      if (bytes.length < 8) return 0
      this.#header(bytes.subarray(0, 8))
      return 8
    }
    this.#wanted = 8
    if (bytes.length < 8) return 0
    const size = bytes.readUInt32BE(0)
    if (size < 8 || size > MAX_FRAME) throw new RangeError(`a frame of ${size} bytes`)
    this.#wanted = size
    if (bytes.length < size) return 0
    this.#wanted = 8
    this.#frame(decodeFrame(bytes.subarray(0, size)))
    return size
  }

  #header(bytes: Buffer): void {
    const sasl = this.#stage === 'sasl header'
    if (!bytes.equals(sasl ? SASL_HEADER : AMQP_HEADER)) {
      const text = bytes.subarray(0, 4).toString('latin1')
      const what = text === 'AMQP' ? `version ${bytes.subarray(4).join('.')} of AMQP` : 'something else'
      throw new TypeError(`it speaks ${what}`)
    }
    if (sasl) this.#stage = 'sasl'
    else {
      this.#stage = 'open'
      const { host, containerId, idleTimeout } = this.#options
      const properties = new Typed('symbolic-map', { product: 'outrider', platform: `node ${process.version}` })
      this.write(0, OPEN, [
        containerId ?? randomUUID(),
        host,
        uint(MAX_FRAME),
        new Typed('ushort', MOST_CHANNELS),
        uint(idleTimeout),
        undefined,
        undefined,
        undefined,
        undefined,
        properties,
      ])
    }
  }

  #frame(frame: Frame): void {
    const { code, fields } = frame
    if (code === undefined) return
    switch (code) {
      case SASL_MECHANISMS:
        return this.#signIn(fields[0])
      case SASL_OUTCOME:
        if (fields[0] !== 0)
          return this.#end(new AmqpError('amqp:unauthorized-access', `${this.address} refuses the sign-in (SASL outcome ${fields[0]})`))
        this.#stage = 'amqp header'
        this.#socket.write(AMQP_HEADER)
        return
      case OPEN:
        return this.#up(fields)
      case CLOSE: {
        const error = errorIn(fields[0])
        if (!this.#leaving) this.write(0, CLOSE, [])
        const words = `${this.address} closed the connection${error ? `: ${error.message}` : ''}`
        // Before it is up, a refusal; later, e.g. for maintenance: the next one may be taken.
        return this.#end(
          this.#stage === 'up' || !error ? new UnreachableError(words, { cause: error }) : new AmqpError(error.condition, words),
        )
      }
      case BEGIN: {
        const session = this.#sessions.get(Number(fields[0]))
        if (!session) throw new TypeError('a session that nobody asked for')
        this.#byRemote.set(frame.channel, session)
        return session.receive(frame)
      }
    }
    const session = this.#byRemote.get(frame.channel)
    if (!session) throw new TypeError(`a frame for channel ${frame.channel}, which has no session`)
    session.receive(frame)
  }

  #signIn(offered: unknown): void {
    const { sasl, host } = this.#options
    const names = (Array.isArray(offered) ? offered : [offered]).map(String)
    const mechanism = typeof sasl === 'object' ? 'PLAIN' : sasl.toUpperCase()
    if (!names.includes(mechanism))
      return this.#end(
        new AmqpError('amqp:unauthorized-access', `${this.address} offers ${names.join(', ')} to sign in and not ${mechanism}`),
      )
    const first = typeof sasl === 'object' ? Buffer.from(`\0${sasl.username}\0${sasl.password}`) : Buffer.alloc(0)
    this.#socket.write(encodeFrame(1, 0, SASL_INIT, [symbol(mechanism), first, host]))
  }

  #up(fields: readonly unknown[]): void {
    const [, , frame, channels, idle] = fields
    this.#peerFrame = Math.min(1 << 20, typeof frame === 'number' ? frame : MAX_FRAME)
    this.#channels = Math.min(MOST_CHANNELS, typeof channels === 'number' ? channels : MOST_CHANNELS)
    this.#stage = 'up'
    if (typeof idle === 'number' && idle > 0) this.#beating = setInterval(() => this.#beat(), Math.max(100, idle / 3)).unref()
    // Twice what was asked for is silence, as peers do who send at the last moment.
    this.#watching = setInterval(() => this.#watch(), this.#options.idleTimeout * 2).unref()
    this.#opened.resolve()
  }

  #beat(): void {
    if (!this.#wrote) this.write(0, undefined, [])
    this.#wrote = false
  }

  #watch(): void {
    if (!this.#heard) this.#end(new UnreachableError(`${this.address} was silent for ${this.#options.idleTimeout * 2} ms`))
    this.#heard = false
  }

  #end(error: Error): void {
    if (this.#over) return
    this.#over = error
    clearInterval(this.#beating)
    clearInterval(this.#watching)
    this.#chunks = []
    // What was written still goes out.
    this.#socket.end(() => this.#socket.destroy())
    setTimeout(() => this.#socket.destroy(), GOODBYE).unref()
    this.#opened.reject(error)
    for (const session of [...this.#sessions.values()]) session.fail(error)
    this.#sessions.clear()
    this.#byRemote.clear()
    this.#onEnd(error)
  }
}
