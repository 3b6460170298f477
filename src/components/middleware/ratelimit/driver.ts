import type { Middleware, MiddlewareRequest } from '../../../blocks/middleware/driver.ts'
import { Buckets } from '../../../policy/token-buckets.ts'
import type { DriverModule } from '../../component.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'
import { plainPath } from '../pattern.ts'
import { step } from '../step.ts'

const metadata: readonly MetadataField[] = [
  {
    name: 'maxRequestsPerSecond',
    kind: 'number',
    default: '100',
    description: 'Requests a second of one client to one path; as many may come at once. Fractions are allowed.',
  },
]

/** Whose request it is: the last of X-Forwarded-For, else X-Real-IP, else the connection's; of IPv6 the network's half. */
export function clientOf(passing: Pick<MiddlewareRequest, 'header' | 'remoteAddress'>): string {
  const forwarded = passing.header('x-forwarded-for')?.split(',').at(-1)?.trim()
  const address = forwarded || passing.header('x-real-ip') || passing.remoteAddress || '0.0.0.0'
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  return mapped ?? (address.includes(':') && !address.includes('.') ? network(address) : address)
}

/** The first 64 bits of an IPv6 address, in full. */
function network(address: string): string {
  const [front = '', back] = address.split('%', 1)[0]?.split('::') ?? []
  const groups = front === '' ? [] : front.split(':')
  if (back !== undefined) {
    const rest = back === '' ? [] : back.split(':')
    while (groups.length + rest.length < 8) groups.push('0')
    groups.push(...rest)
  }
  return groups
    .slice(0, 4)
    .map((group) => group.toLowerCase().replace(/^0+(?=.)/, ''))
    .join(':')
}

export const driver: DriverModule<Middleware> = {
  summary: 'Lets through so many requests a second of one client address to one path; more are answered with status 429.',
  metadata,
  create(context) {
    const rate = parseMetadata(metadata, context.properties).maxRequestsPerSecond as number
    if (!(rate > 0)) throw new MetadataError('metadata property maxRequestsPerSecond must be a positive value')
    const buckets = new Buckets(rate, Math.max(1, Math.floor(rate)))
    return step((passing) =>
      buckets.take(`${clientOf(passing)} ${plainPath(passing.path)}`, performance.now())
        ? undefined
        : {
            status: 429,
            headers: { 'x-rate-limit-limit': rate.toFixed(2), 'x-rate-limit-duration': '1' },
            body: 'You have reached maximum request limit.',
          },
    )
  },
}
