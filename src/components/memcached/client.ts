import { crc32 } from 'node:zlib'
import { NoRoomError } from '../no-room.ts'
import { MemcachedConnection } from './connection.ts'
import type { MemcachedReply } from './reply.ts'

export interface MemcachedClientOptions {
  /** In the order that decides which key lives where. */
  hosts: readonly { host: string; port: number }[]
  /** Milliseconds for one operation. */
  timeout: number
  /** Who asks, for messages. */
  owner: string
}

const LINE_END = Buffer.from('\r\n')
const LONGEST_KEY = 250

/** What stores need of memcached, over any number of servers; a key's server is chosen as by Go's gomemcache, which daprd uses. */
export class MemcachedClient implements Disposable {
  readonly #servers: MemcachedConnection[]
  readonly #owner: string

  constructor(options: MemcachedClientOptions) {
    this.#owner = options.owner
    this.#servers = options.hosts.map(({ host, port }) => new MemcachedConnection({ host, port, ...options }))
  }

  /** Asks every server for a sign of life. */
  async ping(): Promise<void> {
    await Promise.all(
      this.#servers.map(async (server) => this.#expect(await server.call(Buffer.from('version\r\n')), /^VERSION /, 'version')),
    )
  }

  async get(key: string): Promise<Buffer | undefined> {
    const name = checked(key)
    const reply = await this.#server(name).call(Buffer.concat([Buffer.from('get '), name, LINE_END]))
    if (reply.value) return reply.value
    this.#expect(reply, /^END$/, key)
    return undefined
  }

  /** @param expiry Seconds up to 30 days, else Unix time; 0: never. */
  async set(key: string, value: Buffer, expiry: number): Promise<void> {
    const name = checked(key)
    const head = Buffer.concat([Buffer.from('set '), name, Buffer.from(` 0 ${expiry} ${value.length}\r\n`)])
    this.#expect(await this.#server(name).call(head, value, LINE_END), /^STORED$/, key)
  }

  async delete(key: string): Promise<void> {
    const name = checked(key)
    this.#expect(await this.#server(name).call(Buffer.concat([Buffer.from('delete '), name, LINE_END])), /^(DELETED|NOT_FOUND)$/, key)
  }

  [Symbol.dispose](): void {
    for (const server of this.#servers) server[Symbol.dispose]()
  }

  #server(name: Buffer): MemcachedConnection {
    const index = this.#servers.length > 1 ? crc32(name) % this.#servers.length : 0
    return this.#servers[index] as MemcachedConnection
  }

  #expect(reply: MemcachedReply, wanted: RegExp, key: string): void {
    if (/^SERVER_ERROR out of memory/.test(reply.line))
      throw new NoRoomError(
        `${this.#owner}: Memcached has no room for ${key}: ${reply.line} (give it more memory with -m, or let it evict: start it without -M; it is used again at once)`,
      )
    if (!wanted.test(reply.line)) throw new Error(`${this.#owner}: Memcached refused ${key}: ${reply.line}`)
  }
}

/** Spaces and control characters end a key in the protocol: they could begin a command of somebody else's. */
function checked(key: string): Buffer {
  const name = Buffer.from(key)
  if (name.length === 0 || name.length > LONGEST_KEY || name.some((byte) => byte <= 0x20 || byte === 0x7f))
    throw new Error('malformed: key is too long or contains invalid characters')
  return name
}
