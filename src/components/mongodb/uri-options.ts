export const READ_MODES = ['primary', 'primaryPreferred', 'secondary', 'secondaryPreferred', 'nearest'] as const
export type ReadMode = (typeof READ_MODES)[number]

/** Options of a connection string, as far as it has them; times in milliseconds. */
export interface Options {
  replicaSet?: string
  directConnection?: boolean
  appName?: string
  tls?: boolean
  tlsCAFile?: string
  tlsCertificateKeyFile?: string
  tlsCertificateKeyFilePassword?: string
  tlsInsecure?: boolean
  tlsAllowInvalidCertificates?: boolean
  tlsAllowInvalidHostnames?: boolean
  authSource?: string
  authMechanism?: string
  connectTimeoutMS?: number
  socketTimeoutMS?: number
  serverSelectionTimeoutMS?: number
  waitQueueTimeoutMS?: number
  heartbeatFrequencyMS?: number
  localThresholdMS?: number
  maxPoolSize?: number
  minPoolSize?: number
  maxConnecting?: number
  maxIdleTimeMS?: number
  retryReads?: boolean
  retryWrites?: boolean
  readPreference?: ReadMode
  /** Sets of tags; the first that some server has counts. */
  readPreferenceTags?: Record<string, string>[]
  readConcernLevel?: string
  w?: number | string
  wTimeoutMS?: number
  journal?: boolean
  srvMaxHosts?: number
  srvServiceName?: string
}

type Setter = (options: Options, value: string) => void
type Texts =
  | 'replicaSet'
  | 'appName'
  | 'tlsCAFile'
  | 'tlsCertificateKeyFile'
  | 'tlsCertificateKeyFilePassword'
  | 'authSource'
  | 'authMechanism'
  | 'readConcernLevel'
  | 'srvServiceName'
type Flags =
  | 'directConnection'
  | 'tls'
  | 'tlsInsecure'
  | 'tlsAllowInvalidCertificates'
  | 'tlsAllowInvalidHostnames'
  | 'retryReads'
  | 'retryWrites'
  | 'journal'
type Numbers = Exclude<keyof Options, Texts | Flags | 'readPreference' | 'readPreferenceTags' | 'w'>

const text =
  (name: Texts): Setter =>
  (options, value) => {
    if (value === '') throw new Error('it is empty')
    options[name] = value
  }
const flag =
  (name: Flags): Setter =>
  (options, value) => {
    if (value !== 'true' && value !== 'false') throw new Error(`${JSON.stringify(value)} is neither true nor false`)
    const set = value === 'true'
    if (options[name] !== undefined && options[name] !== set) throw new Error('it is given twice, with different values')
    options[name] = set
  }
const number =
  (name: Numbers, least = 0): Setter =>
  (options, value) => {
    if (!/^\d{1,10}$/.test(value) || Number(value) < least)
      throw new Error(`${JSON.stringify(value)} is not a whole number of ${least} or more`)
    options[name] = Number(value)
  }
/** What we do anyway, or what does not concern documents of this store. */
const nothing: Setter = () => {}

/** Every option that is honoured, in small letters. */
export const OPTIONS: Readonly<Record<string, Setter>> = {
  replicaset: text('replicaSet'),
  directconnection: flag('directConnection'),
  appname: text('appName'),
  tls: flag('tls'),
  ssl: flag('tls'),
  tlscafile: text('tlsCAFile'),
  tlscertificatekeyfile: text('tlsCertificateKeyFile'),
  tlscertificatekeyfilepassword: text('tlsCertificateKeyFilePassword'),
  tlsinsecure: flag('tlsInsecure'),
  tlsallowinvalidcertificates: flag('tlsAllowInvalidCertificates'),
  tlsallowinvalidhostnames: flag('tlsAllowInvalidHostnames'),
  // Nobody is asked whether a certificate was revoked.
  tlsdisableocspendpointcheck: nothing,
  tlsdisablecertificaterevocationcheck: nothing,
  authsource: text('authSource'),
  authmechanism: text('authMechanism'),
  connecttimeoutms: number('connectTimeoutMS'),
  sockettimeoutms: number('socketTimeoutMS'),
  serverselectiontimeoutms: number('serverSelectionTimeoutMS', 1),
  waitqueuetimeoutms: number('waitQueueTimeoutMS'),
  heartbeatfrequencyms: number('heartbeatFrequencyMS', 500),
  localthresholdms: number('localThresholdMS'),
  maxpoolsize: number('maxPoolSize'),
  minpoolsize: number('minPoolSize'),
  maxconnecting: number('maxConnecting', 1),
  maxidletimems: number('maxIdleTimeMS'),
  retryreads: flag('retryReads'),
  retrywrites: flag('retryWrites'),
  readpreference(options, value) {
    const mode = READ_MODES.find((one) => one.toLowerCase() === value.toLowerCase())
    if (!mode) throw new Error(`${JSON.stringify(value)} is none of ${READ_MODES.join(', ')}`)
    options.readPreference = mode
  },
  readpreferencetags(options, value) {
    const pairs = value.split(',').filter(Boolean)
    const tags = pairs.map((pair) => {
      const [name, tag] = pair.split(':')
      if (!name || tag === undefined) throw new Error(`${JSON.stringify(value)} is not name:value,…`)
      return [name, tag] as const
    })
    options.readPreferenceTags = [...(options.readPreferenceTags ?? []), Object.fromEntries(tags)]
  },
  readconcernlevel: text('readConcernLevel'),
  w(options, value) {
    if (value === '') throw new Error('it is empty')
    options.w = /^\d{1,3}$/.test(value) ? Number(value) : value
  },
  wtimeoutms: number('wTimeoutMS'),
  wtimeout: number('wTimeoutMS'),
  journal: flag('journal'),
  srvmaxhosts: number('srvMaxHosts'),
  srvservicename: text('srvServiceName'),
  // No value here is a UUID.
  uuidrepresentation: nothing,
}

const PROXY = 'remove it; connections through a proxy are not made'
const COMPRESSION = 'remove it; messages go as they are'
/** What is known and not honoured, and what to do about it. */
export const REFUSED: Readonly<Record<string, string>> = {
  authmechanismproperties: 'remove it; users sign in by SCRAM, a certificate or LDAP (PLAIN)',
  compressors: COMPRESSION,
  zlibcompressionlevel: COMPRESSION,
  loadbalanced: 'name the servers themselves; sessions behind a load balancer are not kept together',
  maxstalenessseconds: 'remove it, or set readPreference=primary where staleness matters',
  timeoutms: 'set the metadata field operationTimeout',
  servermonitoringmode: 'remove it; servers are asked for their state when operations need it',
  autoencryption: 'remove it; values are encrypted by the sidecar (primaryEncryptionKey)',
  gssapiservicename: 'remove it; users sign in by SCRAM, a certificate or LDAP (PLAIN)',
  proxyhost: PROXY,
  proxyport: PROXY,
  proxyusername: PROXY,
  proxypassword: PROXY,
}
