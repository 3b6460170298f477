import { hostname } from 'node:os'

/** What client and server say of encryption before they sign in. */
export const ENCRYPTION = { off: 0, on: 1, unsupported: 2, required: 3 } as const

const TOKEN = { version: 0, encryption: 1, instance: 2, thread: 3, mars: 4, federated: 6, end: 0xff } as const
const VERSION_7_4 = 0x74000004
const FEDERATED = 2
const SECURITY_TOKEN = 1
/** The database and language asked for or none; errors and options as ODBC has them, which indexes on computed columns need. */
const OPTIONS_1 = 0xe0
const OPTIONS_2 = 0x03
const EXTENSION = 0x10

/** The first message: what the client would have. */
export function prelogin(encryption: number, federated: boolean): Buffer {
  const options: [number, Buffer][] = [
    [TOKEN.version, Buffer.from([0, 0, 0, 0, 0, 0])],
    [TOKEN.encryption, Buffer.from([encryption])],
    [TOKEN.instance, Buffer.from([0])],
    [TOKEN.thread, Buffer.from([0, 0, 0, 0])],
    [TOKEN.mars, Buffer.from([0])],
    ...(federated ? [[TOKEN.federated, Buffer.from([1])] as [number, Buffer]] : []),
  ]
  const head = Buffer.alloc(options.length * 5 + 1)
  let offset = head.length
  for (const [index, [token, data]] of options.entries()) {
    head[index * 5] = token
    head.writeUInt16BE(offset, index * 5 + 1)
    head.writeUInt16BE(data.length, index * 5 + 3)
    offset += data.length
  }
  head[head.length - 1] = TOKEN.end
  return Buffer.concat([head, ...options.map(([, data]) => data)])
}

/** What the server would have; throws on what is no answer. */
export function readPrelogin(body: Buffer): { encryption: number; echo: boolean } {
  let encryption: number = ENCRYPTION.unsupported
  let echo = false
  for (let at = 0; body[at] !== TOKEN.end; at += 5) {
    const value = body[body.readUInt16BE(at + 1)]
    if (value === undefined) throw new RangeError('the server’s first answer is cut off')
    if (body[at] === TOKEN.encryption) encryption = value
    else if (body[at] === TOKEN.federated) echo = value === 1
  }
  return { encryption, echo }
}

export interface Login {
  user: string
  password: string
  /** Of Microsoft Entra ID, in place of user and password. */
  token?: string
  /** Whether the server asked for the token in its first answer. */
  echo: boolean
  server: string
  database: string
  packetSize: number
}

/** The message that signs in. */
export function login({ user, password, token, echo, server, database, packetSize }: Login): Buffer {
  const fixed = Buffer.alloc(94)
  const parts: Buffer[] = []
  let offset = fixed.length
  const put = (at: number, data: Buffer, length = data.length / 2) => {
    fixed.writeUInt16LE(offset, at)
    fixed.writeUInt16LE(length, at + 2)
    parts.push(data)
    offset += data.length
  }
  const features = token === undefined ? Buffer.alloc(0) : federated(token, echo)
  put(36, text(hostname().slice(0, 128)))
  put(40, text(token === undefined ? user : ''))
  put(44, scrambled(token === undefined ? password : ''))
  put(48, text('outrider'))
  put(52, text(server.slice(0, 128)))
  const extension = Buffer.alloc(token === undefined ? 0 : 4)
  put(56, extension, extension.length)
  put(60, text('outrider'))
  put(64, text(''))
  put(68, text(database))
  // SSPI, attached file, new password.
  for (const at of [78, 82, 86]) put(at, text(''))
  if (token !== undefined) extension.writeUInt32LE(offset, 0)
  fixed.writeUInt32LE(offset + features.length, 0)
  fixed.writeUInt32LE(VERSION_7_4, 4)
  fixed.writeUInt32LE(packetSize, 8)
  fixed.writeUInt32LE(process.pid >>> 0, 16)
  fixed[24] = OPTIONS_1
  fixed[25] = OPTIONS_2
  fixed[27] = token === undefined ? 0 : EXTENSION
  return Buffer.concat([fixed, ...parts, features])
}

function federated(token: string, echo: boolean): Buffer {
  const data = text(token)
  const head = Buffer.alloc(10)
  head[0] = FEDERATED
  head.writeUInt32LE(5 + data.length, 1)
  head[5] = (SECURITY_TOKEN << 1) | (echo ? 1 : 0)
  head.writeUInt32LE(data.length, 6)
  return Buffer.concat([head, data, Buffer.from([TOKEN.end])])
}

function text(value: string): Buffer {
  return Buffer.from(value, 'utf16le')
}

/** As the protocol hides a password; who hears it reads it, which is what TLS is for. */
function scrambled(value: string): Buffer {
  return text(value).map((byte) => (((byte & 0x0f) << 4) | (byte >> 4)) ^ 0xa5) as Buffer
}
