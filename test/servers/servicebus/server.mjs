import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createSecure } from 'node:https'
import { parseArgs } from 'node:util'
import rhea from 'rhea'
import { admin } from './admin.mjs'
import { entityOf, Queue, Topic } from './entities.mjs'
import { claimOf } from './tokens.mjs'

// node server.mjs --port N --admin N [--cert FILE --key FILE]: a stand-in for a namespace of Service Bus, written from Microsoft's
// documentation of its use of AMQP 1.0: put-token to $cbs; senders, also of batches; receivers that peek and lock, with dead letters,
// sessions and scheduled messages; renewals at $management; entities by the ATOM API on the other port, where DELETE /$connections
// cuts everybody off. A queue whose name starts with `busy` throttles every second message. What it holds lives as long as it does.
const { values: flags } = parseArgs({
  options: { port: { type: 'string' }, admin: { type: 'string' }, cert: { type: 'string' }, key: { type: 'string' } },
})

const MOST = 256 << 10
const BATCH = 0x80013700
const SESSION = 'com.microsoft:session-filter'
const connections = new Set()
const { types } = rhea

function fail(condition, description) {
  return Object.assign(new Error(description), { condition })
}

function authorise(connection, address) {
  const path = address.toLowerCase()
  if ((connection.claims ?? []).some((claim) => path.startsWith(claim.path) && claim.until > Date.now())) return
  throw fail(
    'amqp:unauthorized-access',
    `Unauthorized access. 'Listen,Send' claim(s) are required to perform this operation on '${address}'.`,
  )
}

function found(connection, address) {
  authorise(connection, address)
  const entity = entityOf(address)
  if (!entity) throw fail('amqp:not-found', `The messaging entity '${address}' could not be found.`)
  return entity
}

const isService = (address) => address === '$cbs' || address.endsWith('/$management')

rhea.on('connection_open', ({ connection }) => connections.add(connection))
for (const event of ['connection_close', 'disconnected'])
  rhea.on(event, ({ connection }) => {
    connections.delete(connection)
    connection.each_sender?.((sender) => sender.queue?.leave(sender))
  })

// Somebody sends to us.
rhea.on('receiver_open', ({ receiver, connection }) => {
  const address = receiver.target?.address ?? ''
  receiver.set_target({ address })
  receiver.set_source({ address: receiver.source?.address })
  if (isService(address)) return
  try {
    receiver.entity = found(connection, address)
    receiver.local.attach.max_message_size = MOST
  } catch ({ condition, message: description }) {
    // As AMQP has it: a link without a target, which ends at once.
    receiver.local.attach.target = undefined
    receiver.close({ condition, description })
  }
})

let calls = 0
rhea.on('message', (context) => {
  const { receiver, message, connection, delivery } = context
  const address = receiver.target?.address ?? ''
  if (isService(address)) {
    delivery.accept()
    return answer(connection, address, message, () =>
      address === '$cbs' ? putToken(connection, message) : management(connection, address, message),
    )
  }
  const { entity } = receiver
  if (/^busy/i.test(address) && calls++ % 2 === 0) {
    const description = 'The request was terminated because the entity is being throttled.'
    return delivery.reject({ condition: 'com.microsoft:server-busy', description })
  }
  const messages = context.format === BATCH ? innerOf(message) : [message]
  for (const one of messages) entity.send(one)
  delivery.accept()
})

function innerOf(bytes) {
  const content = rhea.message.decode(bytes).body.content
  return (Array.isArray(content) ? content : [content]).map((one) => rhea.message.decode(one))
}

function putToken(connection, { application_properties: said = {}, body }) {
  if (said.operation !== 'put-token') return { code: 400, description: `unknown operation ${said.operation}` }
  try {
    connection.claims = [...(connection.claims ?? []), claimOf(String(body), said.name)]
    return { code: 202, description: 'Accepted' }
  } catch (error) {
    return { code: 401, description: error.message, condition: 'amqp:unauthorized-access' }
  }
}

function management(connection, address, { application_properties: said = {}, body }) {
  const queue = found(connection, address.replace(/\/\$management$/i, ''))
  switch (said.operation) {
    case 'com.microsoft:renew-lock': {
      const ends = [...body['lock-tokens']].map((token) => queue.renew(Buffer.from(token).toString('hex')))
      if (ends.includes(undefined))
        return { code: 410, description: 'The lock supplied is invalid.', condition: 'com.microsoft:message-lock-lost' }
      return { code: 200, description: 'OK', body: { expirations: types.wrap_array(ends, 0x83) } }
    }
    case 'com.microsoft:renew-session-lock': {
      if (!queue.sessions.has(body['session-id']))
        return { code: 410, description: 'The session lock has expired.', condition: 'com.microsoft:session-lock-lost' }
      const until = Date.now() + queue.settings.lockDuration * 1000
      return { code: 200, description: 'OK', body: { expiration: types.wrap_timestamp(until) } }
    }
  }
  return { code: 501, description: `${said.operation} is not supported here` }
}

