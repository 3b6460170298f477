import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { messageOf } from '../../errors.ts'
import { CassandraError, type Frame, FrameReader, frame, OPCODE, readError, readPrepared, readRows, short, sized } from './frame.ts'

export const CONSISTENCY = {
  Any: 0,
  One: 1,
  Two: 2,
  Three: 3,
  Quorum: 4,
  All: 5,
  LocalQuorum: 6,
  EachQuorum: 7,
  LocalOne: 10,
} as const
export type Consistency = keyof typeof CONSISTENCY

export interface ConnectionOptions {
  host: string
  port: number
  /** Of the protocol: 3 or 4. */
  version: number
  username?: string | undefined
  password?: string | undefined
  tls: boolean
  /** Milliseconds for a connection to come up, and for each answer. */
  timeout: number
}

export interface Statement {
  cql: string
  values: readonly Buffer[]
  consistency: Consistency
  /** Of what is written, microseconds: the later wins. */
  timestamp?: bigint | undefined
}

/** What came to grief with the connection, so that another one may be tried; a refusal is a CassandraError. */
export class LostError extends Error {}

/** Statements under way on a connection; beyond it the newest is refused. The protocol has 32,768. */
const MAX_PENDING = 10_000
const UNPREPARED = 0x2500

interface Waiting {
  limit: number
  resolve(frame: Frame): void
  reject(error: Error): void
}

/**
 * One connection to one node. States: connecting → open → lost, for good. Statements go out as they come, each under a number
 * of its own, and are prepared once. An answer that is late takes the connection with it.
 */
export class CassandraConnection implements Disposable {
  readonly #options: ConnectionOptions
  readonly #socket: Socket
  readonly #waiting = new Map<number, Waiting>()
  readonly #prepared = new Map<string, Promise<Buffer>>()
  #next = 0
  #lost: Error | undefined
  #watch: NodeJS.Timeout | undefined

  private constructor(options: ConnectionOptions) {
    this.#options = options
    const { host, port, tls } = options
    const place = { host, port, noDelay: true, keepAlive: true }
    this.#socket = tls ? connectTls({ ...place, ...(/[a-z]/i.test(host) ? { servername: host } : {}) }) : connectTcp(place)
    const reader = new FrameReader((answer) => this.#answer(answer))
    this.#socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk)
      } catch (error) {
        this.#lose(error as Error)
      }
    })
    this.#socket.on('error', (error) => this.#lose(error))
    this.#socket.on('close', () => this.#lose(new Error('the server closed the connection')))
  }

  /** Connects and signs in; rejects with LostError or the server's refusal, leaving nothing open. */
  static async open(options: ConnectionOptions): Promise<CassandraConnection> {
    const connection = new CassandraConnection(options)
    try {
      await connection.#start()
      return connection
    } catch (error) {
      connection[Symbol.dispose]()
      throw error
    }
  }

  get lost(): boolean {
    return this.#lost !== undefined
  }

  /** Rows of a statement that gives some, their values as bytes. */
  async run(statement: Statement): Promise<(Buffer | null)[][]> {
    const { cql } = statement
    for (let again = true; ; again = false) {
      let preparing = this.#prepared.get(cql)
      if (!preparing) {
        preparing = this.#ask(OPCODE.prepare, sized(cql, 4)).then(({ body }) => readPrepared(body))
        this.#prepared.set(cql, preparing)
        preparing.catch(() => this.#prepared.delete(cql))
      }
      try {
        return readRows((await this.#ask(OPCODE.execute, sized(await preparing, 2), ...parameters(statement))).body)
      } catch (error) {
        // The server forgets when it has too many, or when the table changes.
        if (!again || !(error instanceof CassandraError) || error.code !== UNPREPARED) throw error
        this.#prepared.delete(cql)
      }
    }
  }

  /** Changes of the schema, which cannot be prepared. */
  async define(cql: string): Promise<void> {
    await this.#ask(OPCODE.query, sized(cql, 4), ...parameters({ cql, values: [], consistency: 'One' }))
  }

  [Symbol.dispose](): void {
    this.#lose(new Error('closed'))
  }

  async #start(): Promise<void> {
    const { username, password } = this.#options
    const first = await this.#ask(OPCODE.startup, short(1), sized('CQL_VERSION', 2), sized('3.0.0', 2))
    if (first.opcode === OPCODE.ready) return
    if (first.opcode !== OPCODE.authenticate) throw new LostError(`unexpected answer ${first.opcode} to STARTUP`)
    if (!username || !password) throw new CassandraError(0x0100, 'it asks for a user: set username and password')
    const answer = await this.#ask(OPCODE.authResponse, sized(`\0${username}\0${password}`, 4))
    if (answer.opcode !== OPCODE.authSuccess)
      throw new CassandraError(0x0100, 'it asks for another way of signing in than by username and password')
  }

  #ask(opcode: number, ...body: Buffer[]): Promise<Frame> {
    return new Promise((resolve, reject) => {
      if (this.#lost) return reject(this.#lost)
      if (this.#waiting.size >= MAX_PENDING) return reject(new Error(`${MAX_PENDING} statements wait already; send fewer at a time`))
      do this.#next = (this.#next + 1) & 0x7fff
      while (this.#waiting.has(this.#next))
      this.#waiting.set(this.#next, { resolve, reject, limit: Date.now() + this.#options.timeout })
      this.#watch ??= setTimeout(() => this.#check(), this.#options.timeout).unref()
      this.#socket.ref()
      this.#socket.write(frame(this.#options.version, this.#next, opcode, ...body))
    })
  }

  #answer(answer: Frame): void {
    const waiting = this.#waiting.get(answer.stream)
    // Events have -1; nobody asked for them.
    if (!waiting) return
    this.#waiting.delete(answer.stream)
    if (this.#waiting.size === 0) this.#socket.unref()
    if (answer.opcode === OPCODE.error) waiting.reject(readError(answer.body))
    else waiting.resolve(answer)
  }

  /** The oldest is the first to be late. */
  #check(): void {
    this.#watch = undefined
    const [oldest] = this.#waiting.values()
    if (!oldest) return
    const left = oldest.limit - Date.now()
    if (left > 0) this.#watch = setTimeout(() => this.#check(), left).unref()
    else this.#lose(new Error(`no answer within ${this.#options.timeout} ms`))
  }

  #lose(error: Error): void {
    if (this.#lost) return
    this.#lost = new LostError(messageOf(error), { cause: error })
    clearTimeout(this.#watch)
    this.#socket.destroy()
    for (const { reject } of this.#waiting.values()) reject(this.#lost)
    this.#waiting.clear()
  }
}

const VALUES = 0x01
const SKIP_METADATA = 0x02
const TIMESTAMP = 0x20

function parameters({ values, consistency, timestamp }: Statement): Buffer[] {
  const flags = (values.length ? VALUES : 0) | SKIP_METADATA | (timestamp === undefined ? 0 : TIMESTAMP)
  const parts = [short(CONSISTENCY[consistency]), Buffer.from([flags])]
  if (values.length) parts.push(short(values.length), ...values.map((value) => sized(value, 4)))
  if (timestamp !== undefined) {
    const time = Buffer.alloc(8)
    time.writeBigInt64BE(timestamp)
    parts.push(time)
  }
  return parts
}
