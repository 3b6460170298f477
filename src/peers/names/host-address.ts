import { createSocket } from 'node:dgram'
import { isIPv4 } from 'node:net'
import { networkInterfaces } from 'node:os'

/** Addresses set aside for documentation: nothing is sent there, the system only says which address it would send from. */
const PROBES = [
  ['udp4', '192.0.2.1'],
  ['udp6', '2001:db8::1'],
] as const

/** The address by which other machines reach this one: that of the default route, else the best of the interfaces. */
export async function hostAddress(): Promise<string | undefined> {
  for (const [family, address] of PROBES) {
    const found = await sourceAddress(family, address)
    // 192.0.0.0/29 is a translator's own (RFC 7335).
    if (found !== undefined && !/^192\.0\.0\.[0-7]$/.test(found) && rank(found) < UNUSABLE) return found
  }
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  const best = all.filter((one) => !one.internal && rank(one.address) < UNUSABLE).sort((a, b) => rank(a.address) - rank(b.address))[0]
  return best?.address
}

function sourceAddress(type: 'udp4' | 'udp6', address: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(type)
    const end = (found?: string) => {
      socket.close()
      resolve(found)
    }
    socket.once('error', () => end())
    socket.connect(80, address, () => end(socket.address().address))
  })
}

const UNUSABLE = 9

/** Public IPv4, global IPv6, private IPv4, unique local IPv6, link-local. */
function rank(address: string): number {
  if (isIPv4(address)) {
    if (/^(127|0)\./.test(address)) return UNUSABLE
    if (address.startsWith('169.254.')) return 5
    return /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.)/.test(address) ? 3 : 1
  }
  if (address === '::1' || address === '::') return UNUSABLE
  if (/^f[cd]/.test(address)) return 4
  return address.startsWith('fe80:') ? 6 : 2
}
