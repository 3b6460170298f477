import type { MetadataBlock } from '../../blocks/metadata.ts'
import { Empty } from './empty.ts'
import { GetMetadataRequest, GetMetadataResponse, metadataMessage, SetMetadataRequest } from './metadata-message.ts'
import { daprUnary, type GrpcMethods } from './method.ts'

/** What the sidecar tells of itself, and the app's own words beside it. */
export function metadataMethods(metadata: MetadataBlock): GrpcMethods {
  return [
    daprUnary('GetMetadata', GetMetadataRequest, GetMetadataResponse, () => metadataMessage(metadata.get())),
    daprUnary('SetMetadata', SetMetadataRequest, Empty, ({ key, value }) => {
      if (key !== '') metadata.set(key, value)
      return {}
    }),
  ]
}
