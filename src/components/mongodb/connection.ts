import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls'
import { messageOf } from '../../errors.ts'
import type { Document } from './bson.ts'
import type { Credential } from './credential.ts'
import { type Description, describe } from './description.ts'
import { LostError, refusalIn } from './errors.ts'
import { message, ReplyReader } from './message.ts'
import type { Place } from './uri.ts'

export interface ConnectionOptions {
  /** Port 0: the host is the path of a socket. */
  place: Place
  /** undefined: no TLS. Read at each connection, so that renewed certificates count. */
  tls: (() => Promise<TlsOptions>) | undefined
  credential: Credential | undefined
  appName: string
  /** Milliseconds for a connection to come up. */
  connectTimeout: number
}

interface Waiting {
  id: number
  /** Milliseconds of `performance.now()`. */
  limit: number
  resolve(document: Record<string, unknown>): void
  reject(error: Error): void
}

/** The system asks after so long whether the other end is still there, which keeps what stands between from forgetting us, milliseconds. */
const KEEP_ALIVE = 120_000

let lastId = 0

/**
 * One connection to one server, which answers one command at a time. States: connecting → open → lost, for good. An answer that is
 * late takes the connection with it.
 */
export class MongoConnection implements Disposable {
  /** `performance.now()` of the last answer. */
  used = 0
  /** Told once when it is lost. */
  onLost: (() => void) | undefined
  readonly #socket: Socket
  #waiting: Waiting | undefined
  #lost: LostError | undefined
  #watch: NodeJS.Timeout | undefined
  #watchEnds = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    const reader = new ReplyReader(({ to, document }) => this.#answer(to, document))
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk)
      } catch (error) {
        this.#lose(error as Error)
      }
    })
    socket.on('error', (error) => this.#lose(error))
    socket.on('close', () => this.#lose(new Error('the server closed the connection')))
  }

  /**
   * Connects, asks the server what it is, and signs in. `described` hears of the answer first, for a refused login does not make
   * it untrue. Rejects with LostError or MongoError, leaving nothing open.
   */
  static async open(options: ConnectionOptions, described?: (description: Description) => void): Promise<MongoConnection> {
    const { place, tls, credential, appName, connectTimeout } = options
    const limit = performance.now() + connectTimeout
    const end =
      place.port === 0 ? { path: place.host } : { host: place.host, port: place.port, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE }
    const named = /[a-z]/i.test(place.host) && !place.host.includes(':') ? { servername: place.host } : {}
    const secure = tls ? await tls() : undefined
    const connection = new MongoConnection(secure ? connectTls({ ...end, ...named, ...secure }) : connectTcp(end))
    try {
      const began = performance.now()
      const login = credential?.begin()
      const hello = await connection.run({ ...greeting(appName), ...login?.first, $db: 'admin' }, limit)
      described?.(describe(hello, performance.now() - began))
      await login?.finish(hello, (command) => connection.run(command, limit))
      return connection
    } catch (error) {
      connection[Symbol.dispose]()
      throw error
    }
  }

  get lost(): boolean {
    return this.#lost !== undefined
  }

  /** The reply; rejects with what it refuses. `limit`: milliseconds of `performance.now()`. */
  run(command: Document, limit: number): Promise<Record<string, unknown>> {
    return new Promise((resolve, reject) => {
      if (this.#lost) return reject(this.#lost)
      lastId = (lastId + 1) & 0x7fffffff
      // Throws on what cannot be stored, and then nothing has been sent.
      const bytes = message(lastId, command)
      this.#waiting = { id: lastId, limit, resolve, reject }
      if (!this.#watch || limit < this.#watchEnds) this.#arm(limit)
      this.#socket.ref()
      this.#socket.write(bytes)
    })
  }

  [Symbol.dispose](): void {
    this.#lose(new Error('closed'))
  }

  #answer(to: number, document: Record<string, unknown>): void {
    const waiting = this.#waiting
    if (waiting?.id !== to) throw new Error('the server answered what nobody asked')
    this.#waiting = undefined
    this.used = performance.now()
    this.#socket.unref()
    const refusal = refusalIn(document)
    if (refusal) waiting.reject(refusal)
    else waiting.resolve(document)
  }

  /** One timer for many commands: it ends with the last of them. */
  #check(): void {
    this.#watch = undefined
    if (!this.#waiting) return
    if (this.#waiting.limit > performance.now()) this.#arm(this.#waiting.limit)
    else this.#lose(new Error('no answer within the time given'))
  }

  #arm(limit: number): void {
    clearTimeout(this.#watch)
    this.#watchEnds = limit
    this.#watch = setTimeout(() => this.#check(), Math.max(1, limit - performance.now())).unref()
  }

  #lose(error: Error): void {
    if (this.#lost) return
    this.#lost = new LostError(messageOf(error), { cause: error })
    clearTimeout(this.#watch)
    this.#socket.destroy()
    this.#waiting?.reject(this.#lost)
    this.#waiting = undefined
    this.onLost?.()
  }
}

/** The question by its first name, which servers of all versions know. */
function greeting(appName: string): Document {
  return {
    isMaster: 1,
    helloOk: true,
    client: {
      application: { name: appName.slice(0, 128) },
      driver: { name: 'outrider', version: '1' },
      os: { type: process.platform, architecture: process.arch },
      platform: `Node.js ${process.version}`,
    },
  }
}
