import { isIP } from 'node:net'
import { compileRange } from '../http/access.ts'
import type { FilterChain } from '../model/listener.ts'

/** What decides the chain of a connection. */
export interface Arrival {
  secure: boolean
  serverName: string | undefined
  alpn: readonly string[]
  port: number
  localAddress: string
  remoteAddress: string
}

/** Chooses the chain that fits a connection best: by port, address, name, TLS, protocol and source, in this order. */
export function chainChooser<T extends { readonly model: FilterChain }>(chains: readonly T[]): (arrival: Arrival) => T | undefined {
  const compiled = chains.map((chain) => {
    const { destinations, sources } = chain.model.match
    return { chain, match: chain.model.match, destinations: destinations.map(ranged), sources: sources.map(ranged) }
  })
  return (arrival) => {
    let best: T | undefined
    let most: readonly number[] = []
    for (const { chain, match, destinations, sources } of compiled) {
      const scores = [
        match.destinationPort === undefined ? 0 : match.destinationPort === arrival.port ? 1 : -1,
        destinations.length === 0 ? 0 : longest(destinations, arrival.localAddress),
        match.serverNames.length === 0 ? 0 : nameScore(match.serverNames, arrival.serverName),
        match.transport === undefined ? 0 : (match.transport === 'tls') === arrival.secure ? 1 : -1,
        match.applicationProtocols.length === 0 ? 0 : match.applicationProtocols.some((one) => arrival.alpn.includes(one)) ? 1 : -1,
        sources.length === 0 ? 0 : longest(sources, arrival.remoteAddress),
      ]
      if (scores.some((score) => score < 0) || (best && !greater(scores, most))) continue
      best = chain
      most = scores
    }
    return best
  }
}

function ranged(range: string): { within: (address: string) => boolean; bits: number } {
  const [base = '', bits] = range.split('/', 2)
  return { within: compileRange(range), bits: bits === undefined ? (isIP(base) === 6 ? 128 : 32) : Number(bits) }
}

/** One more than the bits of the narrowest range around an address; -1: there is none. */
function longest(ranges: readonly { within: (address: string) => boolean; bits: number }[], address: string): number {
  return ranges.reduce((most, { within, bits }) => (bits + 1 > most && within(address) ? bits + 1 : most), -1)
}

function nameScore(names: readonly string[], asked: string | undefined): number {
  let most = -1
  for (const name of names) {
    const wanted = name.toLowerCase()
    if (asked === undefined) continue
    if (wanted === asked) most = Math.max(most, 10_000)
    else if (wanted.startsWith('*.') && asked.endsWith(wanted.slice(1))) most = Math.max(most, wanted.length)
  }
  return most
}

function greater(a: readonly number[], b: readonly number[]): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return (a[i] as number) > (b[i] as number)
  return false
}

/** An address without the form that IPv4 has on sockets of both families. */
export function plainAddress(address: string | undefined): string {
  return address?.startsWith('::ffff:') ? address.slice(7) : (address ?? '')
}
