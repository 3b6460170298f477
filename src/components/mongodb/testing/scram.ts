import { createHash, createHmac, pbkdf2Sync, randomBytes } from 'node:crypto'
import { BSON } from 'mongodb'
import { Refusal, type Stored } from './documents.ts'

const ROUNDS = 4096

/** The server's side of signing in on one connection: SCRAM (RFC 5802) and certificates. */
export class ScramServer {
  user: string | undefined
  readonly #users: Readonly<Record<string, string>>
  #state: { user: string; hash: 'sha1' | 'sha256'; salted: Buffer; all: string } | undefined

  constructor(users: Readonly<Record<string, string>>) {
    this.#users = users
  }

  /** What a server adds to its first answer. */
  hello(command: Stored): Stored {
    const early = command.speculativeAuthenticate as Stored | undefined
    const asked = command.saslSupportedMechs === undefined ? {} : { saslSupportedMechs: ['SCRAM-SHA-1', 'SCRAM-SHA-256'] }
    if (!early?.saslStart) return asked
    try {
      return { ...asked, speculativeAuthenticate: this.#start(early) }
    } catch {
      return asked
    }
  }

  /** The reply to a command of signing in; undefined: it is another command. */
  take(name: string, command: Stored, certificate: string | undefined): Stored | undefined {
    if (name === 'saslStart') return this.#start(command)
    if (name === 'saslContinue') return this.#continue(command)
    if (name !== 'authenticate') return undefined
    if (!certificate || !(certificate in this.#users)) throw new Refusal(18, 'Authentication failed.')
    this.user = certificate
    return {}
  }

  #start(command: Stored): Stored {
    const hash = command.mechanism === 'SCRAM-SHA-1' ? 'sha1' : 'sha256'
    const bare = textOf(command.payload).slice('n,,'.length)
    const [, name = '', nonce = ''] = /^n=(.*),r=(.*)$/.exec(bare) ?? []
    const user = name.replaceAll('=2C', ',').replaceAll('=3D', '=')
    const password = this.#users[user]
    if (password === undefined) throw new Refusal(18, 'Authentication failed.')
    const salt = randomBytes(16)
    const secret = hash === 'sha256' ? password : createHash('md5').update(`${user}:mongo:${password}`).digest('hex')
    const first = `r=${nonce}${randomBytes(12).toString('base64')},s=${salt.toString('base64')},i=${ROUNDS}`
    const salted = pbkdf2Sync(secret, salt, ROUNDS, hash === 'sha256' ? 32 : 20, hash)
    this.#state = { user, hash, salted, all: `${bare},${first}` }
    return { conversationId: 1, payload: new BSON.Binary(Buffer.from(first)), done: false }
  }

  #continue(command: Stored): Stored {
    if (!this.#state) throw new Refusal(17, 'No SASL session state found')
    const { user, hash, salted, all } = this.#state
    const [, open = '', proof = ''] = /^(.*),p=(.*)$/.exec(textOf(command.payload)) ?? []
    const hmac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest()
    const clientKey = hmac(salted, 'Client Key')
    const signature = hmac(createHash(hash).update(clientKey).digest(), `${all},${open}`)
    const expected = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] as number)))
    if (!expected.equals(Buffer.from(proof, 'base64'))) throw new Refusal(18, 'Authentication failed.')
    this.user = user
    const last = `v=${hmac(hmac(salted, 'Server Key'), `${all},${open}`).toString('base64')}`
    return { conversationId: 1, payload: new BSON.Binary(Buffer.from(last)), done: true }
  }
}

function textOf(payload: unknown): string {
  return Buffer.from((payload as { buffer: Uint8Array; position: number }).buffer)
    .subarray(0, (payload as { position: number }).position)
    .toString()
}
