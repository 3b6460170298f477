import type { Description } from './description.ts'
import { LostError } from './errors.ts'
import type { Pool } from './pool.ts'
import type { Place } from './uri.ts'

/** A server that is known by name. */
export interface Server {
  /** `host:port` in small letters, as servers call each other. */
  name: string
  pool: Pool
  /** undefined: it is not known what it is, or whether it is there; `error` says why. */
  description: Description | undefined
  error: unknown
  /** `performance.now()` of the last answer to what it is. */
  checked: number
  checking: Promise<void> | undefined
}

export interface MembersOptions {
  places: readonly Place[]
  /** The set that is asked for; undefined: whichever the servers are of, if any. */
  replicaSet: string | undefined
  /** The only server named is used, whatever it is. */
  direct: boolean
  make(name: string, place: Place): Server
}

/**
 * Which servers there are, by what they say of themselves and of each other (Server Discovery and Monitoring specification):
 * unknown → single, sharded, or a replica set, which it stays.
 */
export class Members {
  kind: 'unknown' | 'single' | 'sharded' | 'set'
  readonly servers = new Map<string, Server>()
  readonly #options: MembersOptions
  readonly #seeds: number
  #setName: string | undefined
  /** The last election seen: servers that tell of earlier ones were primaries once. */
  #election: { id: string; version: number } = { id: '', version: 0 }
  /** What was left out last, and why. */
  leftOut: string | undefined

  constructor(options: MembersOptions) {
    this.#options = options
    this.#setName = options.replicaSet
    this.#seeds = options.places.length
    this.kind = options.direct ? 'single' : options.replicaSet ? 'set' : 'unknown'
    for (const place of options.places) this.#add(nameOf(place), place)
  }

  get primary(): Server | undefined {
    for (const server of this.servers.values()) if (server.description?.kind === 'primary') return server
    return undefined
  }

  /** What a server said of itself. */
  learn(server: Server, said: Description): void {
    if (this.servers.get(server.name) !== server) return
    server.error = undefined
    if (this.kind === 'single') {
      const wanted = this.#options.replicaSet
      if (wanted && said.setName !== wanted) {
        server.description = undefined
        server.error = new Error(ofAnother(server.name, said.setName, wanted))
      } else server.description = said
      return
    }
    if (this.kind === 'unknown') this.kind = this.#kindBy(said)
    server.description = said
    if (this.kind === 'sharded' && said.kind !== 'mongos') this.#drop(server, `${server.name} is no mongos as the others are`)
    else if (this.kind === 'set') this.#learnMember(server, said)
  }

  /** Names that a record has now; those it had before and has not any more are forgotten. */
  replace(places: readonly Place[]): void {
    const names = new Map(places.map((place) => [nameOf(place), place]))
    for (const [name, place] of names) this.#add(name, place)
    for (const server of [...this.servers.values()])
      if (!names.has(server.name)) this.#drop(server, `${server.name} is in the record no more`)
  }

  /** Why no server suits, in one sentence. */
  get trouble(): string {
    const each = [...this.servers.values()].map(({ name, description, error }) =>
      error === undefined
        ? `${name} is ${description?.kind ?? 'not asked yet'}`
        : `${name}: ${error instanceof Error ? error.message : error}`,
    )
    if (this.leftOut && each.length === 0) each.push(this.leftOut)
    if (this.kind === 'set' && !this.primary) each.unshift(`the replica set ${this.#setName ?? ''} has no primary that is reached`)
    return each.join('; ')
  }

  #kindBy(said: Description): Members['kind'] {
    if (said.kind === 'mongos') return 'sharded'
    if (said.kind === 'ghost') return 'unknown'
    if (said.kind === 'standalone') return this.#seeds === 1 ? 'single' : 'unknown'
    return 'set'
  }

  #learnMember(server: Server, said: Description): void {
    if (said.kind === 'ghost') return
    if (said.kind === 'standalone' || said.kind === 'mongos') return this.#drop(server, `${server.name} is of no replica set`)
    this.#setName ??= said.setName
    if (said.setName !== this.#setName) return this.#drop(server, ofAnother(server.name, said.setName, this.#setName))
    if (said.kind === 'primary') return this.#learnPrimary(server, said)
    if (this.primary) return
    for (const name of said.hosts) this.#add(name, placeOf(name))
    if (said.me && said.me !== server.name) this.#drop(server, calledOtherwise(server.name, said.me))
  }

  #learnPrimary(server: Server, said: Description): void {
    const { id, version } = this.#election
    if (said.electionId < id || (said.electionId === id && said.setVersion < version)) {
      server.description = undefined
      server.error = new LostError('it was the primary before the last election')
      return
    }
    this.#election = { id: said.electionId, version: said.setVersion }
    for (const other of this.servers.values())
      if (other !== server && other.description?.kind === 'primary') {
        other.description = undefined
        other.error = new LostError('another one has become primary')
      }
    for (const name of said.hosts) this.#add(name, placeOf(name))
    for (const other of [...this.servers.values()])
      if (!said.hosts.includes(other.name)) this.#drop(other, calledOtherwise(other.name, said.me ?? said.hosts.join(', ')))
  }

  #add(name: string, place: Place): void {
    if (!this.servers.has(name)) this.servers.set(name, this.#options.make(name, place))
  }

  #drop(server: Server, why: string): void {
    this.leftOut = why
    this.servers.delete(server.name)
    server.description = undefined
    server.pool[Symbol.dispose]()
  }
}

function ofAnother(name: string, found: string | undefined, wanted: string | undefined): string {
  return `${name} is of ${found === undefined ? 'no replica set' : `the replica set ${found}`}, and replicaSet says ${wanted}: correct replicaSet`
}

function calledOtherwise(name: string, own: string): string {
  return `${name} is called ${own} in its replica set: use the names that rs.conf() shows, which have to be reached from here, or directConnection=true`
}

export function nameOf({ host, port }: Place): string {
  if (port === 0) return host
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

function placeOf(name: string): Place {
  const parts = /^(?:\[(.+)\]|(.*?))(?::(\d+))?$/.exec(name)
  return { host: parts?.[1] ?? parts?.[2] ?? name, port: Number(parts?.[3] ?? 27_017) }
}
