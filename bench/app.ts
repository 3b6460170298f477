import { createServer } from 'node:net'

// The app behind the sidecars: answers every request with {"ok":true}, /dapr/… with 404. Its own process, so that its
// cost is not counted; raw sockets, so that it is not what limits the rate. Prints its port.
const ok = Buffer.from('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{"ok":true}')
const none = Buffer.from('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n')
const HEAD_END = Buffer.from('\r\n\r\n')

const server = createServer({ noDelay: true }, (socket) => {
  let buffered: Buffer = Buffer.alloc(0)
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    buffered = buffered.length === 0 ? chunk : Buffer.concat([buffered, chunk])
    for (;;) {
      const head = buffered.indexOf(HEAD_END)
      if (head < 0) return
      const text = buffered.toString('latin1', 0, head)
      const whole = head + 4 + Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1] ?? 0)
      if (buffered.length < whole) return
      buffered = buffered.subarray(whole)
      socket.write(/^\w+ \/dapr\//.test(text) ? none : ok)
    }
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') console.log(address.port)
})
process.stdin.once('end', () => process.exit(0)).resume()
