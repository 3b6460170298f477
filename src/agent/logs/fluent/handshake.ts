import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { Packer } from './pack.ts'
import { Unpacker } from './unpack.ts'

/** Who the two ends are, and what they share. */
export interface Credentials {
  hostname: string
  sharedKey: string
  user?: string | undefined
  password?: string | undefined
}

const digest = (...parts: (string | Buffer)[]) => {
  const hash = createHash('sha512')
  for (const part of parts) hash.update(part)
  return hash.digest('hex')
}

function same(one: string, other: string): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))
}

const asBytes = (value: unknown) => (Buffer.isBuffer(value) ? value : Buffer.from(String(value ?? '')))
const asText = (value: unknown) => asBytes(value).toString('utf8')

/** The first word of a server: HELO. */
export class ServerHandshake {
  readonly #nonce = randomBytes(16)
  readonly #salt: Buffer
  readonly #own: Credentials
  readonly #users: ReadonlyMap<string, string>

  constructor(own: Credentials, users: ReadonlyMap<string, string>) {
    this.#own = own
    this.#users = users
    this.#salt = users.size > 0 ? randomBytes(16) : Buffer.alloc(0)
  }

  hello(): Buffer {
    return new Packer()
      .array(2)
      .text('HELO')
      .map(3)
      .text('nonce')
      .binary(this.#nonce)
      .text('auth')
      .binary(this.#salt)
      .text('keepalive')
      .value(true)
      .take()
  }

  /** What is answered to PING, and why the client is sent away; without reason it may stay. */
  answer(message: Buffer): { pong: Buffer; refused: string | undefined } {
    const ping = new Unpacker(message).next()
    const [word, hostname, salt, hash, user, password] = Array.isArray(ping) ? (ping as unknown[]) : []
    const { sharedKey } = this.#own
    const expected = digest(asBytes(salt), asText(hostname), this.#nonce, sharedKey)
    const known = this.#users.get(asText(user))
    const refused =
      word !== 'PING' || !same(asText(hash), expected)
        ? 'shared_key mismatch'
        : this.#users.size > 0 && (known === undefined || !same(asText(password), digest(this.#salt, asText(user), known)))
          ? 'username/password mismatch'
          : undefined
    const pong = new Packer()
      .array(5)
      .text('PONG')
      .value(refused === undefined)
      .text(refused ?? '')
      .text(this.#own.hostname)
    pong.text(refused === undefined ? digest(asBytes(salt), this.#own.hostname, this.#nonce, sharedKey) : '')
    return { pong: pong.take(), refused }
  }
}

/** A client's side: PING upon HELO, then a look at PONG. */
export class ClientHandshake {
  readonly #own: Credentials
  readonly #salt = randomBytes(16)
  #nonce: Buffer = Buffer.alloc(0)

  constructor(own: Credentials) {
    this.#own = own
  }

  /** Throws when the message is no HELO. */
  ping(message: Buffer): Buffer {
    const hello = new Unpacker(message).next()
    const [word, options] = Array.isArray(hello) ? (hello as unknown[]) : []
    if (word !== 'HELO' || typeof options !== 'object' || options === null) throw new Error('the server does not begin with HELO')
    const { nonce, auth } = options as Record<string, unknown>
    const { hostname, sharedKey, user = '', password = '' } = this.#own
    this.#nonce = asBytes(nonce)
    const salt = asBytes(auth)
    const packer = new Packer()
      .array(6)
      .text('PING')
      .text(hostname)
      .binary(this.#salt)
      .text(digest(this.#salt, hostname, this.#nonce, sharedKey))
    return packer
      .text(salt.length > 0 ? user : '')
      .text(salt.length > 0 ? digest(salt, user, password) : '')
      .take()
  }

  /** Throws when the server refuses, or does not know the key itself. */
  check(message: Buffer): void {
    const pong = new Unpacker(message).next()
    const [word, yes, reason, hostname, hash] = Array.isArray(pong) ? (pong as unknown[]) : []
    if (word !== 'PONG') throw new Error('the server does not answer PING with PONG')
    if (yes !== true) throw new Error(`the server refuses: ${asText(reason)}`)
    if (!same(asText(hash), digest(this.#salt, asText(hostname), this.#nonce, this.#own.sharedKey)))
      throw new Error('the server does not know the shared key')
  }
}
