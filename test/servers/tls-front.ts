import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { createSecureContext, TLSSocket } from 'node:tls'
import type { TestCertificate } from './certificates.ts'

/** TLS in front of a server that speaks none, with the certificate of the moment. */
export interface TlsFront extends AsyncDisposable {
  port: number
  /** Shows another certificate from now on, and ends the connections that saw the one before. */
  show(certificate: TestCertificate): void
}

/** What is said in the clear before TLS begins, if anything. */
export type Prelude = 'none' | 'postgres' | 'nats'

/** Starts one on a free port of every address of localhost, as that is the name that certificates can have. */
export async function startTlsFront(
  host: string,
  port: number,
  certificate: TestCertificate,
  prelude: Prelude = 'none',
): Promise<TlsFront> {
  let context = createSecureContext(certificate)
  const sockets = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(port, host)
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => {
        sockets.delete(socket)
        near.destroy()
        far.destroy()
      })
    }
    const secure = () => {
      const tls = new TLSSocket(near, { isServer: true, secureContext: context, ALPNProtocols: ['h2'] })
      tls.on('error', () => near.destroy())
      tls.pipe(far)
      far.pipe(tls)
    }
    if (prelude === 'none') secure()
    else if (prelude === 'postgres')
      near.once('readable', () => {
        near.read(8)
        near.write('S')
        secure()
      })
    else
      far.once('data', (chunk: Buffer) => {
        far.pause()
        near.write(chunk.toString().replace('INFO {', 'INFO {"tls_required":true,'), secure)
      })
  })
  await new Promise<void>((resolve) => server.listen(0, 'localhost', resolve))
  const end = () => {
    for (const socket of sockets) socket.destroy()
  }
  return {
    port: (server.address() as AddressInfo).port,
    show(next) {
      context = createSecureContext(next)
      end()
    },
    async [Symbol.asyncDispose]() {
      end()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
