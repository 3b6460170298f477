import type { MetadataBlock } from '../../blocks/metadata.ts'
import { unary } from '../../transport/grpc/server.ts'
import { encodeMetadata } from './metadata-message.ts'
import { DAPR, type GrpcMethods } from './method.ts'

export function metadataMethods(metadata: Pick<MetadataBlock, 'get'>): GrpcMethods {
  return [
    [
      `${DAPR}GetMetadata`,
      unary(
        () => undefined,
        encodeMetadata,
        () => metadata.get(),
      ),
    ],
  ]
}
