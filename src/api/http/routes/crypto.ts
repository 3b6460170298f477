import { badRequest, type CryptoBlock } from '../../../blocks/crypto/block.ts'
import { isTruthy } from '../../../components/metadata.ts'
import { Code, OutriderError } from '../../../errors.ts'
import type { Call, Handler, Reply, Route } from '../route.ts'

const SUBTLE = {
  getkey: 'SubtleGetKey',
  encrypt: 'SubtleEncrypt',
  decrypt: 'SubtleDecrypt',
  wrapkey: 'SubtleWrapKey',
  unwrapkey: 'SubtleUnwrapKey',
  sign: 'SubtleSign',
  verify: 'SubtleVerify',
}

/** The routes of the cryptography building block; the subtle ones answer 501 as in daprd's released build. */
export function cryptoRoutes(block: CryptoBlock): Route[] {
  const encrypt: Handler = async (call) => {
    const name = call.params.name as string
    block.require(name)
    const options = {
      keyName: required(call, 'dapr-key-name'),
      keyWrapAlgorithm: required(call, 'dapr-key-wrap-algorithm'),
      omitDecryptionKeyName: isTruthy(header(call, 'dapr-omit-decryption-key-name')),
      decryptionKeyName: header(call, 'dapr-decryption-key-name'),
      dataEncryptionCipher: header(call, 'dapr-data-encryption-cipher'),
    }
    return whole(block.encrypt(name, options, once(call), call.signal))
  }
  const decrypt: Handler = async (call) => {
    return whole(block.decrypt(call.params.name as string, { keyName: header(call, 'dapr-key-name') }, once(call), call.signal))
  }
  const unimplemented: Handler = () => {
    throw new OutriderError({
      code: 'ERR_API_UNIMPLEMENTED',
      http: 501,
      grpc: Code.Unimplemented,
      message: 'this API is currently not implemented',
      hint: 'use /v1.0-alpha1/crypto/{name}/encrypt and /decrypt',
    })
  }
  return [
    {
      methods: ['PUT'],
      path: '/v1.0-alpha1/crypto/:name/encrypt',
      group: 'crypto',
      version: 'v1alpha1',
      name: 'Encrypt',
      handler: encrypt,
    },
    {
      methods: ['PUT'],
      path: '/v1.0-alpha1/crypto/:name/decrypt',
      group: 'crypto',
      version: 'v1alpha1',
      name: 'Decrypt',
      handler: decrypt,
    },
    ...Object.entries(SUBTLE).map(
      ([path, name]): Route => ({
        methods: ['POST'],
        path: `/v1.0-alpha1/subtlecrypto/:name/${path}`,
        group: 'subtlecrypto',
        version: 'v1alpha1',
        name,
        handler: unimplemented,
      }),
    ),
  ]
}

/** Read whole before the first byte is sent, so that a document that fails half-way is an error and not a cut reply. */
async function whole(stream: AsyncIterable<Buffer>): Promise<Reply> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return { status: 200, headers: { 'content-type': 'application/octet-stream' }, body: Buffer.concat(chunks) }
}

/** The body, read when the provider and the options have proven good. */
async function* once(call: Call): AsyncGenerator<Buffer> {
  yield await call.body()
}

function header(call: Call, name: string): string | undefined {
  const value = call.headers[name]
  return Array.isArray(value) ? value[0] : value
}

function required(call: Call, name: string): string {
  const value = header(call, name)
  if (value) return value
  throw badRequest(`missing header '${name}'`, `send the header ${name}`)
}
