import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { decryptDocument, encryptDocument } from './document.ts'
import { HEADER_LIMIT, readHeader, writeHeader } from './header.ts'

async function* pieces(data: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size)
}

let fileKey: Buffer = Buffer.alloc(0)
const seal = async (plain: Buffer) =>
  Buffer.concat(
    await Array.fromAsync(
      encryptDocument(pieces(plain, 1000), {
        keyName: 'k',
        wrapAlgorithm: 'A256KW',
        cipher: 'AES-GCM',
        wrap: async (key) => {
          fileKey = key
          return key
        },
      }),
    ),
  )
const open = async (document: Buffer, size = 300, key = fileKey) =>
  Buffer.concat(
    await Array.fromAsync(
      decryptDocument(
        pieces(document, size),
        () => 'k',
        async () => key,
      ),
    ),
  )
const parse = (text: string | Buffer, size = 7) => readHeader(pieces(Buffer.from(text as string), size))

for (const [what, text, reason] of [
  ['nothing', '', 'scheme name not found'],
  ['no line end', 'foo', 'scheme name not found'],
  ['another scheme', 'foo\nbar\n', 'unsupported scheme'],
  ['a longer scheme', 'dapr.io/enc/v11\n{}\nx\n', 'unsupported scheme'],
  ['only the scheme', 'dapr.io/enc/v1\n', 'manifest not found'],
  ['no signature', 'dapr.io/enc/v1\n{"kw":1}\n', 'message authentication code not found'],
  ['an unended signature', 'dapr.io/enc/v1\n{"kw":1}\nabc', 'message authentication code not found'],
  ['empty lines', 'dapr.io/enc/v1\n\n\n', 'invalid format'],
  ['an empty manifest', 'dapr.io/enc/v1\n{}\nx\n', 'invalid manifest'],
  ['a manifest that is no object', 'dapr.io/enc/v1\nnull\nx\n', 'invalid manifest'],
  ['a manifest that is no JSON', 'dapr.io/enc/v1\n{"k":\nx\n', 'invalid manifest'],
  ['an unknown algorithm', 'dapr.io/enc/v1\n{"kw":6,"wfk":"eA==","cph":1,"np":"AAAAAAAAAA=="}\nx\n', 'invalid manifest'],
  [
    'an algorithm by a name of Object',
    'dapr.io/enc/v1\n{"kw":"toString","wfk":"eA==","cph":1,"np":"AAAAAAAAAA=="}\nx\n',
    'invalid manifest',
  ],
  ['a short nonce prefix', 'dapr.io/enc/v1\n{"kw":1,"wfk":"eA==","cph":1,"np":"AAAA"}\nx\n', 'invalid manifest'],
  ['an empty key', 'dapr.io/enc/v1\n{"kw":1,"wfk":"","cph":1,"np":"AAAAAAAAAA=="}\nx\n', 'invalid manifest'],
  ['a head without end', `dapr.io/enc/v1\n${'x'.repeat(2 * HEADER_LIMIT)}`, 'manifest not found'],
] as const) {
  test(`a head with ${what} is refused`, async () => {
    for (const size of [1, 7, 100_000]) await assert.rejects(parse(text, size), { message: `invalid header: ${reason}` })
  })
}

test('of a head without end no more than the limit is read', async () => {
  let read = 0
  const endless = (async function* () {
    for (;;) {
      read += 1024
      yield Buffer.alloc(1024, 'x')
    }
  })()
  await assert.rejects(readHeader(endless), /scheme name not found/)
  assert.equal(read, HEADER_LIMIT)
})

test('a manifest too long for the head is not written', async () => {
  const settings = {
    keyName: 'k'.repeat(HEADER_LIMIT),
    wrapAlgorithm: 'A256KW',
    cipher: 'AES-GCM',
    wrap: async (key: Buffer) => key,
  } as const
  await assert.rejects(Array.fromAsync(encryptDocument(pieces(Buffer.from('x'), 1), settings)), /header is too long/)
})

test('a document cut anywhere is an error, but for the cut behind its head', async () => {
  const document = await seal(Buffer.from('some text'))
  const head = document.length - 'some text'.length - 16
  for (let length = 0; length < document.length; length++) {
    if (length === head) assert.equal((await open(document.subarray(0, length))).length, 0, 'the format has no mark for an empty document')
    else await assert.rejects(open(document.subarray(0, length)), Error, `cut to ${length}`)
  }
})

test('a document with any bit changed never yields other text', async () => {
  const plain = Buffer.from('some text')
  const document = await seal(plain)
  for (let at = 0; at < document.length; at++) {
    const changed = Buffer.from(document)
    changed[at] = (changed[at] as number) ^ (1 << (at % 8))
    // A changed letter of Base64 padding may mean the same bytes: then, and only then, the same text comes out.
    const opened = await open(changed).catch(() => undefined)
    if (opened) assert.ok(opened.equals(plain), `byte ${at}`)
  }
})

test('what stands behind the signature does not count as part of it', async () => {
  let document = await seal(Buffer.from('some text'))
  // Its last byte is the only one that could end the line.
  while (document.indexOf('\n', document.length - 25) !== document.length - 1) document = await seal(Buffer.from('some text'))
  document[document.length - 26] = 0x2a
  await assert.rejects(open(document), /failed to validate the document's signature/)
})

test('rubbish of any length is an error and nothing else', async () => {
  for (let round = 0; round < 200; round++) {
    const rubbish = randomBytes(round * 7)
    await assert.rejects(open(rubbish), /^Error: invalid header/)
    await assert.rejects(open(Buffer.concat([Buffer.from('dapr.io/enc/v1\n'), rubbish])), Error)
  }
})

test('segments in another order, twice or from another document are refused', async () => {
  const document = await seal(randomBytes(3 * 65_536))
  const head = document.length - 3 * (65_536 + 16)
  const segment = (index: number) => document.subarray(head + index * 65_552, head + (index + 1) * 65_552)
  for (const order of [
    [1, 0, 2],
    [0, 0, 2],
    [0, 2],
    [0, 1],
    [0, 1, 2, 2],
  ])
    await assert.rejects(open(Buffer.concat([document.subarray(0, head), ...order.map(segment)]), 10_000), { name: 'SegmentError' })
})

test('a key that does not unwrap reads as a wrong signature', async () => {
  const document = await seal(Buffer.from('x'))
  await assert.rejects(open(document, 300, randomBytes(32)), { name: 'SignatureError' })
  await assert.rejects(open(document, 300, Buffer.alloc(0)), { name: 'SignatureError' })
})

test('no document opens without its key, not even one signed with a key of zeros', async () => {
  const zeros = Buffer.alloc(32)
  const forged = writeHeader(
    { keyName: 'k', wrapAlgorithm: 'A256KW', wrappedKey: zeros, cipher: 'AES-GCM', noncePrefix: Buffer.alloc(7) },
    zeros,
  )
  const opened = decryptDocument(
    pieces(forged, 300),
    () => 'k',
    () => Promise.reject(new Error('no such key')),
  )
  await assert.rejects(Array.fromAsync(opened), { message: "failed to validate the document's signature" })
})
