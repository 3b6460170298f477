import { connect as connectTcp, isIP, type Socket } from 'node:net'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { readCertificates, type SqlServerAddress } from './connection-string.ts'
import { ENCRYPTION, login, prelogin, readPrelogin } from './login.ts'
import { MESSAGE, type MessageKind, MessageReader, packetsOf } from './packets.ts'
import { type Answer, readAnswer, SqlError } from './tokens.ts'
import { declared, encode, type Parameter, type Value } from './values.ts'
import { startWrappedTls } from './wrapped-tls.ts'

const PACKET = 4096
const EXECUTE_SQL = 10
const LOGIN_FAILED = 18456
const NONE = Buffer.alloc(8)
/** From here on an error is the connection's last word. */
const FATAL = 20

/** What came to grief with the connection; a refusal of the server is a SqlError. */
export class LostError extends Error {}

/** The answer did not come in time. */
export class LateError extends LostError {}

export interface Result {
  rows: Value[][]
  affected: number
}

/** One connection. States: connecting → open → lost, for good. One statement at a time; a late answer takes it along. */
export class SqlServerConnection implements Disposable {
  #stream: Socket
  #packetSize = PACKET
  #transaction: Buffer = NONE
  #lost: Error | undefined
  #waiting: { resolve(body: Buffer): void; reject(error: Error): void } | undefined

  private constructor(socket: Socket) {
    this.#stream = socket
  }

  /**
   * Connects and signs in within `timeout` milliseconds; rejects with LostError or the server's refusal, leaving nothing open.
   * @param token Of Microsoft Entra ID, in place of user and password.
   */
  static async open(address: SqlServerAddress, database: string, timeout: number, token?: string): Promise<SqlServerConnection> {
    const end = Date.now() + timeout
    let place = address
    for (let routed = 0; ; routed++) {
      const connection = new SqlServerConnection(dial(place))
      // Reaches the handshake of TLS, too, which no answer ends.
      const limit = setTimeout(() => connection.lose(new LateError(`no answer within ${timeout} ms`)), Math.max(1, end - Date.now()))
      try {
        const route = await connection.#start(place, database, token)
        if (!route) return connection
        connection[Symbol.dispose]()
        if (routed === 3) throw new LostError('the server sends us on from place to place')
        place = { ...address, ...route }
      } catch (error) {
        const cause = connection.#lost
        connection[Symbol.dispose]()
        throw cause ?? error
      } finally {
        clearTimeout(limit)
      }
    }
  }

  get lost(): boolean {
    return this.#lost !== undefined
  }

  /** A statement with parameters, or none; rejects with SqlError, LateError or LostError. */
  async run(sql: string, parameters: readonly Parameter[], timeout: number): Promise<Result> {
    const statement: Parameter[] = [{ name: 'statement', kind: 'text', value: sql }]
    if (parameters.length) statement.push({ name: 'parameters', kind: 'text', value: parameters.map(declared).join(', ') })
    return this.#call(Buffer.from([0xff, 0xff, EXECUTE_SQL, 0]), [...unnamed(statement), ...parameters.map(encode)], timeout)
  }

  /** A stored procedure, by a name such as `[dbo].name`. */
  async procedure(name: string, parameters: readonly Parameter[], timeout: number): Promise<Result> {
    const label = Buffer.from(name, 'utf16le')
    const length = Buffer.alloc(2)
    length.writeUInt16LE(name.length)
    return this.#call(Buffer.concat([length, label]), parameters.map(encode), timeout)
  }

  /** Statements without parameters, as they are. */
  async batch(sql: string, timeout: number): Promise<Result> {
    return this.#ask(MESSAGE.batch, Buffer.concat([this.#headers(), Buffer.from(sql, 'utf16le')]), timeout)
  }

  /** Whether a transaction is open. */
  get inTransaction(): boolean {
    return !this.#transaction.equals(NONE)
  }

