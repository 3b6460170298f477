import { createServer, type Server, type Socket } from 'node:net'

export type ListenAt = { host?: string | undefined; port: number } | { path: string }

/** One listening socket in somebody's hands. */
export interface Listening {
  /** 0 for a path. */
  readonly port: number
  /** Takes no more connections. While the ports are held, those that come wait for the next one to listen there. */
  close(): void
  /** Closed while the ports are held: its connections go to the next one. */
  readonly held: boolean
  /** While held: a connection on which nothing has come yet waits for the next one. */
  giveBack(socket: Socket): void
}

/** Connections that wait for one address while nobody serves it; further ones are refused. */
const MOST_WAITING = 1000

interface Place {
  server: Server
  accept: ((socket: Socket) => void) | undefined
  waiting: Socket[]
}

/**
 * Listening sockets that may outlive who serves them: serving → held (connections wait) → serving again, by the next one, or
 * released (closed). So a runtime can be made anew without a connection being refused.
 */
export class Ports {
  readonly #places = new Map<string, Place>()
  #held = false

  /** From now on whoever closes leaves the socket listening. */
  hold(): void {
    this.#held = true
  }

  /** Ends that, and closes what nobody has taken over. */
  release(): void {
    this.#held = false
    for (const [key, place] of this.#places) if (!place.accept) this.#drop(key, place)
  }

  /** Serves an address; rejects when it cannot be bound. */
  async listen(at: ListenAt, accept: (socket: Socket) => void): Promise<Listening> {
    const key = 'path' in at ? at.path : `${at.host ?? ''}:${at.port}`
    const known = this.#places.get(key)
    // A predecessor that has not come to an end loses its new connections, not its own ones.
    const place = known?.server.listening && (this.#held || !known.accept) ? known : await this.#open(at)
    place.accept = accept
    const fixed = 'path' in at || at.port !== 0
    if (fixed) this.#places.set(key, place)
    for (const socket of place.waiting.splice(0)) if (!socket.destroyed) accept(socket)
    const address = place.server.address()
    const held = () => this.#held && fixed && place.accept !== accept
    return {
      get held() {
        return held()
      },
      giveBack: (socket) => take(place, socket),
      port: address !== null && typeof address === 'object' ? address.port : 0,
      close: () => {
        if (place.accept !== accept) return
        place.accept = undefined
        if (!this.#held || !fixed) this.#drop(key, place)
      },
    }
  }

  #open(at: ListenAt): Promise<Place> {
    const place: Place = {
      accept: undefined,
      waiting: [],
      server: createServer({ noDelay: true }, (socket) => {
        take(place, socket)
      }),
    }
    return new Promise((resolve, reject) => {
      place.server.once('error', reject)
      place.server.listen(at, () => {
        place.server.removeListener('error', reject)
        place.server.on('error', () => {})
        resolve(place)
      })
    })
  }

  #drop(key: string, place: Place): void {
    if (this.#places.get(key) === place) this.#places.delete(key)
    for (const socket of place.waiting.splice(0)) socket.destroy()
    place.server.close()
  }
}

function take({ accept, waiting }: Place, socket: Socket): void {
  if (accept) return accept(socket)
  if (waiting.length >= MOST_WAITING) return void socket.destroy()
  socket.on('error', () => {})
  waiting.push(socket)
}
