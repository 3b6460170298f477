import { isIP, type Socket } from 'node:net'
import mysql, { type Connection, type ConnectionOptions, type QueryError } from 'mysql2'
import { type MysqlAddress, readPem } from './dsn.ts'

/** Makes the connections of one pool, and knows those that are there, also while they come up. */
export class Dialer {
  readonly #address: MysqlAddress
  readonly #settings: ConnectionOptions | undefined
  readonly #connections = new Set<Connection>()
  #plain = false

  constructor(address: MysqlAddress, settings: ConnectionOptions | undefined) {
    this.#address = address
    this.#settings = settings
  }

  /** Breaks every connection: what waits on them fails with the error. */
  cut(error: Error): void {
    for (const connection of this.#connections) socketOf(connection).destroy(error)
  }

  /** One connection, signed in, within `remaining` milliseconds. */
  async dial(remaining: number): Promise<Connection> {
    const [address, settings] = [this.#address, this.#settings]
    const { host, port, socketPath, user, password, database, authorities } = address
    const tls = address.tls && authorities ? { ...address.tls, ca: readPem(authorities) } : address.tls
    const connect = (secure: boolean) =>
      new Promise<Connection>((resolve, reject) => {
        const connection = mysql.createConnection({
          ...(socketPath ? { socketPath } : { host, port }),
          user,
          password,
          ...(database ? { database } : {}),
          ...(secure && tls ? { ssl: tls as NonNullable<ConnectionOptions['ssl']> } : {}),
          connectTimeout: Math.min(remaining, address.connectTimeout ?? 5000),
          charset: 'utf8mb4',
          // As Go's driver counts: a row found but not changed is none.
          flags: ['-FOUND_ROWS'],
          trace: false,
          ...settings,
        } as ConnectionOptions)
        // An address is no server name, but the certificate has to be for it.
        if (isIP(host)) Object.assign(socketOf(connection), { _host: host })
        this.#connections.add(connection)
        socketOf(connection).once('close', () => this.#connections.delete(connection))
        const failed = (error: Error) => {
          socketOf(connection).destroy()
          reject(error)
        }
        connection.once('error', failed)
        connection.connect((error) => {
          if (error) return failed(error)
          connection.removeListener('error', failed)
          resolve(connection)
        })
      })
    try {
      return await connect(!this.#plain)
    } catch (error) {
      if (!address.tlsOptional || (error as QueryError).code !== 'HANDSHAKE_NO_SSL_SUPPORT') throw error
      this.#plain = true
      return connect(false)
    }
  }
}

/** The typings do not know it. */
export function socketOf(connection: Connection): Socket {
  return (connection as unknown as { stream: Socket }).stream
}
