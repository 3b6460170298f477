// A server and a client of @grpc/grpc-js without generated code: bytes are text.
// node grpc_peer.mjs serve — prints its port. node grpc_peer.mjs call PORT — prints what it got, as one line of JSON.
import grpc from '@grpc/grpc-js'

const text = { serialize: (value) => Buffer.from(value), deserialize: (bytes) => bytes.toString() }
const method = (path, both) => ({
  path: `/test.Echo/${path}`,
  requestStream: both,
  responseStream: both,
  requestSerialize: text.serialize,
  requestDeserialize: text.deserialize,
  responseSerialize: text.serialize,
  responseDeserialize: text.deserialize,
})
const service = { Say: method('Say', false), Talk: method('Talk', true), Fail: method('Fail', false) }

function trailers(call) {
  const found = new grpc.Metadata()
  found.set('x-seen', String(call.metadata.get('x-sent')[0] ?? ''))
  found.set('x-raw-bin', Buffer.from([0, 255, 1]))
  return found
}

if (process.argv[2] === 'serve') {
  const server = new grpc.Server()
  server.addService(service, {
    Say: (call, done) => done(null, `said ${call.request}`, trailers(call)),
    Talk(call) {
      call.on('data', (said) => call.write(`heard ${said}`))
      call.on('end', () => call.end(trailers(call)))
    },
    Fail: (call, done) => done({ code: grpc.status.FAILED_PRECONDITION, details: 'not – now', metadata: trailers(call) }),
  })
  server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
    console.log(error ? String(error) : `port ${port}`),
  )
} else {
  const Client = grpc.makeGenericClientConstructor(service, 'Echo')
  const client = new Client(`127.0.0.1:${process.argv[3]}`, grpc.credentials.createInsecure())
  const metadata = new grpc.Metadata()
  metadata.set('x-sent', 'yes')
  const seen = (found) => [found.get('x-seen')[0], found.get('x-raw-bin')[0]?.toString('hex')]
  const unary = (name, value) =>
    new Promise((resolve) => {
      let reply
      const call = client[name](value, metadata, { deadline: Date.now() + 20_000 }, (error, said) => {
        reply = error ? [error.code, error.details] : said
      })
      call.on('status', ({ code, metadata: found }) => setImmediate(() => resolve([reply, code, ...seen(found)])))
    })
  const say = await unary('Say', 'hi')
  const fail = await unary('Fail', 'hi')
  const talk = await new Promise((resolve) => {
    const heard = []
    const call = client.Talk(metadata, { deadline: Date.now() + 20_000 })
    call.on('data', (said) => {
      heard.push(said)
      // Each is sent when the one before has come back: both directions are open at once.
      if (heard.length < 3) call.write(`${heard.length + 1}`)
      else call.end()
    })
    call.on('status', ({ code, metadata: found }) => resolve([heard, code, ...seen(found)]))
    call.write('1')
  })
  console.log(JSON.stringify({ say, fail, talk }))
  client.close()
}
