import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { messageOf } from '../../errors.ts'
import type { Logger } from '../../telemetry/log.ts'
import { tlsAdvice } from '../tls-advice.ts'
import {
  answerPacket,
  connectPacket,
  PACKET,
  type Packet,
  PacketReader,
  type Publish,
  packet,
  publishPacket,
  readPublish,
  subscribePacket,
  unsubscribePacket,
} from './packets.ts'
import { Requests } from './requests.ts'
import type { MqttServer } from './settings.ts'

/** Says what to do itself. */
export class AdvisedError extends Error {}

export interface ClientOptions {
  server: MqttServer
  clientId: string
  cleanSession: boolean
  /** Limit for connecting and for the answer to a publish, milliseconds. */
  timeout: number
  /** A message came; `acknowledge` tells the broker that it may forget it, unless the connection is another one by then. */
  onMessage(message: Publish, acknowledge: () => void): void
  log: Logger
}

interface HeldMessage {
  message: Publish
  socket: Socket
  settled: boolean
}

const KEEP_ALIVE = 15_000
const PING_LIMIT = 5000
const RETRY = 100
const MOST_RETRY = 1000
/** The same while somebody waits for the broker. */
const EAGER_RETRY = 250
/** A connection that lasts so long counts as one that works. */
const STABLE = 2000

const TLS_FIELDS = {
  address: 'url',
  on: 'write mqtt instead of mqtts',
  authority: 'caCert',
  client: 'clientCert and clientKey',
}

const REFUSED = [
  '',
  'it does not speak MQTT 3.1.1',
  'it refuses the client id: set consumerID',
  'it is not available',
  'it refuses user name or password: correct them in url',
  'it does not let this user in: correct user name and password in url',
]

/**
 * One client of one broker, connecting → connected → connecting … → closed. What waits for an answer when a connection
 * breaks is sent again over the next one.
 */
export class MqttClient {
  readonly #options: ClientOptions
  readonly #requests = new Requests()
  readonly #filters = new Map<string, number>()
  readonly #released = new Set<number>()
  /** Messages that are not acknowledged, by packet id: at most as many as there are ids. */
  readonly #held = new Map<number, HeldMessage>()
  #socket: Socket | undefined
  #connected = false
  #closed = false
  #timer: NodeJS.Timeout | undefined
  #ping: NodeJS.Timeout | undefined
  #failures = 0
  #since = 0
  #contested = false
  #problem: Error | undefined
  #pinged: ((error?: Error) => void)[] = []

  constructor(options: ClientOptions) {
    this.#options = options
  }

  /** Connects; rejects with an Error that names the broker when it does not succeed at once. */
  async open(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    await this.#connect()
  }

