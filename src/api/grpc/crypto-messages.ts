import { bool, bytes, type InputOf, type MessageOf, message, nested, string, uint64 } from '../../transport/grpc/message.ts'

const StreamPayload = message('dapr.proto.common.v1.StreamPayload', { data: bytes(1), seq: uint64(2) })

export const EncryptRequest = message('dapr.proto.runtime.v1.EncryptRequest', {
  options: nested(
    1,
    message('dapr.proto.runtime.v1.EncryptRequestOptions', {
      componentName: string(1),
      keyName: string(2),
      keyWrapAlgorithm: string(3),
      dataEncryptionCipher: string(10),
      omitDecryptionKeyName: bool(11),
      decryptionKeyName: string(12),
    }),
  ),
  payload: nested(2, StreamPayload),
})

export const DecryptRequest = message('dapr.proto.runtime.v1.DecryptRequest', {
  options: nested(1, message('dapr.proto.runtime.v1.DecryptRequestOptions', { componentName: string(1), keyName: string(12) })),
  payload: nested(2, StreamPayload),
})

export const EncryptResponse = message('dapr.proto.runtime.v1.EncryptResponse', { payload: nested(1, StreamPayload) })
export const DecryptResponse = message('dapr.proto.runtime.v1.DecryptResponse', { payload: nested(1, StreamPayload) })

export type EncryptRequest = MessageOf<typeof EncryptRequest>
export type DecryptRequest = MessageOf<typeof DecryptRequest>
export type EncryptResponse = InputOf<typeof EncryptResponse>
