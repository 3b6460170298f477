import { createServer } from 'node:net'

// The app of a bench of events: subscribes to the topic of its first argument and answers each event with 200. Its own process and
// raw sockets, so that its cost is not counted and it is not what limits the rate. Tells its port, and when asked how many
// events came and when the last one did; asked for `times`, how long they took from the stamp that the load generator put into them.
export interface Seen {
  count: number
  /** When the last event came, as Date.now() has it. */
  last: number
}

/** From stamp to here, milliseconds, of what came since they were asked for before. NaN: nothing came with a stamp. */
export interface Times {
  p50: number
  p99: number
}

const [topic = 'events'] = process.argv.slice(2)
const subscriptions = JSON.stringify([{ pubsubname: 'target', topic, route: '/events' }])
const json = (text: string) =>
  Buffer.from(`HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: ${text.length}\r\n\r\n${text}`)
const [subscribe, handled] = [json(subscriptions), json('{}')]
const none = Buffer.from('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n')
const HEAD_END = Buffer.from('\r\n\r\n')
const STAMP = Buffer.from('"sent":"')
/** Latencies kept between two questions; later ones count as events only. */
const times = new Float64Array(500_000)
let kept = 0
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
      if (text.startsWith('POST /events')) {
        count++
        last = Date.now()
        stamped(buffered.subarray(head + 4, whole))
        socket.write(handled)
      } else socket.write(text.startsWith('GET /dapr/subscribe') ? subscribe : none)
      buffered = buffered.subarray(whole)
    }
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  if (address !== null && typeof address === 'object') process.send?.({ port: address.port })
})

function stamped(body: Buffer): void {
  const at = body.indexOf(STAMP)
  if (at < 0 || kept === times.length) return
  const [seconds, nanoseconds] = process.hrtime()
  times[kept++] = seconds * 1e3 + nanoseconds / 1e6 - Number(body.toString('latin1', at + STAMP.length, at + STAMP.length + 16)) / 1e3
}

process.on('message', (question) => {
  if (question !== 'times') return process.send?.({ count, last } satisfies Seen)
  const sorted = times.subarray(0, kept).sort()
  const at = (share: number) => sorted[Math.floor(kept * share)] ?? Number.NaN
  process.send?.({ p50: at(0.5), p99: at(0.99) } satisfies Times)
  kept = 0
})
process.on('disconnect', () => process.exit(0))
