import { BlockList, isIP } from 'node:net'
import type { AccessPolicy, AccessTest } from '../model/route.ts'
import type { ConnectionInfo } from './downstream.ts'
import { compileHeader, compileText, type Matched } from './match.ts'

/** Whether a request may pass. For connections without requests `request` is empty. */
export type AccessTester = (request: Matched, connection: ConnectionInfo, source: string) => boolean

type Test = AccessTester

/** Rules as one question. An allowing policy without a rule that fits denies; a denying one allows. */
export function compileAccess({ action, rules }: AccessPolicy): AccessTester {
  const tests = rules.map(({ permissions, principals }): Test => {
    const may = permissions.map(compileTest)
    const who = principals.map(compileTest)
    return (...given) => may.some((test) => test(...given)) && who.some((test) => test(...given))
  })
  const wanted = action === 'allow'
  return (...given) => tests.some((test) => test(...given)) === wanted
}

function compileTest(test: AccessTest): Test {
  if ('any' in test) return () => true
  if ('all' in test) {
    const tests = test.all.map(compileTest)
    return (...given) => tests.every((one) => one(...given))
  }
  if ('some' in test) {
    const tests = test.some.map(compileTest)
    return (...given) => tests.some((one) => one(...given))
  }
  if ('not' in test) {
    const inner = compileTest(test.not)
    return (...given) => !inner(...given)
  }
  if ('header' in test) {
    const header = compileHeader(test.header)
    return (request) => header(request)
  }
  if ('path' in test) {
    const path = compileText(test.path)
    return (request) => path(request.path.slice(0, request.pathEnd))
  }
  if ('port' in test) return (_, { localPort }) => localPort === test.port
  if ('destination' in test) {
    const within = compileRange(test.destination)
    return (_, { localAddress }) => within(localAddress)
  }
  if ('source' in test) {
    const within = compileRange(test.source)
    return (_, __, source) => within(source)
  }
  if ('direct' in test) {
    const within = compileRange(test.direct)
    return (_, { remoteAddress }) => within(remoteAddress)
  }
  if ('serverName' in test) {
    const name = compileText(test.serverName)
    return (_, { serverName }) => name(serverName ?? '')
  }
  if ('authenticated' in test) return (_, { verified }) => verified
  const identity = compileText(test.identity)
  // The names of a certificate that nobody has looked at say nothing.
  return (_, { verified, peerUris, peerDns, peerSubject }) => {
    if (!verified) return false
    const names = peerUris.length > 0 ? peerUris : peerDns.length > 0 ? peerDns : peerSubject ? [peerSubject] : []
    return names.some(identity)
  }
}

/** Whether an address lies in `10.0.0.0/8`, or is the one given. Throws for what is neither. */
export function compileRange(range: string): (address: string) => boolean {
  const [base = '', bits] = range.split('/', 2)
  const family = isIP(base) === 6 ? 'ipv6' : 'ipv4'
  const most = family === 'ipv6' ? 128 : 32
  const length = bits === undefined ? most : Number(bits)
  if (isIP(base) === 0 || !Number.isInteger(length) || length < 0 || length > most)
    throw new Error(`${JSON.stringify(range)} is no address or range of addresses; write e.g. 10.0.0.0/8`)
  const list = new BlockList()
  list.addSubnet(base, length, family)
  return (address) => {
    const kind = isIP(address)
    return kind !== 0 && list.check(address, kind === 6 ? 'ipv6' : 'ipv4')
  }
}
