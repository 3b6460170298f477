import { createSocket } from 'node:dgram'
import { connect, type Socket } from 'node:net'
import { hostname } from 'node:os'
import { type LogEvent, textOf } from '../event.ts'
import { SEVERITIES } from '../formats/syslog.ts'
import type { SyslogOutputSpec } from '../spec.ts'
import { hostAndPort } from '../values.ts'
import { NONE, type Sink } from './sink.ts'

const DEFAULT_PORT = 514
/** Bytes of one UDP message. */
const DATAGRAM = 65_000
const TIMEOUT = 10_000

/** RFC 5424, over TCP with octet counting, or UDP. The other side does not tell what it has: what is on the way when it goes is lost. */
export function openSyslog(spec: SyslogOutputSpec): Sink {
  const { host, port } = hostAndPort(spec.server, DEFAULT_PORT)
  return spec.protocol === 'udp' ? overUdp(spec, host, port) : overTcp(spec, host, port)
}

/** One message, without its frame. */
export function syslogLine(event: LogEvent, { messageField = 'message', facility = 16, appName }: SyslogOutputSpec): string {
  const { record } = event
  const level = textOf(record, 'severity') ?? textOf(record, 'level') ?? ''
  const message = record[messageField]
  const text = typeof message === 'string' ? message : event.json
  const word = (value: string, most: number) => value.replaceAll(/[^!-~]/g, '_').slice(0, most) || '-'
  return `<${facility * 8 + severityOf(level)}>1 ${new Date(event.time).toISOString()} ${word(textOf(record, 'host') ?? hostname(), 255)} ${word(appName ?? event.tag, 48)} ${word(textOf(record, 'pid') ?? '-', 128)} - - ${text}`
}

function severityOf(level: string): number {
  const word = level.toLowerCase()
  const exact = SEVERITIES.indexOf(word)
  if (exact >= 0) return exact
  if (/^(fatal|panic)/.test(word)) return 2
  if (word.startsWith('err')) return 3
  if (word.startsWith('warn')) return 4
  return /^(debug|trace)/.test(word) ? 7 : 6
}

function overUdp(spec: SyslogOutputSpec, host: string, port: number): Sink {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    .on('error', () => undefined)
    .unref()
  return {
    async send(events) {
      for (const event of events) {
        const bytes = Buffer.from(syslogLine(event, spec)).subarray(0, DATAGRAM)
        await new Promise<void>((resolve, reject) => socket.send(bytes, port, host, (error) => (error ? reject(error) : resolve())))
      }
      return NONE
    },
    async [Symbol.asyncDispose]() {
      socket.close()
    },
  }
}

function overTcp(spec: SyslogOutputSpec, host: string, port: number): Sink {
  let socket: Socket | undefined
  const open = (signal: AbortSignal) =>
    new Promise<Socket>((resolve, reject) => {
      const fresh = connect({ host, port, timeout: TIMEOUT, signal })
      fresh.once('connect', () => {
        fresh.setTimeout(0)
        resolve(fresh)
      })
      fresh.once('timeout', () => fresh.destroy(new Error(`${spec.server} does not answer`)))
      // Nothing is to come: reading tells when the other side goes.
      fresh.on('error', reject).resume()
      fresh.once('close', () => {
        if (socket === fresh) socket = undefined
      })
      fresh.once('end', () => fresh.destroy())
    })
  return {
    async send(events, signal) {
      socket ??= await open(signal)
      const to = socket
      let out = ''
      for (const event of events) {
        const line = syslogLine(event, spec)
        out += `${Buffer.byteLength(line)} ${line}`
      }
      await new Promise<void>((resolve, reject) => {
        const gone = () => reject(new Error(`${spec.server} has closed the connection`))
        to.once('close', gone)
        to.write(out, (error) => {
          to.removeListener('close', gone)
          if (error) reject(error)
          else resolve()
        })
      })
      return NONE
    },
    async [Symbol.asyncDispose]() {
      socket?.end()
    },
  }
}
