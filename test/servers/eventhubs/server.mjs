import { createServer } from 'node:http'
import { parseArgs } from 'node:util'
import rhea from 'rhea'
import { Hub } from './hubs.mjs'
import { management } from './management.mjs'
import { claimOf } from './tokens.mjs'
import { annotationOf, delivered, messagesOf } from './wire.mjs'

// node server.mjs --port N --control N: a stand-in for Event Hubs over AMQP 1.0, as far as SDKs and drivers use it: put-token to
// $cbs, READ to $management, senders to a hub or a partition (also batches), receivers with filters and epochs. Any hub is there,
// with one partition, unless its name starts with `absent`; PUT /<hub>?partitions=4 to the control port makes one with more, and
// DELETE /connections cuts off everybody. Events live as long as the process.
const { values: flags } = parseArgs({ options: { port: { type: 'string' }, control: { type: 'string' } } })

/** Bytes of one transfer, as a standard namespace takes them. */
const MOST = 1 << 20
const hubs = new Map()
const connections = new Set()

function hubOf(name) {
  const key = name.toLowerCase()
  if (key.startsWith('absent') || key.startsWith('$') || key === '') return undefined
  const hub = hubs.get(key) ?? new Hub(name, 1)
  hubs.set(key, hub)
  return hub
}

/** `hub`, `hub/Partitions/0` or `hub/ConsumerGroups/group/Partitions/0`. */
function entityOf(address) {
  const found = /^([^/]+)(?:\/ConsumerGroups\/([^/]+))?(?:\/Partitions\/([^/]+))?$/i.exec(address)
  const hub = found && hubOf(found[1])
  if (!hub) throw fail('amqp:not-found', `The messaging entity '${address}' could not be found.`)
  const partition = found[3] === undefined ? undefined : hub.partitions.find(({ id }) => id === found[3])
  if (found[3] !== undefined && partition === undefined)
    throw fail('com.microsoft:argument-out-of-range', `The specified partition '${found[3]}' is invalid for an EventHub partition.`)
  return { hub, group: found[2], partition }
}

function fail(condition, description) {
  return Object.assign(new Error(description), { condition })
}

/** A link may be opened when a token was put for it or for something above it. */
function authorise(connection, address) {
  const path = address.toLowerCase()
  const claims = connection.claims ?? []
  if (claims.some((claim) => path.startsWith(claim.path) && claim.until > Date.now())) return
  throw fail(
    'amqp:unauthorized-access',
    `Unauthorized access. 'Listen' or 'Send' claim(s) are required to perform this operation on '${address}'.`,
  )
}

const isService = (address) => address === '$cbs' || address === '$management' || address.endsWith('/$management')

rhea.on('connection_open', ({ connection }) => {
  connections.add(connection)
})
for (const event of ['connection_close', 'disconnected'])
  rhea.on(event, ({ connection }) => {
    connections.delete(connection)
    for (const hub of hubs.values())
      for (const partition of hub.partitions)
        for (const reader of partition.readers) if (reader.sender.connection === connection) partition.readers.delete(reader)
  })

// Somebody sends to us.
rhea.on('receiver_open', ({ receiver, connection }) => {
  const address = receiver.target?.address ?? ''
  try {
    if (!isService(address)) authorise(connection, address)
    receiver.set_source(receiver.source ?? {})
    if (isService(address)) return receiver.set_target({ address })
    receiver.entity = entityOf(address)
    receiver.local.attach.max_message_size = MOST
    receiver.set_target({ address })
  } catch ({ condition, message: description }) {
    receiver.close({ condition, description })
  }
})

rhea.on('message', (context) => {
  const { receiver, message, connection, delivery } = context
  const address = receiver.target?.address ?? ''
  if (address === '$cbs') return answer(connection, '$cbs', message, () => putToken(connection, message))
  if (isService(address)) return answer(connection, address, message, () => management(message, address, hubOf))
  const bytes = Buffer.isBuffer(message) ? message : context.raw
  if (bytes.length > MOST) {
    const description = `The received message (delivery-id:${delivery.id}, size:${bytes.length} bytes) exceeds the limit (${MOST} bytes) currently allowed on the link.`
    receiver.close({ condition: 'amqp:link:message-size-exceeded', description })
    return
  }
  const { hub, partition } = receiver.entity
  const messages = messagesOf(bytes, context.format ?? 0)
  const key = annotationOf(messages[0] ?? [], 'x-opt-partition-key')
  const to = partition ?? hub.partitionFor(key)
  for (const sections of messages) to.append(sections, key)
  for (const reader of to.readers) pump(reader)
})

