import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { createCryptoBlock } from '../../blocks/crypto/block.ts'
import type { CryptoProvider } from '../../blocks/crypto/driver.ts'
import { driver } from '../../components/crypto/localstorage/driver.ts'
import type { Named } from '../../components/sets.ts'
import { Code } from '../../errors.ts'
import { createLogger } from '../../telemetry/log.ts'
import { frame } from '../../transport/grpc/frames.ts'
import type { InputOf } from '../../transport/grpc/message.ts'
import type { GrpcStream } from '../../transport/grpc/server.ts'
import { cryptoMethods } from './crypto.ts'
import { DecryptRequest, DecryptResponse, EncryptRequest } from './crypto-messages.ts'
import { Inbox } from './crypto-stream.ts'
import { serveGrpc } from './harness.ts'
import { DAPR } from './method.ts'

const folder = mkdtempSync(join(tmpdir(), 'outrider-crypto-'))
writeFileSync(join(folder, 'key'), randomBytes(32))
const component = driver.create({
  name: 'keys',
  type: 'crypto.dapr.localstorage',
  version: 'v1',
  properties: { path: folder },
  appId: 'app',
  namespace: 'default',
  log: createLogger({ level: 'error', json: false, appId: 'app', version: 'test' }),
})
const keys: Named<CryptoProvider> = { name: 'keys', type: 'crypto.dapr.localstorage', version: 'v1', component, properties: {} }
const api = await serveGrpc({ methods: cryptoMethods(createCryptoBlock({ components: new Map([['keys', keys]]) })) })
after(async () => {
  await api[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

const forEncryption = { componentName: 'keys', keyName: 'key', keyWrapAlgorithm: 'AES' }
const forDecryption = { componentName: 'keys' }

/** Sends the messages, as fast as they are taken, and gives the answer's bytes; `onData` instead of keeping them. */
function exchange(method: string, messages: Iterable<Buffer>, onData?: (data: Buffer) => void): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const answer: Buffer[] = []
    let seq = 0
    const rest = messages[Symbol.iterator]()
    const pump = () => {
      for (let next = rest.next(); !next.done; next = rest.next()) if (!call.write(frame(next.value))) return
      call.end()
    }
    const call = api.client.stream(
      api.address,
      DAPR + method,
      {},
      {
        onMessage(message) {
          const payload = DecryptResponse.decode(message).payload
          assert.equal(payload?.seq, seq++)
          const data = Buffer.from(payload?.data ?? '')
          if (onData) onData(data)
          else answer.push(data)
        },
        onDrain: pump,
        onClose: (status) => (status ? reject(status) : resolve(Buffer.concat(answer))),
      },
    )
    pump()
  })
}

const encrypting = (...messages: InputOf<typeof EncryptRequest>[]) => exchange('EncryptAlpha1', messages.map(EncryptRequest.encode))
const decrypting = (...messages: InputOf<typeof DecryptRequest>[]) => exchange('DecryptAlpha1', messages.map(DecryptRequest.encode))
const part = (text: string | Buffer, seq: number) => ({ payload: { data: Buffer.from(text as string), seq } })

test('options and data may come in one message or in several', async () => {
  const sealed = [
    await encrypting({ options: forEncryption, ...part('soft kitty, warm kitty', 0) }),
    await encrypting({ options: forEncryption }, part('soft kitty, ', 0), part('', 1), part('warm kitty', 2)),
  ]
  for (const document of sealed) {
    assert.ok(document.toString('latin1').startsWith('dapr.io/enc/v1\n'))
    const cuts = [document.subarray(0, 20), document.subarray(20, 21), document.subarray(21)]
    assert.equal((await decrypting({ options: forDecryption, ...part(document, 0) })).toString(), 'soft kitty, warm kitty')
    assert.equal((await decrypting({ options: forDecryption }, ...cuts.map(part))).toString(), 'soft kitty, warm kitty')
  }
})

test('nothing encrypts to a head and decrypts to nothing', async () => {
  const document = await encrypting({ options: forEncryption })
  assert.equal(document.toString('latin1').split('\n').length, 4)
  assert.equal((await decrypting({ options: forDecryption, ...part(document, 0) })).length, 0)
})

