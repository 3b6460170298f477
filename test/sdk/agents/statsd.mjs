// node statsd.mjs UDP_PORT TCP_PORT: what three clients of npm send, unmodified.
import { StatsD } from 'hot-shots'
import NodeStatsd from 'node-statsd'
import Etsy from 'statsd-client'

const port = Number(process.argv[2])
const fail = (error) => {
  if (!error) return
  console.error(error)
  process.exit(1)
}
const hot = new StatsD({ host: '127.0.0.1', port, prefix: 'hot.', globalTags: { env: 'test' }, errorHandler: fail })
hot.increment('orders', 2, ['kind:new'])
hot.decrement('stock', 3)
hot.gauge('depth', 7.5)
hot.timing('latency', 120, { route: '/a"b' })
hot.histogram('size', 42)
hot.distribution('size.dist', 43)
hot.set('users', 'one')
hot.set('users', 'two')
hot.set('users', 'one')
hot.event('deployed', 'version 2')
hot.check('db', hot.CHECKS.OK)
const tcp = new StatsD({ protocol: 'tcp', host: '127.0.0.1', port: Number(process.argv[3]), prefix: 'tcp.', errorHandler: fail })
tcp.increment('orders', 5)
const buffered = new StatsD({ host: '127.0.0.1', port, prefix: 'buffered.', maxBufferSize: 500, errorHandler: fail })
for (let index = 0; index < 100; index++) buffered.increment('orders')
const old = new NodeStatsd({ host: '127.0.0.1', port, prefix: 'old.' })
old.increment('orders')
old.timing('latency', 5)
old.gauge('depth', 3)
old.unique('users', 'one')
const etsy = new Etsy({ host: '127.0.0.1', port, prefix: 'etsy' })
etsy.counter('orders', 4)
etsy.timing('latency', 30)
etsy.gauge('depth', 9)
etsy.gaugeDelta('depth', -2)
etsy.set('users', 'one')
etsy.histogram('size', 8, { kind: 'new' })
const line = new Etsy({ host: '127.0.0.1', port: Number(process.argv[3]), tcp: true, prefix: 'etsytcp' })
line.increment('orders', 7)
setTimeout(() => {
  for (const client of [etsy, line]) client.close()

  for (const client of [hot, tcp, buffered]) client.close()
  old.close()
}, 200)