function answer(connection, node, message, reply) {
  let said
  try {
    said = reply()
  } catch ({ condition, message: description }) {
    said = { code: condition === 'amqp:not-found' ? 404 : 401, description, condition }
  }
  const { code, description, condition, body } = said
  const named = connection.find_sender((link) => link.source?.address === node && link.target?.address === message.reply_to)
  const sender = named ?? connection.find_sender((link) => link.source?.address === node)
  sender?.send({
    correlation_id: message.message_id,
    application_properties: {
      'status-code': types.wrap_int(code),
      'status-description': description,
      statusCode: types.wrap_int(code),
      statusDescription: description,
      ...(condition ? { errorCondition: types.wrap_symbol(condition) } : {}),
    },
    body: body ?? null,
  })
}

// Somebody receives from us.
rhea.on('sender_open', ({ sender, connection }) => {
  const address = sender.source?.address ?? ''
  const filter = sender.source?.filter ?? {}
  sender.set_target({ address: sender.target?.address })
  sender.local.attach.snd_settle_mode = sender.snd_settle_mode === 1 ? 1 : 0
  sender.local.attach.rcv_settle_mode = sender.rcv_settle_mode
  if (isService(address)) {
    sender.set_source({ address })
    return
  }
  try {
    const queue = found(connection, address)
    if (!(queue instanceof Queue))
      throw fail('amqp:not-allowed', `The messaging entity '${address}' is a topic: receive from a subscription.`)
    if (queue.settings.requiresSession !== SESSION in filter)
      throw fail(
        'amqp:not-allowed',
        `It is ${SESSION in filter ? 'not' : 'only'} possible for an entity that requires sessions to create a session receiver.`,
      )
    sender.queue = queue
    if (SESSION in filter) return openSession(sender, queue, filter[SESSION]?.value ?? filter[SESSION])
    sender.set_source({ address })
    queue.links.add(sender)
  } catch ({ condition = 'amqp:internal-error', message: description }) {
    sender.set_source({ address })
    sender.close({ condition, description })
  }
})

/** The answer to attach waits until there is a session, or says that there is none. */
function openSession(sender, queue, wanted) {
  sender.state.local_open = false
  sender.state.open_requests = 0
  const { address } = sender.source
  const take = (id) => {
    clearTimeout(timer)
    sender.sessionId = id
    queue.lockSession(id, sender)
    queue.links.add(sender)
    sender.set_source({ address, filter: { [SESSION]: id } })
    const until = BigInt(Date.now() + queue.settings.lockDuration * 1000) * 10_000n + 621_355_968_000_000_000n
    const bytes = Buffer.alloc(8)
    bytes.writeBigInt64BE(until)
    sender.local.attach.properties = { 'com.microsoft:locked-until-utc': types.wrap_long(bytes) }
    sender.open()
    setImmediate(() => queue.pump())
  }
  const waiter = { session: wanted, take }
  const none = () => {
    queue.waiting = queue.waiting.filter((one) => one !== waiter)
    sender.set_source({ address })
    sender.open()
    const description = 'The operation did not complete within the allotted timeout: no session is available.'
    sender.close({ condition: 'com.microsoft:timeout', description })
  }
  sender.waiter = waiter
  const given = sender.properties?.['com.microsoft:timeout']
  const timer = setTimeout(none, Number(given?.value ?? given ?? 60_000)).unref()
  const id = queue.free(wanted)
  if (id !== undefined) take(id)
  else if (wanted !== null && wanted !== undefined) {
    clearTimeout(timer)
    sender.set_source({ address })
    sender.open()
    sender.close({
      condition: 'com.microsoft:session-cannot-be-locked',
      description: `The requested session '${wanted}' cannot be accepted.`,
    })
  } else queue.waiting.push(waiter)
}

for (const event of ['sendable', 'sender_flow']) rhea.on(event, ({ sender }) => sender.queue?.pump())
rhea.on('sender_close', ({ sender }) => {
  if (!sender.queue) return
  sender.queue.waiting = sender.queue.waiting.filter((one) => one !== sender.waiter)
  sender.queue.leave(sender)
})
for (const outcome of ['accepted', 'rejected', 'released', 'modified'])
  rhea.on(outcome, ({ delivery, sender }) => sender.queue?.settle(delivery, outcome, delivery.remote_state))
for (const event of ['sender_error', 'receiver_error', 'session_error', 'connection_error', 'error', 'protocol_error', 'settled'])
  rhea.on(event, () => {})

const handler = (request, response) => {
  if (request.method === 'DELETE' && request.url === '/$connections') {
    for (const connection of connections) {
      connection.socket.destroy()
      connection.each_sender((sender) => sender.queue?.leave(sender))
      connections.delete(connection)
    }
    response.end()
    return
  }
  admin(request, response, { claimOf, Queue, Topic })
}
const tls = flags.cert ? { cert: readFileSync(flags.cert), key: readFileSync(flags.key) } : undefined
const control = tls ? createSecure(tls, handler) : createServer(handler)
control.listen(Number(flags.admin), '127.0.0.1', () => {
  const server = rhea.listen({
    ...(tls ? { transport: 'tls', ...tls } : {}),
    host: '127.0.0.1',
    port: Number(flags.port),
    max_frame_size: 65536,
    channel_max: 4999,
    idle_time_out: 60_000,
    tcp_no_delay: true,
    receiver_options: { autoaccept: false, credit_window: 1000 },
    sender_options: { autosettle: false, treat_modified_as_released: false },
  })
  server.on('listening', () => console.log('ready'))
})
