import { createServer } from 'node:net'

// The app of a bench of events: subscribes to the topic of its first argument and answers each event with 200. Its own process and
// raw sockets, so that its cost is not counted and it is not what limits the rate. Tells its port, and when asked how many
// events came and when the last one did.
const [topic = 'events'] = process.argv.slice(2)
const subscriptions = JSON.stringify([{ pubsubname: 'target', topic, route: '/events' }])
const json = (text: string) =>
  Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`)
const [subscribe, handled] = [json(subscriptions), json('{}')]
const none = Buffer.from('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n')
const HEAD_END = Buffer.from('\r\n\r\n')
let count = 0
let last = 0

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
      if (text.startsWith('POST /events')) {
        count++
        last = Date.now()
        socket.write(handled)
      } else socket.write(text.startsWith('GET /dapr/subscribe') ? subscribe : none)
    }
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.send?.({ port: address.port })
})
process.on('message', () => process.send?.({ count, last }))
process.on('disconnect', () => process.exit(0))
