import type { Socket } from 'node:net'
import { type Dialled, READ } from './dial.ts'

/** What `net.connect` sets for its option `onread`: accepted sockets have the same places for it, and no option. */
const PLACES = ['kBuffer', 'kBufferCb'] as const

interface Handle {
  useUserBuffer?(buffer: Uint8Array): void
}

/**
 * An accepted connection, read like a dialled one: each read of its own would take 64 KiB from the allocator, for ten bytes too, and leave
 * them to the garbage collection. One that has been read from, that is encrypted, or a Node without these places: read as ever.
 */
export function accepted(socket: Socket): Pick<Dialled, 'socket' | 'feed'> {
  const handle = (socket as Socket & { _handle?: Handle | null })._handle
  if (!handle?.useUserBuffer || 'encrypted' in socket || socket.bytesRead > 0) return { socket }
  const [buffer, callback] = PLACES.map((name) => placeOf(socket, name))
  if (!buffer || !callback) return { socket }
  return {
    socket,
    feed(read) {
      const onread = (length: number) => {
        read(READ.subarray(0, length))
        return true
      }
      Object.assign(socket, { [buffer]: READ, [callback]: onread })
      handle.useUserBuffer?.(READ)
      // Nobody reads the socket itself, but its end is to be heard.
      socket.resume()
    },
  }
}

const known = new Map<string, symbol>()

function placeOf(socket: Socket, name: string): symbol | undefined {
  let place = known.get(name)
  if (!place) {
    place = Object.getOwnPropertySymbols(socket).find(({ description }) => description === name)
    if (place) known.set(name, place)
  }
  return place
}
