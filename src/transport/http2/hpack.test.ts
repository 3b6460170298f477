import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:http2'
import { test } from 'node:test'
import { createGrpcServer } from '../grpc/server.ts'
import { encodeHeaders, HpackDecoder, HpackError } from './hpack.ts'

const hex = (text: string) => Buffer.from(text, 'hex')

test('the examples of RFC 7541 appendix C.4: Huffman strings and a table that grows', () => {
  const decoder = new HpackDecoder()
  const common = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com']
  assert.deepEqual(decoder.decode(hex('828684418cf1e3c2e5f23a6ba0ab90f4ff'), 1000), common)
  assert.deepEqual(decoder.decode(hex('828684be5886a8eb10649cbf'), 1000), [...common, 'cache-control', 'no-cache'])
  assert.deepEqual(decoder.decode(hex('828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf'), 1000), [
    ...[':method', 'GET', ':scheme', 'https', ':path', '/index.html', ':authority', 'www.example.com'],
    ...['custom-key', 'custom-value'],
  ])
})

test('what is encoded is decoded again, whatever its length', () => {
  const fields = [':status', '200', 'content-type', 'application/grpc', 'x-long', 'y'.repeat(70_000), 'n'.repeat(130), '']
  assert.deepEqual(new HpackDecoder().decode(encodeHeaders(fields), 1e6), fields)
})

test('every header that nghttp2 sends arrives, over one connection whose tables fill and empty', async () => {
  const seen: string[] = []
  const server = createGrpcServer({
    methods: new Map([
      [
        '/s.T/x',
        {
          kind: 'unary',
          handle(_, call) {
            seen.push(String(call.headers.value))
            return Buffer.alloc(0)
          },
        },
      ],
    ]),
  })
  const port = await server.listen({ host: '127.0.0.1', port: 0 })
  const session = connect(`http://127.0.0.1:${port}`)
  const sent = Array.from({ length: 200 }, (_, index) => randomBytes(index * 7).toString(index % 2 === 0 ? 'base64' : 'hex'))
  sent.push(Array.from({ length: 95 }, (_, index) => String.fromCharCode(33 + (index % 94))).join(''), 'a'.repeat(30_000))
  for (const value of sent) {
    const stream = session.request({ ':method': 'POST', ':path': '/s.T/x', 'content-type': 'application/grpc', value })
    stream.end(Buffer.alloc(5))
    stream.resume()
    await once(stream, 'close')
  }
  session.close()
  assert.deepEqual(seen, sent)
  await server.close(1000)
})

test('broken blocks throw HpackError and nothing else; few bytes never become many', () => {
  for (let round = 0; round < 20_000; round++) {
    try {
      new HpackDecoder().decode(randomBytes(round % 64), 10_000)
    } catch (error) {
      assert.ok(error instanceof HpackError, String(error))
    }
  }
  const decoder = new HpackDecoder()
  decoder.decode(Buffer.concat([hex('4001617fa11e'), Buffer.alloc(4000, 'b')]), 10_000)
  assert.equal(decoder.decode(Buffer.alloc(50_000, 0xbe), 10_000), undefined)
  assert.deepEqual(decoder.decode(hex('82'), 10_000), [':method', 'GET'])
  assert.throws(() => new HpackDecoder().decode(Buffer.concat([hex('0001617fffff7f'), Buffer.alloc(100)]), 10_000), HpackError)
  // A long run of the shortest code, as one string.
  const zeros = Buffer.alloc(150_000, 0)
  const length = [0xff, ...[((150_000 - 127) & 127) | 128, (((150_000 - 127) >> 7) & 127) | 128, (150_000 - 127) >> 14]]
  assert.equal(new HpackDecoder().decode(Buffer.concat([hex('000161'), Buffer.from(length), zeros]), 1e6)?.[1], '0'.repeat(240_000))
})
