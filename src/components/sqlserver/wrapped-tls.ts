import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { MESSAGE, MessageReader, packetsOf } from './packets.ts'

const PACKET = 4096

/**
 * TLS as TDS 7 has it: the handshake goes in packets of its own kind, what follows is TLS alone. Rejects as the handshake does.
 * The socket has no other reader.
 */
export function startWrappedTls(socket: Socket, options: ConnectionOptions): Promise<TLSSocket> {
  let wrapped = true
  const reader = new MessageReader((body) => channel.push(body))
  const send = (data: Buffer, done: (error?: Error | null) => void) =>
    socket.write(wrapped ? packetsOf(MESSAGE.prelogin, data, PACKET) : data, done)
  const channel = new Duplex({
    read: () => {},
    write: (chunk: Buffer, _, done) => void send(chunk, done),
    // What TLS has to say at one time is one message.
    writev: (chunks, done) => void send(Buffer.concat(chunks.map(({ chunk }) => chunk as Buffer)), done),
    final: (done) => void socket.end(done),
    destroy: (error, done) => {
      socket.destroy()
      done(error)
    },
  })
  socket.on('data', (chunk: Buffer) => {
    try {
      if (wrapped) reader.push(chunk)
      else channel.push(chunk)
    } catch (error) {
      channel.destroy(error as Error)
    }
  })
  socket.on('error', (error) => channel.destroy(error))
  socket.on('close', () => channel.destroy())
  return new Promise((resolve, reject) => {
    // Version 7 of the protocol has no TLS 1.3.
    const tls = connect({ ...options, socket: channel, minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })
    tls.once('error', reject)
    tls.once('close', () => reject(new Error('the server closed the connection')))
    tls.once('secureConnect', () => {
      wrapped = false
      tls.removeListener('error', reject)
      resolve(tls)
    })
  })
}
