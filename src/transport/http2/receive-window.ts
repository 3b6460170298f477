import { ConnectionError, H2 } from './protocol.ts'

/** What the other side may send ahead on the whole connection. */
export const CONNECTION_WINDOW = 4 << 20
/** Bytes of all streams that may wait for slow handlers; past it the connection waits with them. */
const MAX_HELD = 32 << 20

/**
 * The connection's window for what comes. Bytes are given back as they come, for one slow stream must not stop the others,
 * until so many wait for their handlers that they would be too many: then only what was taken makes room.
 */
export class ReceiveWindow {
  readonly #give: (bytes: number) => void
  #left = CONNECTION_WINDOW
  #owed = 0
  #held = 0

  constructor(give: (bytes: number) => void) {
    this.#give = give
  }

  /** Bytes came, padding included. Throws ConnectionError when they are more than was allowed. */
  take(bytes: number): void {
    this.#left -= bytes
    this.#owed += bytes
    if (this.#left < 0) throw new ConnectionError(H2.FLOW_CONTROL, 'more than the connection may send')
  }

  /** Bytes wait for their handler. */
  hold(bytes: number): void {
    this.#held += bytes
  }

  release(bytes: number): void {
    this.#held -= bytes
    this.settle()
  }

  /** Gives room back if enough was used. */
  settle(): void {
    if (this.#owed < CONNECTION_WINDOW / 2 || this.#held > MAX_HELD) return
    const owed = this.#owed
    this.#left += owed
    this.#owed = 0
    this.#give(owed)
  }
}
