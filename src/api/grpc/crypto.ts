import { badRequest, type CryptoBlock, failure } from '../../blocks/crypto/block.ts'
import { SegmentError } from '../../blocks/crypto/document.ts'
import { Code, messageOf, OutriderError } from '../../errors.ts'
import type { MessageType } from '../../transport/grpc/message.ts'
import type { GrpcMethod, GrpcStream } from '../../transport/grpc/server.ts'
import { DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse } from './crypto-messages.ts'
import { firstMessage, Inbox, LateError, payloads, send } from './crypto-stream.ts'
import { DAPR, type GrpcMethods } from './method.ts'

/** Milliseconds that a client has for its first message. */
const FIRST_MESSAGE = 5000

const SUBTLE = ['GetKey', 'Encrypt', 'Decrypt', 'WrapKey', 'UnwrapKey', 'Sign', 'Verify']

/** EncryptAlpha1 and DecryptAlpha1; the subtle methods are unimplemented, as in daprd's released build. */
export function cryptoMethods(crypto: CryptoBlock): GrpcMethods {
  return [
    [
      `${DAPR}EncryptAlpha1`,
      streaming(EncryptRequest, EncryptResponse, ({ options }, plain, call) => {
        if (!options) throw noOptions()
        if (!options.keyName) throw badRequest("missing property 'keyName' in the options message", 'name the key in the first message')
        if (!options.keyWrapAlgorithm)
          throw badRequest("missing property 'keyWrapAlgorithm' in the options message", 'for example A256KW or RSA-OAEP-256')
        return crypto.encrypt(options.componentName, options, plain, call.signal)
      }),
    ],
    [
      `${DAPR}DecryptAlpha1`,
      streaming(DecryptRequest, DecryptResponse, ({ options }, document, call) => {
        if (!options) throw noOptions()
        return crypto.decrypt(options.componentName, options, document, call.signal)
      }),
    ],
    ...SUBTLE.map((name): readonly [string, GrpcMethod] => [`${DAPR}Subtle${name}Alpha1`, { kind: 'unary', handle: unimplemented }]),
  ]
}

type Output = { readonly payload?: { readonly data?: Uint8Array | undefined; readonly seq?: number | undefined } | undefined }

/** A call that turns one stream of payloads into another; each holds the other back, so that files of any size fit. */
function streaming<Request extends Parameters<typeof payloads>[0]>(
  request: MessageType<Request, never>,
  response: { encode(message: Output): Buffer },
  open: (first: Request, input: AsyncIterable<Buffer>, call: GrpcStream) => AsyncIterable<Buffer>,
): GrpcMethod {
  const run = async (call: GrpcStream) => {
    const inbox = new Inbox(call)
    let over = false
    call.onClose = (reason) => {
      over = true
      inbox.close(reason ?? new Error('the call is over'))
      call.onDrain?.()
    }
    const bytes = await firstMessage(inbox, FIRST_MESSAGE).catch((error: unknown) => {
      throw error instanceof LateError
        ? badRequest(error.message, 'send the options at once')
        : failure(new Error(`error receiving the first message: ${messageOf(error)}`), 'send the options in the first message')
    })
    if (!bytes) throw failure(new Error('error receiving the first message: EOF'), 'send the options in the first message')
    const first = request.decode(bytes)
    let seq = 0
    for await (const data of open(first, payloads(first, inbox, request.decode), call)) {
      if (data.length > 0) await send(call, response.encode({ payload: { data, seq: seq++ } }))
      if (over) return
    }
    call.end()
  }
  return {
    kind: 'stream',
    handle: (call) =>
      void run(call).catch((error: unknown) =>
        call.fail(error instanceof SegmentError ? failure(error, 'the document was changed or cut short') : error),
      ),
  }
}

function noOptions(): OutriderError {
  return badRequest('first message does not contain the required options', 'send the options in the first message')
}

function unimplemented(): never {
  throw new OutriderError({
    code: 'ERR_API_UNIMPLEMENTED',
    http: 501,
    grpc: Code.Unimplemented,
    message: 'this API is currently not implemented',
    hint: 'use EncryptAlpha1 and DecryptAlpha1',
  })
}
