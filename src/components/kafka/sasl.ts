import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import type { Call } from './calls.ts'
import { check } from './errors.ts'

/** How a connection proves who it is. */
export type Sasl =
  | { mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'; username: string; password: string }
  | { mechanism: 'OAUTHBEARER'; token: () => Promise<string>; extensions: Readonly<Record<string, string>>; close?: () => Promise<void> }

/** What a broker refuses with error 58, and what to look at. */
const REFUSED: Readonly<Record<string, string>> = { OAUTHBEARER: 'token: check for whom it is issued, and what its user may do' }

type Ask = <T>(call: Call<T>) => Promise<T>

function handshake(mechanism: string): Call<{ error: number; offered: string[] }> {
  return {
    key: 17,
    versions: [1, 1],
    write: (writer) => writer.string(mechanism),
    read: (reader) => ({ error: reader.int16(), offered: reader.array(() => reader.text()) }),
  }
}

function authenticate(bytes: Buffer): Call<{ error: number; message: string | null; bytes: Buffer; lifetime: number }> {
  return {
    key: 36,
    versions: [0, 1],
    write: (writer) => writer.bytes(bytes),
    read: (reader, version) => ({
      error: reader.int16(),
      message: reader.string(),
      bytes: reader.bytes() ?? Buffer.alloc(0),
      lifetime: version >= 1 ? reader.int64() : 0,
    }),
  }
}

/** Signs in on a new connection. Returns after how many milliseconds the broker wants to see it again; 0 never. */
export async function signIn(sasl: Sasl, ask: Ask): Promise<number> {
  const { error, offered } = await ask(handshake(sasl.mechanism))
  check(error, error === 33 ? `the broker does not offer ${sasl.mechanism} but ${offered.join(', ')}: set saslMechanism or authType` : '')
  const step = async (text: string) => {
    const answer = await ask(authenticate(Buffer.from(text)))
    check(
      answer.error,
      answer.error === 58
        ? `the broker refuses the ${REFUSED[sasl.mechanism] ?? 'credentials: check saslUsername, saslPassword and saslMechanism'}`
        : answer.message,
    )
    return answer
  }
  if (sasl.mechanism === 'PLAIN') return (await step(`\0${sasl.username}\0${sasl.password}`)).lifetime
  if (sasl.mechanism === 'OAUTHBEARER') {
    const extensions = Object.entries(sasl.extensions).map(([name, value]) => `${name}=${value}\x01`)
    return (await step(`n,,\x01auth=Bearer ${await sasl.token()}\x01${extensions.join('')}\x01`)).lifetime
  }
  return scram(sasl.mechanism === 'SCRAM-SHA-256' ? 'sha256' : 'sha512', sasl.username, sasl.password, step)
}

/** RFC 5802. */
async function scram(
  hash: 'sha256' | 'sha512',
  username: string,
  password: string,
  step: (text: string) => Promise<{ bytes: Buffer; lifetime: number }>,
): Promise<number> {
  const nonce = randomBytes(18).toString('base64')
  const bare = `n=${username.replaceAll('=', '=3D').replaceAll(',', '=2C')},r=${nonce}`
  const first = (await step(`n,,${bare}`)).bytes.toString()
  const { r = '', s = '', i = '' } = attributes(first)
  if (!r.startsWith(nonce) || !(Number(i) > 0)) throw new Error("the broker's SCRAM answer is not valid")
  const size = hash === 'sha256' ? 32 : 64
  const salted = await promisify(pbkdf2)(password.normalize('NFKC'), Buffer.from(s, 'base64'), Number(i), size, hash)
  const hmac = (key: Buffer, text: string) => createHmac(hash, key).update(text).digest()
  const clientKey = hmac(salted, 'Client Key')
  const open = `c=biws,r=${r}`
  const all = `${bare},${first},${open}`
  const signature = hmac(createHash(hash).update(clientKey).digest(), all)
  const proof = Buffer.from(clientKey.map((byte, index) => byte ^ (signature[index] as number)))
  const last = await step(`${open},p=${proof.toString('base64')}`)
  const { v = '' } = attributes(last.bytes.toString())
  const expected = hmac(hmac(salted, 'Server Key'), all)
  const given = Buffer.from(v, 'base64')
  if (given.length !== expected.length || !timingSafeEqual(given, expected))
    throw new Error('the broker does not know the password: it is not the one it claims to be')
  return last.lifetime
}

function attributes(text: string): Record<string, string> {
  return Object.fromEntries(text.split(',').map((part) => [part.slice(0, 1), part.slice(2)]))
}
