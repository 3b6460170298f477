import type { Socket } from 'node:net'
import type { Argument } from './client.ts'

/** Buffers from this size on go to the socket as they are. */
const LARGE = 8192
/** Bytes of commands that go out at once, before the turn of the event loop is over. */
const FULL = 65_536

/** Writes commands in RESP2 to one socket. What many callers ask for in one turn of the event loop goes out together. */
export class CommandWriter {
  readonly #socket: Socket
  #out = ''
  #flushing = false

  constructor(socket: Socket) {
    this.#socket = socket
  }

  /** @param prompt As soon as the caller has finished, and not at the end of the turn. */
  write(name: string, args: readonly Argument[], prompt: boolean): void {
    let out = `${this.#out}*${args.length + 1}\r\n$${name.length}\r\n${name}\r\n`
    for (const arg of args) {
      if (typeof arg === 'string') {
        const length = Buffer.byteLength(arg)
        // Text goes out as Latin-1 with the rest: a Buffer in UTF-8 is the same bytes.
        out += `$${length}\r\n${length === arg.length ? arg : Buffer.from(arg).toString('latin1')}\r\n`
      } else if (typeof arg === 'number') {
        const text = String(arg)
        out += `$${text.length}\r\n${text}\r\n`
      } else if (arg.length < LARGE) out += `$${arg.length}\r\n${arg.toString('latin1')}\r\n`
      else {
        this.#socket.write(`${out}$${arg.length}\r\n`, 'latin1')
        this.#socket.write(arg)
        out = '\r\n'
      }
    }
    this.#out = out
    // A lot does not wait for the end of the turn.
    if (out.length >= FULL) return this.#flush()
    if (this.#flushing) return
    this.#flushing = true
    const flush = () => {
      this.#flushing = false
      this.#flush()
    }
    if (prompt) queueMicrotask(flush)
    else setImmediate(flush)
  }

  #flush(): void {
    const out = this.#out
    this.#out = ''
    if (out && !this.#socket.destroyed) this.#socket.write(out, 'latin1')
  }
}
