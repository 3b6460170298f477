import { chmodSync, close, lstatSync, read, rmSync } from 'node:fs'
import { promisify } from 'node:util'

const AF_UNIX = 1
const SOCK_DGRAM = 2
const SOCK_CLOEXEC = 0o2000000
const MSG_DONTWAIT = 0x40
const SHUT_RDWR = 2
/** sun_path, its zero included. */
const LONGEST_PATH = 108
/** Datagrams taken in one turn of the event loop. */
const BATCH = 256

/**
 * A unix datagram socket, which Node itself does not have: made by libc through node:ffi, waited for by one thread of libuv's pool.
 * Linux only. Rejects with what is missing.
 */
export async function openUnixDatagram(path: string, size: number, onData: (data: Buffer) => void): Promise<AsyncDisposable> {
  if (Buffer.byteLength(path) >= LONGEST_PATH) throw new Error(`${path} is too long for a unix socket: at most ${LONGEST_PATH - 1} bytes`)
  // Not every Node has it.
  const ffi = process.getBuiltinModule('node:ffi') as typeof import('node:ffi') | undefined
  if (process.platform !== 'linux' || !ffi)
    throw new Error('unix datagram sockets need Linux and a Node that has node:ffi (26): use statsd.unixStream or statsd.udp')
  const { functions } = ffi.dlopen(null, {
    socket: { arguments: ['int32', 'int32', 'int32'], return: 'int32' },
    bind: { arguments: ['int32', 'buffer', 'uint32'], return: 'int32' },
    recv: { arguments: ['int32', 'buffer', 'uint64', 'int32'], return: 'int64' },
    shutdown: { arguments: ['int32', 'int32'], return: 'int32' },
  })
  removeSocket(path)
  const fd = functions.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)
  if (fd < 0) throw new Error(`no unix socket can be made for ${path}`)
  const address = Buffer.alloc(2 + LONGEST_PATH)
  address[process.arch === 's390x' ? 1 : 0] = AF_UNIX
  address.write(path, 2)
  if (functions.bind(fd, address, address.length) !== 0) {
    await promisify(close)(fd)
    throw new Error(`${path} cannot be opened as a unix socket: is its folder there, and may we write in it?`)
  }
  // Other users' apps send here; who may is said by the folder.
  chmodSync(path, 0o777)

  const buffer = Buffer.allocUnsafe(size)
  let closing = false
  const ended = (async () => {
    while (!closing) {
      const { bytesRead } = await promisify(read)(fd, buffer, 0, size, null)
      if (closing) break
      onData(buffer.subarray(0, bytesRead))
      for (let more = 1; more < BATCH; more++) {
        const length = Number(functions.recv(fd, buffer, BigInt(size), MSG_DONTWAIT))
        if (length < 0) break
        onData(buffer.subarray(0, length))
      }
    }
  })()
  return {
    async [Symbol.asyncDispose]() {
      closing = true
      // The thread that waits comes back with nothing.
      functions.shutdown(fd, SHUT_RDWR)
      await ended.catch(() => {})
      await promisify(close)(fd)
      removeSocket(path)
    },
  }
}

/** Takes away what a process before us left; anything but a socket stays, and throws. */
export function removeSocket(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (!found) return
  if (!found.isSocket()) throw new Error(`${path} is there and is no socket: name another path, or remove it`)
  rmSync(path, { force: true })
}
