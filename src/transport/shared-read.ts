import { Socket } from 'node:net'

/** Hears what the system has read. The bytes are gone when it returns: what is needed later is copied. */
export type SharedReader = (buffer: Buffer, size: number) => void

export interface SharedRead {
  /** Has the connection now; what the reader does not take comes from it as from any other. */
  readonly socket: Socket
  /** What was read of the connection before. */
  readonly first: Buffer | undefined
  /** From now on what comes is pushed to the socket, whoever reads it. */
  release(): void
}

const READ_SIZE = 64 * 1024

/** What the system reads into, for all connections: it is emptied before the next read. */
let shared: Buffer | undefined

export function sharedBuffer(): Buffer {
  shared ??= Buffer.allocUnsafeSlow(READ_SIZE)
  return shared
}

/**
 * Takes a connection that a server has accepted over from its socket, to read it into memory that all connections share: Node makes
 * 64 KiB anew for every read of such sockets, and has no option for it as there is for those that connect. A third of what a short
 * request costs is that. The old socket stays as what the server counts, and closes with the new one.
 * Undefined, and nothing is changed: this is TLS, or no socket with a handle of the system.
 */
export function readShared(from: Socket, reader: SharedReader): SharedRead | undefined {
  const holder = from as unknown as { _handle?: { useUserBuffer?: unknown } | null }
  const handle = holder._handle
  if ('encrypted' in from || from.destroyed || typeof handle?.useUserBuffer !== 'function') return undefined
  const first = (from.read() as Buffer | null) ?? undefined
  holder._handle = null
  let reads: SharedReader | undefined = reader
  const buffer = sharedBuffer()
  const callback = (size: number): boolean => {
    if (!reads) return socket.push(Buffer.from(buffer.subarray(0, size)))
    reads(buffer, size)
    return true
  }
  // `handle` and `onread` together are in no declaration, though net takes both.
  const options: unknown = { handle, allowHalfOpen: from.allowHalfOpen, onread: { buffer, callback } }
  const socket = new Socket(options as ConstructorParameters<typeof Socket>[0])
  socket.once('close', () => from.destroy())
  from.once('close', () => socket.destroy())
  return {
    socket,
    first,
    release() {
      reads = undefined
    },
  }
}
