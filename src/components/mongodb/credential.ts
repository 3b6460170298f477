import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import type { Document } from './bson.ts'
import { MongoError } from './errors.ts'

export const MECHANISMS = ['SCRAM-SHA-1', 'SCRAM-SHA-256', 'MONGODB-X509', 'PLAIN'] as const
export type Mechanism = (typeof MECHANISMS)[number]

export interface Login {
  /** undefined: SCRAM, with SHA-256 where the server has that for the user. */
  mechanism: Mechanism | undefined
  /** Database that knows the user. */
  source: string
  username: string
  password: string
}

type Ask = (command: Document) => Promise<Record<string, unknown>>

/** The least that a server may ask for, says the specification of drivers. */
const LEAST_ROUNDS = 4096
const REFUSED = 18

/**
 * Signs in on new connections as one user. What goes with the first question saves a round trip; what was computed from a
 * password is kept as long as the server's salt is the same.
 */
export class Credential {
  readonly login: Login
  #salted: { of: string; key: Promise<Buffer> } | undefined

  constructor(login: Login) {
    this.login = login
  }

  /** What the question that opens a connection holds, and how its answer is gone on with. */
  begin(): { first: Document; finish(hello: Record<string, unknown>, ask: Ask): Promise<void> } {
    const { mechanism, source, username, password } = this.login
    const db = source
    if (mechanism === 'MONGODB-X509') {
      const start = { authenticate: 1, mechanism, ...(username ? { user: username } : {}) }
      return {
        first: { speculativeAuthenticate: { ...start, db } },
        finish: async (hello, ask) => void (hello.speculativeAuthenticate ?? (await ask({ ...start, $db: db }))),
      }
    }
    if (mechanism === 'PLAIN') {
      const payload = Buffer.from(`\0${username}\0${password}`)
      return { first: {}, finish: async (_, ask) => void (await ask({ saslStart: 1, mechanism, payload, autoAuthorize: 1, $db: db })) }
    }
    const guess = new Scram(this, mechanism ?? 'SCRAM-SHA-256')
    return {
      first: {
        speculativeAuthenticate: { ...guess.start(), db },
        ...(mechanism ? {} : { saslSupportedMechs: `${db}.${username}` }),
      },
      finish: async (hello, ask) => {
        const early = hello.speculativeAuthenticate as Record<string, unknown> | undefined
        if (early) return guess.finish(early, ask)
        const known = hello.saslSupportedMechs
        const other = !mechanism && !(Array.isArray(known) && known.includes('SCRAM-SHA-256'))
        const scram = other ? new Scram(this, 'SCRAM-SHA-1') : guess
        return scram.finish(await ask({ ...scram.start(), $db: db }), ask)
      },
    }
  }

  /** Takes long by design, and is the same for every connection. */
  salted(hash: 'sha1' | 'sha256', salt: string, rounds: number): Promise<Buffer> {
    const of = `${hash} ${salt} ${rounds}`
    if (this.#salted?.of !== of) {
      const { username, password } = this.login
      const secret = hash === 'sha256' ? prepared(password) : createHash('md5').update(`${username}:mongo:${password}`).digest('hex')
      const key = promisify(pbkdf2)(secret, Buffer.from(salt, 'base64'), rounds, hash === 'sha256' ? 32 : 20, hash)
      this.#salted = { of, key }
    }
    return this.#salted.key
  }
}

/** One conversation (RFC 5802, RFC 7677). */
class Scram {
  readonly #credential: Credential
  readonly #mechanism: 'SCRAM-SHA-1' | 'SCRAM-SHA-256'
  readonly #bare: string
  readonly #nonce = randomBytes(24).toString('base64')

  constructor(credential: Credential, mechanism: 'SCRAM-SHA-1' | 'SCRAM-SHA-256') {
    this.#credential = credential
    this.#mechanism = mechanism
    const { username } = credential.login
    this.#bare = `n=${username.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${this.#nonce}`
  }

  start(): Document {
    const payload = Buffer.from(`n,,${this.#bare}`)
    return { saslStart: 1, mechanism: this.#mechanism, payload, autoAuthorize: 1, options: { skipEmptyExchange: true } }
  }

  async finish(started: Record<string, unknown>, ask: Ask): Promise<void> {
    const hash = this.#mechanism === 'SCRAM-SHA-256' ? 'sha256' : 'sha1'
    const first = textOf(started)
    const { r = '', s = '', i = '' } = attributes(first)
    const rounds = Number(i)
    if (!r.startsWith(this.#nonce) || !(rounds >= LEAST_ROUNDS && rounds <= 10_000_000)) throw untrue()
    const salted = await this.#credential.salted(hash, s, rounds)
    const hmac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest()
    const clientKey = hmac(salted, 'Client Key')
    const open = `c=biws,r=${r}`
    const all = `${this.#bare},${first},${open}`
    const signature = hmac(createHash(hash).update(clientKey).digest(), all)
    const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] as number)))
    const next = { saslContinue: 1, conversationId: started.conversationId, $db: this.#credential.login.source }
    const last = await ask({ ...next, payload: Buffer.from(`${open},p=${proof.toString('base64')}`) })
    const { v = '' } = attributes(textOf(last))
    const expected = hmac(hmac(salted, 'Server Key'), all)
    const given = Buffer.from(v, 'base64')
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw untrue()
    if (last.done !== true && (await ask({ ...next, payload: Buffer.alloc(0) })).done !== true) throw untrue()
  }
}

function untrue(): MongoError {
  return new MongoError({ code: REFUSED, errmsg: 'the server does not know the password: it is not the one it claims to be' })
}

function textOf({ payload }: Record<string, unknown>): string {
  return Buffer.isBuffer(payload) ? payload.toString() : ''
}

function attributes(text: string): Record<string, string> {
  return Object.fromEntries(text.split(',').map((part) => [part.slice(0, 1), part.slice(2)]))
}

/** SASLprep (RFC 4013) as far as it changes a password. */
function prepared(password: string): string {
  const mapped = password
    .replace(/[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu, ' ')
    .replace(/\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/gu, '')
  return mapped.normalize('NFKC')
}
