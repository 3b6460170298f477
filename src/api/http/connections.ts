import type { Socket } from 'node:net'
import { setTimeout as pause, setImmediate as turn } from 'node:timers/promises'
import { type ListenAt, type Listening, Ports } from '../../transport/ports.ts'

/** Who serves what comes on a connection. */
export interface Speakers {
  http1(socket: Socket): void
  /** Absent: every connection is HTTP/1.1. */
  http2?: ((socket: Socket) => void) | undefined
}

const PREFACE = Buffer.from('PRI * HTTP/2.0')
/** Milliseconds in which the first bytes of a connection that may speak either have to come. */
const FIRST = 10_000
/** Milliseconds in which a request that a client has sent arrives. */
const UNDER_WAY = 30

/** HTTP/1.1 sockets that serve no request right now. */
const idle = new WeakSet<Socket>()

/** A request is under way on the connection. */
export function inUse(socket: Socket): void {
  idle.delete(socket)
}

/** The request is over. */
export function notInUse(socket: Socket): void {
  idle.add(socket)
}

/** The connections of one edge: fresh (nothing has come) → in use ⇄ idle → closed, or, while its port is held, given back when fresh. */
export class HttpConnections {
  readonly #speakers: Speakers
  readonly #listening: Listening[] = []
  readonly #sockets = new Set<Socket>()
  /** Connections on which nothing has come yet, with what lets go of them. */
  readonly #fresh = new Map<Socket, () => void>()
  /** Told when the last socket is gone. */
  #gone: (() => void) | undefined
  /** Connections end with the answer under way, whatever their clients were told. */
  closing = false

  constructor(speakers: Speakers) {
    this.#speakers = speakers
  }

  /** Rejects when the address cannot be bound. Resolves with the port. */
  async listen(at: ListenAt, ports = new Ports()): Promise<number> {
    const listening = await ports.listen(at, this.#accept)
    this.#listening.push(listening)
    return listening.port
  }

  /** Refuses new connections and lets requests under way finish, at most `grace` milliseconds. */
  async close(grace: number): Promise<void> {
    const listening = this.#listening.splice(0)
    for (const one of listening) one.close()
    if (this.#sockets.size === 0) return
    const closed = new Promise<void>((resolve) => {
      this.#gone = resolve
    })
    // A request may be on its way over a connection that looks idle; what has come by then is read within a turn of the event loop.
    await Promise.race([closed, pause(Math.min(UNDER_WAY, grace)).then(() => turn())])
    this.closing = true
    for (const socket of this.#sockets) {
      const release = this.#fresh.get(socket)
      if (release && listening.some((one) => one.held)) {
        release()
        listening.find((one) => one.held)?.giveBack(socket)
      } else if (idle.has(socket)) socket.destroy()
    }
    if (this.#sockets.size === 0) return
    const deadline = setTimeout(() => {
      for (const socket of this.#sockets) socket.destroy()
    }, grace)
    await closed
    clearTimeout(deadline)
  }

  readonly #accept = (socket: Socket) => {
    this.#sockets.add(socket)
    idle.add(socket)
    socket.once('close', () => {
      this.#sockets.delete(socket)
      if (this.#sockets.size === 0) this.#gone?.()
    })
    socket.on('error', () => {})
    const { http1, http2 } = this.#speakers
    if (!http2) return http1(socket)
    // A turn later: when we are the ones who are late, what the client has sent waits to be read.
    const late = setTimeout(() => setImmediate(() => this.#fresh.has(socket) && socket.destroy()), FIRST)
    socket.once('close', () => {
      clearTimeout(late)
      this.#fresh.delete(socket)
    })
    this.#fresh.set(socket, () => {
      clearTimeout(late)
      socket.off('data', sniff).pause()
      this.#fresh.delete(socket)
      this.#sockets.delete(socket)
    })
    const sniff = (chunk: Buffer) => {
      clearTimeout(late)
      this.#fresh.delete(socket)
      socket.pause()
      // A request is coming, whatever node:http has seen of it yet.
      idle.delete(socket)
      socket.unshift(chunk)
      if (beginsHttp2(chunk)) return http2(socket)
      http1(socket)
      socket.resume()
    }
    socket.once('data', sniff)
    // One that was handed over is paused, and a listener alone does not change that.
    if (socket.isPaused()) socket.resume()
  }
}

function beginsHttp2(chunk: Buffer): boolean {
  return chunk.length >= 3 && chunk.subarray(0, PREFACE.length).equals(PREFACE.subarray(0, Math.min(chunk.length, PREFACE.length)))
}