function putToken(connection, message) {
  const { operation, type, name } = message.application_properties ?? {}
  if (operation !== 'put-token') return { code: 400, description: `unknown operation ${operation}` }
  try {
    connection.claims = [...(connection.claims ?? []), claimOf(type, String(message.body), name)]
    return { code: 202, description: 'Accepted' }
  } catch (error) {
    return { code: 401, description: error.message, condition: 'amqp:unauthorized-access' }
  }
}

/** To the receiver that the request names; the only one that there is where it names none. */
function answer(connection, node, message, reply) {
  const { code, description, condition, body } = reply()
  const named = connection.find_sender((link) => link.source?.address === node && link.target?.address === message.reply_to)
  const sender = named ?? connection.find_sender((link) => link.source?.address === node)
  sender?.send({
    correlation_id: message.message_id,
    application_properties: {
      'status-code': rhea.types.wrap_int(code),
      'status-description': description,
      ...(node === '$cbs' ? {} : { statusCode: rhea.types.wrap_int(code), statusDescription: description }),
      ...(condition ? { 'error-condition': rhea.types.wrap_symbol(condition), errorCondition: condition } : {}),
    },
    body: body ?? null,
  })
}

// Somebody receives from us.
rhea.on('sender_open', ({ sender, connection }) => {
  const address = sender.source?.address ?? ''
  const accept = () => {
    sender.set_source(sender.source ?? {})
    sender.set_target(sender.target ?? {})
  }
  if (isService(address)) return accept()
  try {
    authorise(connection, address)
    const { group, partition } = entityOf(address)
    if (!group || !partition) throw fail('amqp:not-allowed', `Links cannot be opened to '${address}' for receiving.`)
    const filters = Object.values(sender.source.filter ?? {})
    const start = partition.start(filters.find((one) => one !== null)?.value)
    const epoch = sender.properties?.['com.microsoft:epoch']
    const reader = {
      sender,
      group: group.toLowerCase(),
      epoch: epoch === undefined ? undefined : Number(epoch.value ?? epoch),
      next: start,
      partition,
    }
    compete(partition, reader)
    accept()
    partition.readers.add(reader)
    sender.reader = reader
  } catch ({ condition = 'amqp:invalid-field', message: description }) {
    sender.close({ condition, description })
  }
})

/** Of the readers of a group, one with an epoch ends those with the same, a lower one or none. */
function compete(partition, { group, epoch }) {
  const others = [...partition.readers].filter((other) => other.group === group)
  const higher = others.find((other) => other.epoch !== undefined && (epoch === undefined || other.epoch > epoch))
  if (higher)
    throw fail(
      'amqp:link:stolen',
      `Receiver with a higher epoch of '${higher.epoch}' already exists. Receiver with epoch ${epoch ?? 0} cannot be created.`,
    )
  if (epoch === undefined) return
  for (const other of others) {
    partition.readers.delete(other)
    const description = `New receiver with higher epoch of '${epoch}' is created hence current receiver with epoch '${other.epoch ?? 0}' is getting disconnected. If you are recreating the receiver, make sure a higher epoch is used.`
    other.sender.close({ condition: 'amqp:link:stolen', description })
  }
}

for (const event of ['sendable', 'sender_flow'])
  rhea.on(event, ({ sender }) => {
    if (sender.reader) pump(sender.reader)
    if (sender._draining) sender.set_drained(true)
  })
rhea.on('sender_close', ({ sender }) => {
  if (sender.reader) sender.reader.partition.readers.delete(sender.reader)
})
for (const event of ['sender_error', 'receiver_error', 'session_error', 'connection_error', 'error', 'protocol_error'])
  rhea.on(event, () => {})

function pump(reader) {
  const { sender, partition } = reader
  while (reader.next < partition.events.length && sender.sendable()) sender.send(delivered(partition.events[reader.next++]), undefined, 0)
}

// Of a message that is no batch rhea gives only what it has decoded.
const { decode } = rhea.message
let raw
rhea.message.decode = (bytes) => {
  raw = bytes
  return decode(bytes)
}
rhea.prependListener('message', (context) => {
  context.raw = raw
})

const control = createServer((request, response) => {
  const url = new URL(request.url, 'http://127.0.0.1')
  const name = decodeURIComponent(url.pathname.slice(1))
  if (request.method === 'DELETE' && name === 'connections') for (const connection of connections) connection.socket.destroy()
  if (request.method === 'PUT') hubs.set(name.toLowerCase(), new Hub(name, Number(url.searchParams.get('partitions'))))
  response.end()
})
control.listen(Number(flags.control), '127.0.0.1', () => {
  const server = rhea.listen({
    noDelay: true,
    host: '127.0.0.1',
    port: Number(flags.port),
    max_frame_size: 65536,
    channel_max: 4999,
    idle_time_out: 60_000,
  })
  server.on('listening', () => console.log('ready'))
})