  /** Ends it for this reason. */
  lose(error: Error): void {
    if (this.#lost) return
    this.#lost = error
    this.#stream.destroy()
    this.#waiting?.reject(error)
    this.#waiting = undefined
  }

  [Symbol.dispose](): void {
    this.lose(new LostError('closed'))
  }

  async #start(
    address: SqlServerAddress,
    database: string,
    token: string | undefined,
  ): Promise<{ host: string; port: number } | undefined> {
    const { encrypt } = address
    const socket = this.#stream
    await new Promise<void>((resolve, reject) => {
      socket.once(encrypt === 'strict' ? 'secureConnect' : 'connect', resolve)
      socket.once('error', reject)
      socket.once('close', () => reject(new LostError('the server closed the connection')))
    })
    this.#listen()
    const wanted = encrypt === 'disable' ? ENCRYPTION.unsupported : ENCRYPTION.on
    const offer = readPrelogin(await this.#exchange(MESSAGE.prelogin, prelogin(wanted, token !== undefined)))
    if (encrypt !== 'strict') await this.#encrypt(address, offer.encryption)
    const { user, password, host } = address
    const message = login({
      user,
      password,
      ...(token === undefined ? {} : { token }),
      ...offer,
      server: host,
      database,
      packetSize: PACKET,
    })
    const answer = readAnswer(await this.#exchange(MESSAGE.login, message))
    if (answer.error) throw answer.error
    if (!answer.signedIn) throw new SqlError(LOGIN_FAILED, 14, 'the server does not sign us in')
    this.#packetSize = answer.packetSize ?? PACKET
    return answer.route
  }

  async #encrypt(address: SqlServerAddress, offered: number): Promise<void> {
    if (address.encrypt === 'disable') {
      if (offered === ENCRYPTION.required) throw new LostError('the server asks for TLS; leave encrypt=disable out of connectionString')
      return
    }
    if (offered === ENCRYPTION.unsupported) {
      if (address.encrypt === 'optional') return
      throw new LostError('the server does not speak TLS; write encrypt=disable into connectionString')
    }
    const socket = this.#stream
    for (const event of ['data', 'error', 'close']) socket.removeAllListeners(event)
    this.#stream = await startWrappedTls(socket, secured(address))
    this.#listen()
  }

  #listen(): void {
    const reader = new MessageReader((body) => {
      const waiting = this.#waiting
      this.#waiting = undefined
      waiting?.resolve(body)
    })
    this.#stream.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk)
      } catch (error) {
        this.lose(new LostError((error as Error).message))
      }
    })
    this.#stream.on('error', (error) => this.lose(new LostError(error.message, { cause: error })))
    this.#stream.on('close', () => this.lose(new LostError('the server closed the connection')))
  }

  #exchange(kind: MessageKind, body: Buffer): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#lost) return reject(this.#lost)
      this.#waiting = { resolve, reject }
      this.#stream.write(packetsOf(kind, body, this.#packetSize))
    })
  }

  #call(procedure: Buffer, parameters: readonly Buffer[], timeout: number): Promise<Result> {
    return this.#ask(MESSAGE.rpc, Buffer.concat([this.#headers(), procedure, Buffer.alloc(2), ...parameters]), timeout)
  }

  async #ask(kind: MessageKind, body: Buffer, timeout: number): Promise<Result> {
    const limit = setTimeout(() => this.lose(new LateError(`no answer within ${timeout} ms`)), Math.max(1, timeout))
    let answer: Answer
    try {
      answer = readAnswer(await this.#exchange(kind, body))
    } catch (error) {
      if (!(error instanceof LostError)) this.lose(new LostError((error as Error).message))
      throw this.#lost ?? error
    } finally {
      clearTimeout(limit)
    }
    if (answer.transaction) this.#transaction = answer.transaction
    if (!answer.error) return answer
    if (answer.error.severity >= FATAL) this.lose(new LostError(answer.error.message))
    throw answer.error
  }

  /** Which transaction a request belongs to, and that it is the only one under way. */
  #headers(): Buffer {
    const headers = Buffer.alloc(22)
    headers.writeUInt32LE(22, 0)
    headers.writeUInt32LE(18, 4)
    headers.writeUInt16LE(2, 8)
    this.#transaction.copy(headers, 10)
    headers.writeUInt32LE(1, 18)
    return headers
  }
}

function dial(address: SqlServerAddress): Socket {
  const place = { host: address.host, port: address.port, noDelay: true, keepAlive: true }
  if (address.encrypt !== 'strict') return connectTcp(place)
  return connectTls({ ...place, ...secured(address), ALPNProtocols: ['tds/8.0'] })
}

function secured({ host, trust, authorities, certificateName }: SqlServerAddress): ConnectionOptions {
  const name = certificateName ?? host
  return {
    rejectUnauthorized: !trust,
    // The certificate is for it, whether it is a name or an address.
    ...(isIP(name) ? { host: name } : { servername: name }),
    ...(authorities ? { ca: readCertificates(authorities) } : {}),
  }
}

function unnamed(parameters: readonly Parameter[]): Buffer[] {
  return parameters.map((parameter) => {
    const whole = encode(parameter)
    // Those of a procedure of the system go by their place.
    return Buffer.concat([Buffer.from([0]), whole.subarray(1 + (whole[0] as number) * 2)])
  })
}
