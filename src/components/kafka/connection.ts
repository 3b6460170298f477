import type { Socket } from 'node:net'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { messageOf } from '../../errors.ts'
import { dial } from '../dial.ts'
import { tlsAdvice } from '../tls-advice.ts'
import { apiVersions, type Call, type Versions } from './calls.ts'
import { check, KafkaError, UnreachableError } from './errors.ts'
import { type Sasl, signIn } from './sasl.ts'
import { Reader, Writer } from './wire.ts'

export interface ConnectionOptions {
  clientId: string
  tls?: TlsOptions | undefined
  sasl?: Sasl | undefined
  /** Limit for connecting and signing in, milliseconds. */
  dialTimeout: number
  /** Idle time before the system probes the connection, milliseconds; 0 leaves that off. */
  keepAlive: number
}

interface Pending {
  id: number
  read(reader: Reader): void
  fail(error: Error): void
}

/** An answer larger than this is not one. */
const MOST_ANSWER = 512 * 2 ** 20

const TLS_FIELDS = {
  address: 'brokers',
  on: 'set disableTls to true',
  authority: 'caCert',
  client: 'clientCert and clientKey',
}

/**
 * One connection to one broker. Answers come in the order of the requests, so one that does not come in time ends the
 * connection: whatever waits behind it would not come either.
 */
export class Connection {
  readonly address: string
  readonly #socket: Socket
  readonly #clientId: string
  readonly #pending: Pending[] = []
  readonly #onEnd: () => void
  #versions: Versions = new Map()
  #chunks: Buffer[] = []
  #size = 0
  #wanted = 4
  #lastId = 0
  #ended: Error | undefined
  #expires = Number.POSITIVE_INFINITY

  private constructor(socket: Socket, address: string, clientId: string, onEnd: () => void) {
    this.#socket = socket
    this.address = address
    this.#clientId = clientId
    this.#onEnd = onEnd
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (error) => this.#end(unreachable(`the connection to ${address} broke`, error)))
    socket.on('close', () => this.#end(new UnreachableError(`the broker at ${address} closed the connection`)))
  }

  /** Connects, asks for versions and signs in. Rejects with an Error that names the address, and why. */
  static async open(host: string, port: number, options: ConnectionOptions, signal: AbortSignal, onEnd: () => void): Promise<Connection> {
    const address = `${host}:${port}`
    const until = Date.now() + options.dialTimeout
    const socket = await dial({ host, port, tls: options.tls, limit: options.dialTimeout, signal }).catch((error: Error) => {
      throw unreachable(`no connection to the broker at ${address}`, signal.aborted ? new Error('the component is closing') : error)
    })
    socket.setNoDelay(true)
    if (options.keepAlive > 0) socket.setKeepAlive(true, options.keepAlive)
    const connection = new Connection(socket, address, options.clientId, onEnd)
    const abort = () => connection.close()
    signal.addEventListener('abort', abort)
    const ask = <T>(call: Call<T>) => connection.#ask(call, call.versions[1], Math.max(1, until - Date.now()))
    try {
      const { error, versions } = await ask(apiVersions())
      check(error)
      connection.#versions = versions
      if (options.sasl) {
        const lifetime = await signIn(options.sasl, (call) => connection.call(call, Math.max(1, until - Date.now())))
        // A connection that would have to sign in again is replaced by a new one in time.
        if (lifetime > 0) connection.#expires = Date.now() + lifetime * 0.8
      }
      return connection
    } catch (error) {
      connection.close()
      if (error instanceof KafkaError) throw error
      const closed = error instanceof UnreachableError && options.tls === undefined && options.sasl === undefined
      const why = closed ? ' (a broker that wants TLS or SASL does that: see authType)' : ''
      const told = new UnreachableError(`the broker at ${address} does not talk to us: ${messageOf(error)}${why}`, { cause: error })
      told.next = error instanceof UnreachableError ? error.next : undefined
      throw told
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  get usable(): boolean {
    return this.#ended === undefined && Date.now() < this.#expires
  }

  /** Requests without an answer yet. */
  get busy(): number {
    return this.#pending.length
  }

  /** Rejects when the broker does not answer within `timeout` milliseconds. */
  call<T>(call: Call<T>, timeout: number): Promise<T> {
    const known = this.#versions.get(call.key)
    const version = Math.min(call.versions[1], known?.[1] ?? call.versions[0])
    if (known === undefined || version < call.versions[0] || version < known[0])
      return Promise.reject(
        new KafkaError(35, `request ${call.key} of versions ${call.versions.join('-')} is not offered by ${this.address}`),
      )
    return this.#ask(call, version, timeout)
  }

  /** Sends without an answer to come. */
  tell(call: Call<unknown>): void {
    const known = this.#versions.get(call.key)
    this.#write(call, Math.min(call.versions[1], known?.[1] ?? call.versions[0]))
  }

  #ask<T>(call: Call<T>, version: number, timeout: number): Promise<T> {
    if (this.#ended) return Promise.reject(this.#ended)
    return new Promise<T>((resolve, reject) => {
      const id = this.#write(call, version)
      const timer = setTimeout(() => {
        this.#end(new UnreachableError(`the broker at ${this.address} does not answer within ${Math.round(timeout)} ms`))
      }, timeout)
      this.#pending.push({
        id,
        read: (reader) => {
          clearTimeout(timer)
          try {
            resolve(call.read(reader, version))
          } catch (error) {
            const broken = new UnreachableError(`the answer of ${this.address} to request ${call.key} cannot be read: ${messageOf(error)}`)
            reject(broken)
            this.#end(broken)
          }
        },
        fail: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      })
    })
  }

  #write(call: Call<unknown>, version: number): number {
    const id = (this.#lastId + 1) & 0x7fffffff
    this.#lastId = id
    const writer = new Writer(512)
    writer.int32(0).int16(call.key).int16(version).int32(id).string(this.#clientId)
    call.write(writer, version)
    writer.patchInt32(0, writer.length - 4)
    this.#socket.write(writer.bytesWritten())
    return id
  }

  #receive(chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    while (this.#size >= this.#wanted && this.#ended === undefined) {
      const bytes = this.#chunks.length === 1 ? (this.#chunks[0] as Buffer) : Buffer.concat(this.#chunks, this.#size)
      const size = bytes.readInt32BE(0)
      if (size < 4 || size > MOST_ANSWER)
        return this.#end(new UnreachableError(`what ${this.address} answers is not Kafka's protocol: check the port, and authType for TLS`))
      if (bytes.length < size + 4) {
        this.#chunks = [bytes]
        this.#wanted = size + 4
        return
      }
      this.#chunks = bytes.length > size + 4 ? [bytes.subarray(size + 4)] : []
      this.#size = bytes.length - size - 4
      this.#wanted = 4
      const reader = new Reader(bytes, 4, size + 4)
      const next = this.#pending.shift()
      if (next === undefined || reader.int32() !== next.id)
        return this.#end(new UnreachableError(`${this.address} answers what was not asked`))
      next.read(reader)
    }
  }

  close(): void {
    this.#end(new UnreachableError(`the connection to ${this.address} is closed`))
  }

  #end(error: Error): void {
    if (this.#ended) return
    this.#ended = error
    this.#socket.destroy()
    this.#chunks = []
    for (const pending of this.#pending.splice(0)) pending.fail(error)
    this.#onEnd()
  }
}

function unreachable(what: string, error: Error): UnreachableError {
  const tls = tlsAdvice(error, TLS_FIELDS)
  const told = new UnreachableError(`${what}: ${tls?.reason ?? messageOf(error)}`, { cause: error })
  told.next = tls?.next
  return told
}
