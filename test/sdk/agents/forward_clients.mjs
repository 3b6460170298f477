// forward_clients.mjs PORT KEYED_PORT KEY: what two clients of npm send by Fluentd's forward protocol, each in all its modes, 20 events each.
import { FluentClient } from '@fluent-org/logger'
import logger from 'fluent-logger'

const [port, keyedPort, sharedKey] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]]
const host = '127.0.0.1'
const security = { clientHostname: 'client', sharedKey }
const EVENTS = 20

for (const [label, eventMode] of [
  ['message', 'Message'],
  ['packed', 'PackedForward'],
  ['compressed', 'CompressedPackedForward'],
]) {
  const sender = logger.createFluentSender('old', { host, port, eventMode, flushInterval: 20, timeout: 5, requireAckResponse: true })
  const emit = (n) =>
    new Promise((resolve, reject) => sender.emit(label, { n, text: 'grüße' }, (error) => (error ? reject(error) : resolve())))
  await Promise.all(Array.from({ length: EVENTS }, (_, n) => emit(n)))
  sender.end()
}
const keyed = logger.createFluentSender('old', { host, port: keyedPort, security, timeout: 5, requireAckResponse: true })
await new Promise((resolve, reject) => keyed.emit('keyed', { n: 1 }, (error) => (error ? reject(error) : resolve())))
keyed.end()

for (const eventMode of ['Message', 'Forward', 'PackedForward', 'CompressedPackedForward']) {
  const client = new FluentClient(`official.${eventMode}`, { eventMode, ack: { ackTimeout: 5000 }, socket: { host, port, timeout: 5000 } })
  await Promise.all(Array.from({ length: EVENTS }, (_, n) => client.emit({ n, nested: { list: ['a', null, 'ü'] } })))
  await client.disconnect()
}
const official = new FluentClient('official.keyed', {
  ack: { ackTimeout: 5000 },
  security,
  socket: { host, port: keyedPort, timeout: 5000 },
})
await official.emit({ n: 1 })
await official.disconnect()