  /** Resolves when the broker has the message, as far as `qos` promises. */
  async publish(topic: string, payload: Buffer, qos: number, retain: boolean): Promise<void> {
    if (qos === 0) {
      if (!this.#connected) throw this.#problem ?? this.#error('is not connected')
      this.#socket?.write(publishPacket({ topic, payload, qos, retain, duplicate: false, id: 0 }))
      return
    }
    const make = (duplicate: boolean) => (id: number) => publishPacket({ topic, payload, qos, retain, duplicate, id })
    await this.#request(make(false), payload.length, make(true))
  }

  /** Subscribes now and after each new connection. */
  async subscribe(filter: string, qos: number): Promise<void> {
    this.#filters.set(filter, qos)
    try {
      const answer = await this.#request((id) => subscribePacket(id, filter, qos), 0)
      if ((answer[2] ?? 0x80) >= 0x80) throw this.#error(`refuses the subscription to ${filter}: check the name and what the user may read`)
    } catch (error) {
      this.#filters.delete(filter)
      throw error
    }
  }

  /** `tell` false leaves the subscription at the broker, which goes on keeping messages for the session. */
  async unsubscribe(filter: string, tell: boolean): Promise<void> {
    this.#filters.delete(filter)
    if (tell) await this.#request((id) => unsubscribePacket(id, filter), 0)
  }

  /** Asks the broker for a sign of life. */
  ping(): Promise<void> {
    if (!this.#connected) return Promise.reject(this.#problem ?? this.#error('is not connected'))
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#broken(this.#error(`gives no sign of life for ${PING_LIMIT / 1000} s`)), PING_LIMIT)
      this.#pinged.push((error) => {
        clearTimeout(timer)
        if (error) reject(error)
        else resolve()
      })
      this.#socket?.write(packet(PACKET.pingreq, 0))
    })
  }

  /** Says goodbye and ends the connection. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearTimeout(this.#timer)
    clearInterval(this.#ping)
    if (this.#connected) this.#socket?.end(packet(PACKET.disconnect, 0))
    const socket = this.#socket
    setTimeout(() => socket?.destroy(), 500).unref()
    const error = this.#error('is not needed any more: the component is closing')
    this.#requests.refuse(error, true)
    for (const done of this.#pinged.splice(0)) done(error)
  }

  #error(what: string, Kind: new (message: string) => Error = Error): Error {
    return new Kind(`the MQTT broker at ${this.#options.server.host}:${this.#options.server.port} ${what}`)
  }

  #unreached(error: Error, welcomed: boolean): Error {
    const tls = tlsAdvice(error, TLS_FIELDS)
    if (tls) return this.#error(`cannot be reached: ${tls.reason}; ${tls.next}`, AdvisedError)
    const clear = this.#options.server.tls && !welcomed && (error as NodeJS.ErrnoException).code === 'ECONNRESET'
    return this.#error(`cannot be reached: ${messageOf(error)}${clear ? ' (a broker without TLS does that: see url)' : ''}`)
  }

  async #request(make: (id: number) => Buffer, bytes: number, again?: (id: number) => Buffer): Promise<Buffer> {
    if (this.#closed) throw this.#error('is not needed any more: the component is closed')
    if (!this.#requests.fits(bytes)) throw this.#error(`has ${this.#requests.size} messages to answer already`)
    const { timeout } = this.#options
    const late = () => {
      // Slow, or gone: a ping tells, and brings a new connection.
      if (this.#connected) this.ping().catch(() => {})
      return this.#problem ?? this.#error(`does not answer within ${timeout} ms`)
    }
    const { packet: bytesToSend, answer } = this.#requests.add({ make, again, bytes, timeout, late })
    if (this.#connected) this.#socket?.write(bytesToSend)
    return answer
  }

  #connect(): Promise<void> {
    const { server, clientId, cleanSession, timeout } = this.#options
    const { host, port, tls, username, password } = server
    return new Promise((resolve, reject) => {
      const socket = tls ? connectTls({ ...tls, host, port, ...(/[a-z]/i.test(host) ? { servername: host } : {}) }) : connectTcp(port, host)
      this.#socket = socket
      const reader = new PacketReader()
      let welcomed = false
      const timer = setTimeout(() => end(this.#error(`does not answer within ${timeout} ms`)), timeout)
      let over = false
      const end = (error: Error) => {
        clearTimeout(timer)
        socket.destroy()
        // The first one is the reason.
        if (over || this.#socket !== socket) return
        over = true
        if (welcomed) this.#broken(error)
        else {
          this.#problem = error
          reject(error)
        }
      }
      socket.setNoDelay(true)
      socket.on('error', (error) => end(this.#unreached(error, welcomed)))
      socket.on('close', () => end(this.#error('closed the connection (it does so too when another client has the same consumerID)')))
      socket.once(tls ? 'secureConnect' : 'connect', () =>
        socket.write(connectPacket({ clientId, cleanSession, keepAlive: KEEP_ALIVE / 1000, username, password })),
      )
      socket.on('data', (chunk: Buffer) => {
        try {
          for (const one of reader.read(chunk)) {
            if (welcomed) this.#receive(one, socket)
            else if (one.type === PACKET.connack && one.body[1] === 0) {
              welcomed = true
              clearTimeout(timer)
              this.#welcome(socket)
              resolve()
            } else return end(this.#error(`does not let us in: ${REFUSED[one.body[1] ?? 0] ?? 'it does not say why'}`, AdvisedError))
          }
        } catch (error) {
          end(this.#error(`is not understood: ${messageOf(error)}`))
        }
      })
    })
  }

  #welcome(socket: Socket): void {
    if (this.#closed) {
      socket.destroy()
      return
    }
    this.#connected = true
    this.#since = Date.now()
    this.#problem = undefined
    this.#ping = setInterval(() => this.ping().catch(() => {}), KEEP_ALIVE - PING_LIMIT)
    this.#ping.unref()
    const asked = this.#requests.toSend()
    // The session may have been forgotten; subscribing again changes nothing when it was not. What waits comes after it,
    // or our own subscriptions would miss it.
    for (const [filter, qos] of this.#filters) {
      this.#request((id) => subscribePacket(id, filter, qos), 0).catch((error: unknown) =>
        this.#options.log.warn(`subscription to ${filter}: ${messageOf(error)}`),
      )
    }
    for (const bytes of asked) socket.write(bytes)
  }

  #broken(error: Error): void {
    if (this.#closed) return
    const { log } = this.#options
    this.#connected = false
    // Two clients with one id throw each other out; that must not become a race.
    this.#contested = Date.now() - this.#since <= STABLE
    if (!this.#contested) this.#failures = 0
    this.#problem = error
    clearInterval(this.#ping)
    const socket = this.#socket
    this.#socket = undefined
    socket?.destroy()
    this.#released.clear()
    for (const done of this.#pinged.splice(0)) done(error)
    // Subscriptions are asked for anew.
    this.#requests.refuse(error, false)
    log.warn(`${error.message}; connecting again`)
    this.#again()
  }

  #again(): void {
    const awaited = !this.#contested && (this.#requests.size > 0 || this.#filters.size > 0)
    const wait = Math.min(RETRY * 2 ** Math.min(this.#failures++, 10), awaited ? EAGER_RETRY : MOST_RETRY)
    this.#timer = setTimeout(() => {
      this.#connect().catch((error: unknown) => {
        if (this.#closed) return
        this.#options.log.debug(messageOf(error))
        this.#again()
      })
    }, wait)
  }

  #receive(one: Packet, socket: Socket): void {
    const id = one.body.length >= 2 ? one.body.readUInt16BE(0) : 0
    switch (one.type) {
      case PACKET.publish:
        return this.#message(readPublish(one), socket)
      case PACKET.pubrec:
        // From here on the broker has it; only the release may have to be said again.
        this.#requests.received(id)
        socket.write(answerPacket(PACKET.pubrel, id))
        return
      case PACKET.pubrel:
        this.#released.delete(id)
        socket.write(answerPacket(PACKET.pubcomp, id))
        return
      case PACKET.puback:
      case PACKET.pubcomp:
      case PACKET.suback:
      case PACKET.unsuback:
        return this.#requests.answered(id, one.body)
      case PACKET.pingresp:
        for (const done of this.#pinged.splice(0)) done()
    }
  }

  #message(message: Publish, socket: Socket): void {
    const { qos, id } = message
    if (qos === 0) return this.#options.onMessage(message, () => {})
    // Settled, but the broker did not hear it before it sent the message again.
    if (qos === 2 && this.#released.has(id)) return void socket.write(answerPacket(PACKET.pubrec, id))
    const known = this.#held.get(id)
    if (known && message.duplicate && known.message.topic === message.topic && known.message.payload.equals(message.payload)) {
      // The one we have, after a new connection: it is not handled twice for that.
      known.socket = socket
      if (known.settled) this.#acknowledge(known)
      return
    }
    const held: HeldMessage = { message, socket, settled: false }
    this.#held.set(id, held)
    this.#options.onMessage(message, () => {
      held.settled = true
      this.#acknowledge(held)
    })
  }

  #acknowledge(held: HeldMessage): void {
    const { qos, id } = held.message
    if (this.#held.get(id) !== held || this.#socket !== held.socket || !held.socket.writable) return
    this.#held.delete(id)
    if (qos === 2) this.#released.add(id)
    held.socket.write(answerPacket(qos === 1 ? PACKET.puback : PACKET.pubrec, id))
  }
}
