import { readFile } from 'node:fs/promises'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import { MongoClient } from './client.ts'
import { Credential } from './credential.ts'
import { lookUp, lookUpServers } from './srv.ts'
import { Topology } from './topology.ts'
import type { MongoUri } from './uri.ts'
import type { Options } from './uri-options.ts'

export interface OpenOptions {
  uri: MongoUri
  database: string
  /** Stands before the name that the connection string gives. */
  appName: string
  /** Milliseconds of an operation, for what the connection string sets no time for. */
  timeout: number
  /** For tests: addresses of name servers. */
  nameServers?: readonly string[]
}

/** A client for a connection string; connects nothing yet, but looks up the servers of mongodb+srv. */
export async function openClient({ uri, database, appName, timeout, nameServers }: OpenOptions): Promise<MongoClient> {
  const { options } = uri
  let { places, login } = uri
  let { replicaSet } = options
  const most = options.srvMaxHosts ?? 0
  const record = { name: places[0]?.host ?? '', service: options.srvServiceName ?? 'mongodb', most, timeout, nameServers }
  if (uri.srv) {
    const found = await lookUp(record)
    places = found.places
    replicaSet ??= found.replicaSet
    if (login && !options.authSource && found.authSource) login = { ...login, source: found.authSource }
  }
  const connectTimeout = options.connectTimeoutMS || timeout
  const credential = login ? new Credential(login) : undefined
  const tls = options.tls ? () => tlsOf(options) : undefined
  const name = options.appName ? `${appName}:${options.appName}` : appName
  const topology = new Topology({
    places,
    replicaSet,
    direct: options.directConnection ?? false,
    heartbeat: options.heartbeatFrequencyMS ?? 10_000,
    patience: connectTimeout,
    lookUp: uri.srv ? () => lookUpServers(record) : undefined,
    pool: (place, described) => ({
      connection: { place, tls, credential, appName: name, connectTimeout },
      most: options.maxPoolSize ?? 100,
      least: options.minPoolSize ?? 0,
      opening: options.maxConnecting ?? 2,
      idle: options.maxIdleTimeMS ?? 0,
      described,
    }),
  })
  return new MongoClient({
    topology,
    database,
    preference: {
      mode: options.readPreference ?? 'primary',
      tags: options.readPreferenceTags ?? [],
      threshold: options.localThresholdMS ?? 15,
    },
    retryReads: options.retryReads ?? true,
    retryWrites: options.retryWrites ?? true,
    socketTimeout: options.socketTimeoutMS || timeout,
    queueTimeout: options.waitQueueTimeoutMS || timeout,
    selectionTimeout: options.serverSelectionTimeoutMS ?? timeout,
  })
}

/** What the options of a connection string mean for TLS. Rejects where a file that they name cannot be read. */
async function tlsOf(options: Options): Promise<TlsOptions> {
  const { tlsCAFile, tlsCertificateKeyFile, tlsCertificateKeyFilePassword, tlsInsecure } = options
  const pem = tlsCertificateKeyFile ? await fileOf('tlsCertificateKeyFile', tlsCertificateKeyFile) : undefined
  return {
    ...(tlsCAFile ? { ca: await fileOf('tlsCAFile', tlsCAFile) } : {}),
    ...(pem ? { cert: pem, key: pem } : {}),
    ...(tlsCertificateKeyFilePassword ? { passphrase: tlsCertificateKeyFilePassword } : {}),
    ...(tlsInsecure || options.tlsAllowInvalidCertificates ? { rejectUnauthorized: false } : {}),
    ...(tlsInsecure || options.tlsAllowInvalidHostnames ? { checkServerIdentity: () => undefined } : {}),
  }
}

async function fileOf(option: string, path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new Error(`option ${option}: ${path} cannot be read: ${(error as Error).message}`)
  }
}