for (const [what, call, code, message] of [
  ['no message', () => encrypting(), Code.Internal, 'failed to perform operation: error receiving the first message: EOF'],
  ['no options', () => encrypting(part('x', 0)), Code.InvalidArgument, /first message does not contain the required options/],
  ['no options to decrypt by', () => decrypting(part('x', 0)), Code.InvalidArgument, /first message does not contain the required options/],
  ['no key', () => encrypting({ options: { componentName: 'keys' } }), Code.InvalidArgument, /missing property 'keyName'/],
  ['no algorithm', () => encrypting({ options: { ...forEncryption, keyWrapAlgorithm: '' } }), Code.InvalidArgument, /'keyWrapAlgorithm'/],
  ['no component', () => decrypting({ options: {} }), Code.InvalidArgument, 'invalid request: missing component name'],
  ['another component', () => decrypting({ options: { componentName: 'no' } }), Code.InvalidArgument, 'crypto provider no not found'],
  ['another key', () => encrypting({ options: { ...forEncryption, keyName: 'no' } }), Code.Internal, /failed to load key 'no'/],
  ['no document', () => decrypting({ options: forDecryption, ...part('foo', 0) }), Code.Internal, /invalid header: scheme name not found$/],
  ['a part too late', () => encrypting({ options: forEncryption, ...part('x', 1) }), Code.Internal, /received: 1 \(expected: 0\)$/],
  ['a part twice', () => encrypting({ options: forEncryption }, part('x', 0), part('x', 0)), Code.Internal, /received: 0 \(expected: 1\)$/],
  [
    'options later',
    () => encrypting({ options: forEncryption }, { options: forEncryption }),
    Code.Internal,
    /options found in non-leading message$/,
  ],
] as const) {
  test(`a call with ${what} is refused`, async () => {
    await assert.rejects(call(), { code, message })
  })
}

test('a changed document ends the call as Internal', async () => {
  const document = await encrypting({ options: forEncryption, ...part('x', 0) })
  document[document.length - 1] = (document.at(-1) as number) ^ 1
  await assert.rejects(decrypting({ options: forDecryption, ...part(document, 0) }), {
    code: Code.Internal,
    message: 'failed to perform operation: error processing segment 0: failed to decrypt segment',
  })
})

test('a file larger than a message, and than all windows, goes through both ways', async () => {
  const block = randomBytes(100_000)
  const count = 320
  function* requests() {
    yield EncryptRequest.encode({ options: forEncryption })
    for (let seq = 0; seq < count; seq++) yield EncryptRequest.encode(part(block, seq))
  }
  const document: Buffer[] = []
  await exchange('EncryptAlpha1', requests(), (data) => document.push(data))
  function* answers() {
    yield DecryptRequest.encode({ options: forDecryption })
    for (const [seq, data] of document.entries()) yield DecryptRequest.encode(part(data, seq))
  }
  const digest = createHash('sha256')
  await exchange('DecryptAlpha1', answers(), (data) => void digest.update(data))
  const expected = createHash('sha256')
  for (let seq = 0; seq < count; seq++) expected.update(block)
  assert.equal(digest.digest('hex'), expected.digest('hex'))
})

test('a sender is held back while a message waits to be read', async () => {
  const acts: string[] = []
  const call = { pause: () => void acts.push('pause'), resume: () => void acts.push('resume') } as unknown as GrpcStream
  const inbox = new Inbox(call)
  call.onMessage?.(Buffer.from('a'))
  assert.deepEqual(acts, ['pause'])
  assert.equal((await inbox.next()).value?.toString(), 'a')
  assert.deepEqual(acts, ['pause'], 'taking a message that waits asks for no more')
  const next = inbox.next()
  assert.deepEqual(acts, ['pause', 'resume'])
  call.onMessage?.(Buffer.from('b'))
  assert.equal((await next).value?.toString(), 'b')
})

test('the subtle methods are unimplemented, as in the released daprd', async () => {
  for (const name of ['GetKey', 'Encrypt', 'Decrypt', 'WrapKey', 'UnwrapKey', 'Sign', 'Verify'])
    await assert.rejects(api.call(`Subtle${name}Alpha1`, Buffer.alloc(0)), {
      code: Code.Unimplemented,
      message: 'this API is currently not implemented',
    })
})
