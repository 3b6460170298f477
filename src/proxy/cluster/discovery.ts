import { lookup } from 'node:dns/promises'
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import type { Cluster, Endpoint } from '../model/cluster.ts'
import type { Figures } from '../stats.ts'

/** The endpoints of a cluster are followed until it is disposed. */
export interface Discovered extends Disposable {
  /** The first look is over. */
  readonly first: Promise<void>
}

export interface DiscoveryContext {
  log: Logger
  /** Reads a file of endpoints (EDS). Throws for what is none. */
  readFile(text: string, file: string, serviceName: string): Endpoint[]
}

type Found = (endpoints: readonly Endpoint[]) => void

/** Milliseconds between two looks at a file. */
const FILE_INTERVAL = 500

/** Follows the endpoints of one cluster by what it says of them. */
export function discover(cluster: Cluster, found: Found, figures: Figures, context: DiscoveryContext): Discovered {
  switch (cluster.discovery) {
    case 'strict-dns':
      return again(cluster, figures, context, cluster.dnsRefresh, found, () => resolveAll(cluster))
    case 'file':
      return follow(cluster, found, figures, context)
    default:
      return { first: Promise.resolve(), [Symbol.dispose]() {} }
  }
}

function again(
  { name }: Cluster,
  figures: Figures,
  { log }: DiscoveryContext,
  interval: number,
  found: Found,
  look: (signal: AbortSignal) => Promise<readonly Endpoint[]>,
): Discovered {
  const stop = new AbortController()
  let timer: NodeJS.Timeout | undefined
  let before = ''
  let failed = false
  const once = async () => {
    try {
      ;(figures.update_attempt as number)++
      const endpoints = await look(stop.signal)
      if (stop.signal.aborted) return
      ;(figures.update_success as number)++
      failed = false
      const text = JSON.stringify(endpoints)
      if (text !== before) found(endpoints)
      before = text
    } catch (error) {
      ;(figures.update_failure as number)++
      // What was known before is still the best there is.
      if (!failed && !stop.signal.aborted) log.warn(`${name}: its endpoints cannot be found: ${messageOf(error)}`)
      failed = true
    }
    if (!stop.signal.aborted) timer = setTimeout(() => void once(), interval).unref()
  }
  return {
    first: once(),
    [Symbol.dispose]() {
      stop.abort()
      clearTimeout(timer)
    },
  }
}

/** Every address of every name. */
async function resolveAll({ endpoints, family }: Cluster): Promise<Endpoint[]> {
  const lists = await Promise.all(
    endpoints.map(async (endpoint): Promise<Endpoint[]> => {
      if (isIP(endpoint.host) !== 0 || endpoint.path !== undefined) return [endpoint]
      const all = await lookup(endpoint.host, { all: true, family: family === 'v4' ? 4 : family === 'v6' ? 6 : 0 })
      const six = all.filter((one) => one.family === 6)
      const taken = family === 'auto' && six.length > 0 && six.length < all.length ? all.filter((one) => one.family === 4) : all
      return taken.map(({ address }) => ({ ...endpoint, host: address, hostname: endpoint.hostname ?? endpoint.host }))
    }),
  )
  const seen = new Set<string>()
  return lists
    .flat()
    .filter(({ host, port, path }) => {
      const key = `${path ?? host} ${port}`
      return !seen.has(key) && seen.add(key)
    })
    .sort((a, b) => (a.host < b.host ? -1 : 1))
}

function follow({ name, file = '', serviceName = name }: Cluster, found: Found, figures: Figures, context: DiscoveryContext): Discovered {
  let before: string | undefined
  // By its text: two writes may share size and time, and a watch begins after the first reading.
  const look = () => {
    const { text, failure } = textOf(file)
    const now = text ?? `!${failure}`
    if (now === before) return
    before = now
    ;(figures.update_attempt as number)++
    try {
      if (text === undefined) throw new Error(failure)
      found(context.readFile(text, file, serviceName))
      ;(figures.update_success as number)++
    } catch (error) {
      ;(figures.update_failure as number)++
      context.log.warn(`${name}: ${file} cannot be used, the endpoints stay as they are: ${messageOf(error)}`)
    }
  }
  look()
  const timer = setInterval(look, FILE_INTERVAL).unref()
  return {
    first: Promise.resolve(),
    [Symbol.dispose]() {
      clearInterval(timer)
    },
  }
}

function textOf(file: string): { text?: string; failure?: string } {
  try {
    return { text: readFileSync(file, 'utf8') }
  } catch (error) {
    return { failure: messageOf(error) }
  }
}
