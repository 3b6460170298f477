import { Resolver } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { Place } from './uri.ts'

export interface SrvOptions {
  name: string
  service: string
  /** How many of the servers are used, chosen at random; 0: all. */
  most: number
  /** Milliseconds for an answer. */
  timeout: number
  /** Addresses of name servers; undefined: the system's. */
  nameServers?: readonly string[] | undefined
}

export interface SrvAnswer {
  places: Place[]
  /** What the TXT record sets. */
  authSource?: string
  replicaSet?: string
}

/** Options that a TXT record may set. */
const ALLOWED = ['authSource', 'replicaSet', 'loadBalanced']

function resolverOf({ timeout, nameServers }: SrvOptions): Resolver {
  const resolver = new Resolver({ timeout, tries: 2 })
  if (nameServers) resolver.setServers(nameServers)
  return resolver
}

/** Servers that a name stands for (Initial DNS Seedlist Discovery specification). Throws an Error that names the record. */
export async function lookUpServers(options: SrvOptions): Promise<Place[]> {
  const { name, service, most } = options
  const record = `_${service}._tcp.${name}`
  const found = await resolverOf(options).resolveSrv(record)
  const labels = name.split('.')
  // Whoever answers for the name has no say over servers elsewhere.
  const parent = (labels.length > 2 ? labels.slice(1) : labels).join('.').toLowerCase()
  const places = found.map((one) => ({ host: one.name.toLowerCase().replace(/\.$/, ''), port: one.port }))
  for (const { host } of places)
    if (isIP(host) || !host.endsWith(`.${parent}`) || host === name)
      throw new Error(`the record ${record} leads to ${host}, which is not within ${parent}: that is not followed`)
  if (places.length === 0) throw new Error(`the record ${record} names no server`)
  if (most === 0 || places.length <= most) return places
  return places
    .map((place) => ({ place, at: Math.random() }))
    .sort((a, b) => a.at - b.at)
    .slice(0, most)
    .map(({ place }) => place)
}

/** The servers and what a TXT record says of them. */
export async function lookUp(options: SrvOptions): Promise<SrvAnswer> {
  const { name } = options
  const [places, texts] = await Promise.all([lookUpServers(options), textsOf(options)])
  if (texts.length > 1) throw new Error(`${name} has ${texts.length} TXT records, and may have one`)
  const answer: SrvAnswer = { places }
  for (const [option, value] of new URLSearchParams(texts[0] ?? '')) {
    const known = ALLOWED.find((one) => one.toLowerCase() === option.toLowerCase())
    if (!known || value === '') throw new Error(`the TXT record of ${name} sets ${option}, and may set authSource and replicaSet`)
    if (known === 'loadBalanced' && value !== 'false')
      throw new Error(`the TXT record of ${name} sets loadBalanced, which is not supported: name the servers themselves`)
    if (known === 'authSource' || known === 'replicaSet') answer[known] = value
  }
  return answer
}

async function textsOf(options: SrvOptions): Promise<string[]> {
  try {
    return (await resolverOf(options).resolveTxt(options.name)).map((parts) => parts.join(''))
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENODATA' || code === 'ENOTFOUND') return []
    throw error
  }
}
