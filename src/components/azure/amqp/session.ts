import type { Connection } from './connection.ts'
import { AmqpError } from './errors.ts'
import { ATTACH, BEGIN, DETACH, DISPOSITION, END, errorIn, FLOW, type Frame, TRANSFER } from './frames.ts'
import type { Link } from './link.ts'
import { uint } from './values.ts'

/** Frames of transfers that may be on their way to us; renewed when half of them have come. Credit bounds the messages. */
const WINDOW = 2048
const OUTGOING = 2 ** 31 - 1

/** What waits for its outcome, on either side. */
export interface Unsettled {
  /** The peer's word: its state, and whether it has forgotten the delivery. */
  onState(state: unknown, settled: boolean): void
  /** There will be no word any more. */
  onLost(error: Error): void
}

/** One session: numbers of transfers and deliveries, windows, and the links in it. It ends with the first of them that does. */
export class Session {
  readonly connection: Connection
  readonly #channel: number
  readonly #links: Link[] = []
  readonly #byRemote = new Map<number, Link>()
  /** By delivery id, as each side counts. */
  readonly sent = new Map<number, Unsettled>()
  readonly received = new Map<number, Unsettled>()
  #begun = false
  #ending = false
  #nextOutgoing = 0
  #peerWindow = 0
  #nextIncoming = 0
  #window = WINDOW
  #nextDelivery = 0

  constructor(connection: Connection, channel: number) {
    this.connection = connection
    this.#channel = channel
  }

  begin(): void {
    this.write(BEGIN, [undefined, uint(0), uint(WINDOW), uint(OUTGOING), uint(1023)])
  }

  /** A new link: its handle. */
  add(link: Link): number {
    return this.#links.push(link) - 1
  }

  write(code: number, fields: readonly unknown[], payload?: Buffer): void {
    if (!this.#ending) this.connection.write(this.#channel, code, fields, payload)
  }

  /** Transfers that the peer has room for. */
  get room(): number {
    return this.#begun ? this.#peerWindow : 0
  }

  deliveryId(): number {
    const id = this.#nextDelivery
    this.#nextDelivery = (id + 1) >>> 0
    return id
  }

  transfer(fields: readonly unknown[], payload: Buffer): void {
    this.#nextOutgoing = (this.#nextOutgoing + 1) >>> 0
    this.#peerWindow--
    this.write(TRANSFER, fields, payload)
  }

  /** State of the session, with that of a link after it. */
  flow(link: readonly unknown[] = []): void {
    this.#window = WINDOW
    const incoming = this.#begun ? uint(this.#nextIncoming) : undefined
    this.write(FLOW, [incoming, uint(WINDOW), uint(this.#nextOutgoing), uint(OUTGOING), ...link])
  }

  receive(frame: Frame): void {
    const { code, fields } = frame
    switch (code) {
      case BEGIN:
        this.#begun = true
        this.#nextIncoming = Number(fields[1] ?? 0)
        this.#peerWindow = Number(fields[2] ?? 0)
        this.#pump()
        return
      case ATTACH: {
        const link = this.#links.find((one) => one.name === fields[0])
        if (!link) throw new TypeError('a link that nobody asked for')
        this.#byRemote.set(Number(fields[1]), link)
        link.onAttach(fields)
        return
      }
      case FLOW:
        return this.#onFlow(fields)
      case TRANSFER: {
        this.#nextIncoming = (this.#nextIncoming + 1) >>> 0
        this.#window--
        this.#byRemote.get(Number(fields[0]))?.onTransfer(fields, frame.payload)
        if (this.#window < WINDOW / 2) this.flow()
        return
      }
      case DISPOSITION:
        return this.#onDisposition(fields)
      case DETACH: {
        const link = this.#byRemote.get(Number(fields[0]))
        link?.onDetach(errorIn(fields[2]))
        return
      }
      case END: {
        const error = errorIn(fields[0])
        if (!this.#ending) this.write(END, [])
        this.#ending = true
        this.connection.forget(this.#channel)
        this.fail(error ?? new AmqpError('amqp:session:ended', `${this.connection.address} ended the session`))
      }
    }
  }

  /** Ends it; its channel is free when the peer has confirmed. */
  end(): void {
    if (this.#ending) return
    this.write(END, [])
    this.#ending = true
  }

  fail(error: Error): void {
    for (const table of [this.sent, this.received]) {
      for (const one of table.values()) one.onLost(error)
      table.clear()
    }
    for (const link of this.#links.splice(0)) link.fail(error)
  }

  #onFlow(fields: readonly unknown[]): void {
    const [seen, window, , , handle, , , , , echo] = fields
    this.#peerWindow = (Number(seen ?? 0) + Number(window ?? 0) - this.#nextOutgoing) | 0
    const link = typeof handle === 'number' ? this.#byRemote.get(handle) : undefined
    link?.onFlow(fields)
    if (echo === true && !link) this.flow()
    this.#pump()
  }

  #pump(): void {
    for (const link of this.#links) link.pump()
  }

  #onDisposition(fields: readonly unknown[]): void {
    const [role, firstField, lastField, settled, state] = fields
    const table = role === true ? this.sent : this.received
    const first = Number(firstField)
    const count = ((Number(lastField ?? first) - first) >>> 0) + 1
    // A range may be far larger than what is under way.
    const ids =
      count <= table.size
        ? Array.from({ length: count }, (_, at) => (first + at) >>> 0)
        : [...table.keys()].filter((id) => (id - first) >>> 0 < count)
    for (const id of ids) table.get(id)?.onState(state, settled === true)
  }
}
