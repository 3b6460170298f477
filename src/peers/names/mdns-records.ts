import { isIPv4 } from 'node:net'
import { isHost } from '../resolver.ts'
import { type DnsMessage, type DnsQuestion, type DnsRecord, DnsType } from './dns-message.ts'

/** Seconds that others may keep our records: those of the service, and of the host's address, as daprd's. */
const SERVICE_TTL = 3200
const HOST_TTL = 120
const ENUMERATION = '_services._dns-sd._udp.local'

/** One sidecar as mDNS tells of it. */
export interface Announced {
  appId: string
  host: string
  port: number
  hostName: string
  pid: number
}

/** An address of an app that somebody tells of, or takes back. */
export interface Sighting {
  appId: string
  host: string
  port: number
  goodbye: boolean
}

/** Everything there is to say of a sidecar; `ttl` 0 to say goodbye. */
export function announcement(self: Announced, goodbye = false): Partial<DnsMessage> {
  const { service, pointer, srv, txt, host } = records(self, goodbye ? 0 : SERVICE_TTL, true)
  return { response: true, answers: [srv, txt, pointer, service, host] }
}

/** Asks whether anybody else has our name, with what we are going to say under it. */
export function probe(self: Announced): Partial<DnsMessage> {
  const { srv, txt } = records(self, SERVICE_TTL, false)
  return { questions: [{ name: srv.name, type: DnsType.ANY }], authorities: [srv, txt] }
}

/** Asks who serves an app. */
export function browse(appId: string): Partial<DnsMessage> {
  return { questions: [{ name: `${appId}.local`, type: DnsType.PTR }] }
}

/** What we have to say to a question; undefined when nothing, or nothing that the asker does not know already. */
export function answer(self: Announced, question: DnsQuestion, known: readonly DnsRecord[]): Partial<DnsMessage> | undefined {
  const { service, pointer, srv, txt, host } = records(self, SERVICE_TTL, false)
  const told = (record: DnsRecord & { type: typeof DnsType.PTR }) =>
    known.some((one) => one.type === DnsType.PTR && one.name === record.name && one.target === record.target && one.ttl >= record.ttl / 2)
  switch (question.name) {
    case service.name:
      return told(service) ? undefined : { response: true, answers: [service] }
    case pointer.name:
      return told(pointer) ? undefined : { response: true, answers: [pointer], additionals: [srv, txt, host] }
    case srv.name:
      return { response: true, answers: [srv, txt, pointer, service, host] }
    default:
      return undefined
  }
}

function records(self: Announced, ttl: number, flush: boolean) {
  const name = `${self.appId}.local`
  const instance = `${self.hostName}:${self.pid}.${name}`
  const target = self.hostName.endsWith('.local') ? self.hostName : `${self.hostName}.local`
  return {
    service: { name: ENUMERATION, ttl, flush: false, type: DnsType.PTR, target: name },
    pointer: { name, ttl, flush: false, type: DnsType.PTR, target: instance },
    srv: { name: instance, ttl, flush, type: DnsType.SRV, port: self.port, target },
    txt: { name: instance, ttl, flush, type: DnsType.TXT, texts: [self.appId] },
    host: {
      name: target,
      ttl: Math.min(ttl, HOST_TTL),
      // Others on this machine may announce another of its addresses.
      flush: false,
      type: isIPv4(self.host) ? DnsType.A : DnsType.AAAA,
      address: self.host,
    },
  } as const
}

/** The addresses that a response tells of, of the apps that `wanted` names; others cost next to nothing. */
export function sightings(message: DnsMessage, wanted: (appId: string) => boolean): Sighting[] {
  const all = [...message.answers, ...message.authorities, ...message.additionals]
  const found: Sighting[] = []
  for (const srv of all) {
    if (srv.type !== DnsType.SRV) continue
    const appId = /(?:^|\.)((?:\\.|[^.\\])+)\.local$/.exec(srv.name)?.[1]
    if (appId === undefined || !wanted(appId)) continue
    const goodbye = srv.ttl === 0
    const txt = all.find((one) => one.type === DnsType.TXT && one.name === srv.name)
    // Other things may be called as an app is; a sidecar says the app's id once more.
    if (txt?.type !== DnsType.TXT || txt.texts[0] !== appId) continue
    const hosts = all.flatMap((one) =>
      (one.type === DnsType.A || one.type === DnsType.AAAA) && one.name === srv.target ? [one.address] : [],
    )
    const host = hosts.find(isIPv4) ?? hosts.find(isHost)
    if (host !== undefined && srv.port > 0) found.push({ appId, host, port: srv.port, goodbye })
  }
  return found
}
