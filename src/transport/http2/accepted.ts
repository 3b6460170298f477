import type { Socket } from 'node:net'
import { readShared } from '../shared-read.ts'
import type { Dialled } from './dial.ts'

/** An accepted connection, read like a dialled one. One that has been read from or that is encrypted is read as ever. */
export function accepted(from: Socket): Pick<Dialled, 'socket' | 'feed'> {
  if (from.bytesRead > 0) return { socket: from }
  let read: ((chunk: Buffer) => void) | undefined
  const shared = readShared(from, (buffer, size) => read?.(buffer.subarray(0, size)))
  if (!shared) return { socket: from }
  const { socket } = shared
  return {
    socket,
    feed(given) {
      read = given
      // Nobody reads the socket itself, but its end is to be heard.
      socket.resume()
    },
  }
}
