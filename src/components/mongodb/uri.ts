import { type Login, MECHANISMS, type Mechanism } from './credential.ts'
import { OPTIONS, type Options, REFUSED } from './uri-options.ts'

export interface Place {
  host: string
  port: number
}

export interface MongoUri {
  /** Servers to begin with; with `srv` the only one is the name of the record. */
  places: Place[]
  srv: boolean
  login: Login | undefined
  options: Options
}

const PORT = 27_017
const PARTS = /^mongodb(\+srv)?:\/\/(?:([^@]*)@)?([^/?@]+)(?:\/([^?]*))?(?:\?(.*))?$/s

/**
 * Reads a connection string (mongodb.com/docs/manual/reference/connection-string). Throws an Error that names the option and holds
 * nothing of the login; an option that is not honoured is refused.
 */
export function parseUri(text: string): MongoUri {
  const parts = PARTS.exec(text)
  if (!parts) throw new Error('it is not mongodb://host:port/…; in user and password, write @ : / ? # [ ] as %40 %3A %2F %3F %23 %5B %5D')
  const [, plus, userinfo, hosts = '', path = '', query = ''] = parts
  const srv = plus !== undefined
  const options = readOptions(query)
  if (srv) options.tls ??= true
  const places = hosts.split(',').map((one) => placeOf(one, srv))
  if (srv && places.length > 1) throw new Error('mongodb+srv:// takes one name')
  if (options.directConnection && places.length > 1) throw new Error('option directConnection is for one server, and several are named')
  if (options.replicaSet === '') throw new Error('option replicaSet is empty')
  return { places, srv, login: loginOf(userinfo, decoded(path, 'the database'), options), options }
}

function placeOf(text: string, srv: boolean): Place {
  if (/\.sock$/i.test(text)) return { host: decoded(text, 'the socket'), port: 0 }
  const parts = /^(?:\[([0-9a-f:.]+)\]|([^:[\]%\s]+))(?::(\d{1,5}))?$/i.exec(text)
  const port = Number(parts?.[3] ?? PORT)
  if (!parts || port < 1 || port > 65_535) throw new Error(`${JSON.stringify(text)} is not host or host:port`)
  if (srv && parts[3]) throw new Error('mongodb+srv:// takes a name without a port')
  return { host: (parts[1] ?? parts[2] ?? '').toLowerCase(), port }
}

function readOptions(query: string): Options {
  const options: Options = {}
  for (const pair of query.split('&')) {
    if (pair === '') continue
    const [given = '', ...rest] = pair.split('=')
    const name = given.toLowerCase()
    const value = decoded(rest.join('='), `option ${given}`)
    const refused = REFUSED[name]
    if (refused) throw new Error(`option ${given} is not supported: ${refused}`)
    const option = Object.hasOwn(OPTIONS, name) ? OPTIONS[name] : undefined
    if (!option) throw new Error(`option ${given} is not supported: remove it, or correct its name`)
    try {
      option(options, value)
    } catch (error) {
      throw new Error(`option ${given}: ${(error as Error).message}`)
    }
  }
  return options
}

/** The user of `userinfo`, or whoever the client's certificate is for. */
function loginOf(userinfo: string | undefined, path: string, options: Options): Login | undefined {
  const [user = '', ...rest] = (userinfo ?? '').split(':')
  const username = decoded(user, 'the user')
  const password = decoded(rest.join(':'), 'the password')
  const mechanism = options.authMechanism as Mechanism | undefined
  if (mechanism && !MECHANISMS.includes(mechanism))
    throw new Error(`option authMechanism is not supported with this value: set one of ${MECHANISMS.join(', ')}`)
  const external = mechanism === 'MONGODB-X509' || mechanism === 'PLAIN'
  if (!username && mechanism !== 'MONGODB-X509') {
    if (mechanism) throw new Error(`option authMechanism: ${mechanism} needs a user and a password`)
    return undefined
  }
  if (external && options.authSource && options.authSource !== '$external' && mechanism === 'MONGODB-X509')
    throw new Error('option authSource: users of certificates are in $external')
  return { mechanism, source: options.authSource ?? (external ? '$external' : path || 'admin'), username, password }
}

function decoded(text: string, what: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw new Error(`${what} has a % in it that is not followed by two hexadecimal digits: write it as %25`)
  }
}
